"""What a sandbox has besides interfaces: addresses, routes, gateways, neighbors and settings."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from netsandbox._checks import IPAddress, IPInterface
from netsandbox._plan import network as _plans
from netsandbox._plan.convert import list_neighbors, read_neighbors, read_routes
from netsandbox._run import network as _verbs
from netsandbox._run.handle import Handle
from netsandbox.interface import Interface
from netsandbox.netlink.route import TABLE_MAIN
from netsandbox.routes import Gateway, Neighbor, Route


class Network:
    """The network of a sandbox; users meet it as a part of `Sandbox`.

    Every verb here is all or nothing: it changes what it says, or nothing at all.
    """

    def __init__(self, handle: Handle) -> None:
        """Take an open sandbox."""
        self._handle = handle

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the main tables, but for those that come with addresses."""
        box = self._handle.box
        return read_routes(box.routes(table=TABLE_MAIN), _plans.names(box))

    @property
    def gateway4(self) -> IPv4Address | None:
        """The IPv4 default gateway, as the kernel has it; None without one, or if the default route has no gateway."""
        entry = _plans.default_route(self._handle.box, 4)
        return entry.via if entry and isinstance(entry.via, IPv4Address) else None

    @property
    def gateway6(self) -> IPv6Address | None:
        """The IPv6 default gateway, as the kernel has it; None without one, or if the default route has no gateway."""
        entry = _plans.default_route(self._handle.box, 6)
        return entry.via if entry and isinstance(entry.via, IPv6Address) else None

    @property
    def neighbors(self) -> tuple[Neighbor, ...]:
        """The permanent neighbors and the bridge forwarding entries."""
        box = self._handle.box
        return read_neighbors(list_neighbors(box), _plans.names(box))

    @property
    def has_ipv6(self) -> bool:
        """Whether the loopback link has an IPv6 address: ``IPv6LoEnabled`` of moby's osl, but never out of date."""
        return any(address.interface.version == 6 for address in self._handle.box.addresses(1))

    def add_address(self, interface: Interface | str, address: str | IPInterface) -> None:
        """Add an alias address to an interface; no network conflict is looked for.

        Raises:
            SpecError: It is not the address of a host with its prefix length.
            KernelError: EEXIST if the interface has it.

        Source: ``AddAliasIP`` of moby's osl.
        """
        self._handle.change(_verbs.add_address(self, interface, address))

    def remove_address(self, interface: Interface | str, address: str | IPInterface) -> None:
        """Delete an address from an interface; the other addresses of its network stay.

        Raises:
            SpecError: It is not the address of a host with its prefix length.
            KernelError: EADDRNOTAVAIL if the interface does not have it.

        Source: ``RemoveAliasIP`` of moby's osl.
        """
        self._handle.change(_verbs.remove_address(self, interface, address))

    def set_gateway(
        self,
        gateway: str | IPAddress | None,
        interface: Interface | str | None = None,
        *,
        onlink: bool = False,
        family: int = 4,
    ) -> None:
        """Set the default route of a family, in the place of the one there is.

        Args:
            gateway: Address of the gateway; None: the link itself reaches everything (needs *interface*).
            interface: The interface it is reached through; found by the routes if left out.
            onlink: Whether it is taken to be on the link, although no route says so (needs *interface*).
            family: 4 or 6; only looked at without *gateway*.

        Raises:
            SpecError: The gateway is none, or an interface is needed.
            KernelError: The gateway cannot be reached directly (ENETUNREACH), or the kernel refused.

        Source: ``SetGateway``, ``SetGatewayIPv6``, ``SetDefaultRouteIPv4/6`` of moby's osl.
        """
        self._handle.change(_verbs.set_gateway(self, gateway, interface, onlink=onlink, family=family))

    def choose_gateways(self, candidates: Iterable[Gateway]) -> tuple[Gateway, ...]:
        """Set the default route of each family to the best of what the interfaces offer: both, or none of them.

        The highest priority wins, then the first interface by name. A family that no candidate is of has no default
        route afterwards: called with what is left after an interface was added or removed, it says all there is.

        Args:
            candidates: What there is to choose from.

        Returns:
            The chosen ones, of IPv4 first.

        Raises:
            InterfaceNotFoundError: There is no such interface.
            KernelError: A gateway cannot be reached directly, or the kernel refused.

        Source: ``updateGateway`` of libnetwork's sandbox.go.
        """
        return self._handle.change(_verbs.choose_gateways(self, candidates))

    def unset_gateway(self, family: int = 4) -> None:
        """Delete the default route of a family (4 or 6); without one, do nothing.

        Source: ``UnsetGateway``, ``UnsetGatewayIPv6`` of moby's osl.
        """
        self._handle.change(_verbs.unset_gateway(self, family))

    def add_route(self, route: Route) -> None:
        """Add a route; without *interface*, it leads out where its next hop is reached directly.

        Raises:
            SpecError: It needs a next hop or an interface.
            KernelError: EEXIST if it is there, ENETUNREACH if the next hop is not reached directly.

        Source: ``AddStaticRoute`` of moby's osl.
        """
        self._handle.change(_verbs.add_route(self, route))

    def remove_route(self, route: Route) -> None:
        """Delete a route; what it leaves open (next hop, metric, interface, source) matches anything.

        Raises:
            KernelError: ESRCH if there is no such route.

        Source: ``RemoveStaticRoute`` of moby's osl.
        """
        self._handle.change(_verbs.remove_route(self, route))

    def add_neighbor(self, neighbor: Neighbor) -> None:
        """Make a neighbour known for good, in the place of what is known of it.

        Raises:
            InterfaceNotFoundError: There is no such interface.
            KernelError: The kernel refused.

        Source: ``AddNeighbor`` of moby's osl.
        """
        self._handle.change(_verbs.add_neighbor(self, neighbor))

    def remove_neighbor(self, neighbor: Neighbor) -> None:
        """Forget a neighbour.

        Raises:
            InterfaceNotFoundError: There is no such interface.
            KernelError: ENOENT if it is not known.

        Source: ``DeleteNeighbor`` of moby's osl.
        """
        self._handle.change(_verbs.remove_neighbor(self, neighbor))

    def disable_arp_for_vip(self, interface: Interface | str) -> None:
        """Keep an interface from answering ARP for addresses of others (a virtual IP): arp_ignore=1, arp_announce=2.

        Raises:
            InterfaceNotFoundError: There is no such interface.
            KernelError: A setting cannot be changed.

        Source: ``DisableARPForVIP`` of moby's osl.
        """
        self._handle.change(_verbs.disable_arp_for_vip(self, interface))

    def apply_os_tweaks(self, tweaks: str | Mapping[str, str]) -> None:
        """Give settings of the sandbox a value; those that the kernel does not have are passed over.

        Args:
            tweaks: "ingress" or "load-balancer" (settings of IPVS, as osl has them), or values by keys below ``net.``.

        Raises:
            SpecError: A key is not below ``net.``, or no such set is known.
            KernelError: A setting cannot be changed.

        Source: ``ApplyOSTweaks`` and package kernel (knobs) of moby's osl.
        """
        self._handle.change(_verbs.apply_os_tweaks(self, tweaks))
