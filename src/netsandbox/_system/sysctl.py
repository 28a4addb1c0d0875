"""The settings below /proc/sys/net of one namespace.

What /proc/sys/net shows depends on the thread that looks a name up, but only down to the directory of a protocol: a
descriptor of /proc/sys/net/ipv4 opened inside a namespace shows that namespace's settings from everywhere. So a
namespace is entered once per protocol, not once per setting, and not at all by a thread that is there.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from netsandbox._system.namespace import is_here, run_in
from netsandbox.errors import KernelError

ROOT = "/proc/sys/net"
_READ_ONLY = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))
_SIZE = 4096


class Sysctls:
    """The settings of the namespace *fd*, by their path below /proc/sys/net."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._directories: dict[str, int] = {}

    def close(self) -> None:
        """Close what is open."""
        while self._directories:
            os.close(self._directories.popitem()[1])

    def read(self, path: str) -> str | None:
        """Return the value of a setting, its white space normalised; None if there is no such setting.

        Raises:
            KernelError: It cannot be read.
        """
        with _told(f"read net/{path}"):
            try:
                fd = self._open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                return _text(os.pread(fd, _SIZE, 0))
            finally:
                os.close(fd)

    def write(self, path: str, value: str) -> bool:
        """Give a setting a value unless it has it, and read it back; return whether it was changed.

        Raises:
            KernelError: There is no such setting (ENOENT), it cannot be changed, or the kernel kept another value.
        """
        with _told(f"set net/{path} to {value}"):
            refusal = None
            try:
                fd = self._open(path, os.O_RDWR)
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                refusal = error
                fd = self._open(path, os.O_RDONLY)
            try:
                if _text(os.pread(fd, _SIZE, 0)) == value:
                    return False
                if refusal:
                    raise refusal
                # At another offset it would be silently ignored (sysctl_writes_strict).
                os.pwrite(fd, value.encode(), 0)
                with _told(f"read net/{path} back", answered=False):
                    kept = _text(os.pread(fd, _SIZE, 0))
            finally:
                os.close(fd)
        if kept != value:
            raise KernelError(errno.EINVAL, f"set net/{path} to {value}", f"the kernel made it {kept}", answered=False)
        return True

    def is_at_hand(self, path: str) -> bool:
        """Whether nobody has to enter the namespace for a setting."""
        return path.partition("/")[0] in self._directories

    def _open(self, path: str, flags: int) -> int:
        protocol, _, rest = path.partition("/")
        if protocol not in self._directories:
            directory = f"{ROOT}/{protocol}"
            # A closed descriptor is never entered again, and a number may be another file's by then.
            self._directories[protocol] = (
                _open_directory(directory)
                if is_here(self._fd)
                else run_in(self._fd, lambda: _open_directory(directory))
            )
        return os.open(rest, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directories[protocol])


def is_read_only() -> bool:
    """Whether somebody has seen to it that no setting is changed: /proc/sys is mounted read-only in containers."""
    with _told(f"look at {ROOT}"):
        return bool(os.statvfs(ROOT).f_flag & os.ST_RDONLY)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _text(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())


@contextmanager
def _told(request: str, *, answered: bool = True) -> Iterator[None]:
    """Turn an OSError into a KernelError that says what was asked; not *answered*: something may have been changed."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        raise KernelError(error.errno or 0, request, answered=answered) from error
