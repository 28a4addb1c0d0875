"""What `netsandbox doctor` reads of this process and its kernel; nothing is changed.

Source: proc(5), ioctl_ns(2).
"""

import fcntl
import os
import shutil
import socket

from netsandbox._system.errors import Asking

exists, program, user = os.path.exists, shutil.which, os.geteuid  # nothing to add to them
_NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h


def release() -> str:
    return os.uname().release


def is_writable(path: str) -> bool:
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
