"""How a sandbox comes to hand: made, opened, adopted; and which ones there are."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

from netsandbox import _record
from netsandbox._checks import is_path, sandbox_name_problem
from netsandbox._plan.lifecycle import leaving, plan_create, plan_destroy
from netsandbox._plan.model import Plan, Target, joined
from netsandbox._plan.state import LinkState, classify, detach_facts
from netsandbox._record import Pending, Record
from netsandbox._run.handle import HOST_NAME, Handle, Operation, annotate_errors
from netsandbox._run.release import let_go
from netsandbox._run.transaction import carry_out, is_pin_hidden, load, say_hidden, settle, target
from netsandbox._steps import Unpin
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store, boot
from netsandbox.errors import NetSandboxError, Problem, SandboxExistsError, SandboxNotFoundError, SpecError


def locate(store: Store, name: str) -> tuple[str, str]:
    """Return the name and the path of the sandbox that *name*, or an absolute path, says.

    Raises:
        SpecError: It is no name.
    """
    if is_path(name):
        return store.locate(name)
    problem = sandbox_name_problem(name)
    if problem:
        raise SpecError([problem])
    return name, store.path(name)


def open_host(host: str | LinuxKernel | None) -> LinuxKernel:
    """Open the host's namespace: the one at a path, the one that is open already, or that of the calling thread."""
    if isinstance(host, LinuxKernel):
        return host.twin()
    if host is None:
        return LinuxKernel.own()
    if not is_path(host):
        raise SpecError([Problem("host", host, "is not an absolute path")])
    return LinuxKernel(namespace.open_namespace(host))


@contextmanager
def opening(host: str | LinuxKernel | None, name: str) -> Iterator[tuple[LinuxKernel, ExitStack]]:
    """Open the host's namespace; what is put on the stack is closed if anything fails."""
    with annotate_errors(name), ExitStack() as stack:
        outside = open_host(host)
        stack.callback(outside.close)
        yield outside, stack
        stack.pop_all()


def create(
    name: str,
    *,
    replace_old: bool,
    host: str | LinuxKernel | None,
    plug: Callable[[Handle, Record], Operation[Any]] | None = None,
) -> Handle:
    """Make a sandbox; see `Sandbox.create`. What *plug* says to plug in is a part of making it."""
    store = Store()
    name, path = locate(store, name)
    store.prepare(pins=True)
    with opening(host, name) as (outside, stack), store.locked(name):
        record, words = settle(store, name, outside)
        ends: list[int] = []
        old = _existing(store, name, path, record, outside=outside, stack=stack, replace_old=replace_old)
        if plug and old and record:  # the links that are wished for, or their names, may be taken until it is gone
            gone, ends = destroy_plan(old, record)
            carry_out(store, name, gone, old.world, before=record, then=None, read=lambda: None)
            let_go([(old, ends)], wait=True)
            old = None
        box = LinuxKernel.create()
        stack.callback(box.close)
        handle = Handle(store, name, path, box, outside)
        stack.callback(handle.close)
        handle.recovered = (words,) if words else ()
        new = Record(name, path, boot(), box.identity, outside.identity, pinned=True, mounts=namespace.mounts())
        plan, world, pending = plan_create(handle.target, path, box.identity), handle.world, None
        if old and record:
            # Two namespaces of one name: the new one goes by another spelling of its path until it is pinned.
            directory, _, last = path.rpartition("/")
            spelled = Target(name, f"{directory}/./{last}")
            gone, ends = destroy_plan(old, record)
            plan = joined(gone, plan_create(spelled, path, box.identity))
            world = {**old.world, spelled.netns: box}
            steps = (*gone.steps, Unpin(spelled.netns, path, box.identity))
            pending = Pending(plan.operation, steps, forward=True, then=None)
        change: Operation[Any] = Operation(plan, new, lambda: None)
        if plug:
            more = plug(handle, new)
            change = replace(more, plan=replace(joined(plan, more.plan), operation=plan.operation))
            # After a crash, what is inside goes with the namespace: what outlives that is undone.
            made = more.record.interfaces if more.record else ()
            outlives = (step.inverse() for item in made for step in reversed(item.back))
            pending = Pending(plan.operation, (*plan.steps, *outlives), forward=False, then=None)
        before = record if old else None
        carry_out(store, name, change.plan, world, before=before, then=change.record, pending=pending, read=change.read)
        handle.advertise(None, change.record)
        if old:
            let_go([(old, ends)])
        return handle


def plan(name: str, path: str, plug: Callable[[Handle, Record], Operation[Any]] | None = None) -> Plan:
    """Plan to make a sandbox, and to plug in what *plug* says: into a namespace that is let go again."""
    plan = plan_create(target(name, path), path, (0, 0))
    if plug is None:
        return plan
    with opening(None, name) as (outside, _), closing(LinuxKernel.create()) as box:
        handle = Handle(Store(), name, path, box, outside)
        with closing(handle):
            more = plug(handle, Record(name, path, boot(), box.identity, outside.identity, pinned=True)).plan
            return replace(joined(plan, more), operation=plan.operation)


def _existing(
    store: Store,
    name: str,
    path: str,
    record: Record | None,
    *,
    outside: LinuxKernel,
    stack: ExitStack,
    replace_old: bool,
) -> Handle | None:
    """Return the sandbox that is to be replaced; None if the name is free."""
    there = namespace.pinned(path)
    if there is None:
        return None  # a record without its namespace, if there is one, is of the past
    if record is None or record.netns != there:
        raise SandboxExistsError(f"create sandbox {name}", f"something that is not ours is at {path}")
    if not replace_old:
        raise SandboxExistsError(f"create sandbox {name}", "a sandbox of this name exists")
    box = LinuxKernel(namespace.open_namespace(path, follow=False))
    stack.callback(box.close)
    return Handle(store, name, path, box, outside)


def open_(name: str, *, host: str | LinuxKernel | None) -> Handle:
    """Open a sandbox; see `Sandbox.open`."""
    store = Store()
    name, path = locate(store, name)
    request = f"open sandbox {name}"
    record, words = load(store, name), None
    with opening(host, name) as (outside, stack):
        if record and (record.pending or record.boot != boot()):
            with store.locked(name):
                record, words = settle(store, name, outside)
        if record is None:
            there = namespace.pinned(path) is not None
            reason = "netsandbox did not make this namespace; adopt it" if there else "there is none of this name"
            raise SandboxNotFoundError(request, words or reason)
        fd = namespace.find(record.path, follow=not record.pinned)
        if fd is None:
            lost = f"its namespace is no longer at {record.path}"
            raise SandboxNotFoundError(request, say_hidden(record) if is_pin_hidden(record) else lost)
        box = LinuxKernel(fd)
        stack.callback(box.close)
        if box.identity != record.netns:
            raise SandboxNotFoundError(request, f"another namespace is at {record.path} now")
        _refuse_own(box, outside, record.path)
        handle = Handle(store, name, record.path, box, outside)
        handle.recovered = (words,) if words else ()
        return handle


def adopt(source: str, name: str | None, *, host: str | None) -> Handle:
    """Take a namespace that someone else made; see `Sandbox.adopt`."""
    store = Store()
    if not is_path(source):
        raise SpecError([Problem("path", source, "is not an absolute path")])
    key, path = locate(store, name if name is not None else source)
    operation = f"adopt {source} as sandbox {key}"
    store.prepare(pins=name is not None)
    with opening(host, key) as (outside, stack), store.locked(key):
        box = LinuxKernel(namespace.open_namespace(source))
        stack.callback(box.close)
        _refuse_own(box, outside, source)
        record, words = settle(store, key, outside)
        if name is not None and namespace.pinned(path):
            raise SandboxExistsError(operation, f"something is at {path} already")
        if record and record.netns == box.identity:
            raise SandboxExistsError(operation, "it is a sandbox already")
        twin = _holder(store, box.identity)
        if twin is not None:
            raise SandboxExistsError(operation, f"it is sandbox {twin} already; open that")
        pin = path if name is not None else None
        new = Record(key, pin or source, boot(), box.identity, outside.identity, pinned=pin is not None, adopted=True)
        handle = Handle(store, key, new.path, box, outside)
        handle.recovered = (words,) if words else ()
        lo = box.link("lo")
        state = LinkState(lo, tuple(box.addresses(lo.index))) if lo else None
        plan = plan_create(handle.target, pin, box.identity, source=source, lo=state)
        carry_out(store, key, plan, handle.world, before=None, then=new, read=lambda: None)
        return handle


def open_host_sandbox(path: str | None) -> Handle:
    """Open the host's own namespace; see `Sandbox.host`."""
    with opening(path, HOST_NAME) as (outside, _):
        return Handle(Store(), HOST_NAME, path or namespace.OWN, outside, outside)


def destroy_plan(handle: Handle, record: Record) -> tuple[Plan, list[int]]:
    """Plan to give back every link that came from the host, and to take away what is ours.

    Returns:
        The plan, and the indexes of the host ends of the veths that go with the namespace.
    """
    found = classify(handle.host, handle.box, record.interfaces)
    items = leaving(record.interfaces, found, stays=record.stays)
    path = record.path if record.pinned else None
    plan = plan_destroy(
        items, handle.target, detach_facts(handle.host, handle.box, items, record.interfaces), path, record.netns
    )
    links = {link.index: link for link in found.links}
    return plan, [links[item.index].lower or 0 for item in found.ours if item.outer and item not in items]


def _holder(store: Store, identity: tuple[int, int]) -> str | None:
    """Return the name of the sandbox that a namespace is already: what two of them plug in, neither can tell apart."""
    for key in store.names():
        with suppress(NetSandboxError):  # a damaged record is told when that sandbox is used
            record = load(store, key) if _record.mentions(store.read(key) or b"", identity) else None
            found = record and namespace.identity_at(record.path, follow=not record.pinned)
            if record and record.boot == boot() and record.netns == found == identity:
                return key
    return None


def _refuse_own(box: LinuxKernel, outside: LinuxKernel, path: str) -> None:
    if box.identity == outside.identity:
        reason = "it is the namespace this thread is in, where links come from; use Sandbox.host()"
        raise SpecError([Problem("path", path, reason)])
