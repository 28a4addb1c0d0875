"""Network namespaces: create, open, enter and pin them.

A thread enters a namespace and then ends: nothing is switched back, so nothing can be left in the wrong place
(docs/contract.md, "Code runs inside on a thread that ends").
"""

import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple, TypeVar

from netsandbox._system import files, libc
from netsandbox._system.errors import Asking
from netsandbox._system.threads import on_a_thread
from netsandbox.errors import KernelError

T = TypeVar("T")
OWN = "/proc/thread-self/ns/net"  # not /proc/self: that is the main thread's
_NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h
_UNPIN_TRIES = 5
_REMEMBERED = 10.0  # seconds; the kernel reuses process numbers, but not that soon
_kernel_threads: dict[str, float] = {}  # process numbers of kernel threads, and until when to rely on them


class Identity(NamedTuple):
    """Device and inode of a namespace; no other namespace has them while it exists."""

    device: int
    inode: int


def run_in(fd: int, function: Callable[[], T], *, own: bool = False) -> T:
    """Call *function* on a new thread inside the namespace *fd*, which is closed once entered if it is *own*."""

    def body() -> T:
        try:
            libc.setns(fd)
        except KernelError as error:
            if error.errno != errno.EPERM or not is_here(fd):  # a thread that is there already needs no capability
                raise
        finally:
            if own:
                os.close(fd)
        return function()

    return on_a_thread(body)


def is_here(fd: int) -> bool:
    """Whether the calling thread is in the namespace *fd*."""
    return identity(OWN) == identity(fd)


def run_in_new(function: Callable[[], T]) -> T:
    """Call *function* on a new thread inside a new namespace, which exists as long as something in it is open."""

    def body() -> T:
        libc.unshare()
        return function()

    return on_a_thread(body)


def room() -> int:
    """Return how many namespaces this process may hold open at once, with up to four descriptors each."""
    import resource  # noqa: PLC0415  few need it

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(most // 4, 1)


def inhabited(identities: Collection[Identity]) -> set[Identity]:
    """Return those of several namespaces that a process is in.

    Most processes are threads of the kernel, which are in none of them: their numbers are remembered for a while.
    """
    names = {f"net:[{identity.inode}]": identity for identity in identities}
    found: set[Identity] = set()
    now = time.monotonic()
    for pid in filter(str.isdecimal, os.listdir("/proc") if names else ()):
        if _kernel_threads.get(pid, 0) > now:
            continue
        with suppress(OSError):  # it has ended, or is another user's
            name = os.readlink(f"/proc/{pid}/ns/net")
            if name in names:
                found.add(names[name])
                continue
            try:
                os.readlink(f"/proc/{pid}/exe")
            except FileNotFoundError:  # it runs no program
                _kernel_threads[pid] = now + _REMEMBERED
    return found


def open_namespace(path: str, *, follow: bool = True) -> int:
    """Return a descriptor of the network namespace at *path*; EINVAL if something else is there."""
    request = f"open network namespace {path}"
    with Asking(request):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError as error:
        os.close(fd)
        raise KernelError(errno.EINVAL, request, "it is no namespace file (nsfs)") from error
    if kind != libc.CLONE_NEWNET:
        os.close(fd)
        raise KernelError(errno.EINVAL, request, "it is a namespace of another kind")
    return fd


def find(path: str, *, follow: bool) -> int | None:
    """Return a descriptor of the network namespace at *path*; None if there is none."""
    try:
        return open_namespace(path, follow=follow)
    except KernelError as error:
        if error.errno in {errno.ENOENT, errno.EINVAL}:
            return None
        raise


def identity_at(path: str, *, follow: bool) -> Identity | None:
    """Return the identity of the network namespace at *path*; None if there is none."""
    fd = find(path, follow=follow)
    if fd is None:
        return None
    try:
        return identity(fd)
    finally:
        os.close(fd)


def identity(where: int | str) -> Identity:
    """Return the identity of the namespace with a descriptor, or at a path."""
    found = os.stat(where)
    return Identity(found.st_dev, found.st_ino)


def pinned(path: str) -> Identity | None:
    """Return the identity of the file at *path*, without following a symbolic link; None if nothing is there."""
    found = files.look(path)
    return Identity(found.st_dev, found.st_ino) if found else None


def mounts() -> Identity:
    """Return the identity of this process's mount namespace: pins made in another one may be missing."""
    return identity("/proc/self/ns/mnt")


def pin(fd: int, path: str) -> None:
    """Create the file *path* and mount the namespace *fd* on it; EEXIST if something else is there already."""
    if pinned(path) == identity(fd):
        return
    with Asking(f"create {path}"):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        libc.mount(f"/proc/self/fd/{fd}", path, libc.MS_BIND)
    except BaseException:
        os.unlink(path)
        raise


def check_pin(path: str) -> None:
    """Refuse a *path* whose directory is missing, or in which no file can be created."""
    directory = os.path.dirname(path)
    with Asking(f"create {path}"):
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "")
        if not os.access(directory, os.W_OK | os.X_OK):
            read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
            raise PermissionError(errno.EROFS if read_only else errno.EACCES, "")


def unpin(path: str, wanted: Identity) -> None:
    """Unmount the namespace *wanted* from *path* and delete the file; ESTALE if something else is mounted there."""
    there = pinned(path)
    if there is None:
        raise KernelError(errno.ENOENT, f"unpin {path}")
    if there != wanted:
        if not sweep(path):
            raise KernelError(errno.ESTALE, f"unpin {path}", "it is not the namespace that was pinned there")
        return
    fd = open_namespace(path, follow=False)  # keeps the namespace alive, so that it can be mounted again
    try:
        libc.unmount(path)
        try:
            _delete(path)
        except BaseException:
            libc.mount(f"/proc/self/fd/{fd}", path, libc.MS_BIND)
            raise
    finally:
        os.close(fd)


def is_bare(path: str) -> bool:
    """Whether *path* is a pin without its mount: an empty, read-only file, as this mount namespace has it."""
    found = files.look(path)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size or found.st_mode & 0o222:
        return False
    return found.st_dev == os.lstat(os.path.dirname(path)).st_dev


def sweep(path: str) -> bool:
    """Delete *path* if it is a pin without its mount; return whether it was."""
    if not is_bare(path):
        return False
    _delete(path)
    return True


def _delete(path: str) -> None:
    """Delete *path*; retry on EBUSY: another mount namespace may hold the mount (docs/kernel-facts.md)."""
    tries = 1
    while True:
        try:
            files.unlink(path)
        except KernelError as error:
            if error.errno != errno.EBUSY or tries == _UNPIN_TRIES:
                raise
            tries += 1
        else:
            return
