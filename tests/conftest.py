"""Fixtures and rules of all tests.

`host`: moves the test's thread into a fresh network namespace, which is the host of the test's sandboxes. Sandboxes are
pinned under the test's temporary directory. The fixture fails a test that leaves anything behind.
`run_netns`: the same, with the default runtime directories /run/netns and /run/netsandbox, both empty.
`box`: a sandbox. `wire`: a veth, and a packet socket on its peer that receives adverts.
Helpers (`ip`, `veth`, `snapshot`, ...) are in tests/kernel/lab.py.

A skipped test fails, unless it needs a kind of link that is listed in lab.KINDS_A_KERNEL_MAY_LACK.
"""

from __future__ import annotations

import gc
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import Sandbox
from tests.kernel import lab
from tests.kernel.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MNT_DETACH = 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure, unless its reason is allowed."""
    report = yield
    reason = str(call.excinfo.value) if call.excinfo else ""
    if report.skipped and not hasattr(report, "wasxfail") and not lab.is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped ({reason}), and nothing allows that: see tests/conftest.py"
    return report


@pytest.fixture(scope="session")
def isolated() -> None:
    """Refuse to run in the machine's own mount namespace, where tests could change the machine."""
    with suppress(PermissionError):  # another user's process, so its namespaces differ from ours
        if Path("/proc/self/ns/mnt").samefile("/proc/1/ns/mnt"):
            pytest.exit("kernel tests need namespaces of their own: use scripts/test", 1)


@pytest.fixture
def host(isolated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001
    """Run the test in a fresh network namespace, and check that the test leaves nothing behind."""
    monkeypatch.setenv("NETSANDBOX_DIR", str(tmp_path / "netns"))
    outside = os.open(lab.OWN, os.O_RDONLY)
    before, mounts = _ours(tmp_path), _mounts()
    lab.libc("unshare", lab.CLONE_NEWNET)
    try:
        lab.ip("link set lo up")
        yield
        after = _ours(tmp_path)
        if after != before:
            gc.collect()  # an object that only a traceback refers to is no leak
            after = _ours(tmp_path)
    finally:
        lab.libc("setns", outside, lab.CLONE_NEWNET)
        os.close(outside)
        _clean(mounts)
    changed = {key: (before[key], after[key]) for key in before if after[key] != before[key]}
    assert changed == {}, "the test left something behind, or took it away"


@pytest.fixture
def run_netns(host: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: ARG001
    """Keep sandboxes in /run/netns, which is empty before the test."""
    monkeypatch.delenv("NETSANDBOX_DIR")
    directories = [Path("/run/netns"), Path("/run/netsandbox")]
    mounts = _mounts()
    yield directories[0]
    left = [file for directory in directories for file in _files(directory)]
    _clean(mounts)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    assert left == []


@pytest.fixture
def box(host: None) -> Iterator[Sandbox]:  # noqa: ARG001
    """Create a sandbox, and destroy it after the test if the test has not."""
    made = Sandbox.create("box")
    with made:
        yield made
        if not made._handle.is_closed:
            made.destroy()


@pytest.fixture
def wire(host: None) -> Iterator[Wire]:  # noqa: ARG001
    """Create a veth pair v0 and p0, set p0 up, and capture frames on p0."""
    lab.veth()
    lab.ip("link set p0 up")
    with Wire("p0") as listening:
        yield listening


def _ours(directory: Path) -> dict[str, object]:
    """Return the resources that a test could leave behind: mounts, threads, descriptors and files."""
    lab.adverts_end()
    fds = {}
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor with which the directory is read
            fds[file.name] = str(file.readlink())
    return {
        "mounts": _mounts(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": _tasks(),
        "fds": fds,
        "files": _files(directory / "netns"),
    }


def _tasks() -> int:
    """Return the kernel's thread count, after waiting until the kernel has reaped joined threads."""
    for _ in range(100_000):
        tasks = len(os.listdir("/proc/self/task"))  # noqa: PTH208
        if tasks <= threading.active_count():
            break
        os.sched_yield()
    return tasks


def _files(directory: Path) -> list[str]:
    """Return the files of sandboxes in a runtime directory, without the record directory, which is kept."""
    found = sorted(directory.rglob("*")) if directory.exists() else []
    return [str(file) for file in found if file.name != ".state"]


def _mounts() -> list[tuple[str, str]]:
    """Return the ID and the mount point of every mount."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [(words[0], words[4]) for words in map(str.split, lines)]


def _clean(before: list[tuple[str, str]]) -> None:
    """Unmount all mounts that a test left behind."""
    for mount in reversed(_mounts()):
        if mount not in before:
            lab.libc("umount2", mount[1].encode(), MNT_DETACH)
