"""Fixtures and rules of all tests.

`host`: a network namespace of its own for the test, in which the test's thread is: to a Sandbox it is the host, where
links come from. Sandboxes are pinned under the test's temporary directory. After the test, nothing may be left.
`run_netns`: the same with the default runtime directories, /run/netns and /run/netsandbox, empty.
`box`: a sandbox. `wire`: a veth, whose other end listens for adverts.
Helpers (`ip`, `veth`, `snapshot`, ...) are in tests/kernel/lab.py.

A skipped test fails, unless it is about a kind of link that lab.KINDS_A_KERNEL_MAY_LACK names.
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
    """Refuse to run where tests could touch the machine: its mounts must be its own."""
    with suppress(PermissionError):  # another user's process: then its namespaces are not ours
        if Path("/proc/self/ns/mnt").samefile("/proc/1/ns/mnt"):
            pytest.exit("kernel tests need namespaces of their own: use scripts/test", 1)


@pytest.fixture
def host(isolated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001
    """Give the test a host of its own, and check that it leaves nothing behind."""
    monkeypatch.setenv("NETSANDBOX_DIR", str(tmp_path / "netns"))
    outside = os.open(lab.OWN, os.O_RDONLY)
    before, mounts = _ours(tmp_path), _mounts()
    lab.libc("unshare", lab.CLONE_NEWNET)
    try:
        lab.ip("link set lo up")
        yield
        after = _ours(tmp_path)
        if after != before:
            gc.collect()  # what a traceback still holds is no leak
            after = _ours(tmp_path)
    finally:
        lab.libc("setns", outside, lab.CLONE_NEWNET)
        os.close(outside)
        _clean(mounts)
    changed = {key: (before[key], after[key]) for key in before if after[key] != before[key]}
    assert changed == {}, "the test left something behind, or took it away"


@pytest.fixture
def run_netns(host: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: ARG001
    """Have sandboxes in /run/netns, which nobody has used before."""
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
    """Make a sandbox, and destroy it in the end if the test has not."""
    made = Sandbox.create("box")
    with made:
        yield made
        if not made._handle.is_closed:
            made.destroy()


@pytest.fixture
def wire(host: None) -> Iterator[Wire]:  # noqa: ARG001
    """Make a veth v0 whose other end p0 is up, and listen there."""
    lab.veth()
    lab.ip("link set p0 up")
    with Wire("p0") as listening:
        yield listening


def _ours(directory: Path) -> dict[str, object]:
    """Return what a test could leave behind."""
    lab.adverts_end()
    fds = {}
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one with which the directory is read
            fds[file.name] = str(file.readlink())
    return {
        "mounts": _mounts(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": _tasks(),
        "fds": fds,
        "files": _files(directory / "netns"),
    }


def _tasks() -> int:
    """Return how many threads the kernel counts: one that was joined may take it a moment to be rid of."""
    for _ in range(100_000):
        tasks = len(os.listdir("/proc/self/task"))  # noqa: PTH208
        if tasks <= threading.active_count():
            break
        os.sched_yield()
    return tasks


def _files(directory: Path) -> list[str]:
    """Return what of sandboxes is in a runtime directory: after the last one nothing but the empty record directory."""
    found = sorted(directory.rglob("*")) if directory.exists() else []
    return [str(file) for file in found if file.name != ".state"]


def _mounts() -> list[tuple[str, str]]:
    """Return number and place of every mount."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [(words[0], words[4]) for words in map(str.split, lines)]


def _clean(before: list[tuple[str, str]]) -> None:
    """Take off all mounts that a test left behind, so that the next one starts afresh."""
    for mount in reversed(_mounts()):
        if mount not in before:
            lab.libc("umount2", mount[1].encode(), MNT_DETACH)
