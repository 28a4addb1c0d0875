"""Neighbours (ARP, NDP and bridge forwarding entries) as values, and the requests that set and delete them.

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
STATES = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    NOARP: "NOARP",
    PERMANENT: "PERMANENT",
}
SELF, MASTER = 0x02, 0x04  # NTF_*: the forwarding table of the link itself, or of its bridge

_INFO = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_DST, _LLADDR, _CACHEINFO, _PROBES, _IFINDEX, _OF = 1, 2, 3, 4, 8, 9  # NDA_*; the third and fourth are counters


@dataclass(frozen=True, slots=True)
class NeighborEntry:
    """A neighbour, as the kernel describes it.

    Attributes:
        family: AF_INET, AF_INET6, or AF_BRIDGE for a forwarding entry.
        index: Index of the link.
        ip: Its IP address; of a forwarding entry the tunnel's other end.
        mac: Its link-layer address in lower-case colon notation.
        state: NUD_* bits.
        flags: NTF_* bits.
        rest: Attributes that are not decoded: (type, payload), sent back as they came.
    """

    family: int
    index: int
    ip: IPv4Address | IPv6Address | None = None
    mac: str | None = None
    state: int = PERMANENT
    flags: int = 0
    rest: tuple[tuple[int, bytes], ...] = ()

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
    """Return the neighbour that a RTM_NEWNEIGH message, or a request of ours, describes.

    Raises:
        ProtocolError: The message is malformed.
    """
    body = message.body
    if len(body) < _INFO.size:
        raise ProtocolError(f"neighbour message of {len(body)} bytes")
    family, index, state, flags, _ = _INFO.unpack_from(body)
    found = attrs.unpack(body, _INFO.size)
    ip, mac = found.pop(_DST, b""), found.pop(_LLADDR, b"")
    if len(ip) not in (0, 4, 16):
        raise ProtocolError(f"neighbour address of {len(ip)} bytes")
    return NeighborEntry(
        family=family,
        index=index,
        ip=(IPv4Address(ip) if len(ip) == 4 else IPv6Address(ip)) if ip else None,
        mac=attrs.mac_text(mac) if mac else None,
        state=state,
        flags=flags | (MASTER if family == AF_BRIDGE and _OF in found else 0),  # told by attribute, taken as flag
        rest=tuple((kind, data) for kind, data in found.items() if kind not in (_CACHEINFO, _PROBES)),
    )


def dump(family: int = 0, index: int = 0) -> Request:
    """Ask for the neighbours of a family (AF_BRIDGE: forwarding entries; 0: IPv4 and IPv6) and link (0: all)."""
    body = _INFO.pack(family, 0, 0, 0, 0) + (attrs.pack_u32(_IFINDEX, index) if index else b"")
    return Request("list neighbors", GETNEIGH, body, F_DUMP)


def replace(entry: NeighborEntry) -> Request:
    """Ask for a neighbour to be added, or to replace what is known of it."""
    return Request(f"set neighbor {entry} on link {entry.index}", NEWNEIGH, entry.pack(), F_CREATE | F_REPLACE)


def delete(entry: NeighborEntry) -> Request:
    """Ask for a neighbour to be deleted."""
    return Request(f"delete neighbor {entry} from link {entry.index}", DELNEIGH, entry.pack())
