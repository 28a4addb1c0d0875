"""Sandbox lifecycle: create, open, adopt, destroy; plans do the same, and stop before the first change."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from netsandbox import _record
from netsandbox._checks import is_path, sandbox_name_problem
from netsandbox._kernel import World
from netsandbox._plan.lifecycle import leaving, plan_create, plan_destroy
from netsandbox._plan.model import Plan, Target, joined
from netsandbox._plan.state import LinkState, classify, detach_facts
from netsandbox._record import Pending, Record
from netsandbox._run.handle import HOST_NAME, Handle, annotate_errors
from netsandbox._run.release import release
from netsandbox._run.transaction import Operation, Records, Transaction, begin, hidden, is_pin_hidden, target
from netsandbox._steps import Unpin
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import boot
from netsandbox.errors import NetSandboxError, Problem, SandboxExistsError, SandboxNotFoundError, SpecError

Attach = Callable[[Handle, Record], tuple[Plan, Record]]  # plans what to attach to a new sandbox


def locate(records: Records, name: str) -> tuple[str, str]:
    """Return the name and the path of the sandbox that a name, or an absolute path, stands for.

    Raises:
        SpecError: The name is invalid.
    """
    if is_path(name):
        return records.locate(name)
    problem = sandbox_name_problem(name)
    if problem:
        raise SpecError([problem])
    return name, records.path(name)


def open_host(host: str | LinuxKernel | None) -> LinuxKernel:
    """Open the host's namespace: the one at a path, the one that is open already, or that of the calling thread."""
    if isinstance(host, LinuxKernel):
        return host.copy()
    if host is None:
        return LinuxKernel.own()
    if not is_path(host):
        raise SpecError([Problem("host", host, "is not an absolute path")])
    return LinuxKernel(namespace.open_namespace(host))


@contextmanager
def opening(host: str | LinuxKernel | None, name: str) -> Iterator[tuple[LinuxKernel, ExitStack]]:
    """Open the host's namespace; if anything fails, it and what is put on the stack are closed."""
    with annotate_errors(name), ExitStack() as stack:
        outside = open_host(host)
        stack.callback(outside.close)
        yield outside, stack
        stack.pop_all()


# --- create ---


def create(
    name: str, *, replace_old: bool = False, host: str | LinuxKernel | None = None, attach: Attach | None = None
) -> Handle:
    """Create a sandbox with what *attach* plans; see `Sandbox.create`."""
    records = Records()
    name, path = locate(records, name)
    records.prepare(pins=True)
    with opening(host, name) as (outside, stack), begin(records, name, outside) as transaction:
        old = _existing(transaction, path, outside, stack, replace_old=replace_old)
        if old and attach:  # the old one may have the links that are requested, or their names
            gone, ends = plan_destruction(old, old.record())
            transaction.carry_out(Operation(gone, None, lambda: None), old.world, before=old.record())
            release([(old, ends)], wait=True)
            old = None
        # Two namespaces with one name: until the new one is pinned, its name is another spelling of its path.
        directory, _, last = path.rpartition("/")
        called = Target(name, f"{directory}/./{last}") if old else target(name, path)
        creation = _creation(transaction, called, path, outside, stack, old=old, attach=attach)
        before = old.record() if old else None
        transaction.carry_out(creation.operation, creation.world, before=before)
        creation.handle.advertise(None, creation.operation.record)
        if old:
            release([(old, creation.ends)])
        return creation.handle


def plan_creation(
    name: str, *, replace_old: bool = False, host: str | LinuxKernel | None = None, attach: Attach | None = None
) -> Plan:
    """Return what `create` would do. The namespace is made, and closed again without a name."""
    records = Records()
    name, path = locate(records, name)
    records.check()
    with opening(host, name) as (outside, stack), begin(records, name, outside, recover=False) as transaction:
        transaction.refuse_pending()
        old = _existing(transaction, path, outside, stack, replace_old=replace_old)
        if old and attach:
            reason = f"cannot be planned with interfaces: what {name} holds now is free only once it is destroyed"
            raise SpecError([Problem("replace", replace_old, reason)])
        called = target(name, path)
        plan = _creation(transaction, called, path, outside, stack, old=old, attach=attach).operation.plan
        stack.close()
        return plan


class _Creation(NamedTuple):
    """How a namespace becomes a sandbox."""

    handle: Handle  # of the new sandbox
    operation: Operation[None]
    world: World
    ends: Sequence[int]  # indexes of the host ends of the veths that end with the replaced sandbox


def _creation(
    transaction: Transaction,
    called: Target,
    path: str,
    outside: LinuxKernel,
    stack: ExitStack,
    *,
    old: Handle | None,
    attach: Attach | None,
) -> _Creation:
    """Create a namespace, and return how it becomes a sandbox, in place of *old* if there is one."""
    records, name = transaction.records, transaction.key
    box = LinuxKernel.create()
    stack.callback(box.close)
    handle = Handle(records, name, path, box, outside)
    stack.callback(handle.close)
    handle.recovered = transaction.recovered
    new = Record(name, path, boot(), box.identity, outside.identity, pinned=True, mounts=namespace.mounts())
    plan, world, pending = plan_create(called, path, box.identity), handle.world, None
    ends: Sequence[int] = ()
    if old:
        gone, ends = plan_destruction(old, old.record())
        plan = joined(gone, plan)
        world = {**old.world, called.netns: box}
        steps = (*gone.steps, Unpin(called.netns, path, box.identity))
        pending = Pending(plan.operation, steps, forward=True, then=None)
    if attach:
        more, new = attach(handle, new)
        plan = replace(joined(plan, more), operation=plan.operation)
        # After a crash the kernel destroys the namespace, which has no pin, with everything inside: only changes on the
        # host need to be rolled back.
        outlives = (step.inverse() for item in new.interfaces for step in reversed(item.teardown))
        pending = Pending(plan.operation, (*plan.steps, *outlives), forward=False, then=None)
    return _Creation(handle, Operation(plan, new, lambda: None, pending), world, ends)


def _existing(
    transaction: Transaction, path: str, outside: LinuxKernel, stack: ExitStack, *, replace_old: bool
) -> Handle | None:
    """Return the sandbox to replace; None if the name is free."""
    name, record = transaction.key, transaction.record
    there = namespace.pinned(path)
    if there is None:
        if not transaction.records.will_make(path):
            namespace.check_pin(path)
        return None  # a record without its namespace is obsolete
    if record is None or record.netns != there:
        raise SandboxExistsError(f"create sandbox {name}", f"{path} exists, and netsandbox did not pin it there")
    if not replace_old:
        raise SandboxExistsError(f"create sandbox {name}", "a sandbox of this name exists")
    box = LinuxKernel(namespace.open_namespace(path, follow=False))
    stack.callback(box.close)
    return Handle(transaction.records, name, path, box, outside)


# --- open ---


def open_(name: str, *, host: str | LinuxKernel | None = None, recover: bool = True) -> Handle:
    """Open a sandbox; see `Sandbox.open`. Without *recover*, an interrupted operation is not recovered."""
    records = Records()
    name, path = locate(records, name)
    request = f"open sandbox {name}"
    record = records.load(name)
    recovered: tuple[str, ...] = ()
    with opening(host, name) as (outside, stack):
        if record and (record.pending or record.boot != boot()):
            with begin(records, name, outside, recover=recover) as transaction:
                record, recovered = transaction.record, transaction.recovered
        if record is None:
            there = namespace.pinned(path) is not None
            reason = "netsandbox did not make this namespace; adopt it" if there else "no sandbox has this name"
            raise SandboxNotFoundError(request, *recovered or (reason,))
        fd = namespace.find(record.path, follow=not record.pinned)
        if fd is None:
            lost = f"its namespace is no longer at {record.path}"
            raise SandboxNotFoundError(request, hidden(record) if is_pin_hidden(record) else lost)
        box = LinuxKernel(fd)
        stack.callback(box.close)
        if box.identity != record.netns:
            raise SandboxNotFoundError(request, f"another namespace is at {record.path} now")
        _refuse_own(box, outside, record.path)
        handle = Handle(records, name, record.path, box, outside)
        handle.recovered = recovered
        return handle


def open_host_sandbox(path: str | None) -> Handle:
    """Open the host's own namespace; see `Sandbox.host`."""
    with opening(path, HOST_NAME) as (outside, _):
        return Handle(Records(), HOST_NAME, path or namespace.OWN, outside, outside)


# --- adopt ---


def adopt(source: str, name: str | None, *, host: str | None = None) -> Handle:
    """Adopt a namespace that another program created; see `Sandbox.adopt`."""
    records = Records()
    key, path = _adopted(records, source, name)
    records.prepare(pins=name is not None)
    with opening(host, key) as (outside, stack), begin(records, key, outside) as transaction:
        handle, operation = _adoption(transaction, source, path, outside, stack)
        transaction.carry_out(operation, handle.world, before=None)
        return handle


def plan_adoption(source: str, name: str | None, *, host: str | None = None) -> Plan:
    """Return what `adopt` would do."""
    records = Records()
    key, path = _adopted(records, source, name)
    records.check()
    with opening(host, key) as (outside, stack), begin(records, key, outside, recover=False) as transaction:
        transaction.refuse_pending()
        plan = _adoption(transaction, source, path, outside, stack)[1].plan
        stack.close()
        return plan


def _adopted(records: Records, source: str, name: str | None) -> tuple[str, str | None]:
    """Return the name of an adopted sandbox, and the path where it is pinned (None: it is not)."""
    if not is_path(source):
        raise SpecError([Problem("path", source, "is not an absolute path")])
    if name is None:
        return locate(records, source)[0], None
    return locate(records, name)


def _adoption(
    transaction: Transaction, source: str, pin: str | None, outside: LinuxKernel, stack: ExitStack
) -> tuple[Handle, Operation[None]]:
    """Open a namespace, and return how it becomes a sandbox, pinned at *pin* (None: not pinned)."""
    records, key = transaction.records, transaction.key
    operation = f"adopt {source} as sandbox {key}"
    box = LinuxKernel(namespace.open_namespace(source))
    stack.callback(box.close)
    _refuse_own(box, outside, source)
    if pin and namespace.pinned(pin):
        raise SandboxExistsError(operation, f"something is at {pin} already")
    if pin and not records.will_make(pin):
        namespace.check_pin(pin)
    if transaction.record and transaction.record.netns == box.identity:
        raise SandboxExistsError(operation, "it is a sandbox already")
    other = _holder(records, box.identity)
    if other is not None:
        raise SandboxExistsError(operation, f"it is sandbox {other} already; open that")
    new = Record(key, pin or source, boot(), box.identity, outside.identity, pinned=pin is not None, adopted=True)
    handle = Handle(records, key, new.path, box, outside)
    handle.recovered = transaction.recovered
    lo = box.link("lo")
    state = LinkState(lo, tuple(box.addresses(lo.index))) if lo else None
    return handle, Operation(plan_create(handle.target, pin, box.identity, source=source, lo=state), new, lambda: None)


def _holder(records: Records, identity: tuple[int, int]) -> str | None:
    """Return the name of the sandbox that a namespace is already: two could not tell which one attached a link."""
    for key in records.names():
        with suppress(NetSandboxError):  # a damaged record is reported when that sandbox is used
            record = records.load(key) if _record.mentions(records.read(key) or b"", identity) else None
            found = record and namespace.identity_at(record.path, follow=not record.pinned)
            if record and record.boot == boot() and record.netns == found == identity:
                return key
    return None


def _refuse_own(box: LinuxKernel, outside: LinuxKernel, path: str) -> None:
    if box.identity == outside.identity:
        reason = "it is the namespace this thread is in, where links come from; use Sandbox.host()"
        raise SpecError([Problem("path", path, reason)])


# --- destroy ---


def plan_destruction(handle: Handle, record: Record) -> tuple[Plan, list[int]]:
    """Plan to destroy a sandbox; return the plan, and the host ends of the veths that end with the namespace."""
    found = classify(handle.host, handle.box, record.interfaces)
    items = leaving(record.interfaces, found, stays=record.stays)
    path = record.path if record.pinned else None
    facts = detach_facts(handle.host, handle.box, items, record.interfaces)
    plan = plan_destroy(items, handle.target, facts, path, record.netns)
    links = {link.index: link for link in found.links}
    return plan, [links[item.index].lower or 0 for item in found.ours if item.host_end and item not in items]
