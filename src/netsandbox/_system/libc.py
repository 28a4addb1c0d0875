"""The system calls that Python 3.11 lacks, through the C library.

Source: setns(2), unshare(2), mount(2), umount2(2), packet(7), inotify(7).
"""

import ctypes
import errno
import os
import struct

from netsandbox.errors import KernelError

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 0x1000, 0x4000, 0x40000, 0x100000
IN_MOVED_TO, IN_DELETE = 0x80, 0x200
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
AF_PACKET, MSG_DONTWAIT = 17, 0x40

_LINK_ADDRESS = struct.Struct("=H2siHBB8x")  # struct sockaddr_ll: family, protocol, index; the kernel ignores the rest
_ETHERTYPE = slice(12, 14)  # where a frame has its protocol, in the same byte order

_libc = ctypes.CDLL(None, use_errno=True)


def _call(request: str, name: str, *arguments: object) -> int:
    """Call a function that returns a negative number for an error."""
    found: int = getattr(_libc, name)(*arguments)
    if found < 0:
        code = ctypes.get_errno()
        reason = "Operation not permitted; it needs CAP_SYS_ADMIN" if code == errno.EPERM else None
        raise KernelError(code, request, reason)
    return found


def setns(fd: int) -> None:
    """Move the calling thread to the network namespace *fd*."""
    _call("enter the network namespace", "setns", fd, CLONE_NEWNET)


def unshare(flags: int = CLONE_NEWNET, what: str = "a network namespace") -> None:
    """Move the calling thread to new namespaces, which *what* names in an error."""
    _call(f"make {what}", "unshare", flags)


def mount(source: str, target: str, flags: int, kind: str = "none", options: str = "") -> None:
    """Mount *source* on *target*; *options* are those of the *kind* of file system."""
    paths = os.fsencode(source), os.fsencode(target)
    _call(f"mount on {target}", "mount", *paths, kind.encode(), ctypes.c_ulong(flags), options.encode() or None)


def unmount(target: str) -> None:
    """Unmount *target*, even if it is in use, without following a symbolic link."""
    _call(f"unmount {target}", "umount2", os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW)


def send_frame(fd: int, index: int, frame: bytes) -> None:
    """Send an Ethernet frame out of the link *index*; Python's own sendto takes a name."""
    to = _LINK_ADDRESS.pack(AF_PACKET, frame[_ETHERTYPE], index, 0, 0, 0)
    if _libc.sendto(fd, frame, ctypes.c_size_t(len(frame)), MSG_DONTWAIT, to, len(to)) < 0:
        raise KernelError(ctypes.get_errno(), f"send a frame out of link {index}")


def watch(directory: str) -> int:
    """Return a descriptor that reports the files that are moved into a directory, or deleted there."""
    request = f"watch {directory}"
    fd = _call(request, "inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _call(request, "inotify_add_watch", fd, os.fsencode(directory), IN_MOVED_TO | IN_DELETE)
    except KernelError:
        os.close(fd)
        raise
    return fd
