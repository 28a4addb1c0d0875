"""Waiting for many descriptors at once, and watching the records of a runtime directory.

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
_HOUR = 3600.0  # in seconds; epoll waits for 596 hours at most


class Readable(Protocol):
    """What a `Waiter` waits for: something with a descriptor that becomes readable."""

    def fileno(self) -> int:
        """Return that descriptor."""


class Waiter:
    """Waits for many things at once. While a thread waits, other threads may add, remove and ring the bell."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        try:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            self._selector.close()
            raise KernelError(error.errno or 0, "make an eventfd") from error
        self._selector.register(self._bell, selectors.EVENT_READ)

    def add(self, thing: Readable) -> None:
        self._selector.register(thing, selectors.EVENT_READ)

    def remove(self, thing: Readable) -> None:
        """Stop waiting for *thing*, which must still be open."""
        self._selector.unregister(thing)

    def wait(self, deadline: float | None) -> list[Readable] | None:
        """Wait until something is readable or the bell is rung; return what is readable, or None at the *deadline*."""
        while True:
            left = _HOUR if deadline is None else max(deadline - time.monotonic(), 0.0)
            ready = [key.fileobj for key, _ in self._selector.select(min(left, _HOUR))]
            if self._bell in ready:
                with suppress(BlockingIOError):  # another thread has read it already
                    os.eventfd_read(self._bell)
            if ready:
                return [thing for thing in ready if not isinstance(thing, int)]
            if left < _HOUR:
                return None

    def ring(self) -> None:
        """Make the threads that wait return."""
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        self._selector.close()
        os.close(self._bell)


class Records:
    """Reports which records of a runtime directory are created, rewritten and deleted."""

    def __init__(self, store: Store) -> None:
        store.prepare(pins=False)
        self._fd = libc.watch(store.records)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def changed(self) -> set[str] | None:
        """Return the keys of the records that have changed, without waiting; None: any record may have changed."""
        try:
            data = os.read(self._fd, _SIZE)
        except BlockingIOError:
            return set()
        found: set[str] = set()
        end = 0
        while end < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, end)
            if watch < 0:  # IN_Q_OVERFLOW: the kernel dropped events
                return None
            start = end + _EVENT.size
            end = start + length
            key = key_of(os.fsdecode(data[start:end].rstrip(b"\0")))
            found |= {key} if key else set()
        return found


def after(seconds: float | None) -> float | None:
    """Return the time in some *seconds* from now; None: never."""
    return None if seconds is None else time.monotonic() + seconds
