"""How a sandbox comes to hand: made, opened, adopted; and which ones there are."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

from netsandbox import _detach, _facts, _journal, _plan
from netsandbox._checks import is_path, sandbox_name_problem
from netsandbox._handle import HOST_NAME, Change, Handle, let_go, telling
from netsandbox._journal import Pending, Record
from netsandbox._outline import Plan, Plugged, Target
from netsandbox._steps import Unpin
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store, boot
from netsandbox._transaction import carry_out, is_dead_end, is_out_of_sight, keep, load, out_of_sight, settle, target
from netsandbox.errors import NetSandboxError, Problem, SandboxExistsError, SandboxNotFoundError, SpecError
from netsandbox.netlink import link as _link


def where(store: Store, name: str) -> tuple[str, str]:
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
    with telling(name), ExitStack() as stack:
        outside = open_host(host)
        stack.callback(outside.close)
        yield outside, stack
        stack.pop_all()


def create(
    name: str,
    *,
    replace_old: bool,
    host: str | LinuxKernel | None,
    plug: Callable[[Handle, Record], Change[Any]] | None = None,
) -> Handle:
    """Make a sandbox; see `Sandbox.create`. What *plug* says to plug in is a part of making it."""
    store = Store()
    name, path = where(store, name)
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
        plan, world, pending = _plan.pin(handle.target, path, box.identity), handle.world, None
        if old and record:
            # Two namespaces of one name: the new one goes by another spelling of its path until it is pinned.
            directory, _, last = path.rpartition("/")
            spelled = Target(name, f"{directory}/./{last}")
            gone, ends = destroy_plan(old, record)
            plan = _detach.joined(gone, _plan.pin(spelled, path, box.identity))
            world = {**old.world, spelled.netns: box}
            steps = (*gone.steps, Unpin(spelled.netns, path, box.identity))
            pending = Pending(plan.operation, steps, forward=True, then=None)
        change: Change[Any] = Change(plan, new, lambda: None)
        if plug:
            more = plug(handle, new)
            change = replace(more, plan=replace(_detach.joined(plan, more.plan), operation=plan.operation))
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


def plan_create(name: str, path: str, plug: Callable[[Handle, Record], Change[Any]] | None = None) -> Plan:
    """Plan to make a sandbox, and to plug in what *plug* says: into a namespace that is let go again."""
    plan = _plan.pin(target(name, path), path, (0, 0))
    if plug is None:
        return plan
    with opening(None, name) as (outside, _), closing(LinuxKernel.create()) as box:
        handle = Handle(Store(), name, path, box, outside)
        with closing(handle):
            more = plug(handle, Record(name, path, boot(), box.identity, outside.identity, pinned=True)).plan
            return replace(_detach.joined(plan, more), operation=plan.operation)


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
    name, path = where(store, name)
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
            raise SandboxNotFoundError(request, out_of_sight(record) if is_out_of_sight(record) else lost)
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
    key, path = where(store, name if name is not None else source)
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
        state = _facts.LinkState(lo, tuple(box.addresses(lo.index))) if lo else None
        plan = _plan.pin(handle.target, pin, box.identity, source=source, lo=state)
        carry_out(store, key, plan, handle.world, before=None, then=new, read=lambda: None)
        return handle


def host_handle(path: str | None) -> Handle:
    """Open the host's own namespace; see `Sandbox.host`."""
    with opening(path, HOST_NAME) as (outside, _):
        return Handle(Store(), HOST_NAME, path or namespace.OWN, outside, outside)


def recover() -> tuple[str, ...]:
    """Settle every sandbox; see `Sandbox.recover`."""
    store = Store()
    return (*_each(store, lambda key, outside: filter(None, settle(store, key, outside)[1:])), *_orphans(store))


def prune(*, only_say: bool) -> tuple[str, ...]:
    """Settle every sandbox and forget those whose namespace is gone; see `Sandbox.prune`."""
    store = Store()

    def settle_and_forget(key: str, outside: LinuxKernel) -> Iterator[str]:
        record, words = (load(store, key), None) if only_say else settle(store, key, outside)
        if words:
            yield words
        reason = record and _dead(record)
        if record and reason:
            yield f"{record.name}: {reason}"
            if not only_say:
                if record.pinned:
                    namespace.sweep(record.path)
                keep(store, key, None)

    said = _each(store, settle_and_forget)
    return (*said, *_dead_ends(store, delete=not only_say), *_orphans(store, delete=not only_say))


def _dead_ends(store: Store, *, delete: bool) -> list[str]:
    """Say which host ends of veths no sandbox has any more, and delete them: their mark says that they are ours."""
    found = []
    with opening(None, HOST_NAME) as (outside, _):
        for link in outside.links():
            key = store.marked(link.alias or "")
            if key is None:
                continue
            with store.locked(key):  # so that it is not one that is being made
                again = _facts.settled(outside, link.name, lambda link: is_dead_end(store, link))
                if again and is_dead_end(store, again):
                    found.append(f"{again.name}: the host end of a veth of sandbox {key}, which is gone")
                    if delete:
                        outside.send(_link.delete(again.index))
        outside.close()
    return found


def _each(store: Store, work: Callable[[str, LinuxKernel], Iterable[str]]) -> list[str]:
    """Do *work* with every sandbox, under its lock, and return what was said; what fails keeps no other from its turn.

    Raises:
        NetSandboxError: Something failed; it tells all that was said, and every failure.
    """
    done: list[str] = []
    failed: list[NetSandboxError] = []
    with opening(None, HOST_NAME) as (outside, _):
        for key in store.entries():
            try:
                with telling(key), store.locked(key):
                    done += work(key, outside)
            except NetSandboxError as error:
                failed.append(error)
        outside.close()
    if failed:
        raise NetSandboxError("; ".join(map(str, (*done, *failed)))) from failed[0]
    return done


def _orphans(store: Store, *, delete: bool = True) -> list[str]:
    """Say which files of killed processes are there, and delete them."""
    return [f"{path}: left behind by a process that was killed" for path in store.orphans(delete=delete)]


def _dead(record: Record) -> str | None:
    """Say why a sandbox is of the past, or what of it is left half done."""
    if record.boot != boot():
        return "it was made before the machine was started again"
    if is_out_of_sight(record):
        return None
    if record.pending:
        return f"interrupted: {record.pending.operation}"
    if record.netns != namespace.identity_at(record.path, follow=not record.pinned):
        return f"its namespace is no longer at {record.path}"
    return None


def names() -> list[str]:
    """Return the names of all sandboxes that have a record."""
    return Store().names()


def pinned_names() -> list[str]:
    """Return the names of all namespaces in the runtime directory, and of all sandboxes elsewhere."""
    return sorted({*names(), *Store().pinned()})


def detach_facts(handle: Handle, items: tuple[Plugged, ...], record: Record) -> _facts.Facts:
    """Return what has to be known to take interfaces out."""
    return _facts.for_detach(handle.host, handle.box, items, record.interfaces)


def destroy_plan(handle: Handle, record: Record) -> tuple[Plan, list[int]]:
    """Plan to give back every link that came from the host, and to take away what is ours.

    Returns:
        The plan, and the indexes of the host ends of the veths that go with the namespace.
    """
    found = _facts.inventory(handle.host, handle.box, record.interfaces)
    items = _detach.leaving(record.interfaces, found, stays=record.stays)
    path = record.path if record.pinned else None
    plan = _detach.destroy(items, handle.target, detach_facts(handle, items, record), path, record.netns)
    links = {link.index: link for link in found.links}
    return plan, [links[item.index].lower or 0 for item in found.ours if item.outer and item not in items]


def _holder(store: Store, identity: tuple[int, int]) -> str | None:
    """Return the name of the sandbox that a namespace is already: what two of them plug in, neither can tell apart."""
    for key in store.names():
        with suppress(NetSandboxError):  # a damaged record is told when that sandbox is used
            record = load(store, key) if _journal.mentions(store.read(key) or b"", identity) else None
            found = record and namespace.identity_at(record.path, follow=not record.pinned)
            if record and record.boot == boot() and record.netns == found == identity:
                return key
    return None


def _refuse_own(box: LinuxKernel, outside: LinuxKernel, path: str) -> None:
    if box.identity == outside.identity:
        reason = "it is the namespace this thread is in, where links come from; use Sandbox.host()"
        raise SpecError([Problem("path", path, reason)])
