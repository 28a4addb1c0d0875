"""A sandbox in the hand: its record, its namespace and the host's, and the one way in which it changes.

`Handle.change` is that way: under the sandbox's lock the record is read, a plan is made of the wish and of what the
kernel says, the plan is carried out, the result is read back, and the new record is written. If any of it fails, all
of it is undone.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from netsandbox._kernel import HOST, World
from netsandbox._plan.model import Plan, Target
from netsandbox._record import Record
from netsandbox._run.transaction import carry_out, is_orphan_veth, load, settle, target
from netsandbox._system import namespace
from netsandbox._system.announce import Announcements
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.listener import Listener, listen
from netsandbox._system.store import Store, boot
from netsandbox.errors import NetSandboxError, SandboxClosedError, SandboxNotFoundError
from netsandbox.netlink.link import Link

T = TypeVar("T")
S = TypeVar("S", bound="Subscription")
HOST_NAME = "host"


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """What a verb comes to.

    Attributes:
        plan: What is to be done.
        record: What is to be kept; None: nothing.
        read: Reads back what the caller gets.
    """

    plan: Plan
    record: Record | None
    read: Callable[[], T]


class Subscription(Protocol):
    """Something that listens to the changes in a sandbox, by a socket in it."""

    def end(self) -> None:
        """Close the socket."""


class Planned(Exception):  # noqa: N818  no error: it carries a plan out of a verb that is not to be carried out
    """The plan of a verb that is only asked what it would do."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class Handle:
    """An open sandbox.

    Attributes:
        name: Its name, or the path that stands for it.
        path: Where its namespace is found.
        box: Its namespace.
        host: The namespace links come from; the same object as *box* for the host's own.
        target: How plans call it.
        key: What its record is kept under.
        recovered: What was undone or finished of interrupted operations, in words.
        adverts: What is advertised of its interfaces.
    """

    def __init__(self, store: Store, name: str, path: str, box: LinuxKernel, host: LinuxKernel) -> None:
        self.name = name
        self.path = path
        self._store = store
        self._box = box
        self._host = host
        self.is_closed = False
        self.key = store.host_key(box.identity) if box is host else name
        of = Target(HOST_NAME, HOST) if box is host else target(name, path)
        self.target = replace(of, mark=store.mark(self.key))
        self.recovered: tuple[str, ...] = ()
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
    def host(self) -> LinuxKernel:
        """The namespace that links come from."""
        return self._host

    @property
    def world(self) -> World:
        """The namespaces, as plans call them."""
        return {HOST: self._host, self.target.netns: self._box}

    def close(self) -> None:
        """Close all descriptors, when no change is under way."""
        with self._using:
            self.is_closed = True
            self._end_subscriptions()
            try:
                self.adverts.stop_all()
            finally:
                self._box.close()
                self._host.close()

    def end(self, change: Callable[[], T]) -> tuple["Handle", T]:
        """Carry out the last *change* and close; return another handle, which holds the namespace, and its result."""
        with self._using:
            result = change()
            held = Handle(self._store, self.name, self.path, self._box.twin(), self._host.twin())
            self.close()
        return held, result

    def release(self) -> namespace.Identity:
        """Close what is open of the namespace, but not of the host; return its identity."""
        with self._using:
            identity = self._box.identity
            self.is_closed = True
            self.adverts.stop_all()
            self._end_subscriptions()
            self._box.close()
            return identity

    def run(self, function: Callable[[], T]) -> T:
        """Call *function* inside, on a thread of its own."""
        with self._using:  # a descriptor of its own: the sandbox may be closed meanwhile, and the number used again
            fd = self.box.duplicate()
        return namespace.run_in(fd, function, own=True)

    def _end_subscriptions(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.end()

    def subscribe(self, make: Callable[[Listener], S]) -> S:
        """Return what *make* makes of a socket that receives the changes inside; it ends when this is closed."""
        with self._using:
            made = make(listen(self.box.fd))
            self._subscriptions.add(made)
        return made

    def record(self) -> Record:
        """Return what is known of the sandbox.

        Raises:
            SandboxNotFoundError: It is gone, or another namespace has taken its place.
            SandboxClosedError: It was closed or destroyed.
        """
        return self._verified(self.box.identity, load(self._store, self.key))

    def _verified(self, identity: namespace.Identity, found: Record | None) -> Record:
        if found is None and self.target.is_host:
            return Record(HOST_NAME, self.path, boot(), identity, identity, pinned=False)
        if found is None or found.netns != identity:
            raise SandboxNotFoundError(f"use sandbox {self.name}", "it was destroyed or replaced meanwhile")
        if found.pinned and namespace.pinned(self.path) != identity:
            raise SandboxNotFoundError(f"use sandbox {self.name}", f"its namespace is no longer at {self.path}")
        return found

    def change(self, make: Callable[[Record], Operation[T]], *, only_plan: bool = False) -> T:
        """Operation the sandbox, all of it or none of it.

        Args:
            make: Makes the change of the sandbox's record.
            only_plan: Whether to raise `Planned` instead.
        """
        with annotate_errors(self.name), self._using:
            identity = self.box.identity  # fails closed before anything is touched
            self._store.prepare(pins=False)
            with self._store.locked(self.key):
                found, words = settle(self._store, self.key, self._host)
                self.recovered += (words,) if words else ()
                record = self._verified(identity, found)
                change = make(record)
                if only_plan:
                    raise Planned(change.plan)
                self._refuse_strange_host(record, change)
                result = carry_out(
                    self._store,
                    self.key,
                    change.plan,
                    self.world,
                    before=self._kept(record),
                    then=self._kept(change.record),
                    read=change.read,
                )
            self.advertise(record, change.record)
            return result

    def advertise(self, before: Record | None, now: Record | None) -> None:
        """Advertise the interfaces that are new in its record, and no longer those that are gone from it."""
        known, kept = ({item.id: item for item in record.interfaces} if record else {} for record in (before, now))
        self.adverts.stop(known.keys() - kept.keys())
        for item in kept.values():
            if item.id not in known:
                self.adverts.start(item.id, item.index, item.advertise)

    def is_leaving(self, link: Link) -> bool:
        """Whether a link on the host is the end of a veth whose sandbox is gone; see `_transaction.is_orphan_veth`."""
        return is_orphan_veth(self._store, link)

    def _kept(self, record: Record | None) -> Record | None:
        """Return what is kept of a record: nothing of a host without interfaces."""
        return None if record and self.target.is_host and not record.interfaces else record

    def _refuse_strange_host(self, record: Record, change: Operation[T]) -> None:
        """Refuse to give links to another namespace than the one they came from."""
        left = change.record.interfaces if change.record else ()
        if record.host != self._host.identity and left != record.interfaces:
            reason = "its links came from another namespace than the one this thread is in; name that one with host="
            raise NetSandboxError(f"{change.plan.operation}: {reason}")


@contextmanager
def annotate_errors(name: str) -> Iterator[None]:
    """Note on errors which sandbox they are about."""
    try:
        yield
    except NetSandboxError as error:
        error.sandbox = error.sandbox or name
        raise
