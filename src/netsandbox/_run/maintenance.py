"""All sandboxes of the runtime directory: list, recover and prune them."""

from collections.abc import Callable, Iterable, Iterator

from netsandbox._plan.state import wait_for_name
from netsandbox._record import Record
from netsandbox._run.handle import HOST_NAME, annotate_errors
from netsandbox._run.lifecycle import opening
from netsandbox._run.transaction import is_orphan_veth, is_pin_hidden, keep, load, settle
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store, boot
from netsandbox.errors import NetSandboxError
from netsandbox.netlink import link_requests as _requests


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
                again = wait_for_name(outside, link.name, lambda link: is_orphan_veth(store, link))
                if again and is_orphan_veth(store, again):
                    found.append(f"{again.name}: the host end of a veth of sandbox {key}, which is gone")
                    if delete:
                        outside.send(_requests.delete(again.index))
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
                with annotate_errors(key), store.locked(key):
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
    if is_pin_hidden(record):
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
