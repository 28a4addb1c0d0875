"""An iterator over the changes in one, several or all sandboxes: one socket for each, and one wait for all of them."""

import errno
import threading
import warnings
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Self
from weakref import ref

from netsandbox._events.tracker import Event, EventTracker
from netsandbox._run.handle import Handle, Opened
from netsandbox._run.transaction import Records as RecordFiles
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.listener import Listener, listen_at
from netsandbox._system.watch import Readable, Records, Waiter, after
from netsandbox.errors import KernelError, Problem, ProtocolError, SpecError


class Events:
    """The changes in sandboxes from now on, as `Event` values, in the kernel's order within each sandbox.

        for event in box.events():
            print(event.what, event.change, event.interface)

    Close the iterator at the end: by ``with``, or by `close`. Another thread may call `close`; this ends an iteration
    that waits. Several threads may iterate: each event goes to one of them.

    When a sandbox is closed (the object that was given) or destroyed (by any process), a last event
    ("sandbox", "deleted") reports it, and its socket is closed. When no sandbox is left, the iteration ends. An
    iteration over all sandboxes goes on, as others may be created.

    If more happens in a sandbox than is read in time, the kernel drops messages. The event ("sandbox", "overrun")
    reports this. Then the sandbox is read, its differences from what was known are reported as events, and
    ("sandbox", "resynced") follows them. At most 10,000 links, addresses, routes and neighbors of a sandbox are
    remembered. If it has more, lost changes are not found again, and an event may call a changed thing "new".

    Programs inside a sandbox choose the names of its links: escape them before you show them.
    """

    def __init__(self, boxes: Iterable[Opened] | None = None, *, timeout: float | None = None) -> None:
        """Subscribe to the changes from here on.

        Args:
            boxes: The sandboxes; None: all that have a record in the runtime directory, also those created later.
            timeout: After how many seconds without an event an iteration ends (a new one goes on); None: never.

        Raises:
            SandboxClosedError: One of them was closed or destroyed.
            KernelError: A namespace cannot be listened to.
        """
        if timeout is not None and not timeout >= 0:  # nor what is no number
            raise SpecError([Problem("timeout", timeout, "is not a number of seconds from 0")])
        self._timeout = timeout
        self._takes_all = boxes is None
        self._store = RecordFiles()
        self._queue: deque[Event] = deque()
        self._subscriptions: dict[str, _Subscription] = {}  # by the keys of their records
        self._changed: set[str] = set()  # keys of records that have changed since they were read
        self._lock = threading.RLock()  # guards what is here; it is not held while waiting
        self._waiting = 0
        self._records: Records | None = None
        self._waiter = Waiter()
        self._is_closed = False
        try:
            if boxes is None:
                self._watch_records()
                for key in self._store.names():
                    self._read_record(key)
                self._queue.clear()  # those that are there already are not reported
            else:
                self._subscribe([box._handle for box in boxes])  # noqa: SLF001  a part of the library
        except BaseException:
            self.close()
            raise

    def _subscribe(self, handles: Iterable[Handle]) -> None:
        """Subscribe to sandboxes that are open."""
        for handle in handles:
            if not handle.target.is_host and not self._records:
                self._watch_records()
            if handle.key not in self._subscriptions:
                identity = None if handle.target.is_host else handle.box.identity
                handle.subscribe(partial(self._add, handle.key, handle.name, identity))

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Event:
        """Return the next event; end if there is none in time, or if there will be none."""
        event = self.wait(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def wait(self, seconds: float | None = None) -> Event | None:
        """Return the next event; None if there is none for some *seconds* (None: no limit), or if there will be none.

        Raises:
            KernelError: A sandbox cannot be read. It is tried again after its next message, or, if it is a new one,
                after the next change of any record.
        """
        deadline = after(seconds)
        while True:
            with self._lock:
                event = self._queue.popleft() if self._queue else None
                if self._waiting and (self._queue or self._is_over):
                    self._waiter.ring()  # there is something for the next thread that waits
                if event or self._is_over:
                    return event
                self._waiting += 1
            try:
                ready = self._waiter.wait(deadline)
            finally:
                self._leave()
            if ready is None:
                return None
            with self._lock:
                for thing in ready:
                    self._read(thing)

    def close(self) -> None:
        """Close all sockets, and end an iteration that waits; closing again does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for subscription in tuple(self._subscriptions.values()):
                self._unsubscribe(subscription)
            if self._records:
                self._waiter.remove(self._records)
                self._records.close()
            self._queue.clear()
            if self._waiting:  # the last thread that waits closes it
                self._waiter.ring()
            else:
                self._waiter.close()

    def __enter__(self) -> Self:
        """Enter the ``with`` statement at whose end it is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Warn of an iterator that was not closed, and close it."""
        if not getattr(self, "_is_closed", True):
            warnings.warn("an iterator of events was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def _end(self, subscription: "_Subscription") -> None:
        """Unsubscribe from a sandbox, and report that it is deleted."""
        with self._lock:
            if self._subscriptions.get(subscription.key) is subscription:
                self._unsubscribe(subscription)
                self._queue.append(Event(subscription.tracker.name, "sandbox", "deleted"))
                self._waiter.ring()

    @property
    def _is_over(self) -> bool:
        """Whether no event can come any more."""
        return self._is_closed or not (self._subscriptions or self._takes_all)

    def _leave(self) -> None:
        """Count a thread that waits no more; the last one to leave a closed iterator closes the waiter."""
        with self._lock:
            self._waiting -= 1
            if self._is_closed and not self._waiting:
                self._waiter.close()

    def _watch_records(self) -> None:
        self._records = Records(self._store)
        self._waiter.add(self._records)

    def _add(self, key: str, name: str, identity: tuple[int, int] | None, listener: Listener) -> "_Subscription":
        """Subscribe to a sandbox from now on; what is there already is remembered, and not reported."""
        with self._lock:
            made = self._subscriptions[key] = _Subscription(self, key, name, identity, listener)
            self._waiter.add(made)
            self._compare(made, is_first=True)
        return made

    def _unsubscribe(self, subscription: "_Subscription") -> None:
        del self._subscriptions[subscription.key]
        self._waiter.remove(subscription)
        subscription.listener.close()

    def _read(self, thing: Readable) -> None:
        """Read what has become readable, and queue the events."""
        if isinstance(thing, Records) and not self._is_closed:
            changed = thing.changed()
            self._changed |= {*self._subscriptions, *self._store.names()} if changed is None else changed
            self._read_records()
        elif isinstance(thing, _Subscription) and self._subscriptions.get(thing.key) is thing:
            self._receive(thing)

    def _receive(self, subscription: "_Subscription") -> None:
        """Queue what the kernel reports of a sandbox; after its last message, find out what it did not report."""
        received = subscription.listener.receive()
        self._queue.extend(filter(None, map(subscription.tracker.receive, received.messages)))
        if received.overran:
            self._overran(subscription)
        if received.is_all and (subscription.overran or subscription.tracker.is_stale):
            self._compare(subscription)

    def _overran(self, subscription: "_Subscription") -> None:
        if not subscription.overran:
            self._queue.append(Event(subscription.tracker.name, "sandbox", "overrun"))
        subscription.overran = True

    def _compare(self, subscription: "_Subscription", *, is_first: bool = False) -> None:
        """Queue how a sandbox differs from what is known of it; if it changes all the time, after its next message."""
        try:
            with closing(LinuxKernel(subscription.listener.namespace())) as kernel:
                events = subscription.tracker.compare(kernel)
        except KernelError as error:
            if error.errno != errno.EINTR:
                raise
            self._overran(subscription)
            return
        if not is_first:
            self._queue.extend(events)
        if subscription.overran and subscription.tracker.knows_all:
            self._queue.append(Event(subscription.tracker.name, "sandbox", "resynced"))
        subscription.overran = False

    def _read_records(self) -> None:
        """Read all records that have changed; those of sandboxes that cannot be opened are kept for the next change."""
        errors = []
        for key in tuple(self._changed):
            try:
                self._read_record(key)
            except KernelError as error:
                errors.append(error)
            else:
                self._changed.discard(key)
        if errors:
            raise errors[0]

    def _read_record(self, key: str) -> None:
        """Unsubscribe from a sandbox whose record is gone or another's; subscribe to a new one, if all are wanted."""
        known = self._subscriptions.get(key)
        try:
            record = self._store.load(key)
        except ProtocolError:  # it is damaged: an existing subscription goes on
            return
        if known and known.identity and not (record and record.netns == known.identity):
            self._end(known)
        if record and self._takes_all and key not in self._subscriptions and not self._store.is_host(key):
            listener = listen_at(record.path, record.netns, follow=not record.pinned)
            if listener:  # else it is not pinned yet: its record is written again when it is
                self._queue.append(Event(record.name, "sandbox", "new"))
                self._add(key, record.name, record.netns, listener)


class _Subscription:
    """The subscription to the changes in one sandbox."""

    def __init__(
        self, events: Events, key: str, name: str, identity: tuple[int, int] | None, listener: Listener
    ) -> None:
        self._events = ref(events)  # no cycle: an iterator without references is closed at once
        self.key = key
        self.identity = identity  # of its namespace; None of a host's own, which nobody destroys
        self.listener = listener
        self.tracker = EventTracker(name)
        self.overran = False

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is a message."""
        return self.listener.fileno()

    def close(self) -> None:
        """End the subscription, and report that the sandbox is deleted."""
        events = self._events()
        if events:
            events._end(self)  # noqa: SLF001  a part of it
