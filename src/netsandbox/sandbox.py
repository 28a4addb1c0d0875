"""The sandbox: what a program holds in its hand."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack

from netsandbox import _bulk
from netsandbox._checks import items
from netsandbox._kernel import Kernel
from netsandbox._plan.model import Plan
from netsandbox._run import interfaces as _interfaces
from netsandbox._run import lifecycle, maintenance
from netsandbox._run import network as _network
from netsandbox._run.handle import Handle, Make
from netsandbox._run.release import release
from netsandbox._system.kernel import LinuxKernel
from netsandbox.adverts import COUNT_MAX, AdvertiseLike, Adverts
from netsandbox.errors import NetSandboxError, Problem, SpecError
from netsandbox.interface import Interface
from netsandbox.links import Kind
from netsandbox.network import Network
from netsandbox.spec import InterfaceOptions, InterfaceSpec, expect_all

if TYPE_CHECKING:
    import subprocess

    from netsandbox._events.iterator import Events

T = TypeVar("T")
P = ParamSpec("P")
_VERBS: Mapping[str, Callable[..., Make[Any]]] = {  # those that plan, by name
    make.__name__: make
    for make in (
        _interfaces.add_interface,
        _interfaces.add_interfaces,
        _interfaces.remove_interface,
        _interfaces.remove_interfaces,
        _interfaces.advertise,
        _interfaces.destroy,
        _network.add_address,
        _network.remove_address,
        _network.set_gateway,
        _network.choose_gateways,
        _network.unset_gateway,
        _network.add_route,
        _network.remove_route,
        _network.add_neighbor,
        _network.remove_neighbor,
        _network.disable_arp_for_vip,
        _network.apply_os_tweaks,
    )
}


class Sandbox(Network):
    """A network namespace, pinned at a path, with the interfaces that were plugged into it.

    Made by `create`, `open`, `adopt`, `host` and `temporary`. In a ``with`` statement it is closed at the end (a
    temporary one is destroyed). The host, where links come from and go back to, is the namespace of the thread that
    makes the object, or the one at the path *host*.

    A verb that fails has done nothing: what it had done is undone, and the error says so. After `close` or `destroy`
    every call raises SandboxClosedError. It may be used from several threads and processes at once.
    """

    def __init__(self, handle: Handle, *, temporary: bool = False) -> None:
        """Not for users: call `create`, `open`, `adopt`, `host` or `temporary`."""
        super().__init__(handle)
        self._temporary = temporary

    # --- making, closing, destroying ---

    @classmethod
    def create(
        cls, name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Self:
        """Make a sandbox: a new network namespace, pinned under a name, with its loopback link up.

        Args:
            name: Its name, at most 64 bytes; or an absolute path, where it is pinned then.
            replace: Whether to destroy a sandbox that has this name; its links go back to the host first. Should making
                the new one fail, it comes back; but not if there are *interfaces*, which may have been in it: then
                destroying it is an operation of its own.
            host: Path of the namespace that links come from; the calling thread's if left out.
            interfaces: What to plug in, in this order, as a part of making it; see `add_interface`.

        Raises:
            SpecError: The name is none.
            SandboxExistsError: The name is in use.
            KernelError: The kernel refused; nothing is left behind.
            NetSandboxError: As of `add_interface`.

        Source: ``NewSandbox`` of moby's osl; ip-netns(8).
        """
        return cls._create(name, expect_all("spec", interfaces, InterfaceSpec), replace_old=replace, host=host)

    @classmethod
    def _create(
        cls, name: str, specs: Sequence[InterfaceSpec], *, replace_old: bool, host: str | LinuxKernel | None
    ) -> Self:
        """Create a sandbox with what is attached to it."""
        _require_linux()
        return cls(lifecycle.create(name, replace_old=replace_old, host=host, attach=cls._attachment(specs)))

    @staticmethod
    def _attachment(specs: Sequence[InterfaceSpec]) -> lifecycle.Attach | None:
        """Return what attaches interfaces to a sandbox that is being created; None if there are none."""
        if not specs:
            return None
        return lambda handle, record: _interfaces.attach(handle, record, specs, is_new=True)[:2]

    @classmethod
    def create_many(
        cls,
        names: Iterable[str] | Mapping[str, Iterable[InterfaceSpec]],
        *,
        replace: bool = False,
        host: str | None = None,
        progress: _bulk.Progress | None = None,
    ) -> _bulk.Summary[Self]:
        """Make many sandboxes, each with its interfaces or not at all; see `create`.

        They share the descriptors of the host: each open one needs two of its own.

        Args:
            names: Their names; or what to plug into each, by name.
            replace: Whether to destroy sandboxes that have these names.
            host: Path of the namespace that links come from; the calling thread's if left out.
            progress: Called with each name, and the error if it failed.

        Returns:
            The open sandboxes, and why others failed.

        Raises:
            SpecError: Something of the wishes makes no sense in itself; nothing was begun.
            BaseException: It was interrupted (KeyboardInterrupt). What was made until then stays, and is closed; a note
                says which ones.
        """
        wishes = _bulk.parse(names.items() if isinstance(names, Mapping) else ((name, ()) for name in items(names)))
        with closing(lifecycle.open_host(host)) as outside, ExitStack() as stack:
            made = _bulk.each(
                "create sandboxes",
                wishes,
                lambda *wish: stack.enter_context(closing(cls._create(*wish, replace_old=replace, host=outside))),
                progress,
            )
            stack.pop_all()
            return made

    @classmethod
    def add_many(
        cls,
        wishes: Mapping["str | Sandbox", Iterable[InterfaceSpec]],
        *,
        host: str | None = None,
        progress: _bulk.Progress | None = None,
    ) -> _bulk.Summary[tuple[Interface, ...]]:
        """Plug interfaces into many sandboxes: into each all of them or none; see `add_interfaces`.

        Args:
            wishes: What to plug into each sandbox; one that is given by its name is opened for that, and closed, so
                that its interfaces can be looked at but not removed by themselves.
            host: Path of the namespace that links come from, for those given by name.
            progress: Called with each name, and the error if it failed.

        Returns:
            The interfaces, and why others failed.

        Raises:
            SpecError: Something of the wishes makes no sense in itself; nothing was begun.
            BaseException: It was interrupted (KeyboardInterrupt); a note says what was done until then.
        """
        return cls._each("attach to sandboxes", wishes.items(), cls.add_interfaces, host, progress)

    @classmethod
    def destroy_many(
        cls,
        names: "Iterable[str | Sandbox]",
        *,
        wait: bool = False,
        host: str | None = None,
        progress: _bulk.Progress | None = None,
    ) -> _bulk.Summary["Sandbox"]:
        """Destroy many sandboxes, each of them or not at all; see `destroy`.

        Their namespaces are let go together in the end, as the kernel takes many down in little more time than one.

        Args:
            names: Their names, or they themselves.
            wait: Whether to return only when the other ends of their veths are gone from the host.
            host: Path of the namespace that links go back to, for those given by name.
            progress: Called with each name, and the error if it failed.

        Returns:
            The sandboxes, closed, and why others failed.

        Raises:
            SpecError: Something is no name, or given twice; nothing was begun.
            BaseException: It was interrupted (KeyboardInterrupt); a note says what was done until then.
        """
        gone: list[tuple[Handle, Sequence[int]]] = []
        room = _bulk.room()

        def flush() -> None:
            with ExitStack() as stack:
                for handle, _ in gone:
                    stack.callback(handle.close)
                for _, those in groupby(gone, lambda item: item[0].host.identity):
                    release(list(those), wait=wait)
                gone.clear()

        def destroy(box: Sandbox, _: object) -> Sandbox:
            if len(gone) == room:
                flush()
            gone.append(cls._unpin(box))
            return box

        try:
            return cls._each("destroy sandboxes", ((name, ()) for name in items(names)), destroy, host, progress)
        finally:
            flush()

    @classmethod
    def _each(
        cls,
        operation: str,
        wishes: Iterable[tuple[object, Iterable[InterfaceSpec]]],
        verb: Callable[["Sandbox", Sequence[InterfaceSpec]], T],
        host: str | None,
        progress: _bulk.Progress | None,
    ) -> _bulk.Summary[T]:
        """Call a verb of each sandbox; one that is given by its name is opened for that."""
        _require_linux()
        given = tuple(wishes)
        boxes = {box.name: box for box, _ in given if isinstance(box, Sandbox)}
        parsed = _bulk.parse((box.name if isinstance(box, Sandbox) else box, wish) for box, wish in given)
        with closing(lifecycle.open_host(host)) as outside:

            def work(name: str, wish: Sequence[InterfaceSpec]) -> T:
                if name in boxes:
                    return verb(boxes[name], wish)
                with cls(lifecycle.open_(name, host=outside)) as box:
                    return verb(box, wish)

            return _bulk.each(operation, parsed, work, progress)

    @classmethod
    def open(cls, name: str, *, host: str | None = None) -> Self:
        """Open a sandbox that exists; its interfaces are known again.

        Args:
            name: Its name or path.
            host: Path of the namespace that links come from; the calling thread's if left out.

        Raises:
            SandboxNotFoundError: There is none, or it was not made by netsandbox.
            KernelError: It cannot be opened, or what is there is no namespace.

        Source: ``NewSandbox(isRestore=true)`` and ``Restore`` of moby's osl.
        """
        _require_linux()
        return cls(lifecycle.open_(name, host=host))

    @classmethod
    def _open_as_it_is(cls, name: str) -> Self:
        """Open a sandbox to ask for plans: what was interrupted stays as it is."""
        _require_linux()
        return cls(lifecycle.open_(name, recover=False))

    @classmethod
    def adopt(cls, path: str, name: str | None = None, *, host: str | None = None) -> Self:
        """Use a network namespace that someone else made; its loopback link is brought up.

        `destroy` gives back our links and forgets it, and takes away only what netsandbox pinned.

        Args:
            path: Where it is: /proc/4242/ns/net, /run/netns/x.
            name: Name to pin it under; if left out, it is used where it is.
            host: Path of the namespace that links come from; the calling thread's if left out.

        Raises:
            SpecError: It is the host's own namespace, or *path* or *name* is none.
            SandboxExistsError: The name is in use, or it is a sandbox already, whatever its name.
            KernelError: It cannot be opened, or is no network namespace.

        Source: ``GetSandboxForExternalKey`` of moby's osl; ip-netns(8), attach.
        """
        _require_linux()
        return cls(lifecycle.adopt(path, name, host=host))

    @classmethod
    def host(cls, path: str | None = None) -> Self:
        """Use the host's own namespace: nothing is moved or renamed there, and what was there comes back.

        A link that is up keeps its IPv6 unless an IPv6 address asks for it: it may be the one you came over.

        Args:
            path: Path of the namespace; the calling thread's if left out.

        Source: ``NewSandbox(osCreate=false)`` of moby's osl, the default namespace.
        """
        _require_linux()
        return cls(lifecycle.open_host_sandbox(path))

    @classmethod
    def temporary(cls, *, host: str | None = None) -> Self:
        """Make a sandbox with a name of its own, which is destroyed at the end of the ``with`` statement."""
        _require_linux()
        name = f"tmp-{os.getpid()}-{os.urandom(4).hex()}"
        return cls(lifecycle.create(name, replace_old=False, host=host), temporary=True)

    @staticmethod
    def list(*, all: bool = False) -> list[str]:  # noqa: A002  as in ``ls --all``
        """Return the names of the sandboxes in the runtime directory.

        Args:
            all: Whether to name also the namespaces there that netsandbox did not make.
        """
        return maintenance.pinned_names() if all else maintenance.names()

    @staticmethod
    def recover() -> tuple[str, ...]:
        """Roll back or finish what a crash interrupted, in all sandboxes; `open` does it for the one it opens.

        An interrupted attach is rolled back, an interrupted detach is finished. Records of an earlier boot are deleted.

        Returns:
            What was done, in words.

        Raises:
            NetSandboxError: Something could not be rolled back or finished; the others were.
        """
        _require_linux()
        return maintenance.recover()

    @staticmethod
    def prune(*, dry_run: bool = False) -> tuple[str, ...]:
        """Recover, and delete the records of sandboxes whose namespace is gone. Nothing that others made is touched.

        Args:
            dry_run: Whether to change nothing, and only return what would be done.

        Returns:
            What was done, in words.
        """
        _require_linux()
        return maintenance.prune(dry_run=dry_run)

    @classmethod
    def plan_create(
        cls, name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Plan:
        """Return what `create` would do, and create nothing; it refuses what `create` refuses.

        Args:
            name: As of `create`.
            replace: As of `create`.
            host: As of `create`.
            interfaces: As of `create`.
        """
        _require_linux()
        attach = cls._attachment(expect_all("spec", interfaces, InterfaceSpec))
        return lifecycle.plan_creation(name, replace_old=replace, host=host, attach=attach)

    @staticmethod
    def plan_adopt(path: str, name: str | None = None, *, host: str | None = None) -> Plan:
        """Return what `adopt` would do, and adopt nothing; it refuses what `adopt` refuses."""
        _require_linux()
        return lifecycle.plan_adoption(path, name, host=host)

    def close(self) -> None:
        """Let go of the sandbox, which stays as it is; closing again does nothing."""
        if not self._handle.is_closed:
            self._handle.close()

    def destroy(self, *, wait: bool = False) -> None:
        """Give every link that came from the host back to it, and delete the namespace with all that was born in it.

        What was born in it dies with it a moment later: the kernel takes a namespace down in its own time, some 30 ms.
        While a program still runs inside, the namespace lives on, but nothing of it is left on the host.

        Args:
            wait: Whether to return only when the other ends of its veths are gone from the host.

        Raises:
            NameConflictError: A link's name is taken on the host; nothing was changed.
            KernelError: The kernel refused; what had been done is undone.
            SandboxClosedError: It was closed or destroyed before.

        Source: ``Destroy`` of moby's osl.
        """
        gone = self._unpin()
        with closing(gone[0]):
            release([gone], wait=wait)

    def _unpin(self) -> tuple[Handle, Sequence[int]]:
        """Destroy it but for its namespace: return what holds that, to be released, and the host ends of its veths."""
        return self._handle.end(lambda: self._handle.change(_interfaces.destroy(self)))

    def __enter__(self) -> Self:
        """Enter the ``with`` statement at whose end it is closed, or destroyed if it is temporary."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, or destroy it if it is temporary."""
        if self._temporary and not self._handle.is_closed:
            self.destroy()
        self.close()

    def __del__(self) -> None:
        """Warn of a sandbox that was not closed, and close it."""
        handle = getattr(self, "_handle", None)
        if handle and not handle.is_closed:
            warnings.warn(f"sandbox {handle.name} was not closed", ResourceWarning, source=self, stacklevel=2)
            handle.close()

    def __repr__(self) -> str:
        """Name it."""
        return f"<Sandbox {self.name!r} at {self.path!r}{' (closed)' if self._handle.is_closed else ''}>"

    # --- what it is ---

    @property
    def name(self) -> str:
        """Its name, or the path that stands for it."""
        return self._handle.name

    @property
    def path(self) -> str:
        """Where its namespace is found: ``Key`` of moby's osl."""
        return self._handle.path

    @property
    def recovered(self) -> tuple[str, ...]:
        """What was undone or finished of operations that a crash had interrupted, in words."""
        return self._handle.recovered

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """What is plugged in, as the kernel has it now, in the order it was added; see also `missing`.

        One that was renamed inside has its new name, and the one it was given as *given_name*.
        """
        return _interfaces.snapshot(self).interfaces

    @property
    def missing(self) -> tuple[Interface, ...]:
        """What was plugged in and is not there any more, as it was recorded, in the order it was added.

        Its link was deleted or moved away inside, or another link is in its place. Removing it forgets it.
        """
        return _interfaces.snapshot(self).missing

    @property
    def foreign(self) -> tuple[Interface, ...]:
        """The links that netsandbox did not plug in, but for loopback, as the kernel has them now.

        Somebody inside made them, or whoever made the namespace, or the kernel, which puts devices such as tunl0 into
        every namespace when their modules are loaded. They are shown, and never moved, renamed or deleted; what is in
        a namespace that `destroy` deletes ends with it.
        """
        return _interfaces.snapshot(self).foreign

    # --- interfaces ---

    def add_interface(self, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Interface:
        """Plug a link in, all of it or none of it.

        A link of the host is moved in; one of a kind such as `Veth` or `Bridge` is made in its place, which takes a
        tenth of the time. It gets its name, MAC, MTU, addresses, master and sysctls, is brought up, and gets its
        routes, in this order.

        Args:
            source: Name of a link on the host, a link to make such as ``Veth("veth-web", master="br0")``, or all of
                this as an `InterfaceSpec`.
            options: prefix: the name inside is this and the lowest free number ("eth").
                name: the name inside, verbatim; wins over *prefix*.
                mac: link-layer address, unicast, such as "02:42:ac:11:00:02"; the link's own if left out.
                mtu: largest packet in bytes, 68..65535, with IPv6 at least 1280.
                addresses: IP addresses with prefix length, such as "10.0.0.2/24" and "fd00::2/64", usable at once
                (no duplicate address detection). IPv6 is off on the link unless one of them is IPv6.
                master: source name of a bridge or vrf that was attached before.
                routes: routes out of this link, as networks ("192.168.2.1/32") or `Route` values.
                sysctls: settings of this link, {"net.ipv4.conf.IFNAME.rp_filter": "2"}, the word IFNAME verbatim.
                on_conflict: "error" (refuse an address that overlaps another link's network) or "ignore".
                advertise: how often its neighbors are told its addresses, in the background, by gratuitous ARP and
                unsolicited Neighbor Advertisements: a count 0..3, or (count, seconds between two) with 0.1..2 seconds,
                or an `Advertise`; 3 times, a second apart, if left out. What came of it is in `Interface.adverts`.
                wait: "up": wait at the end until packets go through: the link has a carrier and its operational state
                is UP (or UNKNOWN, where the driver tells none), and the bridge port that it is, or that the other end
                of a veth is on the host, forwards. A bridge has a carrier as soon as one of its ports does.
                wait_limit: how long at most, in seconds (5.0); then all is undone (ETIMEDOUT). Until then no other
                change is made to this sandbox, nor is it closed; other sandboxes are not held up.

        Returns:
            The interface, as read back from the kernel. An address that a setting took away is in its *dropped*.

        Raises:
            SpecError: Something of the wish makes no sense; every wrong field is in its `problems`.
            SourceNotFoundError: There is no such link on the host.
            NameConflictError: The name is taken in the sandbox.
            RouteConflictError: An address overlaps a network that another link reaches.
            KernelError: The kernel refused, or (ETIMEDOUT) what was waited for did not come and the error says how it
                was last; what had been done is undone.
            RollbackError: Undoing failed as well; it says what is left to do by hand.

        Source: ``AddInterface`` of moby's osl.
        """
        return self._handle.change(_interfaces.add_interface(self, source, **options))

    def add_interfaces(self, specs: Iterable[InterfaceSpec]) -> tuple[Interface, ...]:
        """Plug several links in, in this order: all of them or none of them; see `add_interface`."""
        return self._handle.change(_interfaces.add_interfaces(self, specs))

    def plan_interface(self, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Plan:
        """Return what `add_interface` would do, and change nothing; each step prints the ip(8) command it equals."""
        return self._handle.plan(_interfaces.add_interface(self, source, **options))

    def plan(self, verb: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Plan:
        """Return what a verb of this sandbox would do, as in ``box.plan(box.remove_interface, "eth0")``; do nothing.

        It refuses what the verb refuses. *verb* is not called: those that plan are known by their names.

        Raises:
            SpecError: *verb* is not a verb of this sandbox that plans.
        """
        name, owner = getattr(verb, "__name__", ""), getattr(verb, "__self__", None)
        if isinstance(owner, Interface) and name == "remove":
            return self._handle.plan(_interfaces.remove_interface(self, owner))
        make = _VERBS.get(name)
        if owner is not self or make is None:
            raise SpecError([Problem("verb", name or verb, f"has nothing to plan: it does not change {self!r}")])
        plan: Plan = self._handle.plan(make(self, *args, **kwargs))
        return plan

    def remove_interface(self, interface: Interface | str) -> None:
        """Take an interface out: back to the host with the name, MAC, MTU, addresses, routes, master and state it had.

        A link that was made here is deleted. What is missing or was removed before needs nothing.

        Args:
            interface: The interface, or its name inside.

        Raises:
            InterfaceNotFoundError: No interface has this name, or it is foreign: netsandbox did not plug it in.
            NameConflictError: Its name is taken on the host; nothing was changed, and a retry completes it.
            KernelError: The kernel refused; the interface is plugged in as before.

        Source: ``RemoveInterface`` of moby's osl.
        """
        self._handle.change(_interfaces.remove_interface(self, interface))

    def remove_interfaces(self, interfaces: Iterable[Interface | str]) -> None:
        """Take several interfaces out, the newest first: all of them or none of them; see `remove_interface`.

        Veths that were made here go together, in hardly more time than one.
        """
        self._handle.change(_interfaces.remove_interfaces(self, interfaces))

    def advertise(self, interface: Interface | str | None = None, how: AdvertiseLike | None = None) -> None:
        """Tell the neighbors of interfaces their addresses again, in the background, as `add_interface` does.

        A program that takes over from one that ended calls it after `open`. What is still due is replaced.

        Args:
            interface: The interface, or its name inside; all that are plugged in if left out.
            how: How often, as *advertise* of `add_interface`; as it was asked for there if left out.

        Raises:
            SpecError: *how* makes no sense.
            InterfaceNotFoundError: No interface has this name, or it is foreign.
        """
        self._handle.change(_interfaces.advertise(self, interface, how))

    def wait_for_adverts(self, rounds: int = COUNT_MAX, *, limit: float = 10) -> bool:
        """Wait until the interfaces were advertised as often as they are due, or it was tried; see `Interface.adverts`.

        What is due ends with `close`: a program that plugs in and ends at once may want to wait for the first round.

        Args:
            rounds: How many rounds to wait for.
            limit: How many seconds to wait at most.

        Returns:
            Whether they were tried in time.
        """
        self._handle.box  # noqa: B018  fails closed
        return self._handle.adverts.wait(rounds, limit)

    # --- what happens inside ---

    def events(self, *, timeout: float | None = None) -> "Events":
        """Return an iterator of what changes in here from now on; `Events` has it for several sandboxes, or for all.

        Args:
            timeout: After how many seconds without an event an iteration ends; None: never.
        """
        from netsandbox._events.iterator import Events  # noqa: PLC0415  most do not ask

        return Events([self], timeout=timeout)

    # --- running inside ---

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* inside the namespace, on a thread of its own, and return what it returns.

        Sockets it opens and programs it starts belong to the sandbox. /sys/class/net and /proc/net do not show the
        sandbox, /proc/thread-self/net does.

        Source: ``InvokeFunc`` of moby's osl; setns(2).
        """
        return self._handle.run(lambda: function(*args, **kwargs))

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> "subprocess.Popen[Any]":  # noqa: ANN401
        """Start a program inside, and return it running; *options* are those of ``subprocess.Popen``."""
        import subprocess  # noqa: PLC0415  takes 3 ms, and most start no program

        return self.run(lambda: subprocess.Popen(command, **options))  # noqa: S603  that is what it is for

    def exec(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> "subprocess.CompletedProcess[Any]":  # noqa: ANN401
        """Run a program inside to its end, and return what came of it; *options* are those of ``subprocess.run``."""
        import subprocess  # noqa: PLC0415  as above

        return self.run(lambda: subprocess.run(command, **options))  # noqa: S603, PLW1510  as the caller says

    # --- how ---

    def _kernel(self) -> Kernel:
        return self._handle.box

    def _adverts(self, interface: Interface) -> Adverts:
        self._handle.box  # noqa: B018  fails closed
        return self._handle.adverts.of(interface.id)


def _require_linux() -> None:
    if sys.platform != "linux":
        raise NetSandboxError(f"network namespaces are a part of Linux; this is {sys.platform}")
