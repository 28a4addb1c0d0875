"""Files and directories: look at, read, list, delete, create and check them."""

import errno
import os
import stat
from contextlib import suppress

from netsandbox._system import libc
from netsandbox._system.errors import Asking
from netsandbox.errors import KernelError, NetSandboxError


def look(path: str) -> os.stat_result | None:
    """Return the status of *path*, without following a symbolic link; None if nothing is there."""
    with Asking(f"look at {path}"):
        try:
            return os.lstat(path)
        except FileNotFoundError:
            return None


def read(path: str) -> str:
    """Return the text of a file, without white space around it."""
    with Asking(f"read {path}"), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read().strip()


def unlink(path: str) -> None:
    with Asking(f"delete {path}"):
        os.unlink(path)


def names(directory: str) -> list[str]:
    """Return the names in a directory, in order; a missing directory is empty."""
    with Asking(f"list {directory}"):
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []


def share(directory: str) -> None:
    """Make *directory* a place for pins as ip-netns(8) does: shared, so that other mount namespaces see the pins.

    Unlike ip-netns(8), share a directory that is a mount point already without the mounts below it (no MS_REC): each
    pin is shared from the start, as its parent is, and walking a thousand pins takes longer than creating a sandbox.
    """
    make(directory)
    try:
        libc.mount("none", directory, libc.MS_SHARED)
    except KernelError as error:
        if error.errno != errno.EINVAL:  # EINVAL: not a mount point yet
            raise
        libc.mount(directory, directory, libc.MS_BIND | libc.MS_REC)
        libc.mount("none", directory, libc.MS_SHARED | libc.MS_REC)


def make(directory: str) -> None:
    """Create *directory* unless it is there, and refuse one that others could tamper with; see `check`."""
    if not check(directory):
        with Asking(f"make the directory {directory}"):
            _make(directory)
        check(directory)


def _make(directory: str) -> None:
    """Create a directory and its parents; os.makedirs would leave the mode of the parents to the umask."""
    parent = os.path.dirname(directory)
    if not os.path.isdir(parent):
        _make(parent)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o755)


def check(directory: str) -> bool:
    """Refuse a directory that others could tamper with; return whether there is a directory at all."""
    found = look(directory)
    if found is None:
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NetSandboxError(
            f"the runtime directory {directory} is a symbolic link or no directory; refusing to use it"
        )
    if found.st_uid not in {0, os.geteuid()}:
        raise NetSandboxError(f"the runtime directory {directory} belongs to user {found.st_uid}; refusing to use it")
    if found.st_mode & 0o022:
        raise NetSandboxError(f"others may write to the runtime directory {directory}; refusing to use it")
    return True
