"""Link messages: recorded ones, requests compared with those of ip(8), and random bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox import stats
from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs, link
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink.constants import AF_INET, AF_INET6, IFF_UP
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Message, Request
from netsandbox.netlink.settings import Settings
from tests.unit.recorded import as_sent, messages, sent, shape

INFO = 16  # bytes of struct ifinfomsg
ADDRESS, IFNAME, MTU, LINKINFO, IFALIAS = 1, 3, 4, 18, 20  # IFLA_*


def unpack(*attributes: bytes, index: int = 7, flags: int = 0) -> Link:
    return link.unpack(
        Message(link.NEWLINK, 0, 1, struct.pack("=BxHiII", 0, 1, index, flags, 0) + b"".join(attributes))
    )


def recorded(caption: str) -> list[Link]:
    """Return recorded links without their long attributes: statistics, per-family and port settings."""
    found = map(link.unpack, messages("links", caption))
    return [replace(item, stats=b"", af_spec=b"", port=b"") for item in found]


V0 = Link(
    index=7,
    name="v0",
    altnames=("second", "a-name-of-more-than-fifteen-bytes"),
    kind="veth",
    mac="02:00:00:00:00:07",
    mtu=1400,
    flags=0x11043,
    operstate="UP",
    carrier=True,
    lower=8,
    alias="the first",
    txqlen=77,
    numtxqueues=2,
    group=3,
)
P0 = Link(
    index=8,
    name="p0",
    kind="veth",
    mac="02:00:00:00:00:08",
    flags=0x11043,
    operstate="UP",
    carrier=True,
    master=5,
    lower=7,
    txqlen=1000,
    numtxqueues=2,
    port_kind="bridge",
)
BR0 = Link(
    index=5,
    name="br0",
    kind="bridge",
    mac="02:00:00:00:00:05",
    flags=0x11043,
    operstate="UP",
    carrier=True,
    txqlen=1000,
    numtxqueues=1,
    is_immobile=True,
)
LO = Link(
    index=1,
    name="lo",
    type=772,
    mac="00:00:00:00:00:00",
    mtu=65536,
    flags=0x10049,
    operstate="UNKNOWN",
    carrier=True,
    txqlen=1000,
    numtxqueues=1,
    is_immobile=True,
)


def test_recorded_kernel_links_are_decoded() -> None:
    """Recorded RTM_NEWLINK messages decode to the expected links."""
    assert recorded("get v0") == [V0]
    assert recorded("list all") == [LO, BR0, V0, P0]


def test_port_settings_and_statistics_are_kept() -> None:
    """The port settings, the statistics and unknown attributes of a link are kept undecoded."""
    (found,) = map(link.unpack, messages("links", "get p0, with statistics"))
    assert recorded("get p0, with statistics") == [P0]
    assert attrs.unpack(found.port)[2] == b"\x20\0"  # IFLA_BRPORT_PRIORITY: 32
    assert stats.unpack(found.stats).rx_packets > 0
    assert dict(found.rest)[6] == b"noqueue\0"  # IFLA_QDISC: kept undecoded


def test_sysctls_of_a_link_are_read_by_family() -> None:
    """Link.conf() returns the sysctls of one family, and nothing if the message has none."""
    (found,) = map(link.unpack, messages("links", "get v0"))
    ipv4, ipv6 = found.conf(AF_INET), found.conf(AF_INET6)
    assert (len(ipv4), ipv4[0], ipv4[32 - 1]) == (33, 0, 0)
    assert (len(ipv6), ipv6[1], ipv6[2], ipv6[27]) == (60, 64, 1400, 0)  # hop_limit, mtu, accept_dad
    assert unpack().conf(AF_INET6) == ()


def test_link_has_properties_for_flags_and_names() -> None:
    """A link has properties for being up, for being the loopback link, and for all its names."""
    assert (V0.is_up, LO.is_up, unpack().is_up) == (True, True, False)
    assert (V0.is_loopback, LO.is_loopback) == (False, True)
    assert V0.names == ("v0", "second", "a-name-of-more-than-fifteen-bytes")


def test_port_state_is_decoded() -> None:
    """The state of a bridge port is decoded, and digest() keeps it as the only port setting."""
    (found,) = map(link.unpack, messages("links", "get p0, with statistics"))
    assert (found.port_state, found.is_ready) == ("FORWARDING", True)
    short = found.digest()
    assert short == replace(P0, port=attrs.pack_u8(1, 3))
    assert (short.port_state, short.raw, V0.digest()) == ("FORWARDING", b"", V0)
    assert replace(P0, port=attrs.pack_u8(1, 9)).port_state is None
    assert replace(P0, port=attrs.pack_u8(1, 2)).is_ready is False
    with pytest.raises(ProtocolError, match="integer of 2 bytes"):
        _ = replace(P0, port=attrs.pack(1, b"12")).port_state


def test_port_state_of_an_af_bridge_message_is_decoded() -> None:
    """The state of a bridge port is decoded from IFLA_PROTINFO, only in messages of AF_BRIDGE."""
    body = struct.pack("=BxHiII", 7, 1, 8, 0, 0) + attrs.nest(12, attrs.pack_u8(1, 2))  # AF_BRIDGE, IFLA_PROTINFO
    told = link.unpack(Message(link.NEWLINK, 0, 0, body))
    assert (told.index, told.port_kind, told.port_state) == (8, "bridge", "LEARNING")
    assert unpack(attrs.nest(12, attrs.pack_u8(1, 2))).port_state is None


@pytest.mark.parametrize("lacks", [{"flags": 0}, {"carrier": False}, {"operstate": "DORMANT"}])
def test_link_is_ready_if_up_with_carrier_and_operstate(lacks: dict[str, bool | int | str]) -> None:
    """A link is ready if it is up, has carrier, and has the operstate UP or UNKNOWN."""
    assert (V0.is_ready, LO.is_ready) == (True, True)
    assert not replace(V0, **lacks).is_ready  # type: ignore[arg-type]


def test_link_without_attributes_has_defaults() -> None:
    """A link message without attributes decodes to a link with an empty name and the MTU 0."""
    assert unpack() == Link(index=7, name="", mtu=0)


@pytest.mark.parametrize(
    ("attribute", "field", "value"),
    [
        (attrs.pack(ADDRESS), "mac", None),
        (attrs.pack(ADDRESS, bytes.fromhex("0a0b")), "mac", "0a:0b"),
        (attrs.pack(67, b"\x01"), "is_immobile", True),
        (attrs.pack_u32(37, 4), "lower_netns", 4),
        (attrs.pack_u8(16, 6), "operstate", "UP"),
        (attrs.pack_u8(16, 7), "operstate", "UNKNOWN"),
        (attrs.pack_u8(33, 0), "carrier", False),
        (attrs.pack_u8(33, 1), "carrier", True),
        (attrs.nest(52, attrs.pack_u32(99, 1), attrs.pack_text(53, "other")), "altnames", ("other",)),
        (attrs.nest(LINKINFO, attrs.pack_text(1, "veth"), attrs.pack(2, b"data")), "kind", "veth"),
        (attrs.pack(17, b"\1"), "rest", ((17, b"\1"),)),
    ],
)
def test_attributes_are_decoded_to_fields(attribute: bytes, field: str, value: object) -> None:
    """Each attribute of a link message is decoded to its field, and unknown ones are kept in `rest`."""
    assert getattr(unpack(attribute), field) == value


@given(st.binary(min_size=1, max_size=15).filter(lambda raw: b"\0" not in raw))
def test_non_utf8_link_name_round_trip(raw: bytes) -> None:
    """A link name that is not UTF-8 is sent with the bytes that were received."""
    name = unpack(attrs.pack(IFNAME, raw + b"\0")).name
    assert attrs.unpack(requests.get(name).body, INFO)[IFNAME] == raw + b"\0"
    assert attrs.unpack(requests.modify(7, name=name).body, INFO)[IFNAME] == raw + b"\0"


@given(st.binary(min_size=6, max_size=6))
def test_mac_round_trip(raw: bytes) -> None:
    """Any MAC equals itself after formatting and parsing."""
    assert attrs.mac_bytes(attrs.mac_text(raw)) == raw


def test_invalid_mac_text_is_refused() -> None:
    with pytest.raises(ProtocolError, match="link-layer address 'x'"):
        attrs.mac_bytes("x")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (bytes(15), "link message of 15 bytes"),
        (bytes(16) + attrs.pack(MTU, b"\1\2"), "integer of 2 bytes where 4 were due"),
        (bytes(16) + attrs.pack(16, b""), "integer of 0 bytes where 1 were due"),
        (bytes(16) + attrs.nest(LINKINFO, b"\xff\0\0\0"), "attribute of 255 bytes at offset 0 of 4"),
        (bytes(16) + attrs.nest(52, b"\xff\0\0\0"), "attribute of 255 bytes at offset 0 of 4"),
    ],
)
def test_a_malformed_link_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        link.unpack(Message(link.NEWLINK, 0, 1, body))
    assert str(info.value) == text


ATTRIBUTE = st.builds(attrs.pack, st.integers(0, 70), st.binary(max_size=24))
NOISE = st.builds(
    bytes.__add__, st.binary(min_size=16, max_size=16), st.lists(ATTRIBUTE).map(b"".join) | st.binary(max_size=64)
)


@given(NOISE | st.binary(max_size=20))
def test_random_bytes_give_link_or_protocol_error(body: bytes) -> None:
    with suppress(ProtocolError):
        found = link.unpack(Message(link.NEWLINK, 0, 1, body))
        assert isinstance(found.name, str)
        for family in (AF_INET, AF_INET6):
            assert all(isinstance(number, int) for number in found.conf(family))


# Requests


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (requests.modify(7, name="eth0"), "ip link set dev v0 name eth0"),
        (
            requests.modify(7, settings=Settings(mac="02:42:ac:11:00:02", mtu=1300)),
            "ip link set dev eth0 address 02:42:ac:11:00:02 mtu 1300",
        ),
        (requests.modify(7, master=5), "ip link set dev eth0 master br0"),
        (requests.modify(7, master=0), "ip link set dev eth0 nomaster"),
        (requests.modify(7, up=False), "ip link set dev eth0 down"),
        (requests.modify(7, up=True), "ip link set dev eth0 up"),
        (requests.modify(7, settings=Settings(alias="web")), "ip link set dev eth0 alias web"),
        (requests.delete(40), "ip link delete dev br1"),
        (requests.altnames(7, ["third"], add=True), "ip link property add dev eth0 altname third"),
        (requests.altnames(7, ["third"], add=False), "ip link property del dev eth0 altname third"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_equals_that_of_ip_byte_for_byte(request_: Request, command: str) -> None:
    """A link request has the same flags and bytes as the recorded one of ip(8)."""
    ours, theirs = as_sent(request_), sent(command)
    assert (ours.flags, ours.body) == (theirs.flags, theirs.body)
    # ip(8) sends RTM_NEWLINK, which can create a missing link; we send RTM_SETLINK, which only changes one
    assert (ours.kind, theirs.kind) in {(kind, kind) for kind in (17, 108, 109)} | {(link.SETLINK, link.NEWLINK)}


def test_create_bridge_request_equals_that_of_ip() -> None:
    """The request to create a bridge has the same attributes as the recorded one of ip(8)."""
    ours = as_sent(requests.create("bridge", "br1", settings=Settings(mac="02:00:00:00:00:40", mtu=1300), index=40))
    theirs = sent("ip link add br1 index 40 address 02:00:00:00:00:40 mtu 1300 type bridge")
    (header, made), (wanted_header, wanted) = shape(ours.body, INFO), shape(theirs.body, INFO)
    assert (ours.kind, ours.flags, header) == (theirs.kind, theirs.flags, wanted_header)
    kinds = [attrs.to_text(attrs.unpack(found.pop(LINKINFO))[1]) for found in (made, wanted)]
    assert (kinds, made) == (["bridge", "bridge"], wanted)


def test_create_request_may_leave_choices_to_the_kernel() -> None:
    """A request to create a link may leave the index, the MAC and the MTU to the kernel."""
    assert shape(requests.create("dummy", "d0", index=0).body, INFO)[1].keys() == {IFNAME, LINKINFO}


def test_all_changes_go_into_one_request() -> None:
    """All changes of a link, including a move, are sent in one RTM_SETLINK request."""
    request = requests.modify(
        7,
        settings=Settings(mac="02:42:ac:11:00:02", mtu=1300, alias="", txqlen=5, group=2),
        namespace=3,
        new_index=9,
        name="eth0",
        master=0,
        ipv4_conf={8: 1, 27: 0},
        up=False,
    )
    header, found = shape(request.body, INFO)
    assert request.kind == link.SETLINK
    assert header == struct.pack("=BxHiII", 0, 0, 7, 0, IFF_UP)
    families = attrs.unpack(found.pop(26))
    assert attrs.unpack(attrs.unpack(families[AF_INET])[1]) == {8: struct.pack("=I", 1), 27: struct.pack("=I", 0)}
    numbers = {28: 3, 49: 9, MTU: 1300, 10: 0, 13: 5, 27: 2}
    assert found == {key: struct.pack("=I", number) for key, number in numbers.items()} | {
        IFNAME: b"eth0\0",
        ADDRESS: bytes.fromhex("0242ac110002"),
        IFALIAS: b"",
    }
    assert request.text == (
        "set link 7: move to another namespace, with index 9, name eth0, no master, address 02:42:ac:11:00:02, "
        "mtu 1300, alias '', txqueuelen 5, group 2, IPv4 settings, down"
    )


@pytest.mark.parametrize(("kind", "kept"), [("bridge", {2}), ("team", {1, 2, 36})])
def test_read_only_bridge_port_settings_are_not_sent(kind: str, kept: set[int]) -> None:
    """Read-only settings of a bridge port are not sent; those of a port of another kind are sent unfiltered."""
    settings = b"".join(attrs.pack_u8(key, 1) for key in (1, 2, 36))
    request = requests.modify(7, master=5, port=(kind, settings))
    found = attrs.unpack(attrs.unpack(request.body, INFO)[LINKINFO])
    assert request.kind == link.NEWLINK
    assert found[4] == kind.encode() + b"\0"
    assert attrs.unpack(found[5]).keys() == kept
    assert request.text == "set link 7: master 5, port settings"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (requests.get(7), "look up link 7"),
        (requests.get("eth0"), "look up link eth0"),
        (requests.dump(), "list links"),
        (requests.delete(7), "delete link 7"),
        (requests.create("bridge", "br0", index=5), "create bridge br0"),
        (requests.modify(7, up=True, master=5), "set link 7: master 5, up"),
        (requests.altnames(7, ["a", "b"], add=True), "add alternative names a, b of link 7"),
        (requests.altnames(7, ["a"], add=False), "delete alternative names a of link 7"),
    ],
)
def test_request_text_describes_the_request(request_: Request, text: str) -> None:
    assert request_.text == text


@pytest.mark.parametrize(("name", "kind"), [("x" * 15, IFNAME), ("x" * 16, 53), ("é" * 8, 53)])
def test_long_name_is_looked_up_as_alternative_name(name: str, kind: int) -> None:
    """A name of more than 15 bytes is looked up as an alternative name."""
    assert attrs.unpack(requests.get(name).body, INFO)[kind] == name.encode() + b"\0"


@pytest.mark.parametrize(("stats_", "mask"), [(False, 8), (True, 0)])
def test_statistics_are_requested_only_on_demand(stats_: bool, mask: int) -> None:  # noqa: FBT001
    """A request excludes statistics (RTEXT_FILTER_SKIP_STATS) unless they are wanted."""
    for request in (requests.get(7, stats=stats_), requests.dump(stats=stats_)):
        assert attrs.unpack(request.body, INFO)[29] == struct.pack("=I", mask)
