"""Route messages: recorded ones, requests compared with those of ip(8), round trips, random bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs, route
from netsandbox.netlink.message import Message, Request
from netsandbox.netlink.route import AF_INET, AF_INET6, ANY4, ANY6, KERNEL, LINK, ONLINK, RouteEntry
from tests.unit.recorded import as_sent, messages, sent
from tests.unit.values import route_entry

DST, OIF, GATEWAY, PRIORITY, PREFSRC, CACHEINFO, TABLE = 1, 4, 5, 6, 7, 12, 15  # RTA_*
METRICS, MULTIPATH, VIA, PREF, EXPIRES, NEWDST = 8, 9, 18, 20, 23, 25
PREFERENCE = (PREF, b"\0")  # medium


def unpack(body: bytes) -> RouteEntry:
    return route.unpack(Message(route.NEWROUTE, 0, 1, body))


def body(family: int, size: int, *attributes: bytes) -> bytes:
    return struct.pack("=BBBBBBBBI", family, size, 0, 0, 254, 3, 0, 1, 0) + b"".join(attributes)


def recorded(caption: str) -> list[RouteEntry]:
    return list(map(route.unpack, messages("routes", caption)))


def test_recorded_ipv4_routes_are_decoded() -> None:
    """Recorded RTM_NEWROUTE messages decode to the expected IPv4 routes."""
    hops = bytes.fromhex("10000000 07000000 08000500 0a000009 10000002 07000000 08000500 0a00000a")
    assert recorded("list all IPv4 routes of the main table") == [
        route_entry("0.0.0.0/0", 7, "10.0.0.1"),
        route_entry("10.0.0.0/24", 7, source=IPv4Address("10.0.0.2"), protocol=KERNEL),
        route_entry("10.5.0.0/16", 7, "10.0.0.9", metric=50, source=IPv4Address("10.0.0.2")),
        route_entry("10.6.0.0/16", 7, "192.0.2.1", flags=ONLINK),
        route_entry("10.8.0.0/16", None, scope=0, rest=((MULTIPATH, hops),)),
        route_entry("10.9.0.0/16", 7, scope=0, rest=((VIA, b"\x0a\0" + IPv6Address("fd00::9").packed),)),
        route_entry("10.10.0.0/16", 7, rest=((METRICS, bytes.fromhex("08000200 14050000")),)),  # mtu 1300
        route_entry("10.11.0.0/16", None, type=7, scope=0),
    ]


def test_recorded_ipv6_routes_are_decoded() -> None:
    """Recorded RTM_NEWROUTE messages decode to the expected IPv6 routes."""
    found = recorded("list those of the main tables that lead out of link 7")
    assert [entry for entry in found if entry.family == AF_INET6] == [
        route_entry("fd00::/64", 7, metric=256, protocol=KERNEL, rest=(PREFERENCE,)),
        route_entry("fd01::/64", 7, metric=1024, rest=(PREFERENCE, (EXPIRES, struct.pack("=I", 300)))),
        route_entry("fd02::/64", 7, metric=9, source_length=64, rest=((2, IPv6Address("fd00::").packed), PREFERENCE)),
        route_entry("::/0", 7, "fd00::1", metric=1024, rest=(PREFERENCE,)),
    ]


def test_recorded_large_table_and_lookup_are_decoded() -> None:
    """A recorded route of a table above 255 and a recorded answer to a lookup are decoded."""
    assert recorded("list those of table 1000") == [route_entry("10.7.0.0/16", 7, table=1000, protocol=4)]
    assert recorded("find the route to 10.5.1.1") == [
        route_entry(
            "10.5.1.1/32",
            7,
            "10.0.0.9",
            source=IPv4Address("10.0.0.2"),
            protocol=0,
            flags=route.CLONED,
            rest=((NEWDST, bytes(4)),),  # RTA_UID
        )
    ]


def test_recorded_routes_round_trip() -> None:
    """Every recorded route equals itself after packing and unpacking."""
    for caption in ("list all IPv4 routes of the main table", "list those of the main tables that lead out of link 7"):
        for entry in recorded(caption):
            assert unpack(entry.pack()) == entry


U8, U32 = st.integers(0, 255), st.integers(0, 2**32 - 1)
KNOWN = {DST, OIF, GATEWAY, PRIORITY, PREFSRC, CACHEINFO, TABLE}
OTHER = st.integers(0, 0x3FFF).filter(lambda kind: kind not in KNOWN)
IPV4 = (
    st.builds(lambda ip, size: IPv4Network((ip, size), strict=False), U32, st.integers(0, 32)),
    U32.map(IPv4Address),
)
IPV6 = (
    st.builds(lambda ip, size: IPv6Network((ip, size), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)),
    st.integers(0, 2**128 - 1).map(IPv6Address),
)


def entries(
    networks: st.SearchStrategy[IPv4Network | IPv6Network], ips: st.SearchStrategy[IPv4Address | IPv6Address]
) -> st.SearchStrategy[RouteEntry]:
    return st.builds(
        RouteEntry,
        to=networks,
        index=st.none() | U32,
        via=st.none() | ips,
        metric=U32,
        source=st.none() | ips,
        table=U32,
        protocol=U8,
        scope=U8,
        type=U8,
        flags=U32,
        tos=U8,
        source_length=U8,
        rest=st.dictionaries(OTHER, st.binary(max_size=24)).map(lambda found: tuple(found.items())),
    )


@given(entries(*IPV4) | entries(*IPV6))
def test_pack_unpack_round_trip(entry: RouteEntry) -> None:
    """Any route equals itself after packing and unpacking."""
    assert unpack(entry.pack()) == entry


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(11), "route message of 11 bytes"),
        (body(AF_INET, 33, attrs.pack(DST, bytes(4))), "route message of family 2: 33 is not a valid netmask"),
        (body(AF_INET6, 129, attrs.pack(DST, bytes(16))), "route message of family 10: 129 is not a valid netmask"),
        (body(AF_INET, 8, attrs.pack(DST, b"\n\0\0\1")), "route message of family 2: 10.0.0.1/8 has host bits set"),
        (body(AF_INET, 8), "route message of family 2: b'' (len 0 != 4) is not permitted as an IPv4 address"),
        (body(99, 8, attrs.pack(DST, bytes(4))), "route message of family 99: b'\\x00\\x00\\x00\\x00' (len 4 != 16)"),
        (body(AF_INET, 0, attrs.pack(GATEWAY, bytes(16))), f"route message of family 2: {bytes(16)!r} (len 16 != 4)"),
        (body(AF_INET, 0, attrs.pack(PREFSRC, b"")), "route message of family 2: b'' (len 0 != 4)"),
        (body(AF_INET, 0, attrs.pack(OIF, b"\1")), "integer of 1 bytes where 4 were due"),
        (body(AF_INET, 0, attrs.pack(PRIORITY, b"")), "integer of 0 bytes where 4 were due"),
        (body(AF_INET, 0, attrs.pack(TABLE, bytes(8))), "integer of 8 bytes where 4 were due"),
        (body(AF_INET6, 0, attrs.pack(CACHEINFO, bytes(11))), "route cache information of 11 bytes"),
    ],
)
def test_a_malformed_route_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        unpack(data)
    assert str(info.value).startswith(text)


@pytest.mark.parametrize(("family", "everything"), [(AF_INET, ANY4), (AF_INET6, ANY6)])
def test_route_without_destination_goes_everywhere(family: int, everything: IPv4Network | IPv6Network) -> None:
    """A route message without RTA_DST has the destination 0.0.0.0/0 or ::/0."""
    assert unpack(body(family, 0)).to == everything


@pytest.mark.parametrize(
    ("hundredths", "seconds"), [(30000, 300), (29999, 300), (29901, 300), (1, 1), (0, None), (-5, None)]
)
def test_remaining_lifetime_of_a_route_is_rounded_up(hundredths: int, seconds: int | None) -> None:
    """The remaining lifetime of a route is rounded up to seconds; without one, no RTA_EXPIRES is kept."""
    found = unpack(body(AF_INET6, 0, attrs.pack(CACHEINFO, struct.pack("=IIi", 0, 0, hundredths) + bytes(20))))
    assert found.rest == (() if seconds is None else ((EXPIRES, struct.pack("=I", seconds)),))


ATTRIBUTE = st.builds(attrs.pack, st.integers(0, 30), st.binary(max_size=36))


@given(
    st.sampled_from([AF_INET, AF_INET6]) | U8,
    st.just(0) | U8,
    st.lists(ATTRIBUTE).map(b"".join) | st.binary(max_size=64),
)
def test_random_attributes_give_route_or_protocol_error(family: int, size: int, data: bytes) -> None:
    """Random attributes raise ProtocolError or decode to a route that survives a round trip."""
    with suppress(ProtocolError):
        found = unpack(body(family, size, data))
        assert unpack(found.pack()) == found


@given(st.binary(max_size=32))
def test_random_bytes_give_route_or_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(unpack(data), RouteEntry)


@pytest.mark.parametrize(
    ("entry", "default"),
    [
        (route_entry("0.0.0.0/0", 7), True),
        (route_entry("::/0", 7), True),
        (route_entry("0.0.0.0/1", 7), False),
        (route_entry("0.0.0.0/0", 7, table=1000), False),
        (route_entry("0.0.0.0/0", None, type=7), False),
    ],
)
def test_default_route_is_in_the_main_table(entry: RouteEntry, default: bool) -> None:  # noqa: FBT001
    """A default route is a unicast route of the main table with the prefix length 0."""
    assert entry.is_default is default


# Requests


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (route.add(route_entry("192.168.2.0/24", 7)), "ip route add 192.168.2.0/24 dev eth0 scope link"),
        (
            route.add(route_entry("192.168.3.0/24", 7, "10.0.0.9", metric=7)),
            "ip route add 192.168.3.0/24 via 10.0.0.9 dev eth0 metric 7",
        ),
        (route.replace(route_entry("0.0.0.0/0", 7, "10.0.0.1")), "ip route replace default via 10.0.0.1 dev eth0"),
        (
            route.replace(route_entry("::/0", 7, "fd00::1", flags=ONLINK)),
            "ip -6 route replace default via fd00::1 dev eth0 onlink",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_equals_that_of_ip(request_: Request, command: str) -> None:
    """A route request equals the recorded one of ip(8)."""
    ours, theirs = as_sent(request_), sent(command)
    assert (ours.kind, ours.flags) == (theirs.kind, theirs.flags)
    assert route.unpack(ours) == route.unpack(theirs)


def test_delete_request_has_scope_protocol_and_type() -> None:
    """A request to delete a route has the scope, the protocol and the type, which ip(8) leaves open."""
    ours, theirs = (
        as_sent(route.delete(route_entry("192.168.2.0/24", 7))),
        sent("ip route delete 192.168.2.0/24 dev eth0"),
    )
    assert (ours.kind, ours.flags) == (theirs.kind, theirs.flags)
    # ip(8) matches any scope, protocol and type (RT_SCOPE_NOWHERE, 0, 0)
    assert replace(route.unpack(ours), scope=255, protocol=0, type=0) == route.unpack(theirs)


def test_lookup_request_equals_that_of_ip() -> None:
    """A lookup request equals the recorded one of ip(8), apart from RTM_F_LOOKUP_TABLE."""
    ours, theirs = as_sent(route.lookup(ip_address("10.0.0.9"))), sent("ip route get 10.0.0.9")
    lookup_table = 0x1000  # RTM_F_LOOKUP_TABLE: ip(8) requests the table, too
    assert (ours.kind, ours.flags) == (theirs.kind, theirs.flags)
    assert replace(route.unpack(ours), flags=lookup_table) == route.unpack(theirs)


def test_flags_that_only_the_kernel_sets_are_not_sent() -> None:
    dead = route_entry("10.0.0.0/8", 7, "10.0.0.9", flags=ONLINK | 0x1 | 0x10)  # RTNH_F_DEAD, RTNH_F_LINKDOWN
    for make in (route.add, route.replace, route.delete):
        assert route.unpack(as_sent(make(dead))).flags == ONLINK


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (route.dump(), "list routes"),
        (route.lookup(ip_address("fd00::9")), "find the route to fd00::9"),
        (route.add(route_entry("10.0.0.0/8", 7)), "add route to 10.0.0.0/8"),
        (route.replace(route_entry("::/0", 7)), "replace route to ::/0"),
        (route.delete(route_entry("10.0.0.0/8", 7)), "delete route to 10.0.0.0/8"),
    ],
)
def test_request_text_describes_the_request(request_: Request, text: str) -> None:
    assert request_.text == text


def test_dump_request_contains_the_filter() -> None:
    """A dump request contains the table and the link by which the kernel filters routes."""
    request = route.dump(family=AF_INET, table=1000, index=7)
    assert attrs.unpack(request.body, 12) == {TABLE: struct.pack("=I", 1000), OIF: struct.pack("=I", 7)}
    assert attrs.unpack(route.dump().body, 12) == {}


def test_ipv6_lookup_has_the_prefix_length_128() -> None:
    """A lookup of an IPv6 address has the prefix length 128 and not the scope link."""
    looked_up = route.unpack(as_sent(route.lookup(ip_address("fd00::9"))))
    assert looked_up.to == ip_network("fd00::9/128")
    assert looked_up.scope != LINK
