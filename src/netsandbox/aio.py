"""Sandboxes for asyncio: the same names, awaited. Each call is one of `netsandbox.Sandbox`, on a thread of its own.

What asks the kernel or changes something is called and awaited, also where it is a property otherwise (``await
box.interfaces()``); what is only remembered stays a property (``box.name``).

A thread cannot be stopped in the middle, so a call that is cancelled waits for its thread. If the call created
something, that is undone: a created or adopted sandbox is destroyed (one that it replaced does not come back), an
opened one is closed, an interface is detached, a program is killed. Anything else stays done. Then the CancelledError
is raised.

An asynchronous socket would gain nothing: the kernel does its work inside the call that sends a request
(docs/kernel-facts.md, "The kernel answers before send returns"). No pool limits the threads, so calls may wait for one
another. Each thread is in the namespace of the event loop's thread, which is the host of a sandbox that it creates.
"""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial, wraps
from inspect import signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import netsandbox
from netsandbox import InterfaceSpec, NetSandboxError, Plan, RollbackError, Statistics, Summary
from netsandbox._bulk import Progress
from netsandbox._system.threads import start
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
    """Call *work* on a thread of its own; if this is cancelled, call *stop*, wait for *work*, and *undo* its result.

    Raises:
        RollbackError: It was cancelled, and *undo* failed.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def body() -> T:
        try:
            return work()
        finally:
            loop.call_soon_threadsafe(ended.set)

    cancelled: asyncio.CancelledError | None = None
    outcome = start(partial(contextvars.copy_context().run, body))
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError as error:
            cancelled = error
            if stop:
                stop()
    if cancelled is None:
        return outcome()
    try:
        result = outcome()
    except BaseException as error:
        raise cancelled from error
    if undo:
        try:
            await _call(partial(undo, result))
        except NetSandboxError as error:
            raise RollbackError(cancelled, [error]) from error
    raise cancelled


def _verb(function: Callable[Concatenate[_Sync, P], T]) -> Callable[Concatenate["Sandbox", P], Coroutine[Any, Any, T]]:
    """Return a verb of `netsandbox.Sandbox` as one of `Sandbox`."""

    @wraps(function)
    async def verb(box: "Sandbox", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _call(lambda: function(box.sync, *args, **kwargs))

    return verb


def _view(name: str, read: Callable[[_Sync], T]) -> Callable[["Sandbox"], Coroutine[Any, Any, T]]:
    """Return a property of `netsandbox.Sandbox` as a verb of `Sandbox`."""
    verb = _verb(read)
    verb.__name__, verb.__doc__ = name, getattr(_Sync, name).__doc__
    return verb


def _static(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return a function of `netsandbox.Sandbox` as one that is awaited."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await _call(lambda: function(*args, **kwargs))

    return call


def _opening(function: Callable[P, _Sync], undo: Callable[[_Sync], object]) -> Callable[P, "Opening"]:
    """Return a function that creates or opens a sandbox as one whose result is awaited, or entered."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Opening:
        return Opening(partial(function, *args, **kwargs), undo)

    # help() and editors see what the call returns
    call.__signature__ = signature(function).replace(return_annotation=Opening)  # type: ignore[attr-defined]
    return call


def _destroy(box: _Sync) -> None:
    box.destroy(wait=True)


@dataclass(frozen=True, slots=True)
class Interface(netsandbox.Interface):
    """An interface of a sandbox, as the kernel had it when it was read: a `netsandbox.Interface` with awaited verbs."""

    @classmethod
    def of(cls, found: Iterable[netsandbox.Interface]) -> tuple[Self, ...]:
        """Return interfaces with awaited verbs."""
        names = [item.name for item in fields(cls)]
        return tuple(cls(**{name: getattr(item, name) for name in names}) for item in found)

    async def remove(self) -> None:  # type: ignore[override]  # the same name, awaited
        """Detach it; see `Sandbox.remove_interface`."""
        await _call(lambda: netsandbox.Interface.remove(self))

    async def statistics(self) -> Statistics:  # type: ignore[override]  # as above
        """Return its counters, read now; see `netsandbox.Interface.statistics`."""
        return await _call(lambda: netsandbox.Interface.statistics(self))


class Opening:
    """A sandbox that is being created or opened: await it, or enter it with ``async with``, which closes it."""

    def __init__(self, make: Callable[[], _Sync], undo: Callable[[_Sync], object]) -> None:
        """Not for users: call `Sandbox.create`, `open`, `adopt`, `host` or `temporary`."""
        self._make = make
        self._undo = undo

    async def _open(self) -> "Sandbox":
        return Sandbox(await _call(self._make, self._undo))

    def __await__(self) -> Generator[Any, None, "Sandbox"]:
        return self._open().__await__()

    async def __aenter__(self) -> "Sandbox":
        self._box = await self
        return self._box

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._box.__aexit__(kind, error, trace)


class Sandbox:
    """A `netsandbox.Sandbox` whose verbs are awaited; they are described there.

    Attributes:
        sync: The sandbox that is called.
    """

    def __init__(self, sync: _Sync) -> None:
        self.sync = sync

    def __repr__(self) -> str:
        return f"<aio.{repr(self.sync)[1:]}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _call(lambda: self.sync.__exit__(kind, error, trace))

    # --- creating, closing, destroying ---

    create = staticmethod(_opening(_Sync.create, _destroy))
    open = staticmethod(_opening(_Sync.open, _Sync.close))
    adopt = staticmethod(_opening(_Sync.adopt, _destroy))
    host = staticmethod(_opening(_Sync.host, _Sync.close))
    temporary = staticmethod(_opening(_Sync.temporary, _destroy))

    @staticmethod
    async def create_many(
        names: Iterable[str] | Mapping[str, Iterable[InterfaceSpec]],
        *,
        replace: bool = False,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> "Summary[Sandbox]":
        """Create many sandboxes. *progress* is called on another thread."""
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
        """Attach interfaces to many sandboxes. *progress* is called on another thread."""
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
        """Destroy many sandboxes. *progress* is called on another thread."""
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
        """What was rolled back or forward of operations that a crash had interrupted, in words."""
        return self.sync.recovered

    interfaces = _view("interfaces", lambda box: Interface.of(box.interfaces))
    missing = _view("missing", lambda box: Interface.of(box.missing))
    foreign = _view("foreign", lambda box: Interface.of(box.foreign))
    routes = _view("routes", lambda box: box.routes)
    gateway4 = _view("gateway4", lambda box: box.gateway4)
    gateway6 = _view("gateway6", lambda box: box.gateway6)
    neighbors = _view("neighbors", lambda box: box.neighbors)
    has_ipv6 = _view("has_ipv6", lambda box: box.has_ipv6)

    # --- interfaces ---

    async def add_interface(self, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Interface:
        """Attach a link."""
        made = await _call(lambda: self.sync.add_interface(source, **options), self.sync.remove_interface)
        return Interface.of([made])[0]

    async def add_interfaces(self, specs: Iterable[InterfaceSpec]) -> tuple[Interface, ...]:
        """Attach several links."""
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
        """Call *function* inside the namespace, on a thread of its own."""
        return await _call(lambda: self.sync.run(function, *args, **kwargs))

    async def popen(self, command: "Sequence[str | os.PathLike[str]]", **options: Any) -> "Popen[Any]":  # noqa: ANN401
        """Start a program inside."""
        return await _call(lambda: self.sync.popen(command, **options), _kill)

    async def exec(self, command: "Sequence[str | os.PathLike[str]]", **options: Any) -> "CompletedProcess[Any]":  # noqa: ANN401
        """Run a program inside to its end; cancelled, it is waited for: give it a *timeout*."""
        return await _call(lambda: self.sync.exec(command, **options))


def _sync(box: str | Sandbox) -> str | _Sync:
    return box.sync if isinstance(box, Sandbox) else box


def _destroy_all(made: Summary[_Sync]) -> None:
    _Sync.destroy_many(made, wait=True).raise_for_failures()


def _kill(process: "Popen[Any]") -> None:
    process.kill()
    process.wait()
