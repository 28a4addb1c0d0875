"""An iterator of what changes in one, several or all sandboxes: one socket for each, and one wait for all of them."""

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
    """What changes in sandboxes from now on, as `Event` values, in the kernel's order within each sandbox.

        for event in box.events():
            print(event.what, event.change, event.interface)

    It is an iterator, and is closed in the end: by ``with``, or by `close`, also from another thread, which ends an
    iteration that waits. Several threads may iterate: each event goes to one of them.

    A sandbox that is closed (the object that was given) or destroyed (by anyone) is told by a last event
    ("sandbox", "deleted"), and let go of at once. When none is left, the iteration ends; of all sandboxes it does not,
    as others may come.

    More may happen in a sandbox than is read in time. What the kernel had no room for is lost: that is told by an event
    ("sandbox", "overrun"). Then the sandbox is looked at, and the differences to what was known are told, and after
    them ("sandbox", "resynced"). Of a sandbox with more than 10,000 links, addresses, routes and neighbors, that many
    are remembered: of what was lost there it is only told that it was, and what has changed may be called "new".

    Names inside are chosen by whoever is inside: they are data, to be escaped before they are shown.
    """

    def __init__(self, boxes: Iterable[Opened] | None = None, *, timeout: float | None = None) -> None:
        """Begin to hear; what happens from here on is told.

        Args:
            boxes: The sandboxes; None: all that have a record in the runtime directory, also those that come later.
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
        self._heard: dict[str, _Heard] = {}  # by what their records are kept under
        self._unmet: set[str] = set()  # the keys of those whose records have changed since they were met
        self._lock = threading.RLock()  # guards what is here; it is not held while waiting
        self._waiting = 0
        self._records: Records | None = None
        self._waiter = Waiter()
        self._is_closed = False
        try:
            if boxes is None:
                self._watch_records()
                for key in self._store.names():
                    self._meet(key)
                self._queue.clear()  # those that are there are not told
            else:
                self._begin([box._handle for box in boxes])  # noqa: SLF001  a part of the library
        except BaseException:
            self.close()
            raise

    def _begin(self, handles: Iterable[Handle]) -> None:
        """Hear of sandboxes that are open."""
        for handle in handles:
            if not handle.target.is_host and not self._records:
                self._watch_records()
            if handle.key not in self._heard:
                identity = None if handle.target.is_host else handle.box.identity
                handle.listen(partial(self._add, handle.key, handle.name, identity))

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
            KernelError: A sandbox cannot be looked at; it is tried again after its next message, or, if it is a new
                one, after the next change of any.
        """
        deadline = after(seconds)
        while True:
            with self._lock:
                event = self._queue.popleft() if self._queue else None
                if self._waiting and (self._queue or self._is_over):
                    self._waiter.ring()  # there is something for the next one who waits
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
        """Hear no more, and end an iteration that waits; closing again does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for heard in tuple(self._heard.values()):
                self._release(heard)
            if self._records:
                self._waiter.remove(self._records)
                self._records.close()
            self._queue.clear()
            if self._waiting:  # the last one who waits closes it
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

    def let_go(self, heard: "_Heard") -> None:
        """Hear no more of a sandbox, and tell so."""
        with self._lock:
            if self._heard.get(heard.key) is heard:
                self._release(heard)
                self._queue.append(Event(heard.tracker.name, "sandbox", "deleted"))
                self._waiter.ring()

    @property
    def _is_over(self) -> bool:
        """Whether nothing will be heard any more."""
        return self._is_closed or not (self._heard or self._takes_all)

    def _leave(self) -> None:
        """Wait no more; the last one to leave a closed iterator closes what is waited with."""
        with self._lock:
            self._waiting -= 1
            if self._is_closed and not self._waiting:
                self._waiter.close()

    def _watch_records(self) -> None:
        self._records = Records(self._store)
        self._waiter.add(self._records)

    def _add(self, key: str, name: str, identity: tuple[int, int] | None, listener: Listener) -> "_Heard":
        """Hear of a sandbox from now on; what is there already is known, and not told."""
        with self._lock:
            heard = self._heard[key] = _Heard(self, key, name, identity, listener)
            self._waiter.add(heard)
            self._compare(heard, is_first=True)
        return heard

    def _release(self, heard: "_Heard") -> None:
        del self._heard[heard.key]
        self._waiter.remove(heard)
        heard.listener.close()

    def _read(self, thing: Readable) -> None:
        """Read what has become readable, and queue the events."""
        if isinstance(thing, Records) and not self._is_closed:
            changed = thing.changed()
            self._unmet |= {*self._heard, *self._store.names()} if changed is None else changed
            self._meet_all()
        elif isinstance(thing, _Heard) and self._heard.get(thing.key) is thing:
            self._hear(thing)

    def _hear(self, heard: "_Heard") -> None:
        """Queue what the kernel tells of a sandbox; when it has no more to tell, find out what it did not tell."""
        received = heard.listener.receive()
        self._queue.extend(filter(None, map(heard.tracker.hear, received.messages)))
        if received.overran:
            self._overran(heard)
        if received.is_all and (heard.overran or heard.tracker.is_stale):
            self._compare(heard)

    def _overran(self, heard: "_Heard") -> None:
        if not heard.overran:
            self._queue.append(Event(heard.tracker.name, "sandbox", "overrun"))
        heard.overran = True

    def _compare(self, heard: "_Heard", *, is_first: bool = False) -> None:
        """Queue how a sandbox differs from what is known of it; if it changes all the time, after its next message."""
        try:
            with closing(LinuxKernel(heard.listener.namespace())) as kernel:
                events = heard.tracker.compare(kernel)
        except KernelError as error:
            if error.errno != errno.EINTR:
                raise
            self._overran(heard)
            return
        if not is_first:
            self._queue.extend(events)
        if heard.overran and heard.tracker.knows_all:
            self._queue.append(Event(heard.tracker.name, "sandbox", "resynced"))
        heard.overran = False

    def _meet_all(self) -> None:
        """Meet all whose records have changed; those that cannot be met now are kept for the next change of any."""
        errors = []
        for key in tuple(self._unmet):
            try:
                self._meet(key)
            except KernelError as error:
                errors.append(error)
            else:
                self._unmet.discard(key)
        if errors:
            raise errors[0]

    def _meet(self, key: str) -> None:
        """Let go of a sandbox whose record is gone or is of another; hear of one that is new, if all are wanted."""
        heard = self._heard.get(key)
        try:
            record = self._store.load(key)
        except ProtocolError:  # it is damaged: what is heard of goes on
            return
        if heard and heard.identity and not (record and record.netns == heard.identity):
            self.let_go(heard)
        if record and self._takes_all and key not in self._heard and not self._store.is_host(key):
            listener = listen_at(record.path, record.netns, follow=not record.pinned)
            if listener:  # else it is not pinned yet: its record is written again when it is
                self._queue.append(Event(record.name, "sandbox", "new"))
                self._add(key, record.name, record.netns, listener)


class _Heard:
    """A sandbox that is heard of."""

    def __init__(
        self, events: Events, key: str, name: str, identity: tuple[int, int] | None, listener: Listener
    ) -> None:
        self._events = ref(events)  # no cycle: what is forgotten is closed at once
        self.key = key
        self.identity = identity  # of its namespace; None of a host's own, which nobody destroys
        self.listener = listener
        self.tracker = EventTracker(name)
        self.overran = False

    def fileno(self) -> int:
        """Return the descriptor that tells when there is something to hear."""
        return self.listener.fileno()

    def let_go(self) -> None:
        """Hear no more of it."""
        events = self._events()
        if events:
            events.let_go(self)
