"""All sandboxes of the runtime directory: list, recover and prune them."""

from collections.abc import Callable, Iterable, Iterator

from netsandbox._plan.state import wait_for_name
from netsandbox._record import Record
from netsandbox._run.handle import HOST_NAME, annotate_errors
from netsandbox._run.lifecycle import opening
from netsandbox._run.transaction import Records, Transaction, begin, is_orphan_veth, is_pin_hidden
from netsandbox._system import namespace
from netsandbox._system.store import boot
from netsandbox.errors import NetSandboxError
from netsandbox.netlink import link_requests as _requests


def names() -> list[str]:
    """Return the names of all sandboxes that have a record."""
    return Records().names()


def pinned_names() -> list[str]:
    """Return the names of all namespaces in the runtime directory, and of all sandboxes elsewhere."""
    return sorted({*names(), *Records().pinned()})


def recover() -> tuple[str, ...]:
    """Recover every sandbox; see `Sandbox.recover`."""
    records = Records()
    return (*_each(records, lambda transaction: transaction.recovered), *_drafts(records, delete=True))


def prune(*, dry_run: bool) -> tuple[str, ...]:
    """Recover every sandbox, and delete the records of those whose namespace is gone; see `Sandbox.prune`."""
    records = Records()

    def prune_one(transaction: Transaction) -> Iterator[str]:
        yield from transaction.recovered
        record = records.load(transaction.key)
        reason = record and _dead(record)
        if record and reason:
            yield f"{record.name}: {reason}"
            if not dry_run:
                if record.pinned:
                    namespace.sweep(record.path)
                records.keep(transaction.key, None)

    done = _each(records, prune_one, recover=not dry_run)
    return (*done, *_orphan_veths(records, delete=not dry_run), *_drafts(records, delete=not dry_run))


def _orphan_veths(records: Records, *, delete: bool) -> list[str]:
    """Report, and *delete*, host ends of veths that no sandbox has any more; their aliases mark them as ours."""
    found = []
    with opening(None, HOST_NAME) as (outside, _):
        for link in outside.links():
            key = records.marked(link.alias or "")
            if key is None:
                continue
            with begin(records, key, None, recover=False):  # so that it is not being created
                again = wait_for_name(outside, link.name, lambda link: is_orphan_veth(records, link))
                if again and is_orphan_veth(records, again):
                    found.append(f"{again.name}: the host end of a veth of sandbox {key}, which is gone")
                    if delete:
                        outside.send(_requests.delete(again.index))
        outside.close()
    return found


def _drafts(records: Records, *, delete: bool) -> list[str]:
    """Report, and *delete*, the temporary files of killed processes."""
    return [f"{path}: left behind by a process that was killed" for path in records.orphans(delete=delete)]


def _each(records: Records, work: Callable[[Transaction], Iterable[str]], *, recover: bool = True) -> list[str]:
    """Call *work* with every sandbox, under its lock, and return its words; one that fails does not stop the others.

    Raises:
        NetSandboxError: Something failed; its text has all words, and every failure.
    """
    done: list[str] = []
    failed: list[NetSandboxError] = []
    with opening(None, HOST_NAME) as (outside, _):
        for key in records.entries():
            try:
                with annotate_errors(key), begin(records, key, outside, recover=recover) as transaction:
                    done += work(transaction)
            except NetSandboxError as error:
                failed.append(error)
        outside.close()
    if failed:
        raise NetSandboxError("; ".join(map(str, (*done, *failed)))) from failed[0]
    return done


def _dead(record: Record) -> str | None:
    """Return why a sandbox is to be pruned; None: it is not."""
    if record.boot != boot():
        return "it was made before the machine was started again"
    if is_pin_hidden(record):
        return None
    if record.pending:
        return f"interrupted: {record.pending.operation}"
    if record.netns != namespace.identity_at(record.path, follow=not record.pinned):
        return f"its namespace is no longer at {record.path}"
    return None
