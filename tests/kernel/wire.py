"""Capture adverts on the peer of a veth; frames are decoded as the RFCs say, without the code under test."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from tests.kernel import lab

if TYPE_CHECKING:
    from typing import Self

    from netsandbox import Sandbox

LAST = 0x88B5  # IEEE Std 802: an EtherType for experiments
LIMIT = 30  # seconds; frames arrive within a few
SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h


class Advert(NamedTuple):
    """The content of an advert: address, MAC and time of arrival."""

    ip: str
    mac: str
    at: float


class Wire:
    """A packet socket on one end of a veth."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((name, 3))  # ETH_P_ALL
        self._socket.settimeout(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def next(self) -> Advert | None:
        """Return the next advert, or None for the end marker that the test sends."""
        while True:
            frame, ancillary, _, _ = self._socket.recvmsg(2048, 64)
            (kind,) = struct.unpack_from("!H", frame, 12)
            if kind == LAST:
                return None
            seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
            at = seconds + nanoseconds / 1e9
            if kind == 0x0806:
                return _arp(frame, at)
            if kind == 0x86DD and frame[54] == 136:
                return _neighbor_advertisement(frame, at)

    def take(self, count: int) -> list[Advert]:
        """Return the next *count* adverts."""
        found = [self.next() for _ in range(count)]
        assert None not in found
        return [item for item in found if item]

    def rest(self, sender: str, netns: str | None) -> list[Advert]:
        """Send an end marker out of the link *sender*, and return all adverts that arrived before it."""
        lab.inside(netns, lambda: send_last(sender))
        return list(iter(self.next, None))


def send_last(name: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((name, 0))
        sender.send(b"\xff" * 12 + struct.pack("!H", LAST) + bytes(46))


def _arp(frame: bytes, at: float) -> Advert:
    destination, source = frame[:6], frame[6:12]
    *kinds, operation, sender_mac, sender, target_mac, target = struct.unpack_from("!HHBBH6s4s6s4s", frame, 14)
    assert (destination, kinds, operation) == (b"\xff" * 6, [1, 0x0800, 6, 4], 1)  # a broadcast request
    assert sender == target
    assert sender_mac == source
    assert target_mac == bytes(6)
    return Advert(str(IPv4Address(sender)), source.hex(":"), at)


def _neighbor_advertisement(frame: bytes, at: float) -> Advert:
    destination, source = frame[:6], frame[6:12]
    version, size, following, hops, sender, to = struct.unpack_from("!IHBB16s16s", frame, 14)
    assert (destination.hex(":"), str(IPv6Address(to))) == ("33:33:00:00:00:01", "ff02::1")
    assert (version >> 28, size, following, hops) == (6, 32, 58, 255)
    kind, code, _, flags, target, option, units, mac = struct.unpack_from("!BBHI16sBB6s", frame, 54)
    assert (kind, code, flags) == (136, 0, 0x20000000)  # Override alone: not solicited, no router
    assert (option, units, mac) == (2, 1, source)
    assert sender == target
    return Advert(str(IPv6Address(target)), source.hex(":"), at)


def ips(adverts: list[Advert]) -> set[str]:
    return {item.ip for item in adverts}


def without_other_addresses(box: Sandbox) -> None:
    """Stop the kernel from generating link-local addresses, which would be advertised as well."""
    lab.sysctl("ipv6/conf/default/addr_gen_mode", "1", netns=box.path)
