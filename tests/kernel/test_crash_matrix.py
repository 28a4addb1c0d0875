"""The crash matrix: SIGKILL interrupts each operation before each of its system calls, and the next process recovers.

After recovery, the operation is either rolled back or complete. `lab.snapshot` compares the state with ip(8).
"""

from __future__ import annotations

import signal

import pytest

from netsandbox import Sandbox
from tests.kernel import faults
from tests.kernel.operations import OPERATIONS, fresh, program, state

CALLS = frozenset(
    "sendto recvmsg setns unshare mount umount2 openat write pwrite64 rename unlink flock mkdir clone3 close".split()
)
pytestmark = pytest.mark.matrix


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("run_netns")
@pytest.mark.timeout(900)
def test_a_killed_operation_is_recovered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After a kill at any system call, recovery either rolls the operation back or completes it."""
    prepare, act, instead = OPERATIONS[name]
    finished = set()
    for way in filter(None, (act, instead)):
        fresh(prepare)
        way()
        finished.add(state())
    before = fresh(prepare)
    differences = {}
    n = 0
    while True:
        n += 1
        outcome = faults.run(program(act), CALLS, n=n, fault=signal.SIGKILL)
        if not outcome.hit:
            break
        said = Sandbox.recover()
        now = state()
        if now not in {before, *finished}:
            differences[n] = said
        if now != before:
            assert fresh(prepare) == before
    assert (outcome.end, outcome.error) == ("returned", "")
    with capsys.disabled():
        print(f"\ncrash matrix, {name}: {n - 1} kills, {len(differences)} differences")
    assert differences == {}
    fresh(lambda: None)
