"""Kinds of links that can be created, their options, and valid link names."""

from __future__ import annotations

import subprocess
import sys
from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, fields, replace
from ipaddress import ip_address
from pathlib import Path
from pickle import dumps, loads
from runpy import run_module
from struct import pack
from typing import TYPE_CHECKING, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsandbox
from netsandbox import (
    Bridge,
    Dummy,
    Ifb,
    InterfaceSpec,
    Ipvlan,
    Kind,
    Macvlan,
    SpecError,
    Tap,
    Veth,
    Vlan,
    Vrf,
    Vxlan,
    links,
)
from netsandbox._checks import NAME_MAX, name_problem
from netsandbox.errors import Problem
from netsandbox.links import KINDS, find_kind
from netsandbox.links.options import Choice
from netsandbox.netlink import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

TAKEN = "is a name that the kernel refuses"
MAC, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
HELD = "may not hold white space, '/', ':', '%' or NUL"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "a link name may not be empty"),
        ("x" * 16, "has 16 bytes, at most 15 are possible"),
        ("é" * 8, "has 16 bytes, at most 15 are possible"),
        (".", TAKEN),
        ("..", TAKEN),
        ("all", TAKEN),
        ("default", TAKEN),
        ("a/b", HELD),
        ("a b", HELD),
        ("a\tb", HELD),
        ("a\vb", HELD),
        ("a\n", HELD),
        ("à", HELD),  # its second byte is a no-break space to the kernel
        ("a:b", HELD),
        ("eth%d", HELD),
        ("a\0b", HELD),
        ("\ud800", "cannot be written as bytes"),
        (None, "a link name is a string"),
        (7, "a link name is a string"),
        (b"eth0", "a link name is a string"),
    ],
)
def test_invalid_link_name_is_refused(name: object, reason: str) -> None:
    """A link name that the kernel would refuse gives a problem with the reason."""
    assert name_problem("name", name) == Problem("name", name, reason)


@pytest.mark.parametrize("name", ["a", "eth0", "eth0.100", "x" * 15, "ü", "all0", "...", "\udcff", "-", "a\x01b"])
def test_valid_link_name_is_accepted(name: str) -> None:
    assert name_problem("name", name) is None


@given(st.text("ab0 ./:%\0\t\xa0éà\ud800\udc80", max_size=20))
def test_random_text_is_a_valid_name_or_a_problem(name: str) -> None:
    """Random text is a link name of at most 15 bytes or gives a problem."""
    problem = name_problem("source", name)
    if problem is None:
        assert 0 < len(name.encode("utf-8", "surrogateescape")) <= NAME_MAX
    else:
        assert problem[:2] == ("source", name)


def test_a_longer_name_can_be_allowed() -> None:
    """A name may have more than 15 bytes if the caller allows it, as for alternative names."""
    assert name_problem("source", "x" * 127, longest=127) is None
    assert name_problem("source", "x" * 128, longest=127) is not None


def test_a_bridge_refuses_a_bad_name() -> None:
    with pytest.raises(SpecError) as info:
        Bridge("a b")
    assert str(info.value) == f"source 'a b': {HELD}"


def test_bridge_is_an_immutable_value() -> None:
    """A Bridge is immutable, hashable and compared by value."""
    assert Bridge("br0") == Bridge("br0")
    assert len({Bridge("br0"), Bridge("br0"), Bridge("br1")}) == 2
    assert (Bridge("br0").name, Bridge("br0").kind) == ("br0", "bridge")
    with pytest.raises(FrozenInstanceError):
        Bridge("br0").name = "br1"  # type: ignore[misc]


# The options of the kinds


@pytest.mark.parametrize(
    ("kind", "source", "lower"),
    [
        (Veth("veth-web", master="br0"), "veth-web", None),
        (Bridge("br0", stp=True), "br0", None),
        (Macvlan("wan"), "macvlan@wan", "wan"),
        (Ipvlan("wan"), "ipvlan@wan", "wan"),
        (Vlan("wan", 5), "vlan@wan", "wan"),
        (Vxlan(42), "vxlan", None),
        (Vxlan(42, link="wan"), "vxlan@wan", "wan"),
        (Vrf("red", 10), "red", None),
        (Dummy(), "dummy", None),
        (Ifb(), "ifb", None),
        (Tap(), "tap", None),
        (Tap(mode="tun"), "tun", None),
    ],
)
def test_kind_has_a_source_name_and_a_lower_link(kind: Kind, source: str, lower: str | None) -> None:
    """Each kind has a source name, and the name of its lower link if it has one."""
    assert (kind.source_name, kind.lower) == (source, lower)
    assert InterfaceSpec(kind).kind == kind


RULES = [
    (lambda: Veth("a b"), f"host 'a b': {HELD}"),
    (lambda: Veth("v", master=""), "master '': a link name may not be empty"),
    (lambda: Veth("v", host_mac="01:00:00:00:00:01"), "host_mac '01:00:00:00:00:01': is a multicast address"),
    (lambda: Veth("v", host_mtu=67), "host_mtu 67: is not a number from 68 to 65535"),
    (lambda: Veth("v", host_mtu=1000, ipv6=True), "host_mtu 1000: is below 1280, the least that IPv6 needs"),
    (lambda: Veth("v", ipv6="no"), "ipv6 'no': is neither True nor False"),  # type: ignore[arg-type]
    (lambda: Veth("v", hairpin=True), "master: is required for hairpin, isolated and learning"),
    (lambda: Veth("v", learning=False), "master: is required"),
    (lambda: Bridge("b", forward_delay=199), "forward_delay 199: is not a number from 200 to 3000"),
    (lambda: Bridge("b", stp=1), "stp 1: is neither True nor False"),  # type: ignore[arg-type]
    (lambda: Bridge("b", priority=True), "priority True: is not a number from 0 to 65535"),
    (lambda: Macvlan(""), "link '': a link name may not be empty"),
    (lambda: Bridge("b", mcast_router=3), "mcast_router 3: is not a number from 0 to 2"),
    (lambda: Bridge("b", mcast_query_interval=99), "mcast_query_interval 99: is not a number from 100 to 8640000"),
    (lambda: Bridge("b", mcast_igmp_version=1), "mcast_igmp_version 1: is not a number from 2 to 3"),
    (lambda: Bridge("b", vlan_protocol="802.1x"), "vlan_protocol '802.1x': is not one of 802.1q, 802.1ad"),  # type: ignore[arg-type]
    (
        lambda: Bridge("b", group_address="01:80:c2:00:00:03"),
        "group_address '01:80:c2:00:00:03': is neither 01:80:c2:00:00:00 nor from 01:80:c2:00:00:04 to",
    ),
    (lambda: Bridge("b", group_address=7), "group_address 7: is neither"),  # type: ignore[arg-type]
    (lambda: Macvlan("wan", mode="x"), "mode 'x': is not one of private, vepa, bridge, passthru, source"),  # type: ignore[arg-type]
    (lambda: Macvlan("wan", macs=[MAC]), "mode 'bridge': is not source, which macs requires"),
    (lambda: Macvlan("wan", nopromisc=True), "nopromisc True: requires mode passthru"),
    (lambda: Macvlan("wan", "source", 5), "macs 5: are not the addresses of up to 1000 hosts"),  # type: ignore[arg-type]
    (lambda: Macvlan("wan", "source", [5]), "macs [5]: are not the addresses"),  # type: ignore[list-item]
    (lambda: Macvlan("wan", "source", "00:00:00:00:00:00"), "macs '00:00:00:00:00:00': are not the addresses"),
    (lambda: Macvlan("wan", "source", ["01:00:00:00:00:00"]), "macs ['01:00:00:00:00:00']: are not the addresses"),
    (
        lambda: Macvlan("wan", "source", [f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(1001)]),
        "are not the addresses of up to 1000 hosts",
    ),
    (
        lambda: Vlan("wan", 5, ingress_qos={8: 1}),
        "ingress_qos {8: 1}: does not map numbers from 0 to 7, each once, to numbers from 0 to 4294967295, 1000 at",
    ),
    (lambda: Vlan("wan", 5, egress_qos={1: 8}), "egress_qos {1: 8}: does not map numbers from 0 to 4294967295"),
    (lambda: Vlan("wan", 5, egress_qos=[(1, 2), (1, 3)]), "egress_qos [(1, 2), (1, 3)]: does not map"),
    (lambda: Vlan("wan", 5, egress_qos=[(1, 2, 3)]), "egress_qos [(1, 2, 3)]: does not map"),  # type: ignore[list-item]
    (lambda: Vlan("wan", 5, egress_qos=5), "egress_qos 5: does not map"),  # type: ignore[arg-type]
    (lambda: Vlan("wan", 5, egress_qos="0:1"), "egress_qos '0:1': does not map"),  # type: ignore[arg-type]
    (lambda: Vlan("wan", 5, egress_qos=[(True, 1)]), "egress_qos [(True, 1)]: does not map"),
    (lambda: Vlan("wan", 5, egress_qos=dict.fromkeys(range(1001), 1)), "1000 at most"),
    (lambda: Ipvlan("wan", mode="l4"), "mode 'l4': is not one of l2, l3, l3s"),  # type: ignore[arg-type]
    (lambda: Ipvlan("wan", flag="x"), "flag 'x': is not one of bridge, private, vepa"),  # type: ignore[arg-type]
    (lambda: Ipvlan("a/b"), f"link 'a/b': {HELD}"),
    (lambda: Vlan("wan", 4095), "id 4095: is not a number from 0 to 4094"),
    (lambda: Vlan("wan", None), "id: is not a number from 0 to 4094"),  # type: ignore[arg-type]
    (lambda: Vlan("wan", 5, protocol="qinq"), "protocol 'qinq': is not one of 802.1q, 802.1ad"),  # type: ignore[arg-type]
    (lambda: Vlan("..", 5), f"link '..': {TAKEN}"),
    (lambda: Vxlan(2**24), "id 16777216: is not a number from 0 to 16777215"),
    (lambda: Vxlan(None), "id: is not a number from 0 to 16777215"),  # type: ignore[arg-type]
    (lambda: Vxlan(1, port=0), "port 0: is not a number from 1 to 65535"),
    (lambda: Vxlan(1, port=65536), "port 65536: is not a number from 1 to 65535"),
    (lambda: Vxlan(1, link="a b"), f"link 'a b': {HELD}"),
    (lambda: Vxlan(1, group="239.1.1.1"), "link: is required with a group"),
    (lambda: Vxlan(1, link="wan", group="10.0.0.1"), "group '10.0.0.1': is not the address of a multicast group"),
    (lambda: Vxlan(1, remote="239.1.1.1"), "remote '239.1.1.1': is not the address of a host"),
    (lambda: Vxlan(1, remote="fe80::1%wan"), "remote 'fe80::1%wan': is not the address of a host"),
    (lambda: Vxlan(1, remote="10.0.0"), "remote '10.0.0': is not the address of a host"),
    (lambda: Vxlan(1, remote=167772161), "remote 167772161: is not the address of a host"),  # type: ignore[arg-type]
    (
        lambda: Vxlan(1, link="wan", group="239.1.1.1", remote="10.0.0.1"),
        "remote '10.0.0.1': cannot be combined with a group",
    ),
    (lambda: Vxlan(1, remote="10.0.0.1", local="fd00::1"), "local 'fd00::1': is not of the family of 10.0.0.1"),
    (lambda: Vxlan(1, source_ports=(9, 8)), "source_ports (9, 8): are not two numbers from 1 to 65535, the lower one"),
    (lambda: Vxlan(1, source_ports=(0, 8)), "source_ports (0, 8): are not two numbers"),
    (lambda: Vxlan(1, source_ports=(8,)), "source_ports (8,): are not two numbers"),  # type: ignore[arg-type]
    (lambda: Vxlan(1, source_ports=8), "source_ports 8: are not two numbers"),  # type: ignore[arg-type]
    (lambda: Vxlan(1, df="on"), "df 'on': is not one of unset, set, inherit"),  # type: ignore[arg-type]
    (lambda: Vxlan(1, remote="10.0.0.1", label=5), "label 5: requires an end with an IPv6 address"),
    (lambda: Vxlan(1, remote="fd00::1", label=2**20), "label 1048576: is not a number from 0 to 1048575"),
    (lambda: Vxlan(1, ttl=5, ttl_inherit=True), "ttl 5: cannot be combined with ttl_inherit"),
    (lambda: Vxlan(1, external=True), "id 1: is not 0, which external requires"),
    (lambda: Vxlan(1, vnifilter=True), "vnifilter True: requires external"),
    (lambda: Vxlan(1, external=False, gpe=True), "gpe True: requires external"),
    (lambda: Vrf("red", 0), "table 0: is not a number from 1 to 4294967295"),
    (lambda: Vrf("a b", 1), f"source 'a b': {HELD}"),
    (lambda: Tap(owner=-1), "owner -1: is not a number from 0 to 4294967294"),
    (lambda: Tap(mode="xxx"), "mode 'xxx': is not one of tap, tun"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "text"), RULES, ids=[text[:40] for _, text in RULES])
def test_invalid_options_of_a_kind_are_refused(make: Callable[[], Kind], text: str) -> None:
    """An invalid option, or an invalid combination of options, raises SpecError with the reason."""
    with pytest.raises(SpecError) as info:
        make()
    assert text in str(info.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Veth("v", mode="bridge"), "keyword 'mode': is not known; known are host, master, host_mac"),  # type: ignore[call-arg]
        (lambda: Veth("v", hairpn=True), "keyword 'hairpn': is not known; did you mean 'hairpin'?"),  # type: ignore[call-arg]
        (lambda: Vlan("wan"), "id: is required"),  # type: ignore[call-arg]
        (lambda: Macvlan(mode="vepa"), "link: is required"),  # type: ignore[call-arg]
        (lambda: Dummy(mac="x"), "keyword 'mac': is not known"),
    ],
)
def test_unknown_or_missing_option_is_refused(make: Callable[[], Kind], text: str) -> None:
    """An option of another kind, a misspelled option or a missing one raises SpecError with a hint."""
    with pytest.raises(SpecError) as info:
        make()
    assert text in str(info.value)


@pytest.mark.parametrize("kind", [Veth("v", master="br0"), Vlan("wan", 5), Dummy()])
def test_kind_can_be_copied_replaced_and_pickled(kind: Kind) -> None:
    assert copy(kind) == deepcopy(kind) == replace(kind) == loads(dumps(kind)) == kind  # noqa: S301  our own


def test_all_problems_of_a_kind_are_reported_at_once() -> None:
    with pytest.raises(SpecError) as info:
        Vxlan(-1, link="a b", ttl=256, learning="no")  # type: ignore[arg-type]
    assert [problem.field for problem in info.value.problems] == ["link", "id", "ttl", "learning"]


def test_host_mac_is_kept_in_lower_case() -> None:
    """The MAC of a veth's host end is accepted in capitals and kept in lower case."""
    assert Veth("v", host_mac="02:00:00:00:00:AB").host_mac == "02:00:00:00:00:ab"


@pytest.mark.parametrize(
    ("kind", "name", "kept"),
    [
        (Bridge("b", group_address="01:80:C2:00:00:0E"), "group_address", "01:80:c2:00:00:0e"),
        (Macvlan("wan", "source", [MAC.upper(), OTHER, MAC]), "macs", (MAC, OTHER)),
        (Macvlan("wan", "source", MAC), "macs", (MAC,)),
        (Macvlan("wan", "source", iter(())), "macs", ()),
        (Vlan("wan", 5, ingress_qos={7: 1, 0: 2}), "ingress_qos", ((0, 2), (7, 1))),
        (Vlan("wan", 5, egress_qos=[(7, 1), (0, 2)]), "egress_qos", ((0, 2), (7, 1))),
        (Vxlan(1, source_ports=[8, 9]), "source_ports", (8, 9)),  # type: ignore[arg-type]
        (Vxlan(0, external=True), "learning", False),
        (Vxlan(0, external=True, learning=True), "learning", True),
    ],
)
def test_options_are_normalized(kind: Kind, name: str, kept: object) -> None:
    """Options that are accepted in several forms are kept in one form, so that equal kinds have equal hashes."""
    assert getattr(kind, name) == kept
    assert replace(kind) == kind
    assert {kind: 1}[copy(kind)] == 1


OPTIONS: list[tuple[Kind, str, dict[int, bytes]]] = [
    (Bridge("b"), "", {}),
    (
        Bridge("b", stp=True, priority=4096, forward_delay=200, mcast_snooping=False, vlan_default_pvid=0),
        " stp_state 1 priority 4096 forward_delay 200 vlan_default_pvid 0 mcast_snooping 0",
        {5: pack("=I", 1), 6: pack("=H", 4096), 1: pack("=I", 200), 39: bytes(2), 23: b"\0"},
    ),
    (
        Bridge(
            "b",
            vlan_protocol="802.1ad",
            vlan_stats=True,
            vlan_stats_per_port=False,
            mcast_vlan_snooping=False,
            no_linklocal_learn=True,
            group_address="01:80:c2:00:00:0e",
            fdb_max_learned=5,
        ),
        (
            " vlan_protocol 802.1ad vlan_stats_enabled 1 vlan_stats_per_port 0 mcast_vlan_snooping 0"
            " group_address 01:80:c2:00:00:0e fdb_max_learned 5 no_linklocal_learn 1"
        ),
        {
            8: pack("!H", 0x88A8),
            41: b"\1",
            45: b"\0",
            20: bytes.fromhex("0180c200000e"),
            49: pack("=I", 5),
            46: pack("=II", 1, 3),
        },
    ),
    (
        Bridge(
            "b",
            mcast_router=2,
            mcast_query_use_ifaddr=True,
            mcast_query_interval=100,
            mcast_query_response_interval=1,
            mcast_querier_interval=2,
            mcast_startup_query_count=3,
            mcast_startup_query_interval=8640000,
            mcast_last_member_count=4,
            mcast_last_member_interval=5,
            mcast_membership_interval=6,
            mcast_hash_max=7,
            mcast_igmp_version=3,
            mcast_mld_version=2,
            mcast_stats=True,
        ),
        (
            " mcast_router 2 mcast_query_use_ifaddr 1 mcast_query_interval 100 mcast_query_response_interval 1"
            " mcast_querier_interval 2 mcast_startup_query_count 3 mcast_startup_query_interval 8640000"
            " mcast_last_member_count 4 mcast_last_member_interval 5 mcast_membership_interval 6 mcast_hash_max 7"
            " mcast_igmp_version 3 mcast_mld_version 2 mcast_stats_enabled 1"
        ),
        {
            22: b"\2",
            24: b"\1",
            33: pack("=Q", 100),
            34: pack("=Q", 1),
            32: pack("=Q", 2),
            29: pack("=I", 3),
            35: pack("=Q", 8640000),
            28: pack("=I", 4),
            30: pack("=Q", 5),
            31: pack("=Q", 6),
            27: pack("=I", 7),
            43: b"\3",
            44: b"\2",
            42: b"\1",
        },
    ),
    (
        Bridge("b", nf_call_iptables=True, nf_call_ip6tables=False, nf_call_arptables=True),
        " nf_call_iptables 1 nf_call_ip6tables 0 nf_call_arptables 1",
        {36: b"\1", 37: b"\0", 38: b"\1"},
    ),
    (Macvlan("wan"), " mode bridge", {1: pack("=I", 4)}),
    (
        Macvlan("wan", mode="passthru", nopromisc=True, bc_queue_len=9),
        " mode passthru flag nopromisc bcqueuelen 9",
        {1: pack("=I", 8), 2: pack("=H", 1), 7: pack("=I", 9)},
    ),
    (Macvlan("wan", nopromisc=False), " mode bridge", {1: pack("=I", 4), 2: pack("=H", 0)}),
    (
        Macvlan("wan", mode="source", macs=[OTHER, MAC], nodst=True, nopromisc=False),
        f" mode source macaddr set {MAC} {OTHER} flag nodst",
        {
            1: pack("=I", 16),
            3: pack("=I", 3),
            5: bytes.fromhex("0a000400 02000000000a 0000 0a000400 02000000000b 0000"),
            2: pack("=H", 2),
        },
    ),
    (Macvlan("wan", mode="source", macs=()), " mode source macaddr set", {1: pack("=I", 16), 3: pack("=I", 3), 5: b""}),
    (Ipvlan("wan", mode="l3s", flag="vepa"), " mode l3s vepa", {1: pack("=H", 2), 2: pack("=H", 2)}),
    (Vlan("wan", 5), " id 5", {1: pack("=H", 5)}),
    (
        Vlan("wan", 5, protocol="802.1ad", reorder_hdr=False, gvrp=True, bridge_binding=True),
        " protocol 802.1ad id 5 reorder_hdr off gvrp on bridge_binding on",
        {5: pack("!H", 0x88A8), 1: pack("=H", 5), 2: pack("=II", 0x12, 0x13)},
    ),
    (
        Vlan("wan", 5, ingress_qos={3: 4, 0: 2**32 - 1}, egress_qos=[(6, 7)]),
        " id 5 ingress-qos-map 0:4294967295 3:4 egress-qos-map 6:7",
        {
            1: pack("=H", 5),
            4: pack("=HHIIHHII", 12, 1, 0, 2**32 - 1, 12, 1, 3, 4),
            3: pack("=HHII", 12, 1, 6, 7),
        },
    ),
    (Vlan("wan", 5, egress_qos={}), " id 5", {1: pack("=H", 5), 3: b""}),
    (
        Vxlan(42, remote="10.0.0.9", local="10.0.0.8", ttl=8, learning=False, udp_csum=True),
        " id 42 remote 10.0.0.9 local 10.0.0.8 dstport 4789 ttl 8 nolearning udpcsum",
        {
            1: pack("=I", 42),
            2: bytes([10, 0, 0, 9]),
            4: bytes([10, 0, 0, 8]),
            15: pack("!H", 4789),
            5: b"\x08",
            7: b"\0",
            18: b"\1",
            3: pack("=I", 9),
        },
    ),
    (
        Vxlan(1, link="wan", group="ff05::100", local="fd00::1", port=8472),
        " id 1 group ff05::100 local fd00::1 dstport 8472",
        {
            1: pack("=I", 1),
            16: ip_address("ff05::100").packed,
            17: ip_address("fd00::1").packed,
            15: pack("!H", 8472),
            3: pack("=I", 9),
        },
    ),
    (
        Vxlan(1, remote="fd00::1", label=5, source_ports=(8, 9), df="inherit", ttl_inherit=True, remcsum_tx=True),
        " id 1 remote fd00::1 dstport 4789 srcport 8 9 ttl inherit df inherit flowlabel 5 remcsumtx",
        {
            1: pack("=I", 1),
            16: ip_address("fd00::1").packed,
            15: pack("!H", 4789),
            10: pack("!HH", 8, 9),
            28: b"",
            29: b"\2",
            26: pack("!I", 5),
            21: b"\1",
            3: pack("=I", 9),
        },
    ),
    (
        Vxlan(0, external=True, vnifilter=True, localbypass=False, gbp=True, gpe=False, remcsum_rx=False),
        " dstport 4789 external nolearning noremcsumrx vnifilter nolocalbypass gbp",
        {
            1: pack("=I", 0),
            15: pack("!H", 4789),
            7: b"\0",
            22: b"\0",
            25: b"\1",
            30: b"\1",
            31: b"\0",
            23: b"",
            3: pack("=I", 9),
        },
    ),
    (Vrf("red", 2**32 - 1), " table 4294967295", {1: pack("=I", 2**32 - 1)}),
    (Dummy(), "", {}),
    (Ifb(), "", {}),
]


@pytest.mark.parametrize(
    ("kind", "words", "attributes"), OPTIONS, ids=[f"{n} {row[0].kind}{row[1]}" for n, row in enumerate(OPTIONS)]
)
def test_options_have_ip_words_and_netlink_attributes(kind: Kind, words: str, attributes: dict[int, bytes]) -> None:
    """The options of a kind are written in the syntax of ip(8) and packed as netlink attributes."""
    assert kind.words(kind.options) == words
    assert attrs.unpack(kind.pack(kind.options, lower=9)) == attributes


def test_every_declared_option_is_a_field() -> None:
    """Every declared option of a kind is a field of its class, in the same order."""
    for kind in KINDS.values():
        assert list(kind.declared) == [item.name for item in fields(kind)]


# The registry


def test_every_kind_is_known_by_both_its_names() -> None:
    """A kind is found by its word in ip(8) and by the kernel's name of it, and nothing else is."""
    assert len(KINDS) == len(links.__all__) - 1
    for word, kind in KINDS.items():
        assert (kind.__name__.lower(), find_kind(kind.kind)) == (word, kind)
        assert getattr(netsandbox, kind.__name__) is kind
    assert [find_kind(name) for name in ("tap", "kind", "wireguard", "", None)] == [None] * 5
    with pytest.raises(KeyError):
        KINDS["kind"]
    with pytest.raises(AttributeError, match=r"module 'netsandbox\.links' has no attribute 'Bond'"):
        links.Bond  # noqa: B018


def test_choices_are_those_of_the_type() -> None:
    """The words that an option accepts are those of its type annotation."""
    for kind in KINDS.values():
        hints = get_type_hints(kind)
        for name, option in kind.declared.items():
            if isinstance(option, Choice):
                given = [arg for hint in (hints[name], *get_args(hints[name])) for arg in get_args(hint)]
                assert {word for word in given if isinstance(word, str)} == set(option.choices)


def test_no_two_options_share_an_attribute() -> None:
    """Options of one kind have attributes of their own, or bits of their own in one."""
    for kind in KINDS.values():
        numbers = [(option.attr, getattr(option, "bit", 0)) for option in kind.declared.values() if option.attr]
        allowed = 1 if kind is Vxlan else 0  # group and remote, of which there is one
        assert len(numbers) - len(set(numbers)) == allowed, kind


def test_help_lists_every_option() -> None:
    """The docstring of a kind lists its options with their valid values."""
    text = Bridge.__doc__ or ""
    assert "\n        priority: Priority in the spanning tree (0..65535).\n" in text
    assert "\n        stp: Run the spanning tree protocol.\n" in text
    for kind in KINDS.values():
        assert all(f"\n        {name}: " in (kind.__doc__ or "") for name in kind.declared)


def test_the_page_of_kinds_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/kinds.md is what the declarations say."""
    run_module("netsandbox.links", run_name="__main__")
    page = Path(__file__).parents[2] / "docs" / "kinds.md"
    assert page.read_text() == capsys.readouterr().out, "run: python -m netsandbox.links > docs/kinds.md"


def test_none_is_only_for_options_of_the_kernel() -> None:
    """An option whose default is the kernel's may be None; a setting of the host end may not."""
    assert dict(Vxlan(1, port=None).options) == {"id": 1}  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="hairpin: is neither True nor False"):
        Veth("v", hairpin=None)  # type: ignore[arg-type]


def test_a_kind_is_imported_when_it_is_used() -> None:
    """Importing Sandbox imports no kind of link but Veth, which plans know."""
    program = "import sys; from netsandbox import Sandbox; print(*(name for name in sys.modules if '.links.' in name))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {f"netsandbox.links.{name}" for name in ("base", "options", "veth")}


@pytest.mark.parametrize(
    ("kind", "name", "text", "value"),
    [
        (Bridge, "priority", "7", 7),
        (Bridge, "priority", "seven", "seven"),
        (Bridge, "stp", "on", True),
        (Bridge, "stp", "0", False),
        (Bridge, "stp", "perhaps", "perhaps"),
        (Bridge, "vlan_protocol", "802.1q", "802.1q"),
        (Macvlan, "macs", f"{MAC},{OTHER}", [MAC, OTHER]),
        (Vlan, "egress_qos", "0:1,6:7", [(0, 1), (6, 7)]),
        (Vlan, "egress_qos", "5", 5),
        (Vxlan, "source_ports", "8-9", (8, 9)),
        (Vxlan, "source_ports", "8", 8),
    ],
)
def test_text_is_parsed_by_the_type_of_its_option(kind: type[Kind], name: str, text: str, value: object) -> None:
    """The command line turns text into the values that the option accepts; other text stays, to be refused."""
    assert kind.declared[name].parse(text) == value
