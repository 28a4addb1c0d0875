"""An iterator over the changes in one, several or all sandboxes: one socket for each, and one wait for all of them."""

import errno
import threading
import warnings
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from functools import partial
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

    When a sandbox is closed (the object that was given) or destroyed (by any process), the last event is ("sandbox",
    "deleted"), and its socket is closed. The iteration ends when no sandbox is left. An iteration over all sandboxes
    goes on, as others may be created.

    If more happens in a sandbox than is read in time, the kernel drops messages: the event is ("sandbox", "overrun").
    Then the sandbox is read, the differences are reported as events, and ("sandbox", "resynced") follows them. At most
    10,000 links, addresses, routes and neighbors of a sandbox are remembered. If it has more, lost changes are not
    found again, and an event may call a changed object "new".

    Programs inside a sandbox choose the names of its links: escape them before you show them.
    """

    def __init__(self, boxes: Iterable[Opened] | None = None, *, timeout: float | None = None) -> None:
        """Subscribe to the changes from here on.

        Args:
            boxes: The sandboxes; None: all that have a record in the runtime directory, also those created later.
            timeout: After how many seconds without an event an iteration ends (a new one goes on); None: never.

        Raises:
            SandboxClosedError: A sandbox was closed or destroyed.
            KernelError: The socket for a sandbox cannot be opened.
        """
        if timeout is not None and not timeout >= 0:  # refuses NaN as well
            raise SpecError([Problem("timeout", timeout, "is not a number of seconds from 0")])
        self._timeout = timeout
        self._takes_all = boxes is None
        self._store = RecordFiles()
        self._queue: deque[Event] = deque()
        self._subscriptions: dict[str, _Subscription] = {}  # by the keys of their records
        self._changed: set[str] = set()  # keys of records that have changed since they were read
        self._lock = threading.RLock()  # guards the attributes; it is not held while waiting
        self._waiting = 0  # how many threads wait
        self._records: Records | None = None
        self._waiter = Waiter()
        self._is_closed = False
        try:
            if boxes is None:
                self._watch_records()
                for key in self._store.names():
                    self._read_record(key)
                self._queue.clear()  # only sandboxes created later are reported as new
            for box in boxes or ():
                self._subscribe(box._handle)  # noqa: SLF001  a part of the library
        except BaseException:
            self.close()
            raise

    def _subscribe(self, handle: Handle) -> None:
        """Subscribe to an open sandbox."""
        if not handle.target.is_host and not self._records:
            self._watch_records()
        if handle.key not in self._subscriptions:
            identity = None if handle.target.is_host else handle.box.identity
            handle.subscribe(partial(self._add, handle.key, handle.name, identity))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """Return the next event; end after the timeout, or when there will be no more."""
        event = self.wait(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def wait(self, seconds: float | None = None) -> Event | None:
        """Return the next event; None after some *seconds* (None: no limit), or if there will be no more.

        Raises:
            KernelError: A sandbox cannot be read. It is read again after its next message, or, if it is a new one,
                after the next change of any record.
        """
        deadline = after(seconds)
        while True:
            with self._lock:
                event = self._queue.popleft() if self._queue else None
                if self._waiting and (self._queue or self._is_over):
                    self._waiter.ring()  # so that another thread that waits goes on
                if event or self._is_over:
                    return event
                self._waiting += 1
            try:
                ready = self._waiter.wait(deadline)
            finally:
                with self._lock:
                    self._waiting -= 1
                    if self._is_closed and not self._waiting:  # the last thread to leave a closed iterator
                        self._waiter.close()
            if ready is None:
                return None
            with self._lock:
                for readable in ready:
                    self._read(readable)

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
            if self._waiting:  # the last of these threads closes the waiter
                self._waiter.ring()
            else:
                self._waiter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            warnings.warn("an iterator of events was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def _end(self, subscription: "_Subscription") -> None:
        """End a subscription, and queue the event that its sandbox is deleted."""
        with self._lock:
            if self._subscriptions.get(subscription.key) is subscription:
                self._unsubscribe(subscription)
                self._queue.append(Event(subscription.tracker.name, "sandbox", "deleted"))
                self._waiter.ring()

    @property
    def _is_over(self) -> bool:
        """Whether there will be no more events."""
        return self._is_closed or not (self._subscriptions or self._takes_all)

    def _watch_records(self) -> None:
        self._records = Records(self._store)
        self._waiter.add(self._records)

    def _add(self, key: str, name: str, identity: tuple[int, int] | None, listener: Listener) -> "_Subscription":
        """Begin a subscription; the objects in the sandbox are remembered, and not reported as new."""
        with self._lock:
            added = self._subscriptions[key] = _Subscription(self, key, name, identity, listener)
            self._waiter.add(added)
            self._compare(added, is_first=True)
        return added

    def _unsubscribe(self, subscription: "_Subscription") -> None:
        del self._subscriptions[subscription.key]
        self._waiter.remove(subscription)
        subscription.listener.close()

    def _read(self, readable: Readable) -> None:
        """Read the records or the messages of a sandbox, and queue the events."""
        if isinstance(readable, Records) and not self._is_closed:
            changed = readable.changed()
            self._changed |= {*self._subscriptions, *self._store.names()} if changed is None else changed
            self._read_records()
        elif isinstance(readable, _Subscription) and self._subscriptions.get(readable.key) is readable:
            self._receive(readable)

    def _receive(self, subscription: "_Subscription") -> None:
        """Queue the events of the kernel's messages; after the last message, find the changes that had none."""
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
        """Queue the differences of a sandbox; if it changes while it is read, compare again after its next message."""
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
        """Read all changed records; that of a sandbox that cannot be opened is read again after the next change."""
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
        """End the subscription to a sandbox that was destroyed or replaced; begin one to a new sandbox."""
        known = self._subscriptions.get(key)
        try:
            record = self._store.load(key)
        except ProtocolError:  # the record is damaged: an existing subscription goes on
            return
        if known and known.identity and not (record and record.netns == known.identity):
            self._end(known)
        if record and self._takes_all and key not in self._subscriptions and not self._store.is_host(key):
            listener = listen_at(record.path, record.netns, follow=not record.pinned)
            if listener:  # otherwise it is not pinned yet: its record is written again when it is
                self._queue.append(Event(record.name, "sandbox", "new"))
                self._add(key, record.name, record.netns, listener)


class _Subscription:
    """The subscription to the changes in one sandbox."""

    def __init__(
        self, events: Events, key: str, name: str, identity: tuple[int, int] | None, listener: Listener
    ) -> None:
        self._events = ref(events)  # no cycle: an iterator without references is closed at once
        self.key = key
        self.identity = identity  # of its namespace; None for that of the host, which is never destroyed
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
