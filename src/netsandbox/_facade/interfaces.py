"""What is attached to a sandbox: the part of `Sandbox` for interfaces."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, Unpack

from netsandbox._facade.network import Network
from netsandbox._kernel import Kernel
from netsandbox._plan.model import Plan
from netsandbox._run import interfaces as _interfaces
from netsandbox._run import network as _network
from netsandbox._run.handle import Make
from netsandbox.adverts import COUNT_MAX, AdvertiseLike, Adverts
from netsandbox.errors import Problem, SpecError
from netsandbox.interface import Interface
from netsandbox.links import Kind
from netsandbox.spec import InterfaceOptions, InterfaceSpec

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


class Interfaces(Network):
    """The interfaces of a sandbox; users meet it as a part of `Sandbox`."""

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

    def _kernel(self) -> Kernel:
        return self._handle.box

    def _adverts(self, interface: Interface) -> Adverts:
        self._handle.box  # noqa: B018  fails closed
        return self._handle.adverts.of(interface.id)
