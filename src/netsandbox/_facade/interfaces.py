"""The interfaces of a sandbox: attach, detach, advertise and list them, and plan any verb."""

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
_VERBS: Mapping[str, Callable[..., Make[Any]]] = {  # those that have a plan, by name
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
    """The part of `Sandbox` for its interfaces."""

    @property
    def name(self) -> str:
        """Its name, or the path that stands for it."""
        return self._handle.name

    @property
    def path(self) -> str:
        """Where its namespace is found."""
        return self._handle.path

    @property
    def recovered(self) -> tuple[str, ...]:
        """What was rolled back or forward of operations that a crash had interrupted, in words."""
        return self._handle.recovered

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """What is attached, as the kernel has it now, in the order it was added; see also `missing`."""
        return _interfaces.snapshot(self).interfaces

    @property
    def missing(self) -> tuple[Interface, ...]:
        """What was attached and is not there any more, as it was recorded, in the order it was added.

        Its link was deleted or moved away inside, or was replaced by another link. Detaching it deletes it from the
        record.
        """
        return _interfaces.snapshot(self).missing

    @property
    def foreign(self) -> tuple[Interface, ...]:
        """The links that netsandbox did not attach, without loopback, as the kernel has them now.

        A program created them, or the kernel (tunl0 and the like). They are never moved, renamed or deleted, but end
        with a namespace that `destroy` deletes.
        """
        return _interfaces.snapshot(self).foreign

    # --- interfaces ---

    def add_interface(self, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Interface:
        """Attach a link: a link of the host is moved in, one of a kind such as `Veth` or `Bridge` is created inside.

        It gets its name, settings, addresses, master and sysctls, is set up, and gets its routes, in this order.
        Creating a link takes a tenth of the time of a move.

        Args:
            source: Name of a link on the host; or the link to create, such as ``Veth("veth-web", master="br0")``; or
                all of the request as an `InterfaceSpec`.
            options: prefix: the name inside is this and the lowest free number ("eth").
                name: the name inside, verbatim; wins over *prefix*.
                mac: link-layer address, unicast, such as "02:42:ac:11:00:02".
                mtu: largest packet in bytes, 68..65535, with IPv6 at least 1280.
                txqlen: length of the transmit queue in packets, 0..2147483647.
                group: number of the link group, 0..2147483647.
                alias: free text attached to the link, at most 255 bytes; an empty one removes it.
                (A link of the host keeps those of these five that are left out; when it is detached, all come back.)
                numtxqueues: number of transmit queues, 1..4096, of a link that is created.
                addresses: IP addresses with prefix length, such as "10.0.0.2/24" and "fd00::2/64", usable at once
                (no duplicate address detection). IPv6 is off on the link unless one of them is IPv6.
                master: source name of a bridge or vrf that was attached before.
                routes: routes out of this link, as networks ("192.168.2.1/32") or `Route` values.
                sysctls: settings of this link, {"net.ipv4.conf.IFNAME.rp_filter": "2"}, the word IFNAME verbatim.
                on_conflict: "error" (refuse an address that overlaps another link's network) or "ignore".
                advertise: how often its addresses are advertised to its neighbors, in the background, by gratuitous
                ARP and unsolicited Neighbor Advertisements: a count 0..3, or (count, seconds between two) with 0.1..2
                seconds, or an `Advertise`; if left out, 3 times, a second apart. `Interface.adverts` has the result.
                wait: "up": wait at the end until packets go through: the link has a carrier, its operational state is
                UP (or UNKNOWN, if its driver reports none), and its bridge port, or that of its other end, forwards.
                wait_limit: seconds to wait at most (5.0); then the attach is rolled back (ETIMEDOUT). Other changes of
                this sandbox, and its `close`, wait meanwhile.

        Returns:
            The interface, as read back from the kernel; its *dropped* has the addresses that a sysctl removed.

        Raises:
            SpecError: The request is invalid; `problems` has every invalid field.
            SourceNotFoundError: There is no such link on the host.
            NameConflictError: The name is in use in the sandbox.
            RouteConflictError: An address overlaps a network that another link reaches.
            KernelError: The kernel refused, or (ETIMEDOUT) packets did not go through in time; it was rolled back.
            RollbackError: Rolling back failed too; `left` has the commands to run by hand.
        """
        return self._handle.change(_interfaces.add_interface(self, source, **options))

    def add_interfaces(self, specs: Iterable[InterfaceSpec]) -> tuple[Interface, ...]:
        """Attach several links, in this order: all of them or none of them; see `add_interface`."""
        return self._handle.change(_interfaces.add_interfaces(self, specs))

    def plan_interface(self, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Plan:
        """Return what `add_interface` would do, and change nothing; each step prints the ip(8) command it equals."""
        return self._handle.plan(_interfaces.add_interface(self, source, **options))

    def plan(self, verb: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Plan:
        """Return what a verb of this sandbox would do, as in ``box.plan(box.remove_interface, "eth0")``; do nothing.

        It refuses what the verb refuses. It finds the verb by its name, and does not call it.

        Raises:
            SpecError: *verb* is not a verb of this sandbox that has a plan.
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
        """Detach an interface: return its link to the host with all that it had there, or delete it if it was created.

        The name, MAC, MTU, addresses, routes, master and state of the link come back. A missing interface is only
        deleted from the record; one that was detached before is ignored.

        Args:
            interface: The interface, or its name inside.

        Raises:
            InterfaceNotFoundError: No interface has this name, or it is foreign.
            NameConflictError: The name of its link is in use on the host; nothing was changed.
            KernelError: The kernel refused; the interface is attached as before.
        """
        self._handle.change(_interfaces.remove_interface(self, interface))

    def remove_interfaces(self, interfaces: Iterable[Interface | str]) -> None:
        """Detach several interfaces, the newest first: all of them or none of them; see `remove_interface`.

        Veths that were created here are deleted in one request.
        """
        self._handle.change(_interfaces.remove_interfaces(self, interfaces))

    def advertise(self, interface: Interface | str | None = None, how: AdvertiseLike | None = None) -> None:
        """Advertise the addresses of interfaces to their neighbors again, in the background.

        It replaces the rounds that are still due. A program that takes over a sandbox calls it after `open`.

        Args:
            interface: The interface, or its name inside; all interfaces if left out.
            how: As *advertise* of `add_interface`; if left out, as given there.

        Raises:
            SpecError: *how* is invalid.
            InterfaceNotFoundError: No interface has this name, or it is foreign.
        """
        self._handle.change(_interfaces.advertise(self, interface, how))

    def wait_for_adverts(self, rounds: int = COUNT_MAX, *, limit: float = 10) -> bool:
        """Wait until the due adverts were sent, or have failed; return whether they were in time.

        `close` ends what is due: a program that attaches and exits may want to wait for the first round.

        Args:
            rounds: How many rounds to wait for.
            limit: How many seconds to wait at most.
        """
        self._handle.box  # noqa: B018  fails closed
        return self._handle.adverts.wait(rounds, limit)

    def _kernel(self) -> Kernel:
        return self._handle.box

    def _adverts(self, interface: Interface) -> Adverts:
        self._handle.box  # noqa: B018  fails closed
        return self._handle.adverts.of(interface.id)
