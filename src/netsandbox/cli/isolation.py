"""A machine of one's own, as far as the network goes: what the demo plays on.

Source: user_namespaces(7), mount_namespaces(7), unshare(2).
"""

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

from netsandbox.errors import KernelError

_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000  # CLONE_*
_REC, _PRIVATE = 0x4000, 0x40000  # MS_*
_libc = ctypes.CDLL(None, use_errno=True)
_ADVICE = "it takes root, or a kernel that gives user namespaces to everyone"


def isolate() -> str:
    """Take this process, which may have one thread only, to namespaces of its own; return their kinds in words.

    Without root, a user namespace comes first, in which this user is root. /run is empty there, so that sandboxes and
    records are made in memory. All of it ends with the process, however that ends.

    Raises:
        KernelError: The kernel does not let us.
    """
    words = "network and mount namespaces"
    user, group = os.geteuid(), os.getegid()
    try:
        _call("make namespaces", "unshare", _NEWNET | _NEWNS)
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        _call("make a user namespace", "unshare", _NEWUSER | _NEWNET | _NEWNS)
        with suppress(FileNotFoundError):  # before Linux 3.19 there was no such file, and no need of it
            _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {user} 1")
        _write("/proc/self/gid_map", f"0 {group} 1")
        words = "user, network and mount namespaces"
    _call("make mounts private", "mount", b"none", b"/", None, ctypes.c_ulong(_REC | _PRIVATE), None)
    _call("mount on /run", "mount", b"tmpfs", b"/run", b"tmpfs", ctypes.c_ulong(0), b"mode=755")
    return words


def _call(request: str, name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments):
        code = ctypes.get_errno()
        raise KernelError(code, request, f"{os.strerror(code)}; {_ADVICE}")


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="ascii")
    except OSError as error:
        raise KernelError(error.errno or 0, f"write {path}", f"{error.strerror}; {_ADVICE}") from error
