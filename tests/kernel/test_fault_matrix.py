"""The fault matrix: each system call of each operation fails once, by itself, with what such a call can fail with.

Either the operation returns, and is complete; or it raises a NetSandboxError that is no RollbackError, nothing is left
pending in a record, and host and sandbox are as before. The judge is ip(8), through `lab.snapshot`.
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
    """Whether an operation raised what it may raise, and left nothing pending."""
    records = Path("/run/netsandbox").glob("[!.]*.json")
    settled = all('"pending":null' in record.read_text() for record in records)
    return outcome.error.startswith("netsandbox.errors.") and "RollbackError" not in outcome.error and settled


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("run_netns")
@pytest.mark.timeout(900)
def test_one_failed_call_leaves_nothing_changed_or_nothing_undone(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After each failure everything is as before, or complete."""
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
            if not outcome.hit:  # the kernel may have begun a write below /proc/sys/net again, until it got the RTNL
                break
    with capsys.disabled():
        print(f"\nfault matrix, {name}: {injected} failures injected, {len(differences)} differences")
    assert differences == {}
    fresh(lambda: None)
