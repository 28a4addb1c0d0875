"""The settings below /proc/sys/net of one namespace.

A thread enters the namespace once per protocol, not once per setting, and a thread that is there already never does
(docs/kernel-facts.md, "A descriptor of a protocol's directory stays in its namespace").
"""

import errno
import os

from netsandbox._system.errors import Asking
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
        while self._directories:
            os.close(self._directories.popitem()[1])

    def read(self, path: str) -> str | None:
        """Return the value of a setting, its white space normalized; None if there is no such setting."""
        with Asking(f"read net/{path}"):
            try:
                fd = self._open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                return _value(fd)
            finally:
                os.close(fd)

    def write(self, path: str, value: str) -> bool:
        """Give a setting a value unless it has it, and read it back; return whether it was changed."""
        with Asking(f"set net/{path} to {value}"):
            refusal = None
            try:
                fd = self._open(path, os.O_RDWR)
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                refusal = error
                fd = self._open(path, os.O_RDONLY)
            try:
                if _value(fd) == value:
                    return False
                if refusal:
                    raise refusal
                os.pwrite(fd, value.encode(), 0)  # the kernel ignores a write at another offset (sysctl_writes_strict)
                with Asking(f"read net/{path} back", answered=False):
                    kept = _value(fd)
            finally:
                os.close(fd)
        if kept != value:
            raise KernelError(errno.EINVAL, f"set net/{path} to {value}", f"the kernel made it {kept}", answered=False)
        return True

    def is_at_hand(self, path: str) -> bool:
        """Whether a setting can be reached without entering the namespace."""
        return path.partition("/")[0] in self._directories

    def _open(self, path: str, flags: int) -> int:
        protocol, _, rest = path.partition("/")
        if protocol not in self._directories:
            # A closed descriptor must not be entered: its number may be another file's by then.
            self._directories[protocol] = (
                _directory(protocol) if is_here(self._fd) else run_in(self._fd, lambda: _directory(protocol))
            )
        return os.open(rest, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directories[protocol])


def is_read_only() -> bool:
    """Whether /proc/sys is mounted read-only, as in containers whose settings must not change."""
    with Asking(f"look at {ROOT}"):
        return bool(os.statvfs(ROOT).f_flag & os.ST_RDONLY)


def _directory(protocol: str) -> int:
    return os.open(f"{ROOT}/{protocol}", os.O_PATH | os.O_CLOEXEC)


def _value(fd: int) -> str:
    return " ".join(os.pread(fd, _SIZE, 0).decode("utf-8", "replace").split())
