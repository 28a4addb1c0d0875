"""Network namespaces: making, opening, entering and pinning them.

A namespace is entered on a thread that ends afterwards: nothing is switched back, so nothing can be left in the wrong
place (design.md section 4).
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple, TypeVar

from netsandbox._system import libc
from netsandbox.errors import KernelError, NetSandboxError

T = TypeVar("T")
OWN = "/proc/thread-self/ns/net"  # not /proc/self: that is the main thread's
_NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h
_UNPIN_TRIES = 5
_REMEMBERED = 10.0  # seconds; numbers of processes are used again, but not that soon
_kernel_threads: dict[str, float] = {}  # their numbers, and until when that is believed


class Identity(NamedTuple):
    """What tells one namespace from all others, as long as it lives: its device and inode."""

    device: int
    inode: int


def on_a_thread(function: Callable[[], T]) -> T:
    """Call *function* on a thread of its own, and return what it returns or raise what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  it is raised again, where the caller is
            errors.append(error)

    start_thread(body, daemon=True).join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # no cycle between this frame and the traceback
    return results[0]


def start_thread(body: Callable[[], object], *, daemon: bool = False) -> threading.Thread:
    """Start a thread, in the namespaces of the calling one; the process does not wait for a *daemon* when it ends."""
    thread = threading.Thread(target=body, name="netsandbox", daemon=daemon)
    try:
        thread.start()
    except RuntimeError as error:
        raise KernelError(errno.EAGAIN, "start a thread", str(error)) from error
    return thread


def run_in(fd: int, function: Callable[[], T], *, own: bool = False) -> T:
    """Call *function* on a thread of its own inside the namespace *fd*, which is closed once entered if it is *own*."""

    def body() -> T:
        try:
            _enter(fd)
        finally:
            if own:
                os.close(fd)
        return function()

    return on_a_thread(body)


def _enter(fd: int) -> None:
    """Take the calling thread to the namespace *fd*; to where it is already that needs no capability."""
    try:
        libc.setns(fd)
    except KernelError as error:
        if error.errno != errno.EPERM or not is_here(fd):
            raise


def is_here(fd: int) -> bool:
    """Whether the calling thread is in the namespace *fd*."""
    found = os.stat(OWN)
    return Identity(found.st_dev, found.st_ino) == identity(fd)


def run_in_new(function: Callable[[], T]) -> T:
    """Call *function* on a thread of its own inside a new namespace, which lives as long as something of it is open."""

    def body() -> T:
        libc.unshare()
        return function()

    return on_a_thread(body)


def inhabited(identities: Collection[Identity]) -> set[Identity]:
    """Return those of several namespaces that a process is in.

    The kernel's own threads never are, and are most of all; which they are is remembered for a while.
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
    """Return a descriptor of the network namespace at *path*.

    Args:
        path: A file such as /proc/4242/ns/net, or one that a namespace is pinned at.
        follow: Whether *path* may be a symbolic link.

    Raises:
        KernelError: It cannot be opened (with its errno), or is no network namespace (EINVAL).
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        raise KernelError(error.errno or 0, f"open network namespace {path}") from error
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError as error:
        os.close(fd)
        raise KernelError(errno.EINVAL, f"open network namespace {path}", "it is no namespace file (nsfs)") from error
    if kind != libc.CLONE_NEWNET:
        os.close(fd)
        raise KernelError(errno.EINVAL, f"open network namespace {path}", "it is a namespace of another kind")
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


def identity(fd: int) -> Identity:
    """Return what tells the namespace *fd* from all others."""
    found = os.fstat(fd)
    return Identity(found.st_dev, found.st_ino)


def pinned(path: str) -> Identity | None:
    """Return the identity of what is at *path*, without following a symbolic link; None if nothing is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KernelError(error.errno or 0, f"look at {path}") from error
    return Identity(found.st_dev, found.st_ino)


def pin(fd: int, path: str) -> None:
    """Make the file *path* and mount the namespace *fd* on it.

    Raises:
        KernelError: EEXIST if something else is there already; nothing is left behind.
    """
    if pinned(path) == identity(fd):
        return
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except OSError as error:
        raise KernelError(error.errno or 0, f"create {path}") from error
    try:
        libc.mount(f"/proc/self/fd/{fd}", path, libc.MS_BIND)
    except BaseException:
        os.unlink(path)
        raise


def check_pin(path: str) -> None:
    """Refuse a path at which no file can be made; its directory is made before if it is that of the pins.

    Raises:
        KernelError: The directory of *path* is missing, or nothing can be made in it.
    """
    directory = os.path.dirname(path)
    try:
        found = os.stat(directory)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "")
        if not os.access(directory, os.W_OK | os.X_OK):
            read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
            raise PermissionError(errno.EROFS if read_only else errno.EACCES, "")
    except OSError as error:
        raise KernelError(error.errno or 0, f"create {path}") from error


def unpin(path: str, wanted: Identity) -> None:
    """Take the namespace *wanted* off *path* and delete that; a file on which nothing is mounted is deleted too.

    Raises:
        KernelError: ENOENT if nothing is there; ESTALE if something else is. The namespace is pinned as before then.
    """
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


def mounts() -> Identity:
    """Return what tells the mount namespace of this process from all others: in another one, pins may be missing."""
    found = os.stat("/proc/self/ns/mnt")
    return Identity(found.st_dev, found.st_ino)


def is_bare(path: str) -> bool:
    """Whether *path* is the file of a pin on which nothing is mounted, as this mount namespace has it."""
    return pinned(path) is not None and _is_placeholder(path)


def sweep(path: str) -> bool:
    """Delete *path* if it is the file of a pin on which nothing is mounted; return whether it was."""
    if not is_bare(path):
        return False
    _delete(path)
    return True


def _is_placeholder(path: str) -> bool:
    """Whether *path* is an empty file that nobody may write to, with nothing mounted on it, as a pin begins."""
    found, around = os.lstat(path), os.lstat(os.path.dirname(path))
    empty = stat.S_ISREG(found.st_mode) and found.st_size == 0 and not found.st_mode & 0o222
    return empty and found.st_dev == around.st_dev


def _delete(path: str) -> None:
    """Delete *path*; another mount namespace may hold on to the mount for a moment (EBUSY, behaviour.md E4)."""
    tries = _UNPIN_TRIES
    while True:
        tries -= 1
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno != errno.EBUSY or not tries:
                raise KernelError(error.errno or 0, f"delete {path}") from error
        else:
            return


def prepare(directory: str) -> None:
    """Make *directory* a place for pins as ip-netns(8) does: shared, so that pins are seen in other mount namespaces.

    Unlike there, a directory that is a mount point is shared without what is mounted below (no MS_REC): a pin is shared
    from birth, as its parent is, and going through a thousand of them takes longer than all the rest of a creation.

    Raises:
        KernelError: It cannot be made or shared.
    """
    make_directory(directory)
    try:
        libc.mount("none", directory, libc.MS_SHARED)
    except KernelError as error:
        if error.errno != errno.EINVAL:  # EINVAL: not a mount point yet
            raise
        libc.mount(directory, directory, libc.MS_BIND | libc.MS_REC)
        libc.mount("none", directory, libc.MS_SHARED | libc.MS_REC)


def make_directory(directory: str) -> None:
    """Make *directory* unless it is there, and refuse one that others could tamper with; see check_directory."""
    if check_directory(directory):
        return
    try:
        _make(directory)
    except OSError as error:
        raise KernelError(error.errno or 0, f"make the directory {directory}") from error
    check_directory(directory)


def _make(directory: str) -> None:
    """Make a directory, and its parents, which os.makedirs would have the umask alone keep others out of."""
    parent = os.path.dirname(directory)
    if not os.path.isdir(parent):
        _make(parent)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o755)


def check_directory(directory: str) -> bool:
    """Refuse a directory that others could tamper with, and return whether it is there; one that is absent is fine.

    Raises:
        NetSandboxError: It is a symbolic link, belongs to somebody else, or others may write to it.
        KernelError: It cannot be looked at.
    """
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise KernelError(error.errno or 0, f"look at the directory {directory}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise NetSandboxError(
            f"the runtime directory {directory} is a symbolic link or no directory; refusing to use it"
        )
    if found.st_uid not in {0, os.geteuid()}:
        raise NetSandboxError(f"the runtime directory {directory} belongs to user {found.st_uid}; refusing to use it")
    if found.st_mode & 0o022:
        raise NetSandboxError(f"others may write to the runtime directory {directory}; refusing to use it")
    return True
