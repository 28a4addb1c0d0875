"""The fault matrix: each system call of each operation fails once, with an errno that is possible for the call.

The operation either returns and is complete, or raises a NetSandboxError other than RollbackError and is rolled back,
with nothing pending in a record. `lab.snapshot` compares the state with ip(8).
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.kernel import faults
from tests.kernel.operations import OPERATIONS, fresh, program, state

FAULTS = {
    "clone3": errno.EAGAIN,
    "flock": errno.ENOLCK,
    "ioctl": errno.ENOMEM,
    "mkdir": errno.ENOSPC,
    "mount": errno.EPERM,
    "openat": errno.EMFILE,
    "pread64": errno.EIO,
    "pwrite64": errno.EPERM,
    "read": errno.EIO,
    "recvfrom": errno.ENOMEM,
    "recvmsg": errno.ENOBUFS,
    "rename": errno.ENOSPC,
    "sendmsg": errno.ENOBUFS,
    "sendto": errno.ENOBUFS,
    "setns": errno.EPERM,
    "socket": errno.EMFILE,
    "umount2": errno.EPERM,
    "unlink": errno.EROFS,
    "unshare": errno.ENOSPC,
    "write": errno.ENOSPC,
}
pytestmark = pytest.mark.matrix


def is_ours(outcome: faults.Outcome) -> bool:
    """Return whether an operation raised a NetSandboxError other than RollbackError, and left nothing pending."""
    records = Path("/run/netsandbox").glob("[!.]*.json")
    settled = all('"pending":null' in record.read_text() for record in records)
    return outcome.error.startswith("netsandbox.errors.") and "RollbackError" not in outcome.error and settled


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("run_netns")
@pytest.mark.timeout(900)
def test_an_operation_with_a_failed_call_is_atomic(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After the failure of any system call, the operation is either rolled back or complete."""
    prepare, act, _ = OPERATIONS[name]
    fresh(prepare)
    act()
    complete = state()
    fresh(prepare)
    counts = faults.count(program(act), set(FAULTS))
    before = fresh(prepare)
    differences = {}
    injected = 0
    for call, count in counts.items():
        for n in range(1, count + 1):
            outcome = faults.run(program(act), call, n=n, fault=FAULTS[call])
            injected += outcome.hit
            undone = outcome.end == "raised" and is_ours(outcome)
            now = state()
            if not (undone and now == before) and not (outcome.end == "returned" and now == complete):
                differences[call, n] = (outcome.end, outcome.error, now == before, now == complete)
            if now != before:
                assert fresh(prepare) == before
            if not outcome.hit:  # a write below /proc/sys/net is restarted until it gets rtnl_lock, so the count varies
                break
    with capsys.disabled():
        print(f"\nfault matrix, {name}: {injected} failures injected, {len(differences)} differences")
    assert differences == {}
    fresh(lambda: None)
