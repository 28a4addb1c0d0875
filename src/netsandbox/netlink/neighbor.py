"""Neighbors (ARP, NDP and bridge forwarding entries) as values, and the requests that set and delete them.

Source: rtnetlink(7), include/uapi/linux/neighbour.h.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.message import F_CREATE, F_DUMP, F_REPLACE, Message, Request

NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30  # RTM_*
PERMANENT, NOARP = 0x80, 0x40  # NUD_*
_STATES = "INCOMPLETE REACHABLE STALE DELAY PROBE FAILED NOARP PERMANENT".split()
STATES = {1 << bit: name for bit, name in enumerate(_STATES)}
SELF, MASTER = 0x02, 0x04  # NTF_*: the forwarding table of the link itself, or of its bridge

_INFO = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_DST, _LLADDR, _CACHEINFO, _PROBES, _IFINDEX, _OF = 1, 2, 3, 4, 8, 9  # NDA_*; the third and fourth are counters


@dataclass(frozen=True, slots=True)
class NeighborEntry:
    """A neighbour, as the kernel describes it."""

    family: int  # AF_INET, AF_INET6, or AF_BRIDGE for a forwarding entry
    index: int  # of the link
    ip: IPv4Address | IPv6Address | None = None  # of a forwarding entry, the tunnel's other end
    mac: str | None = None  # in lower-case colon notation
    state: int = PERMANENT  # NUD_*
    flags: int = 0  # NTF_*
    rest: tuple[tuple[int, bytes], ...] = ()  # attributes that are not decoded: (type, payload), sent back as they came

    @property
    def states(self) -> tuple[str, ...]:
        """Its state in the words of ip(8), such as "REACHABLE"."""
        return tuple(name for bit, name in STATES.items() if self.state & bit)

    def pack(self) -> bytes:
        """Return the body of the message that describes it; the inverse of unpack."""
        parts = [_INFO.pack(self.family, self.index, self.state, self.flags, 0)]
        if self.ip:
            parts.append(attrs.pack(_DST, self.ip.packed))
        if self.mac:
            parts.append(attrs.pack(_LLADDR, attrs.mac_bytes(self.mac)))
        parts += (attrs.pack(kind, data) for kind, data in self.rest)
        return b"".join(parts)

    def __str__(self) -> str:
        """Name it by its addresses."""
        return " ".join(str(part) for part in (self.ip, self.mac) if part)


def unpack(message: Message) -> NeighborEntry:
    """Return the neighbor that a RTM_NEWNEIGH message, or a request made here, describes."""
    (family, index, state, flags, _), found = message.split(_INFO, "neighbor")
    ip, mac = found.pop(_DST, b""), found.pop(_LLADDR, b"")
    if len(ip) not in (0, 4, 16):
        raise ProtocolError(f"neighbor address of {len(ip)} bytes")
    return NeighborEntry(
        family=family,
        index=index,
        ip=(IPv4Address(ip) if len(ip) == 4 else IPv6Address(ip)) if ip else None,
        mac=attrs.mac_text(mac) if mac else None,
        state=state,
        flags=flags | (MASTER if family == AF_BRIDGE and _OF in found else 0),  # the kernel reports it as an attribute
        rest=tuple((kind, data) for kind, data in found.items() if kind not in (_CACHEINFO, _PROBES)),
    )


def dump(family: int = 0, index: int = 0) -> Request:
    """Request the neighbors of a family (AF_BRIDGE: forwarding entries; 0: IPv4 and IPv6) and a link (0: all)."""
    body = _INFO.pack(family, 0, 0, 0, 0) + (attrs.pack_u32(_IFINDEX, index) if index else b"")
    return Request("list neighbors", GETNEIGH, body, F_DUMP)


def replace(entry: NeighborEntry) -> Request:
    """Request a new neighbor, which replaces the one with its address."""
    return Request(f"set neighbor {entry} on link {entry.index}", NEWNEIGH, entry.pack(), F_CREATE | F_REPLACE)


def delete(entry: NeighborEntry) -> Request:
    """Request the deletion of a neighbor."""
    return Request(f"delete neighbor {entry} from link {entry.index}", DELNEIGH, entry.pack())
