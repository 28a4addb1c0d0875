"""The frames of adverts, compared with bytes written by hand after the RFCs, and parsed by independent code."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from netsandbox._frames import advert, checksum

MAC = bytes.fromhex("024200000042")
MACS = st.binary(min_size=6, max_size=6)


def test_arp_announcement_is_a_broadcast_request() -> None:
    """An ARP announcement is a broadcast request with the advertised address as sender and target."""
    assert advert(MAC, IPv4Address("10.0.0.2")).hex(" ") == (
        "ff ff ff ff ff ff 02 42 00 00 00 42 08 06 "  # broadcast, from MAC, ARP
        "00 01 08 00 06 04 00 01 "  # Ethernet, IPv4, sizes, request
        "02 42 00 00 00 42 0a 00 00 02 "  # the sender
        "00 00 00 00 00 00 0a 00 00 02"  # the target: no MAC, the same address
    )


def test_neighbor_advertisement_goes_to_all_nodes() -> None:
    """A neighbor advertisement has the Override flag and goes to all nodes."""
    assert advert(MAC, IPv6Address("fd00::2")).hex(" ") == (
        "33 33 00 00 00 01 02 42 00 00 00 42 86 dd "  # to all nodes, from MAC, IPv6
        "60 00 00 00 00 20 3a ff "  # 32 bytes of ICMPv6, hop limit 255
        "fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 "  # from the address itself
        "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01 "
        "88 00 5a 16 20 00 00 00 "  # type 136, checksum, Override alone
        "fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 "  # the target
        "02 01 02 42 00 00 00 42"  # its link-layer address
    )


@given(MACS, st.ip_addresses(v=6))
def test_neighbor_advertisement_has_a_valid_checksum(mac: bytes, address: IPv6Address) -> None:
    """The 16-bit words that the checksum covers sum up to ffff, with end-around carry (RFC 1071)."""
    frame = advert(mac, address)
    source, target, message = frame[22:38], frame[38:54], frame[54:]
    covered = source + target + struct.pack("!IBBBB", len(message), 0, 0, 0, 58) + message
    total = 0
    for (word,) in struct.iter_unpack("!H", covered):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    assert message[2:4] != b"\xff\xff"  # a value that the kernel never sends


@given(MACS, st.ip_addresses())
def test_frame_contains_mac_and_address_twice(mac: bytes, address: IPv4Address | IPv6Address) -> None:
    """A frame has the length of its type, and contains the MAC and the address at least twice."""
    frame = advert(mac, address)
    assert frame[6:12] == mac
    assert frame.count(address.packed) >= 2
    assert frame.count(mac) >= 2
    assert len(frame) == (42 if address.version == 4 else 86)


def test_checksum_matches_the_example_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2  # RFC 1071, section 3
