"""A sandbox in the hand: its record, its namespace and the host's, and the one way in which it changes.

`Handle.change` is that way: under the sandbox's lock the record is read, a plan is made of the wish and of what the
kernel says, the plan is carried out, the result is read back, and the new record is written. If any of it fails, all
of it is undone.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from netsandbox import _detach, _facts, _journal, _plan
from netsandbox._checks import sandbox_name_problem
from netsandbox._execute import execute
from netsandbox._journal import Record
from netsandbox._outline import Plan, Plugged, Target
from netsandbox._steps import HOST, World
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import PINS, Store, boot
from netsandbox.errors import (
    NetSandboxError,
    Problem,
    SandboxClosedError,
    SandboxExistsError,
    SandboxNotFoundError,
    SpecError,
)

T = TypeVar("T")
HOST_RECORD = "/../net:"  # what the names of records of hosts begin with; no normal path does
HOST_NAME = "host"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a verb comes to.

    Attributes:
        plan: What is to be done.
        record: What is to be kept; None: nothing.
        read: Reads back what the caller gets.
    """

    plan: Plan
    record: Record | None
    read: Callable[[], T]


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
    """

    def __init__(self, store: Store, name: str, path: str, box: LinuxKernel, host: LinuxKernel) -> None:
        self.name = name
        self.path = path
        self._store = store
        self._box = box
        self._host = host
        self.is_closed = False
        self.target = Target(HOST_NAME, HOST) if box is host else target(name, path)
        self._using = threading.RLock()  # held while the descriptors must not be closed
        self._key = "{}{}-{}".format(HOST_RECORD, *box.identity) if box is host else name

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
            self._box.close()
            self._host.close()

    def run(self, function: Callable[[], T]) -> T:
        """Call *function* inside, on a thread of its own."""
        with self._using:  # a descriptor of its own: the sandbox may be closed meanwhile, and the number used again
            fd = self.box.duplicate()
        return namespace.run_in(fd, function, own=True)

    def record(self) -> Record:
        """Return what is known of the sandbox.

        Raises:
            SandboxNotFoundError: It is gone, or another namespace has taken its place.
            SandboxClosedError: It was closed or destroyed.
        """
        identity = self.box.identity
        data = self._store.read(self._key)
        if data is None and self.target.is_host:
            return Record(HOST_NAME, self.path, boot(), identity, identity, pinned=False)
        if data is None or (found := _journal.unpack(data)).netns != identity:
            raise SandboxNotFoundError(f"use sandbox {self.name}", "it was destroyed or replaced meanwhile")
        if found.pinned and namespace.pinned(self.path) != identity:
            raise SandboxNotFoundError(f"use sandbox {self.name}", f"its namespace is no longer at {self.path}")
        return found

    def change(self, make: Callable[[Record], Change[T]], *, carry_out: bool = True) -> T:
        """Change the sandbox, all of it or none of it.

        Args:
            make: Makes the change of the sandbox's record.
            carry_out: Whether to do it; otherwise `Planned` is raised.
        """
        with telling(self.name), self._using:
            _ = self.box  # fails closed before anything is touched
            self._store.prepare(pins=False)
            with self._store.locked(self._key):
                record = self.record()
                change = make(record)
                if not carry_out:
                    raise Planned(change.plan)
                self._refuse_strange_host(record, change)
                return execute(change.plan, self.world, lambda: self._commit(change, record))

    def _refuse_strange_host(self, record: Record, change: Change[T]) -> None:
        """Refuse to give links to another namespace than the one they came from."""
        left = change.record.interfaces if change.record else ()
        if record.host != self._host.identity and left != record.interfaces:
            reason = "its links came from another namespace than the one this thread is in; name that one with host="
            raise NetSandboxError(f"{change.plan.operation}: {reason}")

    def _commit(self, change: Change[T], old: Record) -> T:
        """Read back what was done, and write it down; that comes last."""
        result = change.read()
        new = change.record
        if new is None or (self.target.is_host and not new.interfaces):
            if self._store.read(self._key) is not None:
                self._store.delete(self._key)
        elif new != old:
            self._store.write(self._key, _journal.pack(new))
        return result


def target(name: str, path: str) -> Target:
    """Return how plans call the sandbox at *path*: as ip-netns(8) does, or by the path."""
    directory, _, last = path.rpartition("/")
    return Target(name, last if directory == PINS else path)


def where(store: Store, name: str) -> tuple[str, str]:
    """Return the name and the path of the sandbox that *name*, or an absolute path, says.

    Raises:
        SpecError: It is no name.
    """
    if str(name).startswith("/") and "\0" not in name:
        return store.locate(name)
    problem = sandbox_name_problem(name)
    if problem:
        raise SpecError([problem])
    return name, store.path(name)


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Note on errors which sandbox they are about."""
    try:
        yield
    except NetSandboxError as error:
        error.sandbox = error.sandbox or name
        raise


@contextmanager
def opening(host: str | None, name: str) -> Iterator[tuple[LinuxKernel, ExitStack]]:
    """Open the host's namespace; what is put on the stack is closed if anything fails."""
    with telling(name), ExitStack() as stack:
        outside = LinuxKernel(namespace.open_namespace(host or namespace.OWN))
        stack.callback(outside.close)
        yield outside, stack
        stack.pop_all()


def create(name: str, *, replace_old: bool, host: str | None) -> Handle:
    """Make a sandbox; see `Sandbox.create`."""
    store = Store()
    name, path = where(store, name)
    store.prepare(pins=True)
    with opening(host, name) as (outside, stack), store.locked(name):
        old = _existing(store, name, path, outside, stack, replace_old=replace_old)
        box = LinuxKernel(namespace.create())
        stack.callback(box.close)
        plan = plan_create(name, path)
        handle = Handle(store, name, path, box, outside)
        world = dict(handle.world)
        if old:
            # Two namespaces of one name: the new one goes by another spelling of its path until it is pinned.
            directory, _, last = path.rpartition("/")
            spelled = Target(name, f"{directory}/./{last}")
            record = old.record()
            gone = _detach.destroy(record.interfaces, old.target, detach_facts(old, record.interfaces), path)
            plan = _detach.joined(gone, _plan.pin(spelled, path, lo_is_up=False))
            world = {**old.world, spelled.netns: box}
        record = Record(name, path, boot(), box.identity, outside.identity, pinned=True)
        execute(plan, world, lambda: store.write(name, _journal.pack(record)))
        if old:
            old.box.close()
        return handle


def plan_create(name: str, path: str) -> Plan:
    """Plan to make a sandbox."""
    return _plan.pin(target(name, path), path, lo_is_up=False)


def _existing(
    store: Store, name: str, path: str, outside: LinuxKernel, stack: ExitStack, *, replace_old: bool
) -> Handle | None:
    """Return the sandbox that is to be replaced; None if the name is free."""
    there = namespace.pinned(path)
    if there is None:
        return None  # a record without its namespace, if there is one, is of the past
    data = store.read(name)
    if data is None or _journal.unpack(data).netns != there:
        raise SandboxExistsError(f"create sandbox {name}", f"something that is not ours is at {path}")
    if not replace_old:
        raise SandboxExistsError(f"create sandbox {name}", "a sandbox of this name exists")
    box = LinuxKernel(namespace.open_namespace(path, follow=False))
    stack.callback(box.close)
    return Handle(store, name, path, box, outside)


def open_(name: str, *, host: str | None) -> Handle:
    """Open a sandbox; see `Sandbox.open`."""
    store = Store()
    name, path = where(store, name)
    data = store.read(name)
    there = namespace.pinned(path)
    if data is None:
        reason = "netsandbox did not make this namespace; adopt it" if there else "there is none of this name"
        raise SandboxNotFoundError(f"open sandbox {name}", reason)
    record = _journal.unpack(data)
    if record.boot != boot():
        raise SandboxNotFoundError(f"open sandbox {name}", "it was made before the machine was started again")
    with opening(host, name) as (outside, stack):
        if there is None:
            raise SandboxNotFoundError(f"open sandbox {name}", f"its namespace is no longer at {record.path}")
        box = LinuxKernel(namespace.open_namespace(record.path, follow=not record.pinned))
        stack.callback(box.close)
        if box.identity != record.netns:
            raise SandboxNotFoundError(f"open sandbox {name}", f"another namespace is at {record.path} now")
        _refuse_own(box, outside, f"open sandbox {name}")
        return Handle(store, name, record.path, box, outside)


def adopt(source: str, name: str | None, *, host: str | None) -> Handle:
    """Take a namespace that someone else made; see `Sandbox.adopt`."""
    store = Store()
    if not str(source).startswith("/") or "\0" in source:
        raise SpecError([Problem("path", source, "is not an absolute path")])
    key, path = where(store, name if name is not None else source)
    operation = f"adopt {source} as sandbox {key}"
    store.prepare(pins=name is not None)
    with opening(host, key) as (outside, stack), store.locked(key):
        box = LinuxKernel(namespace.open_namespace(source))
        stack.callback(box.close)
        _refuse_own(box, outside, operation)
        data = store.read(key)
        if name is not None and namespace.pinned(path):
            raise SandboxExistsError(operation, f"something is at {path} already")
        if data is not None and _journal.unpack(data).netns == box.identity:
            raise SandboxExistsError(operation, "it is a sandbox already")
        pin = path if name is not None else None
        record = Record(key, pin or source, boot(), box.identity, outside.identity, pinned=pin is not None)
        handle = Handle(store, key, record.path, box, outside)
        lo = box.link("lo")
        plan = replace(_plan.pin(handle.target, pin, lo_is_up=bool(lo and lo.is_up)), operation=operation)
        execute(plan, handle.world, lambda: store.write(key, _journal.pack(record)))
        return handle


def host_handle(path: str | None) -> Handle:
    """Open the host's own namespace; see `Sandbox.host`."""
    with opening(path, HOST_NAME) as (outside, _):
        return Handle(Store(), HOST_NAME, path or namespace.OWN, outside, outside)


def names() -> list[str]:
    """Return the names of all sandboxes that have a record."""
    return [name for name in Store().names() if not name.startswith(HOST_RECORD)]


def pinned_names() -> list[str]:
    """Return the names of all namespaces in the runtime directory, and of all sandboxes elsewhere."""
    return sorted({*names(), *Store().pinned()})


def detach_facts(handle: Handle, items: tuple[Plugged, ...]) -> _facts.Facts:
    """Return what has to be known to take interfaces out."""
    return _facts.for_detach(handle.host, handle.box, {item.index: item.home for item in items})


def _refuse_own(box: LinuxKernel, outside: LinuxKernel, operation: str) -> None:
    if box.identity == outside.identity:
        reason = "it is the namespace this thread is in, where links come from; use Sandbox.host()"
        raise SpecError([Problem("path", operation, reason)])
