"""The crash protocol: what keeps the host whole when this process dies. All of it is in this file.

A sandbox has one *record*, a file in the runtime directory, and one *lock*, a flock(2) on a file beside it that the
kernel releases when its holder exits. `begin` is the only place that takes the lock.

Theory of operation. A change goes through three states, and each is on disk before the next one begins:

1. *idle*: the record says what is attached, and nothing is pending.
2. *pending*: the record holds the steps of the change as well, and which way recovery takes: back or forward. Only now
   does the first step run. If a step fails in a living process, `execute` rolls back, and the record returns to idle.
3. *idle* again, with the new record. This write is the commit: before it recovery rolls an attach back, after it the
   change is done.

An attach is rolled back, a detach is rolled forward (docs/decisions/0008-attach-rolls-back.md): either way each
link of the host ends up on the host. `begin` recovers before it hands out a transaction:

| record of        | its pin is                     | pending  | `begin`                                             |
|------------------|--------------------------------|----------|-----------------------------------------------------|
| nothing          | any                            |          | goes on, without a record                           |
| an earlier boot  | any                            | any      | deletes the record, and the empty file of the pin   |
| this boot        | any                            | nothing  | goes on                                             |
| this boot        | hidden by the mount namespace  | any      | refuses: the namespace may be pinned elsewhere      |
| this boot, of another host | any                  | any      | refuses: the links have to return to that host      |
| this boot        | there                          | back     | undoes the steps, the newest first                  |
| this boot        | there                          | forward  | carries out the steps that are left                 |
| this boot        | gone, or of another namespace  | any      | does the same, with an empty namespace in its place |

In the last row the kernel has destroyed everything inside; only the steps on the host find something to do. No step
moves a link into the stand-in: a step looks for its link first, and does not find it there.

Recovery can itself be interrupted, and is then repeated: a step looks before it acts. Where a step of recovery fails,
the record stays pending, and the next `begin` tries again.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

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
_OTHER_HOST = "its links came from another namespace than the one this thread is in; name that one with host="


class Records(Store):
    """The runtime directory, with its records as values."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise NetSandboxError(f"network namespaces are a part of Linux; this is {sys.platform}")
        super().__init__()
        self._latest: tuple[bytes, Record] | None = None  # what this object read or wrote last: it need not be parsed

    def load(self, key: str) -> Record | None:
        """Return the record of a sandbox; None if there is none.

        Raises:
            ProtocolError: The record is damaged; nothing is done by it.
        """
        data = self.read(key)
        if data is None:
            return None
        if not self._latest or self._latest[0] != data:
            try:
                self._latest = data, _record.unpack(data)
            except ProtocolError as error:
                raise ProtocolError(f"{self.file(key)}: {error.message}") from error
        return self._latest[1]

    def keep(self, key: str, record: Record | None) -> None:
        """Write a record; None: delete it."""
        if record:
            mounts = namespace.mounts()
            kept = record if record.mounts == mounts else replace(record, mounts=mounts)
            data = _record.pack(kept)
            self.write(key, data)
            self._latest = data, kept
        elif self.read(key) is not None:
            self.delete(key)


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """What a verb comes to.

    Attributes:
        plan: What is to be done.
        record: The record afterwards; None: there is none.
        read: Reads back what the caller gets.
    """

    plan: Plan
    record: Record | None
    read: Callable[[], T]


@dataclass(frozen=True, slots=True)
class Transaction:
    """A sandbox whose lock is held.

    Attributes:
        records: The runtime directory.
        key: What the record is kept under.
        record: The record; None: there is none.
        recovered: What recovery did, in words; None: nothing.
    """

    records: Records
    key: str
    record: Record | None
    recovered: str | None = None

    def refuse_pending(self) -> None:
        """Refuse to plan on top of an interrupted operation, which only a real run recovers.

        Raises:
            NetSandboxError: An operation was interrupted.
        """
        if self.record and self.record.pending:
            reason = "a dry run recovers nothing; netsandbox prune, or any command without it, does"
            raise NetSandboxError(f"{self.record.pending.operation} was interrupted: {reason}")

    def carry_out(
        self,
        operation: Operation[T],
        world: World,
        *,
        before: Record | None,
        pending: Pending | None = None,
    ) -> T:
        """Carry out an operation, all of it or none of it.

        Args:
            operation: What to do, the record afterwards, and what reads back what the caller gets.
            world: The namespaces that its plan is about.
            before: The record before; None: there is none.
            pending: What recovery does; if left out, it rolls the plan back, or forward if the plan is idempotent.

        Raises:
            NetSandboxError: Something failed and all was undone, or (RollbackError) not all could be; then the record
                stays pending, and the next transaction tries again.
        """
        plan, then = operation.plan, operation.record
        if not plan.steps and before == then:
            return operation.read()
        during = before or then
        if during:
            way = pending or Pending(plan.operation, plan.steps, plan.idempotent, then if plan.idempotent else before)
            self.records.keep(self.key, replace(during, pending=way))

        def commit() -> T:
            result = operation.read()
            self.records.keep(self.key, then)
            return result

        try:
            return execute(plan, world, commit)
        except RollbackError:
            raise
        except BaseException as error:
            try:
                self.records.keep(self.key, before)
            except NetSandboxError as second:
                error.add_note(f"its record stays pending: {second}")
            raise


@contextmanager
def begin(records: Records, key: str, host: LinuxKernel | None, *, recover: bool = True) -> Iterator[Transaction]:
    """Take the lock of a sandbox, recover what was interrupted, and yield the transaction.

    Args:
        records: The runtime directory.
        key: What the record is kept under.
        host: The namespace that this thread takes for the host; needed to recover.
        recover: Whether to recover; without, everything stays as it is, and the record may be pending.

    Raises:
        NetSandboxError: Recovery failed, or has to be done from another namespace.
    """
    if not recover and not records.is_there:
        yield Transaction(records, key, None)
        return
    with records.locked(key):
        if host and recover:
            yield Transaction(records, key, *_recover(records, key, host))
        else:
            found = records.load(key)
            yield Transaction(records, key, found if found and found.boot == boot() else None)


def _recover(records: Records, key: str, host: LinuxKernel) -> tuple[Record | None, str | None]:
    """Complete what was interrupted in a sandbox; return its record, and what was done, in words."""
    record = records.load(key)
    if record is None:
        return None, None
    if record.boot != boot():
        records.keep(key, None)
        if record.pinned:
            namespace.sweep(record.path)
        return None, f"deleted the record of {record.name}: it was made before the machine was started again"
    pending = record.pending
    if pending is None:
        return record, None
    if is_pin_hidden(record):
        raise NetSandboxError(f"{pending.operation} was interrupted: {hidden(record)}")
    if record.host != host.identity:
        raise NetSandboxError(f"{pending.operation} was interrupted: {_OTHER_HOST}")
    with _world(record, host) as world:
        if pending.forward:
            finish(pending.steps, world)
        else:
            _, left, failures = undo(pending.steps, world)
            if failures:
                error = RollbackError(NetSandboxError(f"{pending.operation} was interrupted"), failures)
                error.left = tuple(left)
                raise error
    records.keep(key, pending.then)
    way = "finished" if pending.forward else "rolled back"
    return pending.then, f"{way} what was interrupted: {pending.operation}"


class _World(dict[str, Kernel]):
    """The namespaces of an interrupted operation; a new and empty one stands in for each that is gone."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, netns: str) -> Kernel:
        """Make the stand-in of the namespace that the steps call *netns*."""
        kernel = self[netns] = LinuxKernel.create()
        self._stack.callback(kernel.close)
        return kernel


@contextmanager
def _world(record: Record, host: Kernel) -> Iterator[World]:
    """Open the namespaces that the steps of a record are about."""
    with ExitStack() as stack:
        world = _World(stack)
        world[HOST] = host
        fd = namespace.find(record.path, follow=not record.pinned)
        if fd is not None:
            box = LinuxKernel(fd)
            stack.callback(box.close)
            if box.identity == record.netns:
                world[target(record.name, record.path).netns] = box
        yield world


def refuse_other_host(record: Record, host: LinuxKernel, operation: Operation[Any]) -> None:
    """Refuse to attach from, or return links to, another namespace than the one they came from.

    Raises:
        NetSandboxError: *host* is not the host of the sandbox.
    """
    left = operation.record.interfaces if operation.record else ()
    if record.host != host.identity and left != record.interfaces:
        raise NetSandboxError(f"{operation.plan.operation}: {_OTHER_HOST}")


def target(name: str, path: str) -> Target:
    """Return what plans call the sandbox at *path*: its name if ip-netns(8) sees it there, or the path."""
    directory, _, last = path.rpartition("/")
    return Target(name, last if directory == PINS else path)


def is_pin_hidden(record: Record) -> bool:
    """Whether the namespace may be pinned where this process does not see it: in another mount namespace.

    The file it was mounted on is seen in both, but deleting it would take the mount away everywhere.
    """
    return record.pinned and record.mounts != namespace.mounts() and namespace.is_bare(record.path)


def hidden(record: Record) -> str:
    """Say that a pin is hidden, and what to do."""
    return f"nothing is mounted on {record.path} here, but may be in another mount namespace; if not, delete that file"


def is_orphan_veth(records: Records, link: Link) -> bool:
    """Whether a link on the host is the end of a veth that no sandbox of the runtime directory has.

    The kernel is still destroying its namespace then, or somebody inside has moved the other end elsewhere.
    """
    key = records.marked(link.alias or "") if link.kind == "veth" else None
    if key is None:
        return False
    record = records.load(key)
    ends = [item.outer for item in record.interfaces if item.outer] if record else []
    return not any(end.matches(link) for end in ends)
