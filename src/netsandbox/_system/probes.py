"""What `netsandbox doctor` reads of this process and its kernel; nothing is changed.

Source: proc(5), ioctl_ns(2).
"""

import fcntl
import os
import shutil
import socket

from netsandbox._system.errors import Asking

_NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h


def release() -> str:
    """Return the release of the running kernel."""
    return os.uname().release


def user() -> int:
    """Return the effective user ID."""
    return os.geteuid()


def read(path: str) -> str:
    """Return the text of a file, without white space around it."""
    with Asking(f"read {path}"), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read().strip()


def exists(path: str) -> bool:
    """Whether there is something at *path*."""
    return os.path.exists(path)


def is_writable(path: str) -> bool:
    """Whether this process may write to *path*."""
    return os.access(path, os.W_OK)


def is_ours(kind: str) -> bool:
    """Whether this thread's namespace of a *kind*, such as "net", belongs to its user namespace or one below it."""
    path = f"/proc/thread-self/ns/{kind}"
    with Asking(f"open {path}"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(fcntl.ioctl(fd, _NS_GET_USERNS))
    except PermissionError:
        return False
    finally:
        os.close(fd)
    return True


def link_names() -> list[str]:
    """Return the names of the links in this thread's network namespace, without the loopback link."""
    return [name for _, name in socket.if_nameindex() if name != "lo"]


def program(name: str) -> str | None:
    """Return the path of a program; None if it is not on the PATH."""
    return shutil.which(name)
