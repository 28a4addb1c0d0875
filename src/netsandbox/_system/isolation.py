"""Namespaces for a process that must not touch the machine's network.

Source: user_namespaces(7), mount_namespaces(7), unshare(2).
"""

import errno
import os

from netsandbox._system import libc
from netsandbox._system.errors import Asking
from netsandbox._system.store import VARIABLE
from netsandbox.errors import KernelError

_ADVICE = "it takes root, or a kernel that gives user namespaces to everyone"


def isolate() -> str:
    """Move this process, which must have one thread only, to new namespaces; return their kinds in words.

    Without root, the process becomes root of a new user namespace. /run is an empty tmpfs and the runtime directory is
    the default one, so that sandboxes and records vanish with the process.
    """
    words = "network and mount namespaces"
    try:
        if not _unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS):
            words = f"user, {words}"
        libc.mount("none", "/", libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("tmpfs", "/run", 0, "tmpfs", "mode=755")
    except KernelError as error:
        raise KernelError(error.errno or 0, error.request, f"{os.strerror(error.errno or 0)}; {_ADVICE}") from error
    os.environ.pop(VARIABLE, None)
    return words


def _unshare(flags: int) -> bool:
    """Move this process to new namespaces; return whether that was possible without a new user namespace."""
    user, group = os.geteuid(), os.getegid()
    try:
        libc.unshare(flags, "namespaces")
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
    else:
        return True
    libc.unshare(flags | libc.CLONE_NEWUSER, "a user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        path = f"/proc/self/{name}"
        with Asking(f"write {path}"), open(path, "w", encoding="ascii") as file:
            file.write(text)
    return False
