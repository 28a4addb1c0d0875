"""The crash matrix: each operation is killed (SIGKILL) before each of its system calls, and what comes next is judged.

After the kill the next process recovers. Then host and sandbox are as before the operation, or it is complete. The
judge is ip(8), through `lab.snapshot`.
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
def test_whenever_it_is_killed_the_next_command_undoes_or_finishes_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After each kill and a recovery, everything is as before, or complete."""
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
