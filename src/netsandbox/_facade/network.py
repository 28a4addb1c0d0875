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
    """The part of `Sandbox` for its network. A verb that fails has changed nothing."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the main tables, without those that the kernel makes of addresses."""
        box = self._handle.box
        return read_routes(box.routes(table=TABLE_MAIN), _plans.names(box))

    @property
    def gateway4(self) -> IPv4Address | None:
        """The gateway of the IPv4 default route; None if there is no such route, or if it has no gateway."""
        entry = _plans.default_route(self._handle.box, 4)
        return entry.via if entry and isinstance(entry.via, IPv4Address) else None

    @property
    def gateway6(self) -> IPv6Address | None:
        """The gateway of the IPv6 default route; None if there is no such route, or if it has no gateway."""
        entry = _plans.default_route(self._handle.box, 6)
        return entry.via if entry and isinstance(entry.via, IPv6Address) else None

    @property
    def neighbors(self) -> tuple[Neighbor, ...]:
        """The permanent neighbors and the bridge forwarding entries."""
        box = self._handle.box
        return read_neighbors(list_neighbors(box), _plans.names(box))

    @property
    def has_ipv6(self) -> bool:
        """Whether the loopback link has an IPv6 address."""
        return any(address.interface.version == 6 for address in self._handle.box.addresses(1))

    def add_address(self, interface: Interface | str, address: str | IPInterface) -> None:
        """Add an alias address to an interface. It may overlap networks of other links.

        Raises:
            SpecError: *address* is not the address of a host with its prefix length.
            KernelError: EEXIST: the interface has it.
        """
        self._handle.change(_verbs.add_address(self, interface, address))

    def remove_address(self, interface: Interface | str, address: str | IPInterface) -> None:
        """Delete an address of an interface; the other addresses of its network stay.

        Raises:
            SpecError: *address* is not the address of a host with its prefix length.
            KernelError: EADDRNOTAVAIL: the interface does not have it.
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
        """Set the default route of an IP version, in place of the existing one.

        Args:
            gateway: Address of the gateway; None: an on-link default route, as ``ip route add default dev IFACE``.
            interface: The interface it leads out of. It may be left out if a route leads to *gateway*.
            onlink: Whether *gateway* is on the link although no route says so (needs *interface*).
            family: 4 or 6; only used without *gateway*.

        Raises:
            SpecError: *gateway* is invalid, or *interface* is missing.
            KernelError: ENETUNREACH: the gateway cannot be reached directly.
        """
        self._handle.change(_verbs.set_gateway(self, gateway, interface, onlink=onlink, family=family))

    def choose_gateways(self, candidates: Iterable[Gateway]) -> tuple[Gateway, ...]:
        """Set the default route of each IP version to the best candidate: both routes, or none of them.

        The highest priority wins, then the first interface by name. The default route of a version without candidate
        is deleted, so pass the candidates of all interfaces, again after each attach and detach.

        Returns:
            The chosen ones, that of IPv4 first.

        Raises:
            InterfaceNotFoundError: There is no such interface.
            KernelError: ENETUNREACH: a gateway cannot be reached directly.
        """
        return self._handle.change(_verbs.choose_gateways(self, candidates))

    def unset_gateway(self, family: int = 4) -> None:
        """Delete the default route of an IP version (4 or 6), if there is one."""
        self._handle.change(_verbs.unset_gateway(self, family))

    def add_route(self, route: Route) -> None:
        """Add a route; without *interface*, it leads out of the link that reaches its next hop directly.

        Raises:
            SpecError: It needs a next hop or an interface.
            KernelError: EEXIST: it exists; ENETUNREACH: its next hop cannot be reached directly.
        """
        self._handle.change(_verbs.add_route(self, route))

    def remove_route(self, route: Route) -> None:
        """Delete a route; a next hop, metric, interface or source that is left out matches any.

        Raises:
            KernelError: ESRCH: there is no such route.
        """
        self._handle.change(_verbs.remove_route(self, route))

    def add_neighbor(self, neighbor: Neighbor) -> None:
        """Add a permanent neighbor or a bridge forwarding entry, in place of an existing one.

        Raises:
            InterfaceNotFoundError: There is no such interface.
        """
        self._handle.change(_verbs.add_neighbor(self, neighbor))

    def remove_neighbor(self, neighbor: Neighbor) -> None:
        """Delete a neighbor or a bridge forwarding entry.

        Raises:
            InterfaceNotFoundError: There is no such interface.
            KernelError: ENOENT: there is no such neighbor.
        """
        self._handle.change(_verbs.remove_neighbor(self, neighbor))

    def disable_arp_for_vip(self, interface: Interface | str) -> None:
        """Stop an interface from answering ARP for virtual IPs on other links: arp_ignore=1, arp_announce=2.

        Raises:
            InterfaceNotFoundError: There is no such interface.
        """
        self._handle.change(_verbs.disable_arp_for_vip(self, interface))

    def apply_os_tweaks(self, tweaks: str | Mapping[str, str]) -> None:
        """Set sysctls of the sandbox; those that the kernel does not have are skipped.

        Args:
            tweaks: "ingress" or "load-balancer" (the IPVS settings of moby's osl), or values by keys below ``net.``.

        Raises:
            SpecError: A key is not below ``net.``, or there is no such set.
            KernelError: The kernel refused a value.
        """
        self._handle.change(_verbs.apply_os_tweaks(self, tweaks))
