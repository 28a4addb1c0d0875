"""The runtime directory: where namespaces are pinned and records are kept.

A record is written to a draft beside it, which is then renamed, so that the record is whole or unchanged. A process
that changes a sandbox holds the lock of the sandbox, which the kernel releases when the process ends.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from netsandbox._system import files
from netsandbox._system.errors import Asking
from netsandbox.errors import KernelError
from netsandbox.netlink.settings import ALIAS_MAX, MARK

PINS, RECORDS = "/run/netns", "/run/netsandbox"
VARIABLE = "NETSANDBOX_DIR"
LOCK_LIMIT = 30.0  # seconds to wait for another process's operation on the same sandbox
LOCK_PAUSE = 0.002  # seconds between two attempts to lock: less than any operation takes
_SUFFIX = ".json"
_DRAFT, _LOCK = ".draft-", ".lock-"
_HOSTS = "/../"  # prefix of the keys of hosts' records; no normal path begins with it


class Store:
    """Pins and records of one runtime directory.

    A record has a key: the name of a sandbox, or what `host_key` returns.
    """

    def __init__(self) -> None:
        chosen = os.environ.get(VARIABLE)
        self.is_default = not chosen
        self.pins = os.path.abspath(chosen) if chosen else PINS
        self.records = os.path.join(self.pins, ".state") if chosen else RECORDS

    @property
    def is_there(self) -> bool:
        """Whether there is a directory of records."""
        return os.path.isdir(self.records)

    def will_make(self, path: str) -> bool:
        """Whether the directory of a pin is missing, and `prepare` creates it."""
        return os.path.dirname(path) == self.pins and not os.path.lexists(self.pins)

    def prepare(self, *, pins: bool) -> None:
        """Create the directory of records, and that of *pins* if needed; refuse one that others could tamper with."""
        if pins and self.is_default:
            files.share(self.pins)
        elif pins or not self.is_default:
            files.make(self.pins)
        files.make(self.records)

    def check(self) -> None:
        """Refuse directories that others could tamper with: root does what a record says."""
        files.check(self.pins)
        files.check(self.records)

    def path(self, name: str) -> str:
        """Return where the namespace of a sandbox is pinned; a name that is an absolute path is the path itself."""
        return os.path.join(self.pins, name)

    def locate(self, path: str) -> tuple[str, str]:
        """Return name and normal form of an absolute path: the name is the last part if it is in the pin directory."""
        normal = os.path.normpath(f"/{path.lstrip('/')}")  # normpath keeps two leading slashes
        directory, _, last = normal.rpartition("/")
        return (last, normal) if directory == self.pins else (normal, normal)

    def host_key(self, identity: tuple[int, int]) -> str:
        """Return the key of the record of a host's own namespace."""
        return "{}net:{}-{}".format(_HOSTS, *identity)

    def is_host(self, key: str) -> bool:
        """Whether *key* is that of the record of a host's own namespace."""
        return key.startswith(_HOSTS)

    def mark(self, key: str) -> str:
        """Return the alias that marks links on the host as a sandbox's; empty if it would be too long for an alias."""
        text = f"{MARK}{self.records}:{key}"
        return text if len(os.fsencode(text)) <= ALIAS_MAX else ""

    def marked(self, text: str) -> str | None:
        """Return the key of the sandbox of this directory that an alias marks a link for; None if it does not."""
        start = f"{MARK}{self.records}:"
        return text.removeprefix(start) if text.startswith(start) else None

    def entries(self) -> list[str]:
        """Return the keys of all records, in order."""
        self.check()
        return [key for key in map(key_of, files.names(self.records)) if key]

    def names(self) -> list[str]:
        """Return the names of the sandboxes that have records, in order."""
        return [key for key in self.entries() if not self.is_host(key)]

    def pinned(self) -> list[str]:
        """Return the names of the files in the directory of pins, in order."""
        return [item for item in files.names(self.pins) if not item.startswith(".")]

    def orphans(self, *, delete: bool) -> list[str]:
        """Return the drafts and locks that killed processes left behind and none has in use now, and *delete* them."""
        self.check()
        found = []
        parts = [item.partition("-") for item in files.names(self.records)]
        for key in sorted({_name(rest) for mark, dash, rest in parts if mark + dash in {_DRAFT, _LOCK}}):
            lock, draft = self.file(key, _LOCK), self.file(key, _DRAFT)
            has_lock = os.path.lexists(lock)
            try:
                with self.locked(key, limit=0, keep=has_lock and not delete):
                    left = [draft] if os.path.lexists(draft) else []
                    if left and delete:
                        files.unlink(draft)
                    found += [*left, lock] if has_lock and not os.path.lexists(self.file(key)) else left
            except KernelError as error:
                if error.errno != errno.ETIMEDOUT:  # a process has it in use
                    raise
        return found

    def read(self, key: str) -> bytes | None:
        self.check()
        path = self.file(key)
        with Asking(f"read {path}"):
            try:
                with open(path, "rb", buffering=0, opener=_opener) as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def write(self, key: str, data: bytes) -> None:
        """Write a record, whole or not at all."""
        path, draft = self.file(key), self.file(key, _DRAFT)
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                written = 0
                while written < len(data):
                    written += os.write(fd, data[written:])
            finally:
                os.close(fd)
            os.rename(draft, path)
        except OSError as error:
            with suppress(OSError):  # the next write overwrites a draft that stays
                os.unlink(draft)
            raise KernelError(error.errno or 0, f"write {path}") from error

    def delete(self, key: str) -> None:
        files.unlink(self.file(key))

    @contextmanager
    def locked(self, key: str, *, limit: float | None = None, keep: bool = False) -> Iterator[None]:
        """Hold the lock of a sandbox; *keep* its file even if there is no record.

        Others that call this wait for *limit* seconds, or LOCK_LIMIT.
        """
        path = self.file(key, _LOCK)
        fd = _lock(path, LOCK_LIMIT if limit is None else limit)
        try:
            yield
        finally:
            with suppress(OSError):  # the next process uses a lock file that stays
                if not keep and not os.path.lexists(self.file(key)):
                    os.unlink(path)
            os.close(fd)

    def file(self, key: str, prefix: str = "") -> str:
        """Return the path of a record; with a prefix, that of its draft or lock."""
        return os.path.join(self.records, prefix + key.replace("%", "%25").replace("/", "%2F") + _SUFFIX)


def _lock(path: str, limit: float) -> int:
    """Open and lock the file *path*; if another process deletes it meanwhile, lock the new one."""
    deadline = time.monotonic() + limit
    with Asking(f"lock {path}"):
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _flock(fd, deadline, limit)
                if os.fstat(fd).st_nlink:
                    os.pwrite(fd, f"{os.getpid():<10}".encode(), 0)
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)


def _flock(fd: int, deadline: float, limit: float) -> None:
    """Lock an open file; the kernel releases the lock when its holder exits, so only a live process is waited for."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(fd, 10, 0).decode("ascii", "replace").strip()
                reason = f"process {holder or '?'} has held it for more than {limit:g} s"
                raise KernelError(errno.ETIMEDOUT, "wait for the lock of the sandbox", reason) from None
            time.sleep(LOCK_PAUSE)  # flock(2) waits without a limit, or not at all
        else:
            return


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)


def key_of(file: str) -> str | None:
    """Return the key of the record in *file*; None if that is not the name of a record."""
    return _name(file) if file.endswith(_SUFFIX) and not file.startswith(".") else None


def _name(file: str) -> str:
    return file.removesuffix(_SUFFIX).replace("%2F", "/").replace("%25", "%")


@cache
def boot() -> str:
    """Return the identity of this boot of the machine (random(4))."""
    return files.read("/proc/sys/kernel/random/boot_id")
