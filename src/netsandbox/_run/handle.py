"""An open sandbox: its descriptors, its record, and `change`, the single entry point for modifying it.

`change` takes the sandbox's lock, reads the record, has a verb make an operation of it (`Make`), and carries that out,
all of it or none of it. `plan` does the same, and stops before the first change.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, TypeVar
from weakref import WeakSet

from netsandbox._kernel import HOST, World
from netsandbox._plan.model import Plan, Target
from netsandbox._record import Record
from netsandbox._run.transaction import Operation, Records, Transaction, begin, refuse_other_host, target
from netsandbox._system import namespace
from netsandbox._system.announce import Announcements
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.listener import Listener, listen
from netsandbox._system.store import boot
from netsandbox.errors import NetSandboxError, SandboxClosedError, SandboxNotFoundError

T = TypeVar("T")
S = TypeVar("S", bound="Subscription")
Make = Callable[[Record], Operation[T]]  # a verb: it makes an operation of a record
HOST_NAME = "host"


class Subscription(Protocol):
    """A socket in a sandbox that receives the changes there."""

    def close(self) -> None:
        """Close the socket."""


class Handle:
    """An open sandbox."""

    def __init__(self, records: Records, name: str, path: str, box: LinuxKernel, host: LinuxKernel) -> None:
        self.name = name  # or the path that stands for it
        self.path = path  # where its namespace is found
        self.records = records
        self._box = box
        self.host = host  # the namespace that links come from; for the host's own sandbox, the same object as *box*
        self.is_closed = False
        self.key = records.host_key(box.identity) if box is host else name  # of its record
        called = Target(HOST_NAME, HOST) if box is host else target(name, path)
        self.target = replace(called, mark=records.mark(self.key))
        self.recovered: tuple[str, ...] = ()  # what was rolled back or forward of interrupted operations, in words
        self.adverts = Announcements(box)
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._using = threading.RLock()  # held while the descriptors must not be closed

    @property
    def box(self) -> LinuxKernel:
        """The namespace of the sandbox.

        Raises:
            SandboxClosedError: The sandbox was closed or destroyed.
        """
        if self.is_closed:
            raise SandboxClosedError(f"sandbox {self.name} is closed")
        return self._box

    @property
    def world(self) -> World:
        """The namespaces, as plans call them."""
        return {HOST: self.host, self.target.netns: self._box}

    # --- reading and changing ---

    def record(self) -> Record:
        """Return the record of the sandbox.

        Raises:
            SandboxNotFoundError: It is gone, or another namespace is in its place.
            SandboxClosedError: It was closed or destroyed.
        """
        return self._verified(self.box.identity, self.records.load(self.key))

    def change(self, make: Make[T]) -> T:
        """Carry out a verb, all of it or none of it, and return what its operation reads back."""
        with annotate_errors(self.name), self._using:
            identity = self.box.identity  # raises if it is closed, before anything is changed
            self.records.prepare(pins=False)
            with begin(self.records, self.key, self.host) as transaction:
                self.recovered += transaction.recovered
                record, operation = self._decide(identity, transaction, make)
                operation = replace(operation, record=self._kept(operation.record))
                result = transaction.carry_out(operation, self.world, before=self._kept(record))
            self.advertise(record, operation.record)
            return result

    def plan(self, make: Make[T]) -> Plan:
        """Return what `change` would do, and change nothing; it refuses what `change` refuses."""
        with annotate_errors(self.name), self._using:
            identity = self.box.identity
            self.records.check()
            with begin(self.records, self.key, self.host, recover=False) as transaction:
                transaction.refuse_pending()
                return self._decide(identity, transaction, make)[1].plan

    def _decide(
        self, identity: namespace.Identity, transaction: Transaction, make: Make[T]
    ) -> tuple[Record, Operation[T]]:
        """Return the record, and the operation that a verb makes of it."""
        record = self._verified(identity, transaction.record)
        operation = make(record)
        refuse_other_host(record, self.host, operation)
        return record, operation

    def _verified(self, identity: namespace.Identity, found: Record | None) -> Record:
        """Return a record if it is of this namespace, and that is at its path."""
        if found is None and self.target.is_host:
            return Record(HOST_NAME, self.path, boot(), identity, identity, pinned=False)
        if found is None or found.netns != identity:
            raise SandboxNotFoundError(f"use sandbox {self.name}", "it was destroyed or replaced meanwhile")
        if found.pinned and namespace.pinned(self.path) != identity:
            raise SandboxNotFoundError(f"use sandbox {self.name}", f"its namespace is no longer at {self.path}")
        return found

    def _kept(self, record: Record | None) -> Record | None:
        """Return a record if it is to be stored: that of a host without interfaces is not."""
        return None if record and self.target.is_host and not record.interfaces else record

    def advertise(self, before: Record | None, now: Record | None) -> None:
        """Start the adverts of interfaces that are new in the record, and stop those of interfaces that left it."""
        known, kept = ({item.id: item for item in record.interfaces} if record else {} for record in (before, now))
        self.adverts.stop(known.keys() - kept.keys())
        for item in kept.values():
            if item.id not in known:
                self.adverts.start(item.id, item.index, item.advertise)

    # --- what happens inside ---

    def run(self, function: Callable[[], T]) -> T:
        """Call *function* inside, on a thread of its own."""
        with self._using:  # its own descriptor: if the sandbox is closed meanwhile, the number may be reused
            fd = self.box.duplicate()
        return namespace.run_in(fd, function, own=True)

    def subscribe(self, make: Callable[[Listener], S]) -> S:
        """Return what *make* returns for a socket that receives the changes inside; this handle closes it."""
        with self._using:
            made = make(listen(self.box.fd))
            self._subscriptions.add(made)
        return made

    # --- closing ---

    def close(self) -> None:
        """Close all descriptors, after the change that is under way."""
        with self._using:
            self.is_closed = True
            self._close_subscriptions()
            try:
                self.adverts.stop_all()
            finally:
                self._box.close()
                self.host.close()

    def end(self, change: Callable[[], T]) -> tuple["Handle", T]:
        """Carry out a last *change* and close; return another handle of the namespace, and the result."""
        with self._using:
            result = change()
            held = Handle(self.records, self.name, self.path, self._box.copy(), self.host.copy())
            self.close()
        return held, result

    def release(self) -> namespace.Identity:
        """Close the descriptors of the namespace, but not of the host; return its identity."""
        with self._using:
            identity = self._box.identity
            self.is_closed = True
            self.adverts.stop_all()
            self._close_subscriptions()
            self._box.close()
            return identity

    def _close_subscriptions(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.close()


class Opened(Protocol):
    """An object with an open sandbox."""

    _handle: Handle


@contextmanager
def annotate_errors(name: str) -> Iterator[None]:
    """Add the sandbox to errors that do not name one."""
    try:
        yield
    except NetSandboxError as error:
        error.sandbox = error.sandbox or name
        raise
