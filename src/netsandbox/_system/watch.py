"""Waiting for many descriptors at once, and hearing which records come and go.

Source: epoll(7), eventfd(2), inotify(7).
"""

import os
import selectors
import struct
import time
from contextlib import suppress
from typing import Protocol

from netsandbox._system import libc
from netsandbox._system.store import Store, key_of
from netsandbox.errors import KernelError

_EVENT = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, length of the name that follows
_SIZE = 65536
_HOUR = 3600.0  # in seconds; epoll waits for 596 of them at most


class Readable(Protocol):
    """What can be waited for: it has a descriptor that becomes readable."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Waiter:
    """Waits for many things at once. While one thread waits, others may add, remove, and ring the bell."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        try:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            self._selector.close()
            raise KernelError(error.errno or 0, "make an eventfd") from error
        self._selector.register(self._bell, selectors.EVENT_READ)

    def add(self, thing: Readable) -> None:
        """Wait for *thing* as well."""
        self._selector.register(thing, selectors.EVENT_READ)

    def remove(self, thing: Readable) -> None:
        """Wait for *thing* no more; it is still open."""
        self._selector.unregister(thing)

    def wait(self, deadline: float | None) -> list[Readable] | None:
        """Wait until there is something to read, and return where: nowhere, if the bell was rung.

        Args:
            deadline: The time at which to return None, from `after`; None: never.
        """
        while True:
            left = _HOUR if deadline is None else max(deadline - time.monotonic(), 0.0)
            ready = [key.fileobj for key, _ in self._selector.select(min(left, _HOUR))]
            if self._bell in ready:
                with suppress(BlockingIOError):  # another thread was here before
                    os.eventfd_read(self._bell)
            if ready:
                return [thing for thing in ready if not isinstance(thing, int)]
            if left < _HOUR:
                return None

    def ring(self) -> None:
        """Have whoever waits return."""
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Close what it waits with; nobody may be waiting."""
        self._selector.close()
        os.close(self._bell)


class Records:
    """Hears which records of a runtime directory come, are written anew, and go."""

    def __init__(self, store: Store) -> None:
        store.prepare(pins=False)
        self._fd = libc.watch(store.records)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def close(self) -> None:
        """Hear no more."""
        os.close(self._fd)

    def changed(self) -> set[str] | None:
        """Return the keys of the records that may have changed, without waiting; None: it may be any."""
        try:
            data = os.read(self._fd, _SIZE)
        except BlockingIOError:
            return set()
        found: set[str] = set()
        start = 0
        while start < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, start)
            start += _EVENT.size
            name = os.fsdecode(data[start : start + length].rstrip(b"\0"))
            start += length
            if watch < 0:  # IN_Q_OVERFLOW: some were lost
                return None
            key = key_of(name)
            found |= {key} if key else set()
        return found


def after(seconds: float | None) -> float | None:
    """Return the time at which some *seconds* will have passed; None: never."""
    return None if seconds is None else time.monotonic() + seconds
