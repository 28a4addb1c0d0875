"""Routes as values, and the requests that add, replace and delete them.

Source: rtnetlink(7), include/uapi/linux/rtnetlink.h.
"""

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as _replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs
from netsandbox.netlink.constants import AF_INET, AF_INET6, RT_SCOPE_UNIVERSE
from netsandbox.netlink.message import F_CREATE, F_DUMP, F_EXCL, F_REPLACE, Message, Request

NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26  # RTM_*
TABLE_MAIN, TABLE_LOCAL = 254, 255  # RT_TABLE_*
BOOT, KERNEL = 3, 2  # RTPROT_*: who made it; routes of ip(8) are "boot"
UNICAST = 1  # RTN_UNICAST
ONLINK, CLONED = 4, 0x200  # RTNH_F_ONLINK, RTM_F_CLONED
IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: the default
# Names of ip-route(8); a number without one is written in digits.
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}  # RT_SCOPE_*
PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}  # RTPROT_*
TYPES = tuple(  # RTN_*
    "unspec unicast local broadcast anycast multicast blackhole unreachable prohibit throw nat".split()
)

_INFO = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _MULTIPATH, _CACHEINFO, _TABLE, _EXPIRES = 1, 4, 5, 6, 7, 9, 12, 15, 23
_CACHE = struct.Struct("=IIi")  # struct rta_cacheinfo begins with clntref, lastuse, expires (1/100 s)
ANY4, ANY6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
# How addresses and networks of a family are made; next hops are few, and each is made once.
_IPV4 = lru_cache(IPv4Address), IPv4Network, ANY4
_IPV6 = lru_cache(IPv6Address), IPv6Network, ANY6


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route, as the kernel describes it."""

    to: IPv4Network | IPv6Network  # the destination
    index: int | None = None  # of the link it leads out of; None for a multipath or unreachable route
    via: IPv4Address | IPv6Address | None = None  # the next hop
    metric: int = 0  # the lowest wins
    source: IPv4Address | IPv6Address | None = None  # preferred source address
    table: int = TABLE_MAIN
    protocol: int = BOOT  # RTPROT_*: who made it
    scope: int = RT_SCOPE_UNIVERSE  # RT_SCOPE_*: distance of the destination
    type: int = UNICAST  # RTN_*
    flags: int = 0  # RTNH_F_* and RTM_F_*
    tos: int = 0  # type of service
    source_length: int = 0  # prefix length of the source it is limited to (IPv6)
    rest: tuple[tuple[int, bytes], ...] = ()  # attributes that are not decoded: (type, payload), sent back as they came

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return AF_INET if self.to.version == 4 else AF_INET6

    @property
    def is_default(self) -> bool:
        """Whether it is a default route of the main table."""
        return not self.to.prefixlen and self.table == TABLE_MAIN and self.type == UNICAST

    def words(self, link: str) -> str:
        """Return it in the words of ip-route(8); *link* is the name of the link it leads out of, if there is one."""
        words = str(self.to) if self.type == UNICAST else f"{TYPES[self.type]} {self.to}"
        words += f" via {self.via}" if self.via else ""
        words += f" dev {link}" if link else ""
        words += f" table {self.table}" if self.table != TABLE_MAIN else ""
        words += f" proto {self.protocol}" if self.protocol != BOOT else ""
        words += f" scope {self.scope}" if self.scope and self.family == AF_INET else ""
        words += f" metric {self.metric}" if self.metric else ""
        words += f" src {self.source}" if self.source else ""
        return words + (" onlink" if self.flags & ONLINK else "")

    def pack(self) -> bytes:
        """Return the body of the message that describes it; the inverse of unpack."""
        table = self.table if self.table < 256 else 0
        header = (self.family, self.to.prefixlen, self.source_length, self.tos, table)
        parts = [_INFO.pack(*header, self.protocol, self.scope, self.type, self.flags)]
        parts += attrs.pack_u32(_TABLE, self.table), attrs.pack(_DST, self.to.network_address.packed)
        if self.index is not None:
            parts.append(attrs.pack_u32(_OIF, self.index))
        if self.via:
            parts.append(attrs.pack(_GATEWAY, self.via.packed))
        if self.metric:
            parts.append(attrs.pack_u32(_PRIORITY, self.metric))
        if self.source:
            parts.append(attrs.pack(_PREFSRC, self.source.packed))
        parts += (attrs.pack(kind, data) for kind, data in self.rest)
        return b"".join(parts)


def name_of(number: int, names: Mapping[int, str]) -> str:
    """Return the name of a scope or protocol (*names*: `SCOPES` or `PROTOCOLS`); of one without a name, its digits."""
    return names.get(number, str(number))


def number_of(name: str, names: Mapping[int, str]) -> int | None:
    """Return the number of a scope or protocol, if it has one: the inverse of `name_of`."""
    found = next((number for number, known in names.items() if known == name), None)
    if found is None and name.isdecimal() and name.isascii() and int(name) < 256:
        return int(name)
    return found


def unpack(message: Message) -> RouteEntry:
    """Return the route that a RTM_NEWROUTE message, or a request made here, describes."""
    info, found = message.split(_INFO, "route")
    family, length, source_length, tos, table, protocol, scope, type_, flags = info
    take = found.pop
    if _CACHEINFO in found:
        found.update(_expiry(take(_CACHEINFO)))
    oif, via, source = take(_OIF, None), take(_GATEWAY, None), take(_PREFSRC, None)
    destination = take(_DST, b"")
    metric = attrs.to_int(take(_PRIORITY)) if _PRIORITY in found else 0
    table = attrs.to_int(take(_TABLE)) if _TABLE in found else table
    ip, network, everything = _IPV4 if family == AF_INET else _IPV6
    try:
        return RouteEntry(  # by position: by keyword, a quarter of the time would go into this call
            network((destination, length)) if length else everything,
            None if oif is None else attrs.to_int(oif),
            None if via is None else ip(via),
            metric,
            None if source is None else ip(source),
            table,
            protocol,
            scope,
            type_,
            flags,
            tos,
            source_length,
            tuple(found.items()),
        )
    except ValueError as error:
        raise ProtocolError(f"route message of family {family}: {error}") from error


def _expiry(data: bytes) -> dict[int, bytes]:
    """Return the attribute that requests what the cache information of a route reports: when it expires, in seconds."""
    if len(data) < _CACHE.size:
        raise ProtocolError(f"route cache information of {len(data)} bytes")
    expires = _CACHE.unpack_from(data)[2]
    return {_EXPIRES: (-(-expires // 100)).to_bytes(4, sys.byteorder)} if expires > 0 else {}


def dump(*, family: int = 0, table: int = 0, index: int = 0) -> Request:
    """Request the routes of a family, table and outgoing link (0: all)."""
    body = _INFO.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    if table:
        body += attrs.pack_u32(_TABLE, table)
    if index:
        body += attrs.pack_u32(_OIF, index)
    return Request("list routes", GETROUTE, body, F_DUMP)


def lookup(address: IPv4Address | IPv6Address) -> Request:
    """Request the route that leads to *address*."""
    family = AF_INET if address.version == 4 else AF_INET6
    body = _INFO.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attrs.pack(_DST, address.packed)
    return Request(f"find the route to {address}", GETROUTE, body)


def add(entry: RouteEntry) -> Request:
    """Request a new route; the kernel refuses one that is there already (EEXIST)."""
    return Request(f"add route to {entry.to}", NEWROUTE, _settable(entry).pack(), F_CREATE | F_EXCL)


def replace(entry: RouteEntry) -> Request:
    """Request a route in the place of one with the same destination, metric and table."""
    return Request(f"replace route to {entry.to}", NEWROUTE, _settable(entry).pack(), F_CREATE | F_REPLACE)


def delete(entry: RouteEntry) -> Request:
    """Request the deletion of a route."""
    return Request(f"delete route to {entry.to}", DELROUTE, _settable(entry).pack())


def _settable(entry: RouteEntry) -> RouteEntry:
    """Return *entry* without the flags that only the kernel sets (dead, linkdown, offload, ...)."""
    return _replace(entry, flags=entry.flags & ONLINK)
