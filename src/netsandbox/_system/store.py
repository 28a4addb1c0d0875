"""The runtime directory: where namespaces are pinned and records are kept.

A record is written to a file beside it and renamed: it is there whole or not at all. Whoever changes a sandbox holds
its lock, which the kernel releases when the holder dies.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from netsandbox._system.namespace import check_directory, make_directory, prepare
from netsandbox.errors import KernelError
from netsandbox.netlink.settings import ALIAS_MAX, MARK

PINS, RECORDS = "/run/netns", "/run/netsandbox"
VARIABLE = "NETSANDBOX_DIR"
LOCK_LIMIT = 30.0  # how long another's operation on the same sandbox is waited for, in seconds
LOCK_PAUSE = 0.002  # how long between two looks at a lock, in seconds: less than any operation takes
_SUFFIX = ".json"
_DRAFT, _LOCK = ".draft-", ".lock-"
_HOSTS = "/../"  # how the keys of the records of hosts begin; no normal path does


class Store:
    """Pins and records of one runtime directory."""

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
        """Whether the directory of a pin is missing, and `prepare` makes it."""
        return os.path.dirname(path) == self.pins and not os.path.lexists(self.pins)

    def prepare(self, *, pins: bool) -> None:
        """Make the directory of records, and that of *pins* if it is needed; refuse one that others can tamper with."""
        if pins and self.is_default:
            prepare(self.pins)
        elif pins or not self.is_default:
            make_directory(self.pins)
        make_directory(self.records)

    def check(self) -> None:
        """Refuse directories that others can tamper with: a record says what is done as root."""
        check_directory(self.pins)
        check_directory(self.records)

    def path(self, name: str) -> str:
        """Return where the namespace of a sandbox is pinned: an absolute path stands for itself."""
        return os.path.join(self.pins, name)

    def locate(self, path: str) -> tuple[str, str]:
        """Return name and normal form of an absolute path: one in the directory of pins is called by its last part."""
        normal = os.path.normpath(f"/{path.lstrip('/')}")  # two slashes at the beginning would stay
        directory, _, last = normal.rpartition("/")
        return (last, normal) if directory == self.pins else (normal, normal)

    def host_key(self, identity: tuple[int, int]) -> str:
        """Return what the record of a host's own namespace is kept under."""
        return "{}net:{}-{}".format(_HOSTS, *identity)

    def mark(self, key: str) -> str:
        """Return the text that marks, on the host, the links of a sandbox as ours; empty if there is no room for it."""
        text = f"{MARK}{self.records}:{key}"
        return text if len(os.fsencode(text)) <= ALIAS_MAX else ""

    def marked(self, text: str) -> str | None:
        """Return the key of the sandbox of this directory that a text marks a link for; None if it does not."""
        start = f"{MARK}{self.records}:"
        return text.removeprefix(start) if text.startswith(start) else None

    def is_host(self, key: str) -> bool:
        """Whether *key* is what the record of a host's own namespace is kept under."""
        return key.startswith(_HOSTS)

    def entries(self) -> list[str]:
        """Return what there are records of, in order."""
        self.check()
        return [key for key in map(key_of, _list(self.records)) if key]

    def names(self) -> list[str]:
        """Return the names of the sandboxes that there are records of, in order."""
        return [key for key in self.entries() if not self.is_host(key)]

    def pinned(self) -> list[str]:
        """Return what is in the directory of pins, in order."""
        return [item for item in _list(self.pins) if not item.startswith(".")]

    def orphans(self, *, delete: bool) -> list[str]:
        """Return the drafts and locks that killed processes left behind, and *delete* them; what is in use is none."""
        self.check()
        found = []
        parts = [item.partition("-") for item in _list(self.records)]
        for key in sorted({_name(rest) for mark, dash, rest in parts if mark + dash in {_DRAFT, _LOCK}}):
            lock, draft = self.file(key, _LOCK), self.file(key, _DRAFT)
            has_lock = os.path.lexists(lock)
            try:
                with self.locked(key, limit=0, keep=has_lock and not delete):
                    left = [draft] if os.path.lexists(draft) else []
                    if left and delete:
                        _unlink(draft)
                    found += [*left, lock] if has_lock and not os.path.lexists(self.file(key)) else left
            except KernelError as error:
                if error.errno != errno.ETIMEDOUT:  # its holder is at work
                    raise
        return found

    def read(self, name: str) -> bytes | None:
        """Return the record of a sandbox; None if there is none."""
        self.check()
        path = self.file(name)
        try:
            with open(path, "rb", buffering=0, opener=_opener) as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KernelError(error.errno or 0, f"read {path}") from error

    def write(self, name: str, data: bytes) -> None:
        """Keep the record of a sandbox, whole or not at all."""
        path = self.file(name)
        draft = self.file(name, _DRAFT)
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
            with suppress(OSError):  # a draft that stays is written anew
                os.unlink(draft)
            raise KernelError(error.errno or 0, f"write {path}") from error

    def delete(self, name: str) -> None:
        """Forget a sandbox."""
        _unlink(self.file(name))

    @contextmanager
    def locked(self, name: str, *, limit: float | None = None, keep: bool = False) -> Iterator[None]:
        """Hold the lock of a sandbox; others wait, in this process and in all others.

        Args:
            name: The sandbox.
            limit: How long another is waited for, in seconds; LOCK_LIMIT if left out.
            keep: Whether the file that is locked stays in any case, and not only as long as there is a record.
        """
        path = self.file(name, _LOCK)
        fd = self._lock(path, LOCK_LIMIT if limit is None else limit)
        try:
            yield
        finally:
            with suppress(OSError):  # a lock file that stays is found and used again
                if not keep and not os.path.lexists(self.file(name)):
                    os.unlink(path)
            os.close(fd)

    def _lock(self, path: str, limit: float) -> int:
        """Open and lock the file *path*; if it was deleted meanwhile, its successor."""
        deadline = time.monotonic() + limit
        try:
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    self._wait(fd, deadline, limit)
                    if os.fstat(fd).st_nlink:
                        os.pwrite(fd, f"{os.getpid():<10}".encode(), 0)
                        return fd
                except BaseException:
                    os.close(fd)
                    raise
                os.close(fd)
        except KernelError:
            raise
        except OSError as error:
            raise KernelError(error.errno or 0, f"lock {path}") from error

    def _wait(self, fd: int, deadline: float, limit: float) -> None:
        """Lock an open file; the kernel releases it when the holder dies, so that one who lives is waited for."""
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.pread(fd, 10, 0).decode("ascii", "replace").strip()
                    reason = f"process {holder or '?'} has held it for more than {limit:g} s"
                    raise KernelError(errno.ETIMEDOUT, "wait for the lock of the sandbox", reason) from None
                time.sleep(LOCK_PAUSE)  # flock(2) itself waits without a limit, or not at all
            else:
                return

    def file(self, name: str, prefix: str = "") -> str:
        """Return the file with the record of a sandbox; with a prefix, one beside it."""
        return os.path.join(self.records, prefix + name.replace("%", "%25").replace("/", "%2F") + _SUFFIX)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise KernelError(error.errno or 0, f"delete {path}") from error


def _list(directory: str) -> list[str]:
    """Return the names in a directory, in order; an absent one is empty."""
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KernelError(error.errno or 0, f"list {directory}") from error


def key_of(file: str) -> str | None:
    """Return what the record in *file* is kept under; None if that is none, by its name."""
    return _name(file) if file.endswith(_SUFFIX) and not file.startswith(".") else None


def _name(file: str) -> str:
    return file.removesuffix(_SUFFIX).replace("%2F", "/").replace("%25", "%")


@cache
def boot() -> str:
    """Return the identity of this boot of the machine (random(4))."""
    path = "/proc/sys/kernel/random/boot_id"
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        raise KernelError(error.errno or 0, f"read {path}") from error
