"""Address messages: recorded ones, requests compared with those of ip(8), round trips, random bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netsandbox.errors import ProtocolError
from netsandbox.netlink import address, attrs
from netsandbox.netlink.address import AF_INET, AF_INET6, NODAD, PERMANENT, Address
from netsandbox.netlink.message import Message, Request
from tests.unit.recorded import as_sent, messages, sent

U32 = st.integers(0, 2**32 - 1)
OTHER = st.integers(0, 0x3FFF).filter(lambda kind: kind not in {1, 2, 4, 8})  # IFA_* that are kept undecoded
REST = st.dictionaries(OTHER, st.binary(max_size=24)).map(lambda found: tuple(found.items()))
INTERFACES = st.one_of(
    st.builds(lambda ip, size: IPv4Interface((ip, size)), U32, st.integers(0, 32)),
    st.builds(lambda ip, size: IPv6Interface((ip, size)), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)


def unpack(body: bytes) -> Address:
    return address.unpack(Message(address.NEWADDR, 0, 1, body))


def body(family: int, size: int, *attributes: bytes, flags: int = 0) -> bytes:
    return struct.pack("=BBBBI", family, size, flags, 0, 7) + b"".join(attributes)


def test_recorded_kernel_addresses_are_decoded() -> None:
    """Recorded RTM_NEWADDR messages decode to the addresses of the recorded link."""
    found = [
        replace(item, rest=()) for item in map(address.unpack, messages("addresses", "list all")) if item.index == 7
    ]
    assert found == [
        Address(7, IPv4Interface("169.254.9.9/32"), scope=253, flags=PERMANENT),
        Address(7, IPv4Interface("10.0.0.2/24"), broadcast=IPv4Address("10.0.0.255"), flags=PERMANENT),
        Address(7, IPv4Interface("10.1.0.1/32"), IPv4Address("10.2.0.1"), flags=PERMANENT),
        Address(7, IPv4Interface("10.3.0.1/32"), IPv4Address("0.0.0.0"), flags=PERMANENT),  # noqa: S104  a peer, no socket
        Address(7, IPv4Interface("10.0.0.3/24"), flags=1),
        Address(7, IPv6Interface("fd00::3/128"), IPv6Address("fd00::4"), flags=NODAD | PERMANENT),
        Address(7, IPv6Interface("fd00::2/64"), flags=NODAD | PERMANENT),
        Address(7, IPv6Interface("fe80::ff:fe00:7/64"), scope=253, flags=PERMANENT),
    ]


def test_label_and_lifetimes_round_trip() -> None:
    """The label and the lifetimes of an address are kept undecoded and are packed again unchanged."""
    limited = next(item for item in map(address.unpack, messages("addresses", "list all")) if item.flags == 1)
    rest = dict(limited.rest)
    assert rest[3] == b"v0:one\0"
    assert struct.unpack_from("=II", rest[6]) == (8000, 9000)  # preferred, valid
    assert unpack(limited.pack()) == limited


@given(INTERFACES, st.data(), st.tuples(U32, st.integers(0, 255), U32), REST)
def test_pack_unpack_round_trip(
    interface: IPv4Interface | IPv6Interface,
    data: st.DataObject,
    numbers: tuple[int, int, int],
    rest: tuple[tuple[int, bytes], ...],
) -> None:
    """Any address equals itself after packing and unpacking."""
    index, scope, flags = numbers
    ipv4, ipv6 = U32.map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
    peer = data.draw(st.none() | ipv4) if interface.version == 4 else data.draw(st.none() | ipv6)
    broadcast = data.draw(st.none() | ipv4) if interface.version == 4 else None
    assume(peer != interface.ip)
    wanted = Address(index, interface, peer, broadcast, scope, flags, rest)
    assert unpack(wanted.pack()) == wanted


def test_omitted_address_attributes_get_defaults() -> None:
    """Unpacking an address fills in the peer, the local address or the flags if the kernel omits the attribute."""
    ip = bytes((10, 0, 0, 1))
    assert unpack(body(AF_INET, 32, attrs.pack(2, ip))).peer == IPv4Address(0)
    assert unpack(body(AF_INET6, 64, attrs.pack(1, bytes(15) + b"\1"))).interface == IPv6Interface("::1/64")
    assert unpack(body(AF_INET, 8, attrs.pack(1, ip), flags=0x80)).flags == PERMANENT


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(7), "address message of 7 bytes"),
        (body(AF_INET, 24), "address message of family 2: b'' (len 0 != 4) is not permitted as an IPv4 address"),
        (
            body(AF_INET, 24, attrs.pack(2, bytes(16))),
            f"address message of family 2: {bytes(16)!r} (len 16 != 4) is not permitted as an IPv4 address",
        ),
        (
            body(AF_INET6, 64, attrs.pack(1, bytes(4))),
            f"address message of family 10: {bytes(4)!r} (len 4 != 16) is not permitted as an IPv6 address",
        ),
        (body(AF_INET, 33, attrs.pack(2, bytes(4))), "address message of family 2: 33 is not a valid netmask"),
        (body(AF_INET6, 129, attrs.pack(1, bytes(16))), "address message of family 10: 129 is not a valid netmask"),
        (
            body(AF_INET, 24, attrs.pack(2, bytes(4)), attrs.pack(4, b"\1")),
            "address message of family 2: b'\\x01' (len 1 != 4) is not permitted as an IPv4 address",
        ),
        (body(AF_INET, 24, attrs.pack(2, bytes(4)), attrs.pack(8, b"")), "integer of 0 bytes where 4 were due"),
        (body(99, 24, attrs.pack(2, b"")), "address message of family 99: b'' (len 0 != 16) is not permitted"),
    ],
)
def test_a_malformed_address_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        unpack(data)
    assert str(info.value).startswith(text)


ATTRIBUTE = st.builds(attrs.pack, st.integers(0, 12), st.binary(max_size=17))


@given(
    st.sampled_from([AF_INET, AF_INET6]) | st.integers(0, 255),
    st.integers(0, 255),
    st.lists(ATTRIBUTE).map(b"".join) | st.binary(max_size=64),
)
def test_random_attributes_give_address_or_protocol_error(family: int, size: int, data: bytes) -> None:
    """Random attributes raise ProtocolError or decode to an address that survives a round trip."""
    with suppress(ProtocolError):
        found = unpack(body(family, size, data))
        assert unpack(found.pack()) == found


@given(st.binary(max_size=24))
def test_random_bytes_give_address_or_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(unpack(data), Address)


# New addresses and requests


@pytest.mark.parametrize(
    ("text", "broadcast", "scope", "flags"),
    [
        ("10.0.0.2/24", "10.0.0.255", 0, PERMANENT),
        ("10.0.0.2/30", "10.0.0.3", 0, PERMANENT),
        ("10.0.0.2/31", None, 0, PERMANENT),
        ("10.0.0.2/32", None, 0, PERMANENT),
        ("169.254.1.1/16", "169.254.255.255", 253, PERMANENT),
        ("fd00::2/64", None, 0, NODAD | PERMANENT),
        ("fe80::2/64", None, 253, NODAD | PERMANENT),
    ],
)
def test_new_address_has_the_defaults_of_osl(text: str, broadcast: str | None, scope: int, flags: int) -> None:
    """A new address has the broadcast address, the scope and the flags that osl gives it."""
    wanted = None if broadcast is None else IPv4Address(broadcast)
    assert address.new(7, ip_interface(text)) == Address(7, ip_interface(text), None, wanted, scope, flags)


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (address.add(address.new(7, ip_interface("10.9.0.2/16"))), "ip address add 10.9.0.2/16 brd + dev eth0"),
        (address.add(address.new(7, ip_interface("10.9.0.3/32"))), "ip address add 10.9.0.3/32 dev eth0"),
        (
            address.add(address.new(7, ip_interface("169.254.9.9/32"))),
            "ip address add 169.254.9.9/32 scope link dev eth0",
        ),
        (address.add(address.new(7, ip_interface("fd09::2/64"))), "ip address add fd09::2/64 nodad dev eth0"),
        (address.delete(address.new(7, ip_interface("10.9.0.3/32"))), "ip address delete 10.9.0.3/32 dev eth0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_equals_that_of_ip(request_: Request, command: str) -> None:
    """An address request equals the recorded one of ip(8), apart from IFA_F_PERMANENT."""
    ours, theirs = as_sent(request_), sent(command)
    assert (ours.kind, ours.flags) == (theirs.kind, theirs.flags)
    wanted = address.unpack(theirs)
    assert address.unpack(ours) == replace(wanted, flags=wanted.flags | PERMANENT)  # ip(8) leaves it to the kernel


@pytest.mark.parametrize(
    ("request_", "text", "flags"),
    [
        (address.dump(), "list addresses", 0x301),
        (address.add(address.new(7, ip_interface("10.0.0.2/24"))), "add address 10.0.0.2/24 to link 7", 0x605),
        (
            address.update(address.new(7, ip_interface("10.0.0.2/24"))),
            "set the flags of address 10.0.0.2/24 on link 7",
            0x105,
        ),
        (address.delete(address.new(7, ip_interface("fd00::2/64"))), "delete address fd00::2/64 from link 7", 0x5),
    ],
)
def test_request_text_describes_the_request(request_: Request, text: str, flags: int) -> None:
    """The text of an address request describes it, and its header has the right flags."""
    assert (request_.text, as_sent(request_).flags) == (text, flags)


def test_dump_request_contains_the_filter() -> None:
    """A dump request contains the link and the family by which the kernel filters addresses."""
    assert address.dump(7, AF_INET6).body == struct.pack("=BBBBI", AF_INET6, 0, 0, 0, 7)
