"""The crash protocol: what keeps the host whole when this process dies. All of it is in this file.

A sandbox has one *record*, a file in the runtime directory, and one *lock*, a flock(2) on a file beside it that the
kernel releases when its holder exits. `begin` is the only place that takes the lock.

Theory of operation. A change goes through three states, and each is on disk before the next one begins:

1. *idle*: the record says what is attached, and nothing is pending.
2. *pending*: the record holds the steps of the change as well, and whether recovery rolls them back or forward. Only
   now does the first step run. If a step fails, `execute` rolls back, and the record returns to idle.
3. *idle* again, with the new record. This write is the commit: until it, recovery rolls an attach back.

Recovery rolls an attach back and a detach forward (docs/decisions/0008-attach-rolls-back.md): either way each link of
the host ends up on the host. `begin` recovers before it yields a transaction:

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

In the last row the kernel has destroyed everything inside; only the steps on the host find something to do. A step
looks for its link first, does not find it in the empty namespace, and so moves nothing into it.

Recovery can itself be interrupted, and is then repeated: a step looks before it acts. Where a step of recovery fails,
the record stays pending, and the next `begin` tries again.
"""

import sys
from collections import defaultdict
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
        self._latest: tuple[bytes, Record] | None = None  # what was read or written last, to parse it once

    def load(self, key: str) -> Record | None:
        """Return the record of a sandbox; None if there is none.

        Raises:
            ProtocolError: The record is damaged.
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
    """What a verb asks for."""

    plan: Plan
    record: Record | None  # the record afterwards; None: there is none
    read: Callable[[], T]  # reads the result back, which the caller gets
    pending: Pending | None = None  # what recovery does; if None, the plan is rolled forward if idempotent, else back


@dataclass(frozen=True, slots=True)
class Transaction:
    """A sandbox whose lock is held."""

    records: Records
    key: str  # of the record
    record: Record | None
    recovered: tuple[str, ...] = ()  # what recovery did, in words

    def refuse_pending(self) -> None:
        """Refuse to plan on top of an interrupted operation, which a dry run does not recover.

        Raises:
            NetSandboxError: An operation was interrupted.
        """
        if self.record and self.record.pending:
            reason = "a dry run recovers nothing; netsandbox prune, or any command without it, does"
            raise NetSandboxError(f"{self.record.pending.operation} was interrupted: {reason}")

    def carry_out(self, operation: Operation[T], world: World, *, before: Record | None) -> T:
        """Carry out an operation, all of it or none of it, and return what it reads back.

        Raises:
            NetSandboxError: Something failed and all was undone, or (RollbackError) not all could be; then the record
                stays pending, and the next transaction tries again.
        """
        plan, then = operation.plan, operation.record
        if not plan.steps and before == then:
            return operation.read()
        during = before or then
        if during:
            way = Pending(plan.operation, plan.steps, plan.idempotent, then if plan.idempotent else before)
            self.records.keep(self.key, replace(during, pending=operation.pending or way))

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
        key: The key of the record.
        host: The host's namespace for this thread; None: do not recover.
        recover: Whether to recover; if not, everything stays as it is, and the record may be pending.

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


def _recover(records: Records, key: str, host: LinuxKernel) -> tuple[Record | None, tuple[str, ...]]:
    """Recover an interrupted operation; return the record, and what was done, in words."""
    record = records.load(key)
    if record is None:
        return None, ()
    if record.boot != boot():
        records.keep(key, None)
        if record.pinned:
            namespace.sweep(record.path)
        return None, (f"deleted the record of {record.name}: it was made before the machine was started again",)
    pending = record.pending
    if pending is None:
        return record, ()
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
    return pending.then, (f"{way} what was interrupted: {pending.operation}",)


@contextmanager
def _world(record: Record, host: Kernel) -> Iterator[World]:
    """Open the namespaces of an interrupted operation; a new and empty one stands in for each that is gone."""
    with ExitStack() as stack:

        def stand_in() -> Kernel:
            kernel = LinuxKernel.create()
            stack.callback(kernel.close)
            return kernel

        world = defaultdict[str, Kernel](stand_in, {HOST: host})
        fd = namespace.find(record.path, follow=not record.pinned)
        if fd is not None:
            box = LinuxKernel(fd)
            stack.callback(box.close)
            if box.identity == record.netns:
                world[target(record.name, record.path).netns] = box
        yield world


def refuse_other_host(record: Record, host: LinuxKernel, operation: Operation[Any]) -> None:
    """Refuse to attach links from another host than before, or to return them to it.

    Raises:
        NetSandboxError: *host* is not the host of the sandbox.
    """
    left = operation.record.interfaces if operation.record else ()
    if record.host != host.identity and left != record.interfaces:
        raise NetSandboxError(f"{operation.plan.operation}: {_OTHER_HOST}")


def target(name: str, path: str) -> Target:
    """Return what plans call the sandbox at *path*: its name if ip-netns(8) finds it there, or the path."""
    directory, _, last = path.rpartition("/")
    return Target(name, last if directory == PINS else path)


def is_pin_hidden(record: Record) -> bool:
    """Whether the namespace may be pinned in another mount namespace, which this process does not see.

    Its file is there in both, but deleting the file would unpin the namespace everywhere.
    """
    return record.pinned and record.mounts != namespace.mounts() and namespace.is_bare(record.path)


def hidden(record: Record) -> str:
    """Return the reason to refuse a hidden pin, and what to do."""
    return f"nothing is mounted on {record.path} here, but may be in another mount namespace; if not, delete that file"


def is_orphan_veth(records: Records, link: Link) -> bool:
    """Whether a link on the host is the end of a veth that no sandbox of the runtime directory has.

    Its namespace is still being destroyed then, or a program inside has moved the other end elsewhere.
    """
    key = records.marked(link.alias or "") if link.kind == "veth" else None
    if key is None:
        return False
    record = records.load(key)
    ends = [item.host_end for item in record.interfaces if item.host_end] if record else []
    return not any(end.matches(link) for end in ends)
