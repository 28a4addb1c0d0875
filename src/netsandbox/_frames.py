"""The frames of unsolicited adverts: gratuitous ARP and ICMPv6 Neighbor Advertisements, as bytes. Pure.

Both are whole Ethernet frames, which need no route, no IPv6 socket and nothing of the loopback link.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

MAC_SIZE = 6  # bytes of an Ethernet address; other links have others (IP over InfiniBand: 20)
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD  # include/uapi/linux/if_ether.h

_EVERYBODY = b"\xff" * MAC_SIZE
_ETHERNET = struct.Struct("!6s6sH")  # destination, source, type
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826: types, sizes, operation, sender's and target's MAC and IP
_HARDWARE_ETHERNET, _REQUEST = 1, 1

_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = b"\x33\x33" + _ALL_NODES.packed[-4:]  # RFC 2464, section 7
_IPV6 = struct.Struct("!IHBB16s16s")  # RFC 8200: version, payload size, next header, hop limit, source, destination
_PSEUDO = struct.Struct("!16s16sI3xB")  # RFC 8200, section 8.1: the checksum covers it too
_NA = struct.Struct("!BBHI16sBB6s")  # RFC 4861, section 4.4, with one option of section 4.6.1
_ICMPV6, _NA_TYPE, _OVERRIDE, _TARGET_MAC, _HOP_LIMIT = 58, 136, 1 << 29, 2, 255


def advert(mac: bytes, address: IPv4Address | IPv6Address) -> bytes:
    """Return the frame that announces to a network that a link with this *mac* has an IP *address*."""
    return arp(mac, address) if isinstance(address, IPv4Address) else neighbor_advertisement(mac, address)


def arp(mac: bytes, address: IPv4Address) -> bytes:
    """Return an ARP announcement: a broadcast request, not a reply (RFC 5227, section 2.3), for one's own address."""
    ip = address.packed
    body = _ARP.pack(_HARDWARE_ETHERNET, ETHERTYPE_IPV4, MAC_SIZE, len(ip), _REQUEST, mac, ip, bytes(MAC_SIZE), ip)
    return _ETHERNET.pack(_EVERYBODY, mac, ETHERTYPE_ARP) + body


def neighbor_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """Return an unsolicited Neighbor Advertisement to all nodes, which overrides their caches (RFC 4861, 7.2.6)."""
    source, target = address.packed, _ALL_NODES.packed

    def message(checksum: int) -> bytes:
        return _NA.pack(_NA_TYPE, 0, checksum, _OVERRIDE, source, _TARGET_MAC, 1, mac)  # 1: of 8 bytes

    size = _NA.size
    total = checksum(_PSEUDO.pack(source, target, size, _ICMPV6) + message(0))
    header = _IPV6.pack(6 << 28, size, _ICMPV6, _HOP_LIMIT, source, target)
    return _ETHERNET.pack(_ALL_NODES_MAC, mac, ETHERTYPE_IPV6) + header + message(total)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes that are not all zero.

    A sum of 16-bit words with end-around carry equals the number that all bytes make together, modulo ffff.
    """
    return -int.from_bytes(data, "big") % 0xFFFF
