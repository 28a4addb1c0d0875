"""Settings, addresses, routes and neighbors of the fake.

Source: net/ipv4/devinet.c, net/ipv4/fib_trie.c, net/ipv6/addrconf.c, net/ipv6/ip6_fib.c, net/core/neighbour.c.
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import Any

from netsandbox._checks import IPAddress
from netsandbox.netlink import address as _address
from netsandbox.netlink import attrs
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.address import Address
from netsandbox.netlink.conf import _NAMES, _SECONDS
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6, IFLA, RT_SCOPE_HOST, RT_SCOPE_LINK
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry
from netsandbox.testing._faults import Refusal

CONF = {AF_INET: IFLA.INET_CONF, AF_INET6: IFLA.INET6_CONF}
_CONNECTED, _USUAL = 256, 1024  # IP6_RT_PRIO_ADDRCONF, IP6_RT_PRIO_USER
_LOCAL = 2  # RTN_LOCAL
_NO_ADDRESS = 1  # IN6_ADDR_GEN_MODE_NONE
_FAMILIES = {"ipv4": AF_INET, "ipv6": AF_INET6}
SETTINGS = {  # the settings of a link, ordered by their numbers: include/uapi/linux/ip.h, and netlink/conf.py
    AF_INET: (
        "forwarding mc_forwarding proxy_arp accept_redirects secure_redirects send_redirects shared_media rp_filter "
        "accept_source_route bootp_relay log_martians tag arp_filter medium_id disable_xfrm disable_policy "
        "force_igmp_version arp_announce arp_ignore promote_secondaries"
    ).split(),
    AF_INET6: _NAMES,
}
_INITIAL = {"accept_redirects": 1, "accept_ra": 1, "router_solicitation_interval": 4000}


def copied(values: Mapping[int, list[Address]] | Mapping[int, dict[str, int]]) -> dict[int, Any]:
    """Return copies of the lists or dicts."""
    return {key: value.copy() for key, value in values.items()}


class Ip:
    """The links of a namespace, and everything that belongs to them."""

    def __init__(self, families: tuple[int, ...]) -> None:
        self.links: dict[int, Link] = {}
        self.addresses: dict[int, list[Address]] = {}  # by link index, in the kernel's order
        self.routes: list[RouteEntry] = []
        self.neighbors: list[NeighborEntry] = []
        usual = {family: {name: _INITIAL.get(name, 0) for name in SETTINGS[family]} for family in families}
        self.conf: dict[str, dict[int, dict[str, int]]] = {"all": copied(usual), "default": usual}  # by link name

    def get(self, index: int | None) -> Link:
        if index is None or index not in self.links:
            raise Refusal(errno.ENODEV)
        return self.links[index]

    def read(self, index: int, stats: bytes = b"") -> Link:
        """Return a link with its per-family settings, as a message has them."""
        link = self.links[index]
        values = {family: [conf[name] for name in SETTINGS[family]] for family, conf in self.conf[link.name].items()}
        packed = {family: struct.pack(f"={len(items)}i", *items) for family, items in values.items()}
        spec = b"".join(attrs.nest(family, attrs.pack(CONF[family], data)) for family, data in packed.items())
        return replace(link, af_spec=spec, stats=stats)

    def edit(self, index: int, **fields: Any) -> None:  # noqa: ANN401  the fields of Link
        """Change fields of a link; an empty text becomes None."""
        empty = {name: None for name, value in fields.items() if value == ""}
        self.links[index] = replace(self.links[index], **fields | empty)

    # --- settings ---

    def setting(self, path: str) -> str | None:
        """Return the value of a setting of a link, by its path below /proc/sys/net."""
        family, name, setting = _split(path)
        value = self.conf.get(name, {}).get(family, {}).get(setting)
        return None if value is None or setting == "-" else str(value // _unit(setting))

    def set_setting(self, path: str, value: str) -> None:
        """Change a setting that exists, with the effects of switching IPv6 off and on."""
        family, name, setting = _split(path)
        number = int(value) * _unit(setting)
        if not -(2**31) <= number < 2**31:
            raise Refusal(errno.EINVAL)
        self.conf[name][family][setting] = number
        link = next((link for link in self.links.values() if link.name == name), None)
        if link and setting == "disable_ipv6":
            if int(value):
                self.drop_ipv6(link.index)
            elif link.is_up:
                self.make_own(link.index)

    def settings(self, index: int, family: int) -> dict[str, int]:
        return self.conf[self.links[index].name][family]

    # --- addresses ---

    def add_address(self, address: Address, *, update: bool = False) -> None:
        """Add an address, or change its flags."""
        index = address.index
        self.get(index)
        if address.family == AF_INET6:
            if AF_INET6 not in self.conf["all"]:
                raise Refusal(errno.EOPNOTSUPP)
            if self.settings(index, AF_INET6)["disable_ipv6"]:
                raise Refusal(errno.EACCES)
        known = self.addresses[index]
        flags = address.flags & ~(_address.TENTATIVE | _address.SECONDARY) | _address.PERMANENT
        address = replace(address, flags=flags)
        same = [item for item in known if item.interface.ip == address.interface.ip]
        if address.family == AF_INET:
            near = [item for item in known if item.interface.network == address.interface.network]
            same = [item for item in same if item in near]
        if same and not update:
            raise Refusal(errno.EEXIST)
        if same:
            known[known.index(same[0])] = address
            return
        if address.family == AF_INET:
            if any(item.scope != address.scope for item in near):
                raise Refusal(errno.EINVAL)
            address = replace(address, flags=address.flags | (_address.SECONDARY if near else 0))
        known.insert(_place(known, address), address)
        self.connect(address)

    def make_own(self, index: int) -> None:
        """Add the addresses that the kernel gives to a link that is set up."""
        link = self.links[index]
        if link.is_loopback and not self.addresses[index]:
            self.add_address(Address(index, IPv4Interface("127.0.0.1/8"), scope=RT_SCOPE_HOST))
        conf = self.conf[link.name].get(AF_INET6, {"disable_ipv6": 1})
        if conf["disable_ipv6"] or conf["addr_gen_mode"] == _NO_ADDRESS or not link.mac:
            return
        mac = attrs.mac_bytes(link.mac)
        local = b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        interface = IPv6Interface("::1") if link.is_loopback else IPv6Interface((local, 64))
        if all(item.interface.ip != interface.ip for item in self.addresses[index]):
            self.add_address(Address(index, interface, scope=RT_SCOPE_HOST if link.is_loopback else RT_SCOPE_LINK))

    def delete_address(self, wanted: Address) -> None:
        """Delete an address; with a primary one also its secondaries, unless one of them is promoted."""
        self.get(wanted.index)
        known = self.addresses[wanted.index]
        found = next((item for item in known if item.interface == wanted.interface), None)
        if found is None:
            raise Refusal(errno.EADDRNOTAVAIL)
        others = [item for item in known if item.interface.network == found.interface.network and item != found]
        if found.family == AF_INET and not found.flags & _address.SECONDARY and others:
            known[:] = [item for item in known if item not in others]
            if self.settings(wanted.index, AF_INET)["promote_secondaries"]:
                first = replace(others.pop(0), flags=_address.PERMANENT)
                known[:] = [*known, *others]
                known.insert(_place(known, first), first)
                self.connect(first)
        known.remove(found)
        self.disconnect(found)

    def connect(self, address: Address) -> None:
        """Add the connected route of an address, if its link is up."""
        entry = self.connected(address)
        if entry and entry not in self.routes and self.links[address.index].is_up:
            self.routes.append(entry)

    def connected(self, address: Address) -> RouteEntry | None:
        """Return the connected route of an address."""
        index, ip, network = address.index, address.interface.ip, address.interface.network
        if address.peer:
            network = ip_network((address.peer, network.prefixlen), strict=False)
        if self.links[index].is_loopback:
            return None
        if network.version == 6:
            return RouteEntry(network, index, metric=_CONNECTED, protocol=_route.KERNEL)
        if network.prefixlen == 32 or address.flags & _address.SECONDARY:
            return None
        return RouteEntry(network, index, source=ip, protocol=_route.KERNEL, scope=RT_SCOPE_LINK)

    def disconnect(self, address: Address) -> None:
        """Delete the routes of an address that is deleted; with the last IPv4 address all IPv4 routes of the link."""
        left = self.addresses[address.index]
        if address.family == AF_INET and not any(item.family == AF_INET for item in left):
            self.routes = [item for item in self.routes if item.family != AF_INET or item.index != address.index]
        own, needed = self.connected(address), {self.connected(item) for item in left}
        gone = [item for item in self.routes if item == own and item not in needed]
        gone += [item for item in self.routes if item.source == address.interface.ip and item.family == AF_INET]
        self.routes = [item for item in self.routes if item not in gone]

    def drop_ipv6(self, index: int) -> None:
        """Delete the IPv6 addresses, routes and neighbors of a link."""
        self.addresses[index] = [item for item in self.addresses[index] if item.family == AF_INET]
        self.routes = [item for item in self.routes if item.index != index or item.family == AF_INET]
        self.neighbors = [item for item in self.neighbors if item.index != index or item.family != AF_INET6]

    # --- routes ---

    def add_route(self, entry: RouteEntry, *, update: bool) -> None:
        """Add a route, or replace the first one with the same key."""
        if entry.family == AF_INET6:
            if AF_INET6 not in self.conf["all"]:
                raise Refusal(errno.EOPNOTSUPP)
            entry = replace(entry, metric=entry.metric or _USUAL, scope=0)
        if entry.type == _route.UNICAST:
            self.check_hop(entry)
        same = [item for item in self.routes if _route_key(item) == _route_key(entry)]
        if same and not update:
            raise Refusal(errno.EEXIST)
        self.routes = [item for item in self.routes if item not in same[:1]] + [entry]

    def check_hop(self, entry: RouteEntry) -> None:
        """Refuse a route whose link is down, or whose next hop is not reached directly."""
        if not self.get(entry.index or 0).is_up:
            raise Refusal(errno.ENETDOWN, "Device for nexthop is not up")
        if entry.family == AF_INET6 and self.settings(entry.index or 0, AF_INET6)["disable_ipv6"]:
            raise Refusal(errno.EACCES, "IPv6 is disabled on nexthop device")
        if entry.via and not entry.flags & _route.ONLINK:
            direct = self.best(entry.via, entry.index)
            if direct is None or direct.via:
                raise Refusal(errno.ENETUNREACH if entry.family == AF_INET else errno.EHOSTUNREACH)
        own = (item.interface.ip for items in self.addresses.values() for item in items)
        if entry.source and entry.source not in own:
            raise Refusal(errno.EINVAL)

    def delete_route(self, wanted: RouteEntry) -> None:
        """Delete the first route that matches; fields that are 0 or None match anything."""
        for item in self.routes:
            fields = ((getattr(wanted, name), getattr(item, name)) for name in ("index", "via", "metric", "protocol"))
            if _route_key(item)[:-1] == _route_key(wanted)[:-1] and all(want in {None, 0, has} for want, has in fields):
                self.routes.remove(item)
                return
        raise Refusal(errno.ESRCH)

    def best(self, to: IPAddress, index: int | None = None) -> RouteEntry | None:
        """Return the best route to an address in the main table."""
        found = [item for item in self.routes if to.version == item.to.version and to in item.to]
        found = [item for item in found if item.table == _route.TABLE_MAIN and index in {None, item.index}]
        return min(found, key=lambda item: (-item.to.prefixlen, item.metric), default=None)

    def route_to(self, to: IPAddress) -> RouteEntry:
        """Return the route that leads to an address."""
        single = ip_network(to)
        if any(item.interface.ip == to for items in self.addresses.values() for item in items):
            return RouteEntry(single, 1, type=_LOCAL, table=_route.TABLE_LOCAL)
        found = self.best(to)
        if found is None or found.type != _route.UNICAST:
            raise Refusal(errno.EHOSTUNREACH if found else errno.ENETUNREACH)
        return replace(found, to=single)

    # --- neighbors ---

    def set_neighbor(self, entry: NeighborEntry) -> None:
        """Add a neighbor, or replace the one with the same key."""
        if self.get(entry.index).master is None and entry.flags & _neighbor.MASTER:
            raise Refusal(errno.EOPNOTSUPP)
        self.neighbors = [item for item in self.neighbors if _neighbor_key(item) != _neighbor_key(entry)] + [entry]

    def delete_neighbor(self, entry: NeighborEntry) -> None:
        self.get(entry.index)
        left = [item for item in self.neighbors if _neighbor_key(item) != _neighbor_key(entry)]
        if len(left) == len(self.neighbors):
            raise Refusal(errno.ENOENT)
        self.neighbors = left

    def forget_neighbors(self, index: int) -> None:
        """Delete the IPv4 and IPv6 neighbors of a link, also permanent ones (neigh_ifdown(), neigh_changeaddr())."""
        self.neighbors = [item for item in self.neighbors if item.index != index or item.family == AF_BRIDGE]


def _place(known: list[Address], new: Address) -> int:
    """Return where the kernel inserts a new address among those of a link; each family has an order of its own."""
    if new.family == AF_INET6:  # sorted by scope, the newest first: ipv6_link_dev_addr()
        return next((place for place, item in enumerate(known) if _reach(item) <= _reach(new)), len(known))
    if new.flags & _address.SECONDARY:
        return len(known)
    primary = [item for item in known if item.family == AF_INET and not item.flags & _address.SECONDARY]
    before = [known.index(item) for item in primary if item.scope >= new.scope]
    return before[-1] + 1 if before else 0


def _reach(address: Address) -> int:
    """Return the scope of an IPv6 address as the kernel sorts it (__ipv6_addr_src_scope()); IPv4 comes before."""
    if address.family == AF_INET:
        return 15
    return {RT_SCOPE_HOST: 1, RT_SCOPE_LINK: 2}.get(address.scope, 14)


def _route_key(entry: RouteEntry) -> tuple[object, ...]:
    return entry.to, entry.table, entry.tos, entry.metric


def _neighbor_key(entry: NeighborEntry) -> tuple[object, ...]:
    key = entry.mac if entry.family == AF_BRIDGE else entry.ip
    return entry.family, entry.index, key, entry.flags & (_neighbor.SELF | _neighbor.MASTER)


def _split(path: str) -> tuple[int, str, str]:
    """Return the family, link name and setting of a path below /proc/sys/net."""
    family, _, rest = path.partition("/conf/")
    name, _, setting = rest.partition("/")
    return _FAMILIES.get(family, 0), name, setting


def _unit(setting: str) -> int:
    """Return the factor between a setting in its file and in a message."""
    return 1000 if setting in _SECONDS else 1
