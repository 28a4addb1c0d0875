"""Carrying a plan out between two records, so that it can be undone or finished should we die in the middle.

While a plan is carried out, the record of its sandbox says all that is needed for that, and the next one who holds the
sandbox's lock does it: plugging in is undone, taking out is finished; both ways every link goes home. A namespace that
is gone by then is stood in for by a new and empty one, in which there is nothing to undo; no link is ever moved there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar, cast

from netsandbox import _record
from netsandbox._kernel import HOST, Kernel, World
from netsandbox._plan.model import Plan, Target
from netsandbox._record import Pending, Record
from netsandbox._run.execute import execute, finish, undo
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import PINS, Store, boot
from netsandbox.errors import NetSandboxError, ProtocolError, RollbackError
from netsandbox.netlink.link import Link

T = TypeVar("T")


class _World(dict[str, Kernel]):
    """The namespaces of an interrupted operation; what is not known is stood in for."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, netns: str) -> Kernel:
        """Stand in for a namespace that is gone."""
        kernel = LinuxKernel.create()
        self._stack.callback(kernel.close)
        self[netns] = kernel
        return kernel


def target(name: str, path: str) -> Target:
    """Return how plans call the sandbox at *path*: as ip-netns(8) does, or by the path."""
    directory, _, last = path.rpartition("/")
    return Target(name, last if directory == PINS else path)


def load(store: Store, key: str) -> Record | None:
    """Return the record of a sandbox; None if there is none.

    Raises:
        ProtocolError: It is damaged; nothing is done by it.
    """
    data = store.read(key)
    if data is None:
        return None
    known, record = store.known
    if data == known:
        return cast("Record", record)
    try:
        found = _record.unpack(data)
    except ProtocolError as error:
        raise ProtocolError(f"{store.file(key)}: {error.message}") from error
    store.known = data, found
    return found


def keep(store: Store, key: str, record: Record | None) -> None:
    """Keep a record; None: forget the sandbox."""
    if record:
        mounts = namespace.mounts()
        kept = record if record.mounts == mounts else replace(record, mounts=mounts)
        data = _record.pack(kept)
        store.write(key, data)
        store.known = data, kept
    elif store.read(key) is not None:
        store.delete(key)


def carry_out(
    store: Store,
    key: str,
    plan: Plan,
    world: World,
    *,
    before: Record | None,
    then: Record | None,
    pending: Pending | None = None,
    read: Callable[[], T],
) -> T:
    """Carry out a plan that takes a sandbox from one record to another; its lock is held.

    Args:
        store: The runtime directory.
        key: What the record is kept under.
        plan: What to do.
        world: The namespaces it is about.
        before: The record before; None: there is none.
        then: The record after; None: there is none.
        pending: How it is undone or finished after a crash, if not by undoing, or for taking out finishing, the plan.
        read: Reads back what the caller gets.

    Raises:
        NetSandboxError: Something failed and all was undone, or (RollbackError) not all could be; then the record still
            says what is pending, and the next one tries again.
    """
    if not plan.steps and before == then:
        return read()
    during = before or then
    if during:
        way = pending or Pending(plan.operation, plan.steps, plan.lenient, then if plan.lenient else before)
        keep(store, key, replace(during, pending=way))

    def commit() -> T:
        result = read()
        keep(store, key, then)
        return result

    try:
        return execute(plan, world, commit)
    except RollbackError:
        raise
    except BaseException as error:
        try:
            keep(store, key, before)
        except NetSandboxError as second:
            error.add_note(f"its record stays as if it had been interrupted: {second}")
        raise


def settle(store: Store, key: str, host: LinuxKernel) -> tuple[Record | None, str | None]:
    """Undo or finish what was interrupted in a sandbox whose lock is held.

    Returns:
        Its record after that (None: there is none), and what was done, in words (None: nothing).

    Raises:
        RollbackError: Undoing failed; it is tried again the next time.
        NetSandboxError: Finishing failed, or it has to be done from another namespace.
    """
    record = load(store, key)
    if record is None:
        return None, None
    if record.boot != boot():
        keep(store, key, None)
        _sweep(record)
        return None, f"forgot {record.name}: it was made before the machine was started again"
    pending = record.pending
    if pending is None:
        return record, None
    if is_pin_hidden(record):
        raise NetSandboxError(f"{pending.operation} was interrupted: {say_hidden(record)}")
    if record.host != host.identity:
        reason = "its links came from another namespace than the one this thread is in; name that one with host="
        raise NetSandboxError(f"{pending.operation} was interrupted: {reason}")
    with _world(record, host) as world:
        if pending.forward:
            finish(pending.steps, world)
        else:
            _, left, failures = undo(pending.steps, world)
            if failures:
                error = RollbackError(NetSandboxError(f"{pending.operation} was interrupted"), failures)
                error.left = tuple(left)
                raise error
    keep(store, key, pending.then)
    return pending.then, f"{'finished' if pending.forward else 'undid'} what was interrupted: {pending.operation}"


def is_pin_hidden(record: Record) -> bool:
    """Whether the namespace may be pinned where this process does not see it: in another mount namespace.

    The file it was mounted on is seen there and here, but deleting it would take the mount away everywhere.
    """
    return record.pinned and record.mounts != namespace.mounts() and namespace.is_bare(record.path)


def say_hidden(record: Record) -> str:
    """Say so, and what to do."""
    return f"nothing is mounted on {record.path} here, but may be in another mount namespace; if not, delete that file"


def is_orphan_veth(store: Store, link: Link) -> bool:
    """Whether a link on the host is the end of a veth that no sandbox of the runtime directory has any more.

    The kernel is still taking its namespace down then, or somebody inside has moved the other end elsewhere.
    """
    key = store.marked(link.alias or "") if link.kind == "veth" else None
    if key is None:
        return False
    record = load(store, key)
    ends = [item.outer for item in record.interfaces if item.outer] if record else []
    return not any(end.matches(link) for end in ends)


@contextmanager
def _world(record: Record, host: LinuxKernel) -> Iterator[_World]:
    with ExitStack() as stack:
        world = _World(stack)
        world[HOST] = host
        fd = namespace.find(record.path, follow=not record.pinned)
        if fd is not None:
            box = LinuxKernel(fd)
            stack.callback(box.close)
            world |= {target(record.name, record.path).netns: box} if box.identity == record.netns else {}
        yield world


def _sweep(record: Record) -> None:
    """Delete the file that a namespace of an earlier boot was pinned at."""
    if record.pinned:
        namespace.sweep(record.path)
