"""The namespaces of the demo, and what doctor reads, on a kernel that refuses."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from pathlib import Path

import pytest

from netsandbox import KernelError
from netsandbox._system import isolation, libc, namespace, probes, threads

pytestmark = pytest.mark.usefixtures("host")


def refuse_without_user_namespace(code: int) -> object:
    """Return an unshare(2) that fails with an errno, unless a user namespace is asked for."""

    def unshare(flags: int, what: str) -> None:
        if not flags & libc.CLONE_NEWUSER:
            raise KernelError(code, f"make {what}")

    return unshare


def test_isolate_hides_network_mounts_and_run() -> None:
    """After `isolate`, network and mount namespace are new, and /run is an empty tmpfs, for that thread only."""

    def look() -> tuple[str, list[Path], bool, bool]:
        words = isolation.isolate()
        kept = namespace.identity("/proc/thread-self/ns/mnt") == mounts
        return words, [*Path("/run").iterdir()], namespace.is_here(fd), kept

    fd = namespace.open_namespace(namespace.OWN)
    mounts = namespace.identity("/proc/thread-self/ns/mnt")
    try:
        assert threads.on_a_thread(look) == ("network and mount namespaces", [], False, False)
    finally:
        os.close(fd)


def test_isolate_without_root_maps_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root, `isolate` creates a user namespace, and maps user and group to root in it."""
    written: dict[str, str] = {}

    class File(io.StringIO):
        def __init__(self, path: str, *_: object, **__: object) -> None:
            super().__init__()
            self.path = path

        def write(self, text: str) -> int:
            written[self.path] = text
            return len(text)

    monkeypatch.setattr(libc, "unshare", refuse_without_user_namespace(errno.EPERM))
    monkeypatch.setattr(libc, "mount", lambda *_: None)
    monkeypatch.setattr(isolation, "open", File, raising=False)
    assert isolation.isolate() == "user, network and mount namespaces"
    assert list(written.items()) == [
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/uid_map", f"0 {os.geteuid()} 1"),
        ("/proc/self/gid_map", f"0 {os.getegid()} 1"),
    ]


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "make namespaces: ENOSPC"), (errno.EPERM, "write /proc/self/setgroups: EPERM")]
)
def test_failed_isolate_asks_for_root(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    """A failure of `isolate` says which request failed, and that root is needed."""
    monkeypatch.setattr(libc, "unshare", refuse_without_user_namespace(code))
    with pytest.raises(KernelError, match=f"^{words} .*; it takes root, or a kernel that gives user namespaces"):
        isolation.isolate()


def test_namespace_of_another_user_namespace_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    assert probes.is_ours("net")
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert not probes.is_ours("net")
