"""Specs: accepted values, refused values with their reasons, and the report of all problems at once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import FrozenInstanceError, fields
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox import (
    Advertise,
    Bridge,
    Gateway,
    InterfaceSpec,
    Ipvlan,
    Kind,
    Macvlan,
    Neighbor,
    Route,
    SpecError,
    Tap,
    Vxlan,
)
from netsandbox._checks import sandbox_name_problem
from netsandbox.errors import Problem
from netsandbox.netlink.settings import TABLE, Settings
from netsandbox.routes import parse_host
from netsandbox.spec import InterfaceOptions, parse_address, salvage

if TYPE_CHECKING:
    from collections.abc import Callable

MAC = "02:42:ac:11:00:02"
RP_FILTER = "net.ipv4.conf.IFNAME.rp_filter"
HELD = "may not hold white space, '/', ':', '%' or NUL"
TAKEN = "is a name that the kernel refuses"
NO_MAC = "is not of the form 02:42:ac:11:00:02"
NO_ALIAS = "is not a text of at most 255 bytes without NUL"
NO_MTU = "is not a number from 68 to 65535"
NO_SYSCTL = "is not of the form net.X.Y.IFNAME.Z"
NO_HOST = "is not the address of a host"


def problems(make: Callable[..., object], *arguments: object, **options: object) -> list[tuple[str, object, str]]:
    """Return the problems of invalid arguments."""
    with pytest.raises(SpecError) as info:
        make(*arguments, **options)
    assert str(info.value) == "; ".join(map(str, info.value.problems))
    return [(problem.field, problem.value, problem.reason) for problem in info.value.problems]


def spec(**options: Any) -> InterfaceSpec:  # noqa: ANN401
    return InterfaceSpec("veth1", **options)


# Invalid values


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("", "", "a link name may not be empty"),
        ("x" * 128, "x" * 128, "has 128 bytes, at most 127 are possible"),
        ("a b", "a b", HELD),
        ("lo", "lo", "the loopback link cannot leave its namespace"),
        (7, 7, "a link name is a string"),
        (None, None, "a link name is a string"),
    ],
)
def test_a_bad_source_is_refused(source: Any, value: object, reason: str) -> None:  # noqa: ANN401
    assert problems(InterfaceSpec, source) == [("source", value, reason)]


@pytest.mark.parametrize(
    ("field", "name", "reason"),
    [
        ("name", "", "a link name may not be empty"),
        ("name", "sixteen-letters-", "has 16 bytes, at most 15 are possible"),
        ("name", "a/b", HELD),
        ("name", "a b", HELD),
        ("name", "a\tb", HELD),
        ("name", ".", TAKEN),
        ("name", "..", TAKEN),
        ("name", "all", TAKEN),
        ("name", "default", TAKEN),
        ("name", "eth%d", HELD),
        ("name", 7, "a link name is a string"),
        ("prefix", "fifteen-letters", "has 15 bytes, at most 14 are possible"),
        ("prefix", "", "a link name may not be empty"),
        ("prefix", "eth%d", HELD),
        ("prefix", None, "a link name is a string"),
        ("master", "a b", HELD),
        ("master", "", "a link name may not be empty"),
    ],
)
def test_invalid_name_prefix_or_master_is_refused(field: str, name: object, reason: str) -> None:
    """A name, prefix or master that the kernel would refuse as a link name raises SpecError."""
    assert problems(spec, **{field: name}) == [(field, name, reason)]


@pytest.mark.parametrize(
    ("mac", "reason"),
    [
        ("02:42:ac:11:00", NO_MAC),
        ("02:42:ac:11:00:02:03", NO_MAC),
        ("02-42-ac-11-00-02", NO_MAC),
        ("2:42:ac:11:0:2", NO_MAC),
        ("zz:42:ac:11:00:02", NO_MAC),
        ("02:42:ac:11:00:02\n", NO_MAC),
        ("", NO_MAC),
        (7, NO_MAC),
        (b"\2\x42\xac\x11\0\2", NO_MAC),
        ("00:00:00:00:00:00", "is all zero"),
        ("01:00:5e:00:00:01", "is a multicast address, not that of one host"),
        ("ff:ff:ff:ff:ff:ff", "is a multicast address, not that of one host"),
    ],
)
def test_a_bad_mac_is_refused(mac: object, reason: str) -> None:
    assert problems(spec, mac=mac) == [("mac", mac, reason)]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Macvlan("wan", "passthru"), "is that of the lower link in mode passthru"),
        (Ipvlan("wan"), "is that of the lower link"),
        (Vxlan(0, external=True, gpe=True), "cannot be set with gpe: it has no MAC"),
        (Tap("tun"), "cannot be set in mode tun: it has no MAC"),
    ],
)
def test_mac_that_the_kernel_would_ignore_is_refused(kind: Kind, reason: str) -> None:
    """A MAC for a kind of link whose MAC the kernel would ignore raises SpecError."""
    assert problems(InterfaceSpec, kind, mac=MAC) == [("mac", MAC, reason)]


@pytest.mark.parametrize("mtu", [67, 65536, 0, -1, "1500", 1500.0, True])
def test_an_mtu_out_of_bounds_is_refused(mtu: object) -> None:
    assert problems(spec, mtu=mtu) == [("mtu", mtu, NO_MTU)]


def test_mtu_too_small_for_ipv6_is_refused() -> None:
    """An MTU below 1280 raises SpecError if there is an IPv6 address."""
    ipv6 = ["fd00::2/64"]
    assert problems(spec, mtu=1279, addresses=ipv6) == [("mtu", 1279, "is below 1280, the least that IPv6 needs")]
    assert (spec(mtu=1280, addresses=ipv6).mtu, spec(mtu=1279).mtu) == (1280, 1279)


@pytest.mark.parametrize(
    ("address", "value", "reason"),
    [
        ("10.0.0.2", "10.0.0.2", "needs a prefix length, such as /24"),
        ("fd00::2", "fd00::2", "needs a prefix length, such as /24"),
        (IPv4Address("10.0.0.2"), "10.0.0.2", "needs a prefix length, such as /24"),
        (IPv6Address("fd00::2"), "fd00::2", "needs a prefix length, such as /24"),
        ("nonsense", "nonsense", "needs a prefix length, such as /24"),
        ("", "", "needs a prefix length, such as /24"),
        (IPv4Network("10.0.0.0/24"), "10.0.0.0/24", "is a network, not the address of a host"),
        ("10.0.0.0/24", "10.0.0.0/24", "is the address of the network 10.0.0.0/24 itself"),
        ("fd00::/64", "fd00::/64", "is the address of the network fd00::/64 itself"),
        ("10.0.0.255/24", "10.0.0.255/24", "is the broadcast address of 10.0.0.0/24"),
        ("255.255.255.255/32", "255.255.255.255/32", "is the broadcast address of 255.255.255.255/32"),
        ("224.0.0.1/24", "224.0.0.1/24", "is a multicast address"),
        ("ff02::1/64", "ff02::1/64", "is a multicast address"),
        ("0.0.0.0/0", "0.0.0.0/0", "is the unspecified address"),
        ("::/128", "::/128", "is the unspecified address"),
        ("10.0.0.2/33", "10.0.0.2/33", "'10.0.0.2/33' does not appear to be an IPv4 or IPv6 interface"),
        ("fd00::2/129", "fd00::2/129", "'fd00::2/129' does not appear to be an IPv4 or IPv6 interface"),
        ("10.0.0.300/24", "10.0.0.300/24", "'10.0.0.300/24' does not appear to be an IPv4 or IPv6 interface"),
        ("fe80::1%eth0/64", "fe80::1%eth0/64", "may not hold a zone (%)"),
        (167772162, 167772162, "is not text"),
        (b"\n\0\0\2", b"\n\0\0\2", "is not text"),
        (None, None, "None does not appear to be an IPv4 or IPv6 interface"),
    ],
)
def test_invalid_interface_address_is_refused(address: object, value: object, reason: str) -> None:
    """A value that is not the address of a host with a prefix length raises SpecError."""
    assert problems(spec, addresses=[address]) == [("address", value, reason)]
    assert problems(parse_address, address) == [("address", value, reason)]


def test_an_address_given_twice_is_refused() -> None:
    twice = ["10.0.0.2/24", ip_interface("10.0.0.2/24"), "10.0.0.2/25"]
    assert problems(spec, addresses=twice) == [("address", "10.0.0.2/24", "is given twice")]


@pytest.mark.parametrize(
    ("sysctls", "value", "reason"),
    [
        ({"net.ipv4.ip_forward": 1}, "net.ipv4.ip_forward", NO_SYSCTL),
        (
            {"net.ipv4.conf.eth0.rp_filter": 1},
            "net.ipv4.conf.eth0.rp_filter",
            "must have the word IFNAME as its fourth part",
        ),
        (
            {"net.ipv4.conf.all.rp_filter": 1},
            "net.ipv4.conf.all.rp_filter",
            "must have the word IFNAME as its fourth part",
        ),
        (
            {"net.ipv4.IFNAME.conf.rp_filter": 1},
            "net.ipv4.IFNAME.conf.rp_filter",
            "must have the word IFNAME as its fourth part",
        ),
        ({"net.ipv4.conf.IFNAME.a.b": 1}, "net.ipv4.conf.IFNAME.a.b", NO_SYSCTL),
        ({"kernel.ipv4.conf.IFNAME.rp_filter": 1}, "kernel.ipv4.conf.IFNAME.rp_filter", "is outside net."),
        ({"net.ipv4.conf/x.IFNAME.rp_filter": 1}, "net.ipv4.conf/x.IFNAME.rp_filter", NO_SYSCTL),
        ({"net.ipv4...IFNAME.x": 1}, "net.ipv4...IFNAME.x", NO_SYSCTL),
        ({"net.ipv4.conf.IFNAME.": 1}, "net.ipv4.conf.IFNAME.", NO_SYSCTL),
        ({7: 1}, 7, NO_SYSCTL),
        ({RP_FILTER: ""}, RP_FILTER, "has no usable value, ''"),
        ({RP_FILTER: " \t"}, RP_FILTER, "has no usable value, ' \\t'"),
        ({RP_FILTER: "1\0"}, RP_FILTER, "has no usable value, '1\\x00'"),
        ({RP_FILTER: "\ud800"}, RP_FILTER, "has no usable value, '\\ud800'"),
        ({RP_FILTER: "é"}, RP_FILTER, "has no usable value, 'é'"),
        ({RP_FILTER: True}, RP_FILTER, "has no usable value, True"),
        ({RP_FILTER: 1.5}, RP_FILTER, "has no usable value, 1.5"),
        ({RP_FILTER: None}, RP_FILTER, "is not of the form KEY=VALUE"),
        ([RP_FILTER], RP_FILTER, "is not of the form KEY=VALUE"),
        ([7], 7, "is not of the form KEY=VALUE"),
        ([f"{RP_FILTER}=1", f"{RP_FILTER}=2"], RP_FILTER, "has two values, '1' and '2'"),
        ({RP_FILTER: 1, RP_FILTER.replace("IFNAME", "ifname"): 2}, RP_FILTER, "has two values, '1' and '2'"),
    ],
)
def test_a_bad_sysctl_is_refused(sysctls: object, value: object, reason: str) -> None:
    assert problems(spec, sysctls=sysctls) == [("sysctl", value, reason)]


@pytest.mark.parametrize(
    ("route", "value", "reason"),
    [
        ("nonsense", "nonsense", "'nonsense' does not appear to be an IPv4 or IPv6 network"),
        ("10.0.0.1/8", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        (7, 7, "is not text"),
        ("fd00::/64", "fd00::/64", "needs an IPv6 address: without one, IPv6 is switched off"),
        (
            Route("10.0.0.0/8", interface="eth0"),
            "10.0.0.0/8 dev eth0",
            "belongs to this interface; leave its interface out",
        ),
    ],
)
def test_a_bad_route_of_an_interface_is_refused(route: object, value: object, reason: str) -> None:
    assert problems(spec, routes=[route]) == [("route", value, reason)]


@pytest.mark.parametrize("value", ["warn", None, True, "", ["error"]])
def test_invalid_on_conflict_is_refused(value: object) -> None:
    assert problems(spec, on_conflict=value) == [("on_conflict", value, "is neither 'error' nor 'ignore'")]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("adresses", "is not known; did you mean 'addresses'?"),
        ("mtuu", "is not known; did you mean 'mtu'?"),
        ("gateway", f"is not known; known are {', '.join(InterfaceOptions.__annotations__)}"),
    ],
)
def test_unknown_keyword_is_refused_with_a_suggestion(word: str, reason: str) -> None:
    """An unknown keyword raises SpecError with the nearest known keyword, or with all of them."""
    assert problems(spec, **{word: 1}) == [("keyword", word, reason)]


def test_all_problems_are_reported_at_once() -> None:
    """One SpecError reports all problems of a spec, each with its field and its value."""
    with pytest.raises(SpecError) as info:
        InterfaceSpec(  # type: ignore[call-arg]
            "a/b",
            prefix="%",
            name="..",
            mac="00:00:00:00:00:00",
            mtu=9,
            addresses=["10.0.0.0/24", "fd00::2"],
            master="",
            routes=["x", "fd00::/8"],
            sysctls={"a.b": "1"},
            on_conflict="maybe",  # type: ignore[arg-type]
            adresses=[],
        )
    assert str(info.value) == (
        "keyword 'adresses': is not known; did you mean 'addresses'?; "
        f"source 'a/b': {HELD}; "
        f"prefix '%': {HELD}; "
        f"name '..': {TAKEN}; "
        "master '': a link name may not be empty; "
        "address '10.0.0.0/24': is the address of the network 10.0.0.0/24 itself; "
        "address 'fd00::2': needs a prefix length, such as /24; "
        "route 'x': 'x' does not appear to be an IPv4 or IPv6 network; "
        "route 'fd00::/8': needs an IPv6 address: without one, IPv6 is switched off; "
        "mac '00:00:00:00:00:00': is all zero; "
        f"mtu 9: {NO_MTU}; "
        "on_conflict 'maybe': is neither 'error' nor 'ignore'; "
        f"sysctl 'a.b': {NO_SYSCTL}"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "a sandbox name may not be empty"),
        (".", "may not begin with '.'"),
        ("..", "may not begin with '.'"),
        (".state", "may not begin with '.'"),
        ("-web", "may not begin with '-'"),
        ("a/b", "may not hold '/', NUL, white space or what cannot be printed"),
        ("a b", "may not hold '/', NUL, white space or what cannot be printed"),
        ("a\0b", "may not hold '/', NUL, white space or what cannot be printed"),
        ("a\u3000b", "may not hold '/', NUL, white space or what cannot be printed"),
        ("a\x1bb", "may not hold '/', NUL, white space or what cannot be printed"),
        ("\ud800", "may not hold '/', NUL, white space or what cannot be printed"),
        ("x" * 65, "is longer than 64 bytes"),
        ("é" * 33, "is longer than 64 bytes"),
        (None, "a sandbox name is a string"),
    ],
)
def test_invalid_sandbox_name_is_refused(name: object, reason: str) -> None:
    assert sandbox_name_problem(name) == Problem("name", name, reason)


@pytest.mark.parametrize("name", ["web", "x" * 64, "é" * 32, "a.b-c_d", "0"])
def test_valid_sandbox_name_is_accepted(name: str) -> None:
    assert sandbox_name_problem(name) is None


@pytest.mark.parametrize(
    ("arguments", "options", "wrong"),
    [
        (("x" * 16,), {}, [("interface", "x" * 16)]),
        (("eth0", "nonsense"), {}, [("via", "nonsense")]),
        (("eth0", "224.0.0.1"), {}, [("via", "224.0.0.1")]),
        (("eth0", "::"), {}, [("via", "::")]),
        (
            ("eth0",),
            {"family": 5, "priority": "high", "onlink": True},
            [("family", 5), ("priority", "high"), ("onlink", True)],
        ),
    ],
)
def test_invalid_gateway_is_refused(
    arguments: tuple[str, ...], options: dict[str, object], wrong: list[tuple[str, object]]
) -> None:
    assert [problem[:2] for problem in problems(Gateway, *arguments, **options)] == wrong


# Valid values


def test_gateway_reads_like_a_route_of_ip() -> None:
    """The text of a Gateway is written as by ip(8), and its family is that of its address or IPv4."""
    assert str(Gateway("eth0", "fd00::1")) == "via fd00::1 dev eth0"
    assert (Gateway("eth0", "fd00::1").family, Gateway("eth0").family) == (6, 4)
    assert str(Gateway("eth0", family=6)) == "dev eth0"


def test_spec_needs_only_a_source() -> None:
    """A spec with only a source has the default in every other field."""
    wish = InterfaceSpec("veth1")
    assert wish.settings == Settings()
    assert [getattr(wish, item.name) for item in fields(wish) if item.name not in TABLE] == [
        "veth1", "eth", None, (), None, (), (), "error", Advertise(3, 1.0), None, 5.0,
    ]  # fmt: skip
    assert (wish.source_name, wish.has_ipv6) == ("veth1", False)


def test_spec_accepts_all_options_together() -> None:
    """A spec with all options keeps each of them in its normalized form."""
    wish = InterfaceSpec(
        Bridge("br0"),
        prefix="lan",
        name="lan0",
        mac="02:42:AC:11:00:02",
        mtu=1450,
        addresses=["172.17.0.2/16", ip_interface("fd00::2/64")],
        master="br1",
        routes=["192.168.2.1/32", ip_network("fd08::/32"), Route("10.0.0.0/8", via="172.17.0.1")],
        sysctls={RP_FILTER: 2, "net.ipv6.conf.ifname.accept_ra": " 0\n"},
        on_conflict="ignore",
    )
    assert (wish.source, wish.source_name, wish.prefix, wish.name) == (Bridge("br0"), "br0", "lan", "lan0")
    assert (wish.mac, wish.mtu, wish.master, wish.on_conflict) == (MAC, 1450, "br1", "ignore")
    assert wish.addresses == (IPv4Interface("172.17.0.2/16"), IPv6Interface("fd00::2/64"))
    assert wish.routes == (Route("192.168.2.1/32"), Route("fd08::/32"), Route("10.0.0.0/8", "172.17.0.1"))
    assert wish.sysctls == ((RP_FILTER, "2"), ("net.ipv6.conf.IFNAME.accept_ra", "0"))
    assert wish.has_ipv6


@pytest.mark.parametrize(
    "addresses",
    [
        "10.0.0.2/24",
        ["10.0.0.2/24"],
        ("10.0.0.2/24",),
        {"10.0.0.2/24"},
        iter(["10.0.0.2/24"]),
        IPv4Interface("10.0.0.2/24"),
        [IPv4Interface("10.0.0.2/24")],
        "10.0.0.2/255.255.255.0",
    ],
    ids=lambda value: type(value).__name__ + str(value)[:22] if not hasattr(value, "__next__") else "iterator",
)
def test_addresses_are_accepted_in_many_forms(addresses: Any) -> None:  # noqa: ANN401
    """Addresses are accepted as text or ipaddress objects, alone or in any iterable."""
    assert spec(addresses=addresses).addresses == (IPv4Interface("10.0.0.2/24"),)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.0/31",
        "10.0.0.1/31",
        "10.0.0.0/32",
        "fd00::/127",
        "fd00::/128",
        "fd00::ffff:ffff/96",
        "169.254.0.1/16",
        "fe80::1/64",
    ],
)
def test_network_without_special_addresses_has_only_hosts(address: str) -> None:
    """In a network without a network or broadcast address, each address is accepted as that of a host."""
    assert spec(addresses=[address]).addresses == (ip_interface(address),)


@pytest.mark.parametrize(
    "sysctls",
    [
        {RP_FILTER: "2"},
        {RP_FILTER: 2},
        {RP_FILTER: " 2 \n"},
        [f"{RP_FILTER}=2"],
        f"{RP_FILTER}=2",
        [f"{RP_FILTER}=2", f"{RP_FILTER}= 2"],
        {RP_FILTER.replace("IFNAME", "ifname"): "2"},
    ],
    ids=str,
)
def test_sysctls_are_accepted_in_many_forms(sysctls: Any) -> None:  # noqa: ANN401
    """Sysctls are accepted as a mapping or as KEY=VALUE texts, with a text or a number as the value."""
    assert spec(sysctls=sysctls).sysctls == ((RP_FILTER, "2"),)


def test_white_space_in_a_sysctl_value_is_normalized() -> None:
    """White space between the words of a sysctl value becomes one space, and a value may contain "="."""
    assert spec(sysctls={"net.ipv4.neigh.IFNAME.x": "4\t 5   6"}).sysctls == (("net.ipv4.neigh.IFNAME.x", "4 5 6"),)
    assert spec(sysctls=["net.ipv4.neigh.IFNAME.x=a=b"]).sysctls == (("net.ipv4.neigh.IFNAME.x", "a=b"),)


@pytest.mark.parametrize("mtu", [68, 1500, 65535])
def test_an_mtu_in_bounds_is_accepted(mtu: int) -> None:
    assert spec(mtu=mtu).mtu == mtu


def test_spec_is_an_immutable_value() -> None:
    """An InterfaceSpec is immutable, hashable and compared by value."""
    one, same = spec(addresses=["10.0.0.2/24"]), spec(addresses=ip_interface("10.0.0.2/24"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != spec(addresses=["10.0.0.3/24"])
    with pytest.raises(FrozenInstanceError):
        one.mtu = 1500  # type: ignore[misc]


# Routes and neighbors


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("nonsense",), {}, [("to", "nonsense", "'nonsense' does not appear to be an IPv4 or IPv6 network")]),
        (("fd00::%1/64",), {}, [("to", "fd00::%1/64", "may not hold a zone (%)")]),
        (("10.0.0.0/8", "x"), {}, [("via", "x", "'x' does not appear to be an IPv4 or IPv6 address")]),
        (("10.0.0.0/8", "fd00::1"), {}, [("via", "fd00::1", "is not of the family of 10.0.0.0/8")]),
        (("10.0.0.0/8", "224.0.0.1"), {}, [("via", "224.0.0.1", NO_HOST)]),
        (("10.0.0.0/8", "0.0.0.0"), {}, [("via", "0.0.0.0", NO_HOST)]),  # noqa: S104  no socket
        (("fd00::/8",), {"source": "10.0.0.1"}, [("source", "10.0.0.1", "is not of the family of fd00::/8")]),
        (("fd00::/8",), {"source": "ff02::1"}, [("source", "ff02::1", NO_HOST)]),
        (("10.0.0.0/8",), {"metric": -1}, [("metric", -1, "is not a number from 0 to 4294967295")]),
        (("10.0.0.0/8",), {"metric": 2**32}, [("metric", 2**32, "is not a number from 0 to 4294967295")]),
        (("10.0.0.0/8",), {"metric": True}, [("metric", True, "is not a number from 0 to 4294967295")]),
        (("10.0.0.0/8",), {"onlink": True}, [("onlink", True, "needs via")]),
        (("10.0.0.0/8",), {"interface": "a b"}, [("interface", "a b", HELD)]),
        (
            ("x", "y"),
            {"metric": "z", "source": 7},
            [
                ("to", "x", "'x' does not appear to be an IPv4 or IPv6 network"),
                ("via", "y", "'y' does not appear to be an IPv4 or IPv6 address"),
                ("source", 7, "is not text"),
                ("metric", "z", "is not a number from 0 to 4294967295"),
            ],
        ),
    ],
    ids=str,
)
def test_a_bad_route_is_refused(
    arguments: tuple[object, ...], options: dict[str, object], told: list[tuple[str, object, str]]
) -> None:
    assert problems(Route, *arguments, **options) == told


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (Route("10.0.0.0/8"), "10.0.0.0/8"),
        (Route(ip_network("fd00::/8"), ip_address("fd00::1")), "fd00::/8 via fd00::1"),
        (Route("10.0.0.1"), "10.0.0.1/32"),
        (
            Route("0.0.0.0/0", "10.0.0.1", metric=0, onlink=True, interface="eth0", source="10.0.0.2"),
            "0.0.0.0/0 via 10.0.0.1 dev eth0 metric 0 src 10.0.0.2 onlink",
        ),
    ],
)
def test_route_reads_like_that_of_ip(route: Route, text: str) -> None:
    """The text of a Route is written as by ip(8)."""
    assert str(route) == text


def test_routes_are_compared_without_their_interface() -> None:
    assert Route("10.0.0.0/8", interface="eth0") == Route(ip_network("10.0.0.0/8"))
    assert Route("10.0.0.0/8", metric=1) != Route("10.0.0.0/8")
    assert len({Route("10.0.0.0/8"), Route("10.0.0.0/8", interface="eth0")}) == 1
    with pytest.raises(FrozenInstanceError):
        Route("10.0.0.0/8").metric = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mac": MAC, "interface": "eth0"}, [("ip", None, "only a bridge forwarding entry goes without")]),
        (
            {"ip": "x", "mac": MAC, "interface": "eth0"},
            [("ip", "x", "'x' does not appear to be an IPv4 or IPv6 address")],
        ),
        ({"ip": "ff02::1", "mac": MAC, "interface": "eth0"}, [("ip", "ff02::1", NO_HOST)]),
        ({"ip": "::", "mac": MAC, "interface": "eth0"}, [("ip", "::", NO_HOST)]),
        ({"ip": "10.0.0.1", "interface": "eth0"}, [("mac", "", NO_MAC)]),
        (
            {"ip": "10.0.0.1", "mac": "33:33:00:00:00:01", "interface": "eth0"},
            [("mac", "33:33:00:00:00:01", "is a multicast address, not that of one host")],
        ),
        ({"ip": "10.0.0.1", "mac": MAC}, [("interface", "", "a link name may not be empty")]),
    ],
    ids=str,
)
def test_a_bad_neighbor_is_refused(options: dict[str, object], told: list[tuple[str, object, str]]) -> None:
    assert problems(Neighbor, **options) == told


@pytest.mark.parametrize(
    ("neighbor", "text"),
    [
        (Neighbor("10.0.0.5", MAC.upper(), "eth0"), f"10.0.0.5 lladdr {MAC} dev eth0"),
        (Neighbor(ip_address("fd00::5"), MAC, "eth0"), f"fd00::5 lladdr {MAC} dev eth0"),
        (Neighbor(mac=MAC, interface="vx0", bridge=True), f"{MAC} dev vx0"),
        (Neighbor("10.0.0.5", MAC, "vx0", bridge=True), f"{MAC} dev vx0 dst 10.0.0.5"),
    ],
)
def test_neighbor_reads_like_that_of_ip(neighbor: Neighbor, text: str) -> None:
    """The text of a Neighbor is written as by ip(8) or bridge(8)."""
    assert str(neighbor) == text


def test_neighbor_is_an_immutable_value() -> None:
    """A Neighbor is immutable, hashable and compared by value."""
    one = Neighbor("10.0.0.5", MAC, "eth0")
    assert one == Neighbor(ip_address("10.0.0.5"), MAC, "eth0")
    assert hash(one) == hash(Neighbor(ip_address("10.0.0.5"), MAC, "eth0"))
    with pytest.raises(FrozenInstanceError):
        one.mac = MAC  # type: ignore[misc]


# Single values, and the valid part of a refused spec


def test_single_address_and_host_are_parsed() -> None:
    assert parse_address("10.0.0.2/24") == IPv4Interface("10.0.0.2/24")
    assert parse_host("gateway", "fd00::1") == IPv6Address("fd00::1")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("10.0.0.1/24", "'10.0.0.1/24' does not appear to be an IPv4 or IPv6 address"),
        ("0.0.0.0", NO_HOST),  # noqa: S104  no socket
        ("224.0.0.1", NO_HOST),
        (1, "is not text"),
        ("fe80::1%eth0", "may not hold a zone (%)"),
    ],
)
def test_invalid_host_is_refused(value: object, reason: str) -> None:
    """A value that is not the address of a host, or has a zone, raises SpecError."""
    assert problems(parse_host, "gateway", value) == [("gateway", value, reason)]


@pytest.mark.parametrize(
    ("source", "options", "left"),
    [
        ("veth1", {"mtu": 9, "name": "wan0"}, [InterfaceSpec("veth1", name="wan0")]),
        (
            "veth1",
            {"addresses": ["x"], "routes": ["y"], "sysctls": ["z"], "mac": MAC},
            [InterfaceSpec("veth1", mac=MAC)],
        ),
        ("veth1", {"mtuu": 9}, [InterfaceSpec("veth1")]),
        ("a b", {"mtu": 1500}, []),
    ],
)
def test_salvage_keeps_the_valid_options(source: str, options: Any, left: list[InterfaceSpec]) -> None:  # noqa: ANN401
    """The valid options of a refused spec are kept; without a valid source there is nothing to keep."""
    with pytest.raises(SpecError) as info:
        InterfaceSpec(source, **options)
    assert salvage(source, options, info.value.problems) == left


TEXT = st.text("ab0 ./:%=\0\t\xa0é\ud800\udc80", max_size=18)
SENSE = ["10.0.0.2/24", "fd00::2/64", "10.0.0.0/8", "fd00::/8", "10.0.0.2", MAC, "eth", f"{RP_FILTER}=1", "ignore"]
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=9), TEXT, st.sampled_from(SENSE)
)
NESTED = st.one_of(
    ANYTHING, st.lists(ANYTHING, max_size=3), st.dictionaries(TEXT | st.just(RP_FILTER), ANYTHING, max_size=3)
)


@given(ANYTHING, st.dictionaries(st.sampled_from([*InterfaceOptions.__annotations__, "nonsense"]), NESTED))
def test_random_spec_is_valid_or_salvaged(source: Any, options: Any) -> None:  # noqa: ANN401
    """A random spec is valid or raises SpecError, and salvage() keeps a part unless the source is invalid."""
    told: tuple[Problem, ...] = ()
    try:
        InterfaceSpec(source, **options)
    except SpecError as error:
        told = error.problems
    left = salvage(source, options, told)
    assert len(left) == (not any(problem.field == "source" for problem in told))


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING, st.booleans())
def test_random_route_or_neighbor_is_valid_or_refused(one: Any, two: Any, three: Any, four: Any, flag: Any) -> None:  # noqa: ANN401
    """A random Route or Neighbor is valid or raises SpecError."""
    with suppress(SpecError):
        assert str(Route(one, two, metric=three, interface=four, onlink=flag))
    with suppress(SpecError):
        assert str(Neighbor(one, two, three, bridge=flag))


# What is shown of routes and neighbors besides what can be asked for


def test_a_route_says_its_table_type_protocol_and_scope() -> None:
    """A route has the words of ip-route(8); those that were left out are those of an ordinary route."""
    usual = Route("10.0.0.0/8", "10.1.0.1")
    assert (usual.table, usual.type, usual.protocol, usual.scope) == (254, "unicast", "boot", "global")
    assert [Route(to).scope for to in ("10.0.0.0/8", "fd00::/8")] == ["link", "global"]
    assert Route("10.0.0.0/8", type="unreachable").scope == "global"
    special = Route("10.0.0.0/8", table=100, protocol="186", scope="host", type="prohibit")
    assert str(special) == "prohibit 10.0.0.0/8 table 100 proto 186 scope host"
    assert special not in {Route("10.0.0.0/8"), Route("10.0.0.0/8", table=100), Route("10.0.0.0/8", type="prohibit")}
    assert Route("10.0.0.0/8", protocol="static", scope="global") == Route("10.0.0.0/8")


@pytest.mark.parametrize(
    ("options", "field", "reason"),
    [
        ({"table": 0}, "table", "is not a number from 1 to 4294967295"),
        ({"table": "main"}, "table", "is not a number from 1 to 4294967295"),
        (
            {"type": "nowhere"},
            "type",
            "is not one of unspec, unicast, local, broadcast, anycast, multicast,",
        ),
        ({"protocol": "bgp"}, "protocol", "is neither one of kernel, boot, static, ra, dhcp nor a number from 0 to "),
        ({"protocol": 4}, "protocol", "is neither one of kernel"),
        ({"scope": "256"}, "scope", "is neither one of global, site, link, host, nowhere nor a number from 0 to 255"),
    ],
    ids=str,
)
def test_words_that_ip_does_not_know_are_refused(options: dict[str, object], field: str, reason: str) -> None:
    """A route refuses tables, types, protocols and scopes for which ip-route(8) has no number."""
    [found] = problems(Route, "10.0.0.0/8", **options)
    assert found[:2] == (field, options[field])
    assert str(found[2]).startswith(reason)


def test_an_interface_takes_ordinary_routes_only() -> None:
    """Routes of an interface are unicast routes of the main table."""
    wish = Route("10.0.0.0/8", table=100, type="throw")
    assert problems(spec, routes=[wish]) == [
        ("route", str(wish), "table: only routes of the table 254 can be added and removed"),
        ("route", str(wish), "type: only routes of the type unicast can be added and removed"),
    ]


def test_the_state_of_a_neighbor_is_shown_and_not_compared() -> None:
    """A neighbor has the states that ip-neighbour(8) prints; they do not count when neighbors are compared."""
    one = Neighbor("10.0.0.5", MAC, "eth0", state="REACHABLE")
    assert (one.state, Neighbor("10.0.0.5", MAC, "eth0").state) == ("REACHABLE", "PERMANENT")
    assert one == Neighbor("10.0.0.5", MAC, "eth0", state="NOARP PERMANENT")
    for state in ("reachable", 7):
        [found] = problems(Neighbor, "10.0.0.5", MAC, "eth0", state=state)
        assert found[:2] == ("state", state)


def test_options_offer_each_setting_of_the_table() -> None:
    """Each setting that a user can give is a keyword of InterfaceSpec; one that a user cannot give is not."""
    for name, row in TABLE.items():
        assert (name in InterfaceOptions.__annotations__) == (row.when != "never")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("txqlen", -1, "is not a number from 0 to 2147483647"),
        ("txqlen", 2**31, "is not a number from 0 to 2147483647"),
        ("group", 2**31, "is not a number from 0 to 2147483647"),
        ("numtxqueues", 1, "can only be given to a link that is created"),
        ("alias", 7, NO_ALIAS),
        ("alias", "a\0b", NO_ALIAS),
        ("alias", "\ud800", NO_ALIAS),
        ("alias", "\u00e9" * 128, NO_ALIAS),
        (
            "alias",
            "netsandbox:x",
            "begins with 'netsandbox:', which marks the links that netsandbox creates on the host",
        ),
    ],
)
def test_a_setting_out_of_bounds_is_refused(name: str, value: object, reason: str) -> None:
    """The kernel, or ip(8), would refuse the value, or take another one."""
    assert problems(spec, **{name: value}) == [(name, value, reason)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("txqlen", 0), ("txqlen", 2**31 - 1), ("group", 2**31 - 1), ("alias", ""), ("alias", "\udcff" * 255)],
)
def test_a_setting_in_bounds_is_taken(name: str, value: object) -> None:
    assert getattr(spec(**{name: value}).settings, name) == value


def test_a_setting_at_creation_is_for_links_that_a_request_creates() -> None:
    """A setting that only counts at creation is refused for a kind that no netlink request creates."""
    assert InterfaceSpec(Bridge("br0"), numtxqueues=4096).settings == Settings(numtxqueues=4096)
    assert problems(InterfaceSpec, Bridge("br0"), numtxqueues=0) == [
        ("numtxqueues", 0, "is not a number from 1 to 4096")
    ]
    assert problems(InterfaceSpec, Tap(), numtxqueues=2) == [
        ("numtxqueues", 2, "cannot be given to a link of the kind tun")
    ]
