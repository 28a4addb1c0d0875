"""IP addresses of links as values, and the requests that add and delete them.

Source: rtnetlink(7), include/uapi/linux/if_addr.h.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs
from netsandbox.netlink.constants import AF_INET, AF_INET6, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE
from netsandbox.netlink.message import F_CREATE, F_DUMP, F_EXCL, F_REPLACE, Message, Request

NEWADDR, DELADDR, GETADDR = 20, 21, 22  # RTM_*
SECONDARY, NODAD, DADFAILED, TENTATIVE, PERMANENT, NOPREFIXROUTE = 0x01, 0x02, 0x08, 0x40, 0x80, 0x200  # IFA_F_*

_INFO = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ADDRESS, _LOCAL, _BROADCAST, _FLAGS = 1, 2, 4, 8  # IFA_*


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address of a link.

    Attributes:
        index: Index of the link.
        interface: The address and its prefix.
        peer: Address of the other end of a point-to-point link; the prefix belongs to it then.
        broadcast: IPv4 broadcast address.
        scope: How far it is valid (RT_SCOPE_*).
        flags: IFA_F_* bits.
        rest: Attributes that are not decoded: (type, payload), sent back as they came.
    """

    index: int
    interface: IPv4Interface | IPv6Interface
    peer: IPv4Address | IPv6Address | None = None
    broadcast: IPv4Address | None = None
    scope: int = RT_SCOPE_UNIVERSE
    flags: int = 0
    rest: tuple[tuple[int, bytes], ...] = ()

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return AF_INET if self.interface.version == 4 else AF_INET6

    def pack(self) -> bytes:
        """Return the body of the message that describes it; the inverse of unpack."""
        local = self.interface.packed
        parts = [_INFO.pack(self.family, self.interface.network.prefixlen, self.flags & 0xFF, self.scope, self.index)]
        parts += attrs.pack(_LOCAL, local), attrs.pack(_ADDRESS, self.peer.packed if self.peer else local)
        if self.broadcast:
            parts.append(attrs.pack(_BROADCAST, self.broadcast.packed))
        parts.append(attrs.pack_u32(_FLAGS, self.flags))
        parts += (attrs.pack(kind, data) for kind, data in self.rest)
        return b"".join(parts)


def new(index: int, interface: IPv4Interface | IPv6Interface) -> Address:
    """Return the address of a link, as osl adds it.

    IPv6 is without duplicate address detection, so that it is usable at once; IPv4 is with the broadcast address of its
    network, if that has one (RFC 3021: not /31 and /32). Link-local addresses have link scope.
    """
    scope = RT_SCOPE_LINK if interface.is_link_local else RT_SCOPE_UNIVERSE
    if isinstance(interface, IPv6Interface):
        return Address(index, interface, scope=scope, flags=NODAD | PERMANENT)
    network = interface.network
    broadcast = network.broadcast_address if network.prefixlen < 31 else None
    return Address(index, interface, broadcast=broadcast, scope=scope, flags=PERMANENT)


def unpack(message: Message) -> Address:
    """Return the address that a RTM_NEWADDR message, or a request made here, describes."""
    (family, prefix, flags, scope, index), found = message.split(_INFO, "address")
    other = found.pop(_ADDRESS, None)
    local = found.pop(_LOCAL, other or b"")
    if other is None:
        other = bytes(len(local))  # inet_fill_ifaddr() leaves a peer of 0.0.0.0 out
    if _FLAGS in found:
        flags = attrs.to_int(found.pop(_FLAGS))
    v4 = family == AF_INET
    broadcast = found.pop(_BROADCAST, None) if v4 else None
    try:
        peer = None if other == local else IPv4Address(other) if v4 else IPv6Address(other)
        return Address(
            index=index,
            interface=IPv4Interface((local, prefix)) if v4 else IPv6Interface((local, prefix)),
            peer=peer,
            broadcast=None if broadcast is None else IPv4Address(broadcast),
            scope=scope,
            flags=flags,
            rest=tuple(found.items()),
        )
    except ValueError as error:
        raise ProtocolError(f"address message of family {family}: {error}") from error


def dump(index: int = 0, family: int = 0) -> Request:
    """Request the addresses of a link (0: all) and a family (0: all)."""
    return Request("list addresses", GETADDR, _INFO.pack(family, 0, 0, 0, index), F_DUMP)


def add(address: Address) -> Request:
    """Request a new address; the kernel refuses one that is there already (EEXIST)."""
    text = f"add address {address.interface} to link {address.index}"
    return Request(text, NEWADDR, address.pack(), F_CREATE | F_EXCL)


def update(address: Address) -> Request:
    """Request other flags and lifetimes of an address that is there."""
    text = f"set the flags of address {address.interface} on link {address.index}"
    return Request(text, NEWADDR, address.pack(), F_REPLACE)


def delete(address: Address) -> Request:
    """Request the deletion of an address."""
    return Request(f"delete address {address.interface} from link {address.index}", DELADDR, address.pack())
