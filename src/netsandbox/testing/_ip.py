"""Settings, addresses, routes and neighbours of the fake.

Source: net/ipv4/devinet.c, net/ipv4/fib_trie.c, net/ipv6/addrconf.c, net/ipv6/ip6_fib.c, net/core/neighbour.c.
"""

import errno
import struct
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import Any, TypeVar

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

T = TypeVar("T")
CONF = {AF_INET: IFLA.INET_CONF, AF_INET6: IFLA.INET6_CONF}
_CONNECTED, _USUAL = 256, 1024  # IP6_RT_PRIO_ADDRCONF, IP6_RT_PRIO_USER
_LOCAL = 2  # RTN_LOCAL
_NO_ADDRESS = 1  # IN6_ADDR_GEN_MODE_NONE
_FAMILIES = {"ipv4": AF_INET, "ipv6": AF_INET6}
_SETTINGS = {  # the settings of a link in the order of their numbers: include/uapi/linux/ip.h, and netlink/conf.py
    AF_INET: (
        "forwarding mc_forwarding proxy_arp accept_redirects secure_redirects send_redirects shared_media rp_filter "
        "accept_source_route bootp_relay log_martians tag arp_filter medium_id disable_xfrm disable_policy "
        "force_igmp_version arp_announce arp_ignore promote_secondaries"
    ).split(),
    AF_INET6: _NAMES,
}
_INITIAL = {"accept_redirects": 1, "accept_ra": 1, "router_solicitation_interval": 4000}


def copied(lists: dict[int, list[T]]) -> dict[int, list[T]]:
    """Return a copy of what is kept in lists."""
    return {key: list(values) for key, values in lists.items()}


class Ip:
    """What belongs to the links of a namespace."""

    def __init__(self, families: tuple[int, ...]) -> None:
        self.links: dict[int, Link] = {}
        self.addresses: dict[int, list[Address]] = {}  # by link index, in the kernel's order
        self.routes: list[RouteEntry] = []
        self.neighbors: list[NeighborEntry] = []
        usual = {family: [_INITIAL.get(name, 0) for name in _SETTINGS[family]] for family in families}
        self.conf = {"all": copied(usual), "default": usual}  # by link name, then by family

    def get(self, index: int | None) -> Link:
        """Return the link with an index."""
        if index is None or index not in self.links:
            raise Refusal(errno.ENODEV)
        return self.links[index]

    def read(self, index: int, stats: bytes = b"") -> Link:
        """Return a link with its settings, as a message has them."""
        link = self.links[index]
        packed = {family: struct.pack(f"={len(item)}i", *item) for family, item in self.conf[link.name].items()}
        spec = b"".join(attrs.nest(family, attrs.pack(CONF[family], data)) for family, data in packed.items())
        return replace(link, af_spec=spec, stats=stats)

    def edit(self, index: int, **fields: Any) -> None:  # noqa: ANN401  the fields of Link
        """Change a link."""
        self.links[index] = replace(self.links[index], **fields)

    # --- settings ---

    def setting(self, path: str) -> str | None:
        """Return the value of a setting of a link, by its path below /proc/sys/net."""
        family, name, setting = _cut(path)
        values = self.conf.get(name, {}).get(family)
        if values is None or setting == "-" or setting not in _SETTINGS[family]:
            return None
        return str(values[_SETTINGS[family].index(setting)] // _unit(setting))

    def set_setting(self, path: str, value: str) -> None:
        """Give a setting that is there a value; what IPv6 does when it is switched off and on happens."""
        family, name, setting = _cut(path)
        self.conf[name][family][_SETTINGS[family].index(setting)] = int(value) * _unit(setting)
        link = next((link for link in self.links.values() if link.name == name), None)
        if link and setting == "disable_ipv6":
            if int(value):
                self.drop_ipv6(link.index)
            elif link.is_up:
                self.make_own(link.index)

    def is_set(self, index: int, family: int, setting: str) -> int:
        """Return the value of a setting of a link as a number."""
        return self.conf[self.links[index].name][family][_SETTINGS[family].index(setting)]

    # --- addresses ---

    def add_address(self, address: Address, *, update: bool = False) -> None:
        """Add an address, or change its flags."""
        index = address.index
        self.get(index)
        if address.family == AF_INET6:
            if AF_INET6 not in self.conf["all"]:
                raise Refusal(errno.EOPNOTSUPP)
            if self.is_set(index, AF_INET6, "disable_ipv6"):
                raise Refusal(errno.EACCES)
        known = self.addresses[index]
        address = replace(
            address, flags=address.flags & ~(_address.TENTATIVE | _address.SECONDARY) | _address.PERMANENT
        )
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
        """Give a link that is up the addresses that the kernel makes by itself."""
        link = self.links[index]
        if link.is_loopback and not self.addresses[index]:
            self.add_address(Address(index, IPv4Interface("127.0.0.1/8"), scope=RT_SCOPE_HOST))
        on = AF_INET6 in self.conf["all"] and not self.is_set(index, AF_INET6, "disable_ipv6")
        if not on or self.is_set(index, AF_INET6, "addr_gen_mode") == _NO_ADDRESS or not link.mac:
            return
        mac = attrs.mac_bytes(link.mac)
        made = b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        interface = IPv6Interface("::1") if link.is_loopback else IPv6Interface((made, 64))
        if all(item.interface.ip != interface.ip for item in self.addresses[index]):
            self.add_address(Address(index, interface, scope=RT_SCOPE_HOST if link.is_loopback else RT_SCOPE_LINK))

    def delete_address(self, wish: Address) -> None:
        """Delete an address, and with a primary one its secondaries, unless one of them is promoted."""
        self.get(wish.index)
        known = self.addresses[wish.index]
        found = next((item for item in known if item.interface == wish.interface), None)
        if found is None:
            raise Refusal(errno.EADDRNOTAVAIL)
        others = [item for item in known if item.interface.network == found.interface.network and item != found]
        if found.family == AF_INET and not found.flags & _address.SECONDARY and others:
            known[:] = [item for item in known if item not in others]
            if self.is_set(wish.index, AF_INET, "promote_secondaries"):
                first = replace(others.pop(0), flags=_address.PERMANENT)
                known[:] = [*known, *others]
                known.insert(_place(known, first), first)
                self.connect(first)
        known.remove(found)
        self.disconnect(found)

    def connect(self, address: Address) -> None:
        """Make the route to the network of an address of a link that is up."""
        entry = self.connected(address)
        if entry and entry not in self.routes and self.links[address.index].is_up:
            self.routes.append(entry)

    def connected(self, address: Address) -> RouteEntry | None:
        """Return the route to the network of an address."""
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
        """Delete the routes that an address leaves behind: with the last IPv4 address all of the link."""
        left = self.addresses[address.index]
        needed = {self.connected(item) for item in left}
        self.routes = [item for item in self.routes if item != self.connected(address) or item in needed]
        if address.family == AF_INET:
            last = not any(item.family == AF_INET for item in left)
            gone = (address.interface.ip, address.index)
            v4 = [item for item in self.routes if item.family == AF_INET]
            dropped = [item for item in v4 if (last and item.index == gone[1]) or item.source == gone[0]]
            self.routes = [item for item in self.routes if item not in dropped]

    def drop_ipv6(self, index: int) -> None:
        """Drop what a link has of IPv6."""
        self.addresses[index] = [item for item in self.addresses[index] if item.family == AF_INET]
        self.routes = [item for item in self.routes if item.index != index or item.family == AF_INET]
        self.neighbors = [item for item in self.neighbors if item.index != index or item.family != AF_INET6]

    # --- routes ---

    def sorted_routes(self) -> list[RouteEntry]:
        """Return the routes in the order of their destinations."""
        return sorted(
            self.routes, key=lambda item: (item.family, item.table, item.to.network_address, item.to.prefixlen)
        )

    def add_route(self, entry: RouteEntry, *, update: bool) -> None:
        """Add a route, or put it in the place of the first one of its key."""
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
        """Refuse a route that leads nowhere."""
        if not self.get(entry.index or 0).is_up:
            raise Refusal(errno.ENETDOWN, "Device for nexthop is not up")
        if entry.family == AF_INET6 and self.is_set(entry.index or 0, AF_INET6, "disable_ipv6"):
            raise Refusal(errno.EACCES, "IPv6 is disabled on nexthop device")
        if entry.via and not entry.flags & _route.ONLINK:
            direct = self.best(entry.via, entry.index)
            if direct is None or direct.via:
                raise Refusal(errno.ENETUNREACH if entry.family == AF_INET else errno.EHOSTUNREACH)
        own = (item.interface.ip for items in self.addresses.values() for item in items)
        if entry.source and entry.source not in own:
            raise Refusal(errno.EINVAL)

    def delete_route(self, wish: RouteEntry) -> None:
        """Delete the first route that fits: what is 0 or None fits anything."""
        for item in self.routes:
            if _route_key(item)[:-1] == _route_key(wish)[:-1] and all(
                want in {None, 0, have}
                for want, have in (
                    (wish.index, item.index),
                    (wish.via, item.via),
                    (wish.metric, item.metric),
                    (wish.protocol, item.protocol),
                )
            ):
                self.routes.remove(item)
                return
        raise Refusal(errno.ESRCH)

    def best(self, to: IPAddress, index: int | None = None) -> RouteEntry | None:
        """Return the route of the main table that an address takes."""
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

    # --- neighbours ---

    def set_neighbor(self, entry: NeighborEntry) -> None:
        """Add a neighbour, or put it in the place of the one of its key."""
        if self.get(entry.index).master is None and entry.flags & _neighbor.MASTER:
            raise Refusal(errno.EOPNOTSUPP)
        self.neighbors = [item for item in self.neighbors if _neighbor_key(item) != _neighbor_key(entry)] + [entry]

    def delete_neighbor(self, entry: NeighborEntry) -> None:
        """Delete a neighbour."""
        self.get(entry.index)
        left = [item for item in self.neighbors if _neighbor_key(item) != _neighbor_key(entry)]
        if len(left) == len(self.neighbors):
            raise Refusal(errno.ENOENT)
        self.neighbors = left

    def forget_neighbors(self, index: int) -> None:
        """Drop the IPv4 and IPv6 neighbours of a link, permanent ones too (neigh_ifdown(), neigh_changeaddr())."""
        self.neighbors = [item for item in self.neighbors if item.index != index or item.family == AF_BRIDGE]


def _place(known: list[Address], new: Address) -> int:
    """Return where the kernel puts a new address among those of a link; the families do not mix."""
    if new.family == AF_INET6:  # sorted by scope, the newest first: ipv6_link_dev_addr()
        places = [place for place, item in enumerate(known) if _reach(item) <= _reach(new)]
        return places[0] if places else len(known)
    before = [
        item.family == AF_INET and not item.flags & _address.SECONDARY and item.scope >= new.scope for item in known
    ]
    if new.flags & _address.SECONDARY:
        return len(known)
    return len(known) - before[::-1].index(True) if any(before) else 0


def _reach(address: Address) -> int:
    """Return how far an IPv6 address is valid, as the kernel sorts (__ipv6_addr_src_scope()); IPv4 comes before."""
    if address.family == AF_INET:
        return 15
    return {RT_SCOPE_HOST: 1, RT_SCOPE_LINK: 2}.get(address.scope, 14)


def _route_key(entry: RouteEntry) -> tuple[object, ...]:
    return entry.to, entry.table, entry.tos, entry.metric


def _neighbor_key(entry: NeighborEntry) -> tuple[object, ...]:
    key = entry.mac if entry.family == AF_BRIDGE else entry.ip
    return entry.family, entry.index, key, entry.flags & (_neighbor.SELF | _neighbor.MASTER)


def _cut(path: str) -> tuple[int, str, str]:
    """Return the family, link name and setting that a path below /proc/sys/net says."""
    family, _, rest = path.partition("/conf/")
    name, _, setting = rest.partition("/")
    return _FAMILIES.get(family, 0), name, setting


def _unit(setting: str) -> int:
    """Return what a setting is multiplied by when the kernel tells its number."""
    return 1000 if setting in _SECONDS else 1
