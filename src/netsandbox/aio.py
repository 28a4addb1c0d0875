"""Sandboxes for asyncio: the same names, awaited. Each call is one of `netsandbox.Sandbox`, on a thread of its own.

What asks the kernel or changes something is called and awaited, also where it is a property otherwise (``await
box.interfaces()``); what is only remembered stays a property (``box.name``).

A call that is cancelled waits for its thread, which cannot be stopped in the middle. What made something (a sandbox, an
interface, a program) is then undone; anything else stays done. After that the CancelledError is raised.

An asynchronous socket would gain nothing: the kernel does its work inside the call that sends a request (design.md,
kernel fact 9). The threads are of no pool: each is in the namespace that the thread of the event loop is in, which is
the host of a sandbox that it makes, and calls that wait for one another use none up.
"""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial, wraps
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import netsandbox
from netsandbox import InterfaceSpec, Neighbor, NetSandboxError, Plan, RollbackError, Route, Statistics, Summary
from netsandbox._bulk import Progress
from netsandbox._system.namespace import start_thread
from netsandbox.links import Kind
from netsandbox.spec import InterfaceOptions

if TYPE_CHECKING:
    import os
    from subprocess import CompletedProcess, Popen

    from netsandbox import Event

__all__ = ["Interface", "Opening", "Sandbox"]
P = ParamSpec("P")
T = TypeVar("T")
_Sync = netsandbox.Sandbox


async def _call(
    work: Callable[[], T], undo: Callable[[T], object] | None = None, stop: Callable[[], object] | None = None
) -> T:
    """Call *work* on a thread of its own; if this is cancelled, wait for it, and *undo* what it made.

    What waits itself can be told to *stop* then.

    Raises:
        RollbackError: It was cancelled, and rolling back failed.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  it is raised again, where the caller is
            errors.append(error)
        finally:
            loop.call_soon_threadsafe(ended.set)

    cancelled: asyncio.CancelledError | None = None
    start_thread(partial(contextvars.copy_context().run, body))
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError as error:
            cancelled = error
            if stop:
                stop()
    try:
        if cancelled is None and errors:
            raise errors[0]
        if cancelled is None:
            return results[0]
        if undo and results:
            try:
                await _call(partial(undo, results[0]))
            except NetSandboxError as error:
                raise RollbackError(cancelled, [error]) from error
        raise cancelled from (errors[0] if errors else None)
    finally:
        errors.clear()  # no cycle between this frame and the traceback


def _verb(function: Callable[Concatenate[_Sync, P], T]) -> Callable[Concatenate["Sandbox", P], Coroutine[Any, Any, T]]:
    """Return a verb of `netsandbox.Sandbox` as one of `Sandbox`; if it is cancelled, it is done all the same."""

    @wraps(function)
    async def verb(box: "Sandbox", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _call(lambda: function(box.sync, *args, **kwargs))

    return verb


def _static(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return a function as one that is awaited; if it is cancelled, it is done all the same."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await _call(lambda: function(*args, **kwargs))

    return call


@dataclass(frozen=True, slots=True)
class Interface(netsandbox.Interface):
    """An interface of a sandbox, as the kernel had it when it was read: a `netsandbox.Interface` with awaited verbs."""

    @classmethod
    def of(cls, found: Iterable[netsandbox.Interface]) -> tuple[Self, ...]:
        """Return interfaces with awaited verbs."""
        names = [item.name for item in fields(cls)]
        return tuple(cls(**{name: getattr(item, name) for name in names}) for item in found)

    async def remove(self) -> None:  # type: ignore[override]  # the same name, awaited
        """Take it out of its sandbox; see `Sandbox.remove_interface`."""
        await _call(lambda: netsandbox.Interface.remove(self))

    async def statistics(self) -> Statistics:  # type: ignore[override]  # as above
        """Return its counters, read now; see `netsandbox.Interface.statistics`."""
        return await _call(lambda: netsandbox.Interface.statistics(self))


class Opening:
    """A sandbox that is being made or opened: to be awaited, or entered with ``async with``."""

    def __init__(self, make: Callable[[], _Sync], undo: Callable[[_Sync], object]) -> None:
        """Remember how it is made, and what undoes that."""
        self._make = make
        self._undo = undo

    async def _open(self) -> "Sandbox":
        return Sandbox(await _call(self._make, self._undo))

    def __await__(self) -> Generator[Any, None, "Sandbox"]:
        """Make it, and return it open."""
        return self._open().__await__()

    async def __aenter__(self) -> "Sandbox":
        """Make it; at the end of the ``async with`` statement it is closed, or destroyed if it is temporary."""
        self._box = await self
        return self._box

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, or destroy it if it is temporary."""
        await self._box.__aexit__(kind, error, trace)


class Sandbox:
    """A `netsandbox.Sandbox` whose verbs are awaited; they are described there.

    Attributes:
        sync: The sandbox that is called.
    """

    def __init__(self, sync: _Sync) -> None:
        """Take an open sandbox."""
        self.sync = sync

    def __repr__(self) -> str:
        """Name it."""
        return f"<aio.{repr(self.sync)[1:]}"

    async def __aenter__(self) -> Self:
        """Enter the ``async with`` statement at whose end it is closed, or destroyed if it is temporary."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, or destroy it if it is temporary."""
        await _call(lambda: self.sync.__exit__(kind, error, trace))

    # --- making, closing, destroying ---

    @staticmethod
    def create(
        name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Opening:
        """Make a sandbox; cancelled, it is destroyed, but one that it has replaced does not come back."""
        make = partial(_Sync.create, name, replace=replace, host=host, interfaces=interfaces)
        return Opening(make, _destroy)

    @staticmethod
    def open(name: str, *, host: str | None = None) -> Opening:
        """Open a sandbox that exists."""
        return Opening(partial(_Sync.open, name, host=host), _Sync.close)

    @staticmethod
    def adopt(path: str, name: str | None = None, *, host: str | None = None) -> Opening:
        """Use a network namespace that someone else made; cancelled, it is given up again."""
        return Opening(partial(_Sync.adopt, path, name, host=host), _destroy)

    @staticmethod
    def host(path: str | None = None) -> Opening:
        """Use the host's own namespace."""
        return Opening(partial(_Sync.host, path), _Sync.close)

    @staticmethod
    def temporary(*, host: str | None = None) -> Opening:
        """Make a sandbox that is destroyed at the end of the ``async with`` statement."""
        return Opening(partial(_Sync.temporary, host=host), _destroy)

    @staticmethod
    async def create_many(
        names: Iterable[str] | Mapping[str, Iterable[InterfaceSpec]],
        *,
        replace: bool = False,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> "Summary[Sandbox]":
        """Make many sandboxes; cancelled, they are destroyed. *progress* is called on another thread."""
        make = partial(_Sync.create_many, names, replace=replace, host=host, progress=progress)
        made = await _call(make, _destroy_all)
        return Summary({name: Sandbox(box) for name, box in made.done.items()}, made.failed)

    @staticmethod
    async def add_many(
        wishes: "Mapping[str | Sandbox, Iterable[InterfaceSpec]]",
        *,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> Summary[tuple[Interface, ...]]:
        """Plug into many sandboxes; cancelled, it is taken out again. *progress* is called on another thread."""
        given = {_sync(box): specs for box, specs in wishes.items()}
        boxes = {box.name: box for box in given if isinstance(box, _Sync)}

        def undo(added: Summary[tuple[netsandbox.Interface, ...]]) -> None:
            for name, interfaces in added.done.items():
                if name in boxes:
                    boxes[name].remove_interfaces(interfaces)
                else:
                    with _Sync.open(name, host=host) as box:
                        box.remove_interfaces(interfaces)

        added = await _call(partial(_Sync.add_many, given, host=host, progress=progress), undo)
        return Summary({name: Interface.of(found) for name, found in added.done.items()}, added.failed)

    @staticmethod
    async def destroy_many(
        names: "Iterable[str | Sandbox]",
        *,
        wait: bool = False,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> "Summary[Sandbox]":
        """Destroy many sandboxes, also if it is cancelled. *progress* is called on another thread."""
        boxes = [names] if isinstance(names, str) else [_sync(name) for name in names]
        gone = await _call(partial(_Sync.destroy_many, boxes, wait=wait, host=host, progress=progress))
        return Summary({name: Sandbox(box) for name, box in gone.done.items()}, gone.failed)

    list = staticmethod(_static(_Sync.list))
    recover = staticmethod(_static(_Sync.recover))
    prune = staticmethod(_static(_Sync.prune))
    plan_create = staticmethod(_Sync.plan_create)
    plan_adopt = staticmethod(_static(_Sync.plan_adopt))
    close = _verb(_Sync.close)
    aclose = close
    destroy = _verb(_Sync.destroy)

    # --- what it is ---

    @property
    def name(self) -> str:
        """Its name, or the path that stands for it."""
        return self.sync.name

    @property
    def path(self) -> str:
        """Where its namespace is found."""
        return self.sync.path

    @property
    def recovered(self) -> tuple[str, ...]:
        """What was undone or finished of operations that a crash had interrupted, in words."""
        return self.sync.recovered

    async def interfaces(self) -> tuple[Interface, ...]:
        """Return what is plugged in, as the kernel has it now."""
        return Interface.of(await _call(lambda: self.sync.interfaces))

    async def missing(self) -> tuple[Interface, ...]:
        """Return what was plugged in and is not there any more."""
        return Interface.of(await _call(lambda: self.sync.missing))

    async def foreign(self) -> tuple[Interface, ...]:
        """Return the links that netsandbox did not plug in."""
        return Interface.of(await _call(lambda: self.sync.foreign))

    async def routes(self) -> tuple[Route, ...]:
        """Return the routes of the main tables."""
        return await _call(lambda: self.sync.routes)

    async def gateway4(self) -> IPv4Address | None:
        """Return the IPv4 default gateway."""
        return await _call(lambda: self.sync.gateway4)

    async def gateway6(self) -> IPv6Address | None:
        """Return the IPv6 default gateway."""
        return await _call(lambda: self.sync.gateway6)

    async def neighbors(self) -> tuple[Neighbor, ...]:
        """Return the permanent neighbours and the bridge forwarding entries."""
        return await _call(lambda: self.sync.neighbors)

    async def has_ipv6(self) -> bool:
        """Return whether the loopback link has an IPv6 address."""
        return await _call(lambda: self.sync.has_ipv6)

    # --- interfaces ---

    async def add_interface(self, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Interface:
        """Plug a link in; cancelled, it is taken out again."""
        made = await _call(lambda: self.sync.add_interface(source, **options), self.sync.remove_interface)
        return Interface.of([made])[0]

    async def add_interfaces(self, specs: Iterable[InterfaceSpec]) -> tuple[Interface, ...]:
        """Plug several links in; cancelled, they are taken out again."""
        return Interface.of(await _call(lambda: self.sync.add_interfaces(specs), self.sync.remove_interfaces))

    async def plan(self, verb: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Plan:
        """Return what a verb of this sandbox would do, as in ``await box.plan(box.remove_interface, "eth0")``."""
        is_own = getattr(verb, "__self__", None) is self
        same = getattr(self.sync, getattr(verb, "__name__", "")) if is_own else verb
        return await _call(lambda: self.sync.plan(same, *args, **kwargs))

    plan_interface = _verb(_Sync.plan_interface)
    remove_interface = _verb(_Sync.remove_interface)
    remove_interfaces = _verb(_Sync.remove_interfaces)
    advertise = _verb(_Sync.advertise)
    wait_for_adverts = _verb(_Sync.wait_for_adverts)

    async def events(self, *, timeout: float | None = None) -> AsyncGenerator["Event", None]:  # noqa: ASYNC109  as there
        """Yield what changes from the beginning of the loop to its end; see `netsandbox.Sandbox.events`."""
        found = await _call(partial(self.sync.events, timeout=timeout), netsandbox.Events.close)
        with closing(found):
            while event := await _call(partial(next, found, None), stop=found.close):
                yield event

    # --- the network ---

    add_address = _verb(_Sync.add_address)
    remove_address = _verb(_Sync.remove_address)
    set_gateway = _verb(_Sync.set_gateway)
    choose_gateways = _verb(_Sync.choose_gateways)
    unset_gateway = _verb(_Sync.unset_gateway)
    add_route = _verb(_Sync.add_route)
    remove_route = _verb(_Sync.remove_route)
    add_neighbor = _verb(_Sync.add_neighbor)
    remove_neighbor = _verb(_Sync.remove_neighbor)
    disable_arp_for_vip = _verb(_Sync.disable_arp_for_vip)
    apply_os_tweaks = _verb(_Sync.apply_os_tweaks)

    # --- running inside ---

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* inside the namespace; cancelled, it is waited for."""
        return await _call(lambda: self.sync.run(function, *args, **kwargs))

    async def popen(self, command: "Sequence[str | os.PathLike[str]]", **options: Any) -> "Popen[Any]":  # noqa: ANN401
        """Start a program inside; cancelled, it is killed."""
        return await _call(lambda: self.sync.popen(command, **options), _kill)

    async def exec(self, command: "Sequence[str | os.PathLike[str]]", **options: Any) -> "CompletedProcess[Any]":  # noqa: ANN401
        """Run a program inside to its end; cancelled, it is waited for: give it a *timeout*."""
        return await _call(lambda: self.sync.exec(command, **options))


def _sync(box: str | Sandbox) -> str | _Sync:
    return box.sync if isinstance(box, Sandbox) else box


def _destroy(box: _Sync) -> None:
    box.destroy(wait=True)


def _destroy_all(made: Summary[_Sync]) -> None:
    _Sync.destroy_many(made, wait=True).raise_for_failures()


def _kill(process: "Popen[Any]") -> None:
    process.kill()
    process.wait()
