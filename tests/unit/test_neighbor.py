"""Neighbor messages: recorded ones, requests compared with those of ip(8) and bridge(8), random bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs, neighbor
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.message import Message, Request
from netsandbox.netlink.neighbor import MASTER, NOARP, PERMANENT, SELF, NeighborEntry
from tests.unit.recorded import as_sent, messages, sent

DST, LLADDR, CACHEINFO, PROBES, IFINDEX, OF = 1, 2, 3, 4, 8, 9  # NDA_*


def unpack(body: bytes) -> NeighborEntry:
    return neighbor.unpack(Message(neighbor.NEWNEIGH, 0, 1, body))


def body(family: int, *attributes: bytes) -> bytes:
    return struct.pack("=BxxxiHBB", family, 7, PERMANENT, 0, 0) + b"".join(attributes)


def recorded(caption: str) -> list[NeighborEntry]:
    """Return the recorded entries that were configured, recognized by their MAC."""
    found = map(neighbor.unpack, messages("neighbors", caption))
    return [entry for entry in found if entry.mac and entry.mac.startswith("02:") and entry.mac > "02:00:00:00:00:2"]


def test_recorded_kernel_neighbors_are_decoded() -> None:
    """Recorded RTM_NEWNEIGH messages decode to the configured neighbors."""
    assert recorded("list those of link 7") == [
        NeighborEntry(AF_INET, 7, IPv4Address("10.0.0.77"), "02:00:00:00:00:77"),
        NeighborEntry(AF_INET6, 7, IPv6Address("fd00::77"), "02:00:00:00:00:78", NOARP),
    ]


def test_recorded_forwarding_entries_are_decoded() -> None:
    """Recorded RTM_NEWNEIGH messages of AF_BRIDGE decode to the configured forwarding entries."""
    number = struct.pack("=I", 5)
    assert recorded("list forwarding entries") == [
        NeighborEntry(AF_BRIDGE, 8, None, "02:00:00:00:00:99", PERMANENT, MASTER, ((OF, number), (15, bytes(4)))),
        NeighborEntry(AF_BRIDGE, 11, IPv4Address("10.0.0.88"), "02:00:00:00:00:88", PERMANENT | NOARP, SELF),
    ]


def test_nda_master_becomes_the_flag_ntf_master() -> None:
    """NDA_MASTER becomes the flag NTF_MASTER of a forwarding entry, and is ignored for other neighbors."""
    assert unpack(body(AF_BRIDGE, attrs.pack_u32(OF, 5))).flags == MASTER
    assert unpack(body(AF_INET, attrs.pack_u32(OF, 5))).flags == 0


def test_neighbor_counters_are_dropped() -> None:
    """Unpacking a neighbor drops NDA_CACHEINFO and NDA_PROBES."""
    assert unpack(body(AF_INET, attrs.pack(CACHEINFO, bytes(16)), attrs.pack_u32(PROBES, 3))).rest == ()


MACS = st.binary(min_size=1, max_size=20).map(lambda raw: raw.hex(":"))
OTHER = st.integers(0, 0x3FFF).filter(lambda kind: kind not in {DST, LLADDR, CACHEINFO, PROBES, OF})
ENTRIES = st.builds(
    NeighborEntry,
    family=st.sampled_from([AF_INET, AF_INET6, AF_BRIDGE]),
    index=st.integers(-(2**31), 2**31 - 1),
    ip=st.none() | st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address),
    mac=st.none() | MACS,
    state=st.integers(0, 2**16 - 1),
    flags=st.integers(0, 255),
    rest=st.dictionaries(OTHER, st.binary(max_size=24)).map(lambda found: tuple(found.items())),
)


@given(ENTRIES)
def test_pack_unpack_round_trip(entry: NeighborEntry) -> None:
    """Any neighbor equals itself after packing and unpacking."""
    assert unpack(entry.pack()) == entry


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(11), "neighbor message of 11 bytes"),
        (body(AF_INET, attrs.pack(DST, bytes(5))), "neighbor address of 5 bytes"),
        (body(AF_INET, b"\xff\0\1\0"), "attribute of 255 bytes at offset 12 of 16"),
    ],
)
def test_a_malformed_neighbor_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        unpack(data)
    assert str(info.value) == text


ATTRIBUTE = st.builds(attrs.pack, st.integers(0, 16), st.binary(max_size=17))


@given(st.integers(0, 255), st.lists(ATTRIBUTE).map(b"".join) | st.binary(max_size=64))
def test_random_attributes_give_neighbor_or_protocol_error(family: int, data: bytes) -> None:
    """Random attributes raise ProtocolError or decode to a neighbor that survives a round trip."""
    with suppress(ProtocolError):
        found = unpack(body(family, data))
        assert unpack(found.pack()) == found


@given(st.binary(max_size=32))
def test_random_bytes_give_neighbor_or_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(unpack(data), NeighborEntry)


# Requests


@pytest.mark.parametrize(
    ("entry", "command"),
    [
        (
            NeighborEntry(AF_INET, 7, ip_address("10.0.0.5"), "02:00:00:00:00:55"),
            "ip neighbor replace 10.0.0.5 lladdr 02:00:00:00:00:55 dev eth0 nud permanent",
        ),
        (
            NeighborEntry(AF_INET6, 7, ip_address("fd00::5"), "02:00:00:00:00:56"),
            "ip neighbor replace fd00::5 lladdr 02:00:00:00:00:56 dev eth0 nud permanent",
        ),
        (
            NeighborEntry(AF_BRIDGE, 11, ip_address("10.0.0.57"), "02:00:00:00:00:57", PERMANENT | NOARP, SELF),
            "bridge fdb replace 02:00:00:00:00:57 dev vx0 dst 10.0.0.57 self permanent",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_equals_that_of_ip(entry: NeighborEntry, command: str) -> None:
    """A neighbor request equals the recorded one of ip(8) or bridge(8)."""
    ours, theirs = as_sent(neighbor.replace(entry)), sent(command)
    assert (ours.kind, ours.flags) == (theirs.kind, theirs.flags)
    assert neighbor.unpack(ours) == neighbor.unpack(theirs)


def test_delete_neighbor_request_equals_that_of_ip() -> None:
    ours = as_sent(neighbor.delete(NeighborEntry(AF_INET, 7, ip_address("10.0.0.5"))))
    theirs = sent("ip neighbor delete 10.0.0.5 dev eth0")
    assert (ours.kind, ours.flags, ours.body) == (theirs.kind, theirs.flags, theirs.body)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (neighbor.dump(), "list neighbors"),
        (
            neighbor.replace(NeighborEntry(AF_INET, 7, ip_address("10.0.0.5"), "02:00:00:00:00:55")),
            "set neighbor 10.0.0.5 02:00:00:00:00:55 on link 7",
        ),
        (
            neighbor.delete(NeighborEntry(AF_BRIDGE, 7, None, "02:00:00:00:00:55")),
            "delete neighbor 02:00:00:00:00:55 from link 7",
        ),
    ],
)
def test_request_text_describes_the_request(request_: Request, text: str) -> None:
    assert request_.text == text


def test_dump_request_contains_the_filter() -> None:
    """A dump request contains the family and the link by which the kernel filters neighbors."""
    header = struct.pack("=BxxxiHBB", AF_INET6, 0, 0, 0, 0)
    assert neighbor.dump(AF_INET6, 7).body == header + attrs.pack_u32(IFINDEX, 7)
    assert neighbor.dump(AF_INET6).body == header
