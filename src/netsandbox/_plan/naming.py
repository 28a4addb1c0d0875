"""Names, indexes and networks in use in a sandbox, and the choice of free ones for new links. Pure."""

from binascii import crc32
from collections.abc import Iterator
from itertools import count

from netsandbox._checks import NAME_MAX, IPInterface, IPNetwork
from netsandbox._plan.state import Facts
from netsandbox.errors import NameConflictError, Problem, RouteConflictError, SpecError
from netsandbox.netlink import route as _route
from netsandbox.netlink.link import Link
from netsandbox.spec import InterfaceSpec

HALF = 1  # prefix length of 0.0.0.0/1 and 128.0.0.0/1, which VPNs use in place of a default route


class InUse:
    """The names, indexes and networks in use in a sandbox; each interface that is planned adds its own."""

    def __init__(self, facts: Facts) -> None:
        self.names = {name: link.name for link in facts.links for name in link.names}
        self._indexes = {link.index for link in facts.links}
        self._networks = list(_networks(facts))

    def choose_name(self, spec: InterfaceSpec) -> str:
        """Return the requested name, or else the prefix with the lowest free number."""
        if spec.name is not None:
            return spec.name
        name = next(name for number in count() if (name := f"{spec.prefix}{number}") not in self.names)
        if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
            raise SpecError([Problem("prefix", spec.prefix, f"leaves no room for a free number: {name} is too long")])
        return name

    def take_names(self, source: str, *names: str) -> None:
        """Mark the names of a link as used; refuse any that is taken."""
        for name in names:
            if name in self.names:
                raise NameConflictError(f"call {source} {name}", f"the name is taken by link {self.names[name]}")
            self.names[name] = names[0]

    def take_index(self, link: Link | None = None) -> int:
        """Return the index of *link* if it is free, else an unused one, different from that of the peer of *link*.

        See docs/kernel-facts.md, "An index that equals the other end's may delay the carrier".
        """
        index = link.index if link else 0
        if not index or index in self._indexes:
            index = max(*self._indexes, (link and link.lower) or 0) + 1
        self._indexes.add(index)
        return index

    def take_networks(self, spec: InterfaceSpec, index: int, name: str) -> None:
        """Mark the networks of a link as used; refuse an address that overlaps the network of another link."""
        for address in spec.addresses:
            if address.is_link_local:
                continue
            if spec.on_conflict == "error":
                for network, there, owner, owner_name in self._networks:
                    if owner != index and network.version == address.version and network.overlaps(address.network):
                        raise RouteConflictError(str(address), str(there), owner_name)
            self._networks.append((address.network, address, index, name))


def _networks(facts: Facts) -> Iterator[tuple[IPNetwork, IPNetwork | IPInterface, int, str]]:
    """Yield each network that a link reaches, the route or address that says so, and the link's index and name.

    Default and half-default routes, routes through a gateway and routes that reach nothing (unreachable, blackhole)
    occupy no network, and link-local networks are on every link (docs/contract.md, "Overlapping networks are refused").
    """
    names = {link.index: link.name for link in facts.links}
    for route in facts.routes:
        direct = route.type == _route.UNICAST and route.via is None and route.index in names
        if direct and route.to.prefixlen > HALF and not route.to.is_link_local and not route.to.is_multicast:
            yield route.to, route.to, route.index or 0, names[route.index or 0]
    for address in facts.addresses:
        if not address.interface.is_link_local:
            yield address.interface.network, address.interface, address.index, names.get(address.index, "?")


def host_mac(sandbox: str, host: str) -> str:
    """Return the MAC of the host end of a veth, which is always the same for these names.

    It begins with fe: a bridge takes the lowest MAC of its ports, and must not change its own with every veth.
    """
    numbers = [crc32(name.encode("utf-8", "surrogateescape")) for name in (sandbox, host)]
    return f"fe:{numbers[0] & 0xFF:02x}:{numbers[1].to_bytes(4, 'big').hex(':')}"
