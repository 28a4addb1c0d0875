"""What a wish comes to, given the facts: plans read as the ip(8) commands they equal."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest

from netsandbox import (
    Bridge,
    InterfaceSpec,
    KernelError,
    NameConflictError,
    Route,
    RouteConflictError,
    SourceNotFoundError,
    SpecError,
    Veth,
    Vrf,
)
from netsandbox._kernel import HOST
from netsandbox._plan.check import find_problems
from netsandbox._plan.detach import plan_detach, reindex
from netsandbox._plan.lifecycle import plan_create
from netsandbox._plan.model import joined
from netsandbox._plan.state import LinkState
from netsandbox._steps import CreateLink, Move, Place, SetAddress, SetUp
from netsandbox.errors import Problem
from netsandbox.netlink import address, neighbor, route
from netsandbox.netlink import link as links
from tests.unit.rig import PIN, Rig, furnished, send
from tests.unit.values import address_entry, neighbor_entry, route_entry

PLACE = Place(HOST, 5, "a", "02:00:00:00:00:05", 1500)


@pytest.fixture
def rig() -> Rig:
    """A host with the plain links a, b and c (indexes 5, 6, 7), and an empty sandbox."""
    made = Rig()
    for index, name in enumerate("abc", 5):
        made.host.add_link(name, index=index)
    return made


# --- the order of things (I4) ---


def test_a_link_is_moved_then_configured_then_up_then_routed(rig: Rig) -> None:
    rig.add(InterfaceSpec(Bridge("br")))
    spec = InterfaceSpec(
        "a",
        mac="02:42:ac:11:00:02",
        mtu=1450,
        addresses=["169.254.9.9/32", "fd00::2/64", "fe80::9/64", "172.17.0.2/16", "172.18.0.2/16"],
        master="br",
        routes=["192.168.2.1/32", Route("10.9.0.0/16", via="172.17.0.1", metric=7)],
        sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2", "net.ipv6.conf.IFNAME.accept_ra": 0},
    )
    assert rig.commands(spec) == [
        "ip link set dev a netns web name eth1 address 02:42:ac:11:00:02 mtu 1450",
        "ip -n web address add 172.17.0.2/16 broadcast 172.17.255.255 dev eth1",
        "ip -n web address add 172.18.0.2/16 broadcast 172.18.255.255 dev eth1",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth1.disable_ipv6=0",
        "ip -n web address add fd00::2/64 dev eth1 nodad",
        "ip -n web link set dev eth1 master eth0",
        "ip -n web address add 169.254.9.9/32 dev eth1 scope 253",
        "ip -n web address add fe80::9/64 dev eth1 nodad",
        "ip netns exec web sysctl -qw net.ipv4.conf.eth1.rp_filter=2",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth1.accept_ra=0",
        "ip -n web link set dev eth1 up",
        "ip -n web route add 192.168.2.1/32 dev eth1 scope 253",
        "ip -n web route add 10.9.0.0/16 via 172.17.0.1 dev eth1 metric 7",
    ]


def test_without_ipv6_address_ipv6_is_off_before_the_link_is_up(rig: Rig) -> None:
    assert rig.commands(InterfaceSpec("a", addresses=["10.0.0.2/24"])) == [
        "ip link set dev a netns web name eth0",
        "ip -n web address add 10.0.0.2/24 broadcast 10.0.0.255 dev eth0",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
        "ip -n web link set dev eth0 up",
    ]


def test_with_a_link_local_ipv6_address_alone_ipv6_is_on(rig: Rig) -> None:
    assert rig.commands(InterfaceSpec("a", addresses=["fe80::2/64"])) == [
        "ip link set dev a netns web name eth0",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0",
        "ip -n web address add fe80::2/64 dev eth0 nodad",
        "ip -n web link set dev eth0 up",
    ]


def test_a_bridge_is_born_inside_under_its_own_name(rig: Rig) -> None:
    plan, (made,) = rig.plan(InterfaceSpec(Bridge("br"), name="lan", mac="02:42:ac:11:00:02", mtu=1400))
    assert list(plan.commands) == [
        "ip -n web link add name lan address 02:42:ac:11:00:02 type bridge",
        "ip -n web link set dev lan mtu 1400",
        "ip netns exec web sysctl -qw net.ipv6.conf.lan.disable_ipv6=1",
        "ip -n web link set dev lan up",
    ]
    assert made.is_bridge
    assert made.home is None
    assert [str(step) for step in made.back] == ["ip -n web link delete dev lan"]


def test_what_a_move_drops_is_said_first_and_comes_back_last() -> None:
    rig = furnished()
    plan, (made,) = rig.plan(InterfaceSpec("v0"))
    lost = [text.removeprefix("# the move drops: ") for text in plan.commands if text.startswith("# the move")]
    back = [str(step).removeprefix("# ") for step in made.back]
    assert lost[::-1] == back[1:]
    assert back == [
        "ip -n web link set dev eth0 netns $$ name v0",
        "the settings net.ipv4.conf.v0 and net.ipv6.conf.v0 come back",
        "ip address add 169.254.9.9/16 broadcast 169.254.255.255 dev v0 scope 253",
        "ip address add 10.0.0.1/24 broadcast 10.0.0.255 dev v0",
        "ip address add 10.0.0.2/24 broadcast 10.0.0.255 dev v0",
        "ip address add fe80::ff:fe00:7/64 dev v0",
        "ip address add fd00::1/64 dev v0 nodad",
        "ip address add fd00::2/64 dev v0 nodad",
        "ip link set dev v0 master lan && ip link set dev v0 type bridge_slave cost 2 hairpin on",
        "ip link set dev v0 up",
        "ip route add fd09::/32 dev v0 metric 1024",
        "ip route add 10.9.0.0/16 via 10.0.0.254 dev v0",
        "ip neighbor replace 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev v0",
        "bridge fdb replace 02:00:00:00:00:98 dev v0 master static",
    ]


def test_a_plan_says_what_it_is_for(rig: Rig) -> None:
    plan, made = rig.plan(InterfaceSpec("a"), InterfaceSpec("b"))
    assert (plan.operation, plan.sandbox, plan.link) == ("attach a, b to sandbox web", "web", "a")
    assert [item.id for item in made] == [1, 2]
    plan, made = rig.plan()
    assert (plan.operation, plan.link, len(plan), made) == ("attach  to sandbox web", None, 0, ())


# --- names (I3, B1..B3, T7, T9) ---


@pytest.mark.parametrize(
    ("taken", "name"),  # T9
    [
        ((), "eth0"),
        (("eth0", "eth1"), "eth2"),
        (("eth0", "eth2"), "eth1"),
        (("eth2",), "eth0"),
        (("eth-0", "eth-1"), "eth0"),
        (("eth", "eth00", "xeth0"), "eth0"),
    ],
)
def test_the_lowest_free_number_makes_the_name(rig: Rig, taken: tuple[str, ...], name: str) -> None:
    for other in taken:
        rig.box.add_link(other)
    assert rig.add(InterfaceSpec("a"))[0].name == name


def test_an_alternative_name_counts_as_taken(rig: Rig) -> None:  # B3
    rig.box.add_link("other", altnames=("eth0",))
    assert rig.add(InterfaceSpec("a"))[0].name == "eth1"


def test_a_number_is_used_again_and_failed_plans_use_none_up(rig: Rig) -> None:  # B1, T7
    assert [item.name for item in rig.add(*map(InterfaceSpec, "abc"))] == ["eth0", "eth1", "eth2"]
    rig.remove(rig.plugged[0])
    for _ in range(3):
        rig.plan(InterfaceSpec("a"))
    assert rig.add(InterfaceSpec("a"))[0].name == "eth0"


def test_a_prefix_that_ends_in_a_digit_does_not_clash(rig: Rig) -> None:  # B2
    rig.box.add_link("eth10")
    assert rig.add(InterfaceSpec("a", prefix="eth1"))[0].name == "eth11"


def test_names_of_one_call_do_not_clash(rig: Rig) -> None:
    found = rig.add(InterfaceSpec("a", name="eth1"), InterfaceSpec("b"), InterfaceSpec("c"))
    assert [item.name for item in found] == ["eth1", "eth0", "eth2"]


def test_a_prefix_may_leave_no_room_for_a_number(rig: Rig) -> None:
    prefix = "x" * 14
    for number in range(10):
        rig.box.add_link(f"{prefix}{number}")
    with pytest.raises(SpecError, match=f"prefix '{prefix}': leaves no room for a free number: {prefix}10 is too long"):
        rig.plan(InterfaceSpec("a", prefix=prefix))


@pytest.mark.parametrize("own", ["wan", "other"])
def test_a_name_that_is_taken_is_refused_with_its_owner(rig: Rig, own: str) -> None:
    rig.box.add_link("wan", altnames=("other",))
    with pytest.raises(NameConflictError, match=f"call a {own}: EEXIST .the name is taken by link wan"):
        rig.plan(InterfaceSpec("a", name=own))


def test_an_alternative_name_that_is_taken_inside_is_refused(rig: Rig) -> None:
    rig.host.add_link("d", altnames=("uplink",))
    rig.box.add_link("uplink")
    with pytest.raises(NameConflictError, match="call d uplink"):
        rig.plan(InterfaceSpec("d"))


def test_a_source_may_be_an_alternative_name(rig: Rig) -> None:
    rig.host.add_link("d", altnames=("uplink",))
    (found,) = rig.add(InterfaceSpec("uplink"))
    assert found.source == "d"


# --- indexes ---


def test_a_link_keeps_its_index_unless_that_is_taken_inside(rig: Rig) -> None:
    rig.box.add_link("other", index=5)
    plan, made = rig.plan(InterfaceSpec("a"), InterfaceSpec("b"), InterfaceSpec(Bridge("br")))
    assert [item.index for item in made] == [6, 7, 8]
    assert [step.new.index for step in plan if isinstance(step, Move)] == [6, 7]
    assert [step.index for step in plan if isinstance(step, CreateLink)] == [8]


def test_a_new_index_is_not_that_of_the_other_end_either(rig: Rig) -> None:
    rig.box.add_link("other", index=5)
    rig.host.edit_link(5, lower=40)
    assert rig.plan(InterfaceSpec("a"))[1][0].index == 41


def test_what_a_link_is_tied_to_is_remembered(rig: Rig) -> None:
    rig.host.edit_link(5, lower=6)
    rig.host.edit_link(6, lower=9, lower_netns=3)
    assert [item.lower for item in rig.plan(InterfaceSpec("a"), InterfaceSpec("b"))[1]] == [6, None]


# --- masters ---


def test_a_master_is_named_by_its_source_and_found_by_its_index(rig: Rig) -> None:
    rig.add(InterfaceSpec(Bridge("br")))
    rig.box.send(links.change(rig.plugged[0].index, name="renamed"))
    assert "ip -n web link set dev eth0 master renamed" in rig.commands(InterfaceSpec("a", master="br"))


def test_a_master_may_come_with_the_same_call(rig: Rig) -> None:
    rig.add(InterfaceSpec(Bridge("br"), prefix="br"), InterfaceSpec("a", master="br"))
    found = rig.box.link("eth0")
    assert found
    assert found.master == rig.plugged[0].index


# --- conflicts (I6, C1..C3, T2) ---


def test_an_address_that_overlaps_another_links_network_is_refused_with_its_owner(rig: Rig) -> None:  # T2
    rig.add(InterfaceSpec("a", addresses=["10.0.0.2/24", "fd00::2/64"]))
    for text in ("10.0.0.3/24", "10.0.0.9/25", "10.0.0.9/16", "10.0.0.7/32", "fd00::3/64", "fd00::9/48"):
        with pytest.raises(RouteConflictError) as info:
            rig.plan(InterfaceSpec("b", addresses=[text]))
        assert (info.value.address, info.value.owner) == (text, "eth0")
        assert f"cannot program address {text}: it conflicts with existing route" in str(info.value)
    rig.plan(InterfaceSpec("b", addresses=["10.0.1.3/24", "fd01::3/64"]))


def test_the_address_of_a_link_that_is_down_is_a_conflict_too(rig: Rig) -> None:
    rig.box.add_link("other", addresses=["10.0.0.2/32"])
    with pytest.raises(RouteConflictError, match=r"existing route 10\.0\.0\.2/32 of link other"):
        rig.plan(InterfaceSpec("a", addresses=["10.0.0.3/24"]))


def test_wishes_of_one_call_conflict_with_one_another_and_not_with_themselves(rig: Rig) -> None:
    rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24", "10.0.0.3/24"]))
    with pytest.raises(RouteConflictError, match=r"existing route 10\.0\.0\.2/24 of link eth0"):
        rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24"]), InterfaceSpec("b", addresses=["10.0.0.3/24"]))


def test_a_conflict_can_be_ignored(rig: Rig) -> None:
    rig.add(InterfaceSpec("a", addresses=["10.0.0.2/24"]))
    (found,) = rig.add(InterfaceSpec("b", addresses=["10.0.0.3/24"], on_conflict="ignore"))
    assert [str(item) for item in found.addresses] == ["10.0.0.3/24"]


HARMLESS = [
    route_entry("0.0.0.0/0", 9, "10.1.0.1"),
    route_entry("0.0.0.0/1", 9),
    route_entry("128.0.0.0/1", 9),  # C1: a VPN's halves
    route_entry("::/1", 9),
    route_entry("10.0.0.0/8", None, type=7),  # C2: unreachable
    route_entry("10.0.0.0/8", 9, "10.1.0.1"),  # C2: through a gateway
    route_entry("169.254.0.0/16", 9),
    route_entry("fe80::/64", 9, metric=9),  # C3
    route_entry("ff00::/8", 9),
    route_entry("10.0.0.0/8", 9, table=100),
]


@pytest.mark.parametrize("entry", HARMLESS, ids=str)
def test_these_routes_claim_no_network(rig: Rig, entry: Any) -> None:  # noqa: ANN401
    rig.box.add_link("other", index=9, addresses=["10.1.0.2/32", "fe80::9/64"], up=True)
    send(rig.box, route.add(route_entry("10.1.0.1/32", 9)), route.add(entry))
    rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24", "fd00::2/64", "169.254.3.3/16", "fe80::2/64"]))


def test_a_direct_route_claims_its_network(rig: Rig) -> None:
    rig.box.add_link("other", index=9, up=True)
    send(rig.box, route.add(route_entry("10.0.0.0/8", 9)))
    with pytest.raises(RouteConflictError, match=r"existing route 10\.0\.0\.0/8 of link other"):
        rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24"]))


# --- wishes that do not fit the facts ---


def _problems(rig: Rig, *specs: InterfaceSpec) -> list[str]:
    with pytest.raises(SpecError) as info:
        rig.plan(*specs)
    return [str(problem) for problem in info.value.problems]


def test_all_that_does_not_fit_is_told_at_once(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"), InterfaceSpec(Bridge("br")))
    rig.box.send(links.delete(rig.plugged[1].index))
    rig.box.add_link("stray")
    rig.host.edit_link(6, mtu=1000)
    assert _problems(
        rig,
        InterfaceSpec("a"),
        InterfaceSpec("b", addresses=["fd00::2/64"], master="nowhere"),
        InterfaceSpec("b"),
        InterfaceSpec("gone", master="a"),
        InterfaceSpec("stray", master="br"),
        InterfaceSpec(Bridge("br")),
        InterfaceSpec(Bridge("br2")),
        InterfaceSpec(Bridge("br2"), master="c"),
    ) == [
        "source 'a': is already attached as eth0",
        "mtu 1000: is below 1280, the least that IPv6 needs",
        "master 'nowhere': no bridge or vrf of that source is attached",
        "source 'b': is given twice",
        "source 'gone': no such link on the host",
        "master 'a': is not a bridge or vrf",
        "source 'stray': is inside already, but was not attached",
        "master 'br': has vanished from web",
        "source 'br': is already attached as eth1",
        "source 'br2': is given twice",
        "master 'c': no bridge or vrf of that source is attached",
    ]


def test_missing_links_alone_are_told_as_that(rig: Rig) -> None:
    with pytest.raises(SourceNotFoundError, match="source 'x': no such link on the host; source 'y'"):
        rig.plan(InterfaceSpec("x"), InterfaceSpec("y"))


def test_what_was_refused_before_is_told_as_well(rig: Rig) -> None:
    refused = [Problem("mtu", 7, "is too small")]
    specs = [InterfaceSpec("x")]
    error = find_problems(specs, rig.target, rig.facts(*specs), (), refused)
    assert "mtu 7: is too small; source 'x': no such link" in str(error)
    assert not isinstance(error, SourceNotFoundError)


def test_the_loopback_link_stays_even_under_another_name(rig: Rig) -> None:
    rig.host.send(links.change(1, name="loop"))
    assert _problems(rig, InterfaceSpec("loop")) == ["source 'loop': the loopback link cannot leave its namespace"]


def test_a_source_that_is_inside_under_its_own_name_on_the_host_is_not_said_to_be(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"))
    rig.host.add_link("a")
    assert _problems(rig, InterfaceSpec("a")) == ["source 'a': is already attached as eth0"]


# --- the host as a sandbox ---


@pytest.fixture
def own() -> Rig:
    """The host itself, with a link a that is down and a link b that is up."""
    made = Rig(is_host=True)
    made.host.add_link("a", index=5)
    made.host.add_link("b", index=6, up=True)
    return made


def test_on_the_host_nothing_is_moved_or_renamed(own: Rig) -> None:
    spec = InterfaceSpec("a", mac="02:42:ac:11:00:02", mtu=1400, addresses=["10.0.0.2/24"], routes=["10.9.0.0/16"])
    plan, (made,) = own.plan(spec)
    assert list(plan.commands) == [
        "ip link set dev a address 02:42:ac:11:00:02",
        "ip link set dev a mtu 1400",
        "ip address add 10.0.0.2/24 broadcast 10.0.0.255 dev a",
        "sysctl -qw net.ipv6.conf.a.disable_ipv6=1",
        "ip link set dev a up",
        "ip route add 10.9.0.0/16 dev a scope 253",
    ]
    assert [str(step) for step in made.back] == [
        "ip route delete 10.9.0.0/16 dev a scope 253",
        "ip link set dev a down",
        "sysctl -qw net.ipv6.conf.a.disable_ipv6=0",
        "ip address delete 10.0.0.2/24 dev a",
        "ip link set dev a mtu 1500",
        "ip link set dev a address 02:00:00:00:00:05",
    ]
    assert (made.home, made.born, made.lower) == (None, False, None)


def test_on_the_host_only_the_difference_is_planned(own: Rig) -> None:
    assert own.commands(InterfaceSpec("b", name="b", mac="02:00:00:00:00:06", mtu=1500)) == []


def test_a_link_of_the_host_that_is_in_use_keeps_its_ipv6_and_gets_it_if_asked(own: Rig) -> None:
    assert own.commands(InterfaceSpec("b", addresses=["10.0.0.2/24"])) == [
        "ip address add 10.0.0.2/24 broadcast 10.0.0.255 dev b"
    ]
    assert own.commands(InterfaceSpec("b", addresses=["fd00::2/64"])) == [
        "sysctl -qw net.ipv6.conf.b.disable_ipv6=0",
        "ip address add fd00::2/64 dev b nodad",
    ]


def test_on_the_host_a_bridge_is_born_under_its_own_name(own: Rig) -> None:
    assert (
        own.commands(InterfaceSpec(Bridge("br0"), addresses=["10.0.0.1/24"]))[0] == "ip link add name br0 type bridge"
    )
    with pytest.raises(NameConflictError, match="attach b to sandbox host: call b b"):
        own.plan(InterfaceSpec(Bridge("b")))


def test_what_does_not_fit_on_the_host_is_told_at_once(own: Rig) -> None:
    send(own.host, links.change(5, mtu=1400))
    own.host.add_link("d", addresses=["fd04::1/64"])
    assert _problems(
        own,
        InterfaceSpec("a", name="eth0"),
        InterfaceSpec(Bridge("br"), name="lan"),
        InterfaceSpec("gone"),
        InterfaceSpec("d", mtu=1000),
    ) == [
        "name 'eth0': on the host nothing is renamed",
        "name 'lan': on the host nothing is renamed",
        "source 'gone': no such link on the host",
        "mtu 1000: is below 1280, and would take away the link's IPv6 addresses",
    ]


def test_on_the_host_permanent_neighbours_are_set_again_after_the_mac(own: Rig) -> None:
    send(own.host, neighbor.replace(neighbor_entry("10.0.0.9", 6)))
    send(own.host, neighbor.replace(replace(neighbor_entry("10.0.0.8", 6), state=neighbor.NOARP)))
    assert own.commands(InterfaceSpec("b", mac="02:42:ac:11:00:02")) == [
        "ip link set dev b address 02:42:ac:11:00:02",
        "ip neighbor replace 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev b",
    ]


# --- the way out ---


def test_interfaces_leave_newest_first(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"), InterfaceSpec(Bridge("br")), InterfaceSpec("b"))
    plan = plan_detach(rig.plugged, rig.target, rig.detach_facts(rig.plugged))
    assert [text for text in plan.commands if not text.startswith("#")] == [
        "ip -n web link set dev eth2 netns $$ name b",
        "ip -n web link delete dev eth1",
        "ip -n web link set dev eth0 netns $$ name a",
    ]
    assert (plan.operation, plan.link, plan.lenient) == ("detach eth0, eth1, eth2 from sandbox web", "eth0", True)
    assert plan_detach((), rig.target, rig.detach_facts(())).link is None


def test_veths_leave_together_after_what_may_be_on_top_of_the_first_of_them(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"), InterfaceSpec(Veth("one")), InterfaceSpec("b"), InterfaceSpec(Veth("two")))
    facts = rig.detach_facts(rig.plugged)
    plan = plan_detach(rig.plugged, rig.target, facts)
    assert facts.group
    assert [text for text in plan.commands if not text.startswith("#")] == [
        "ip -n web link set dev eth2 netns $$ name b",
        (
            f"ip link set dev two group {facts.group} && ip link set dev one group {facts.group}"
            f" && ip link delete group {facts.group}"
        ),
        "ip -n web link set dev eth0 netns $$ name a",
    ]


def test_a_link_that_has_vanished_or_is_another_needs_nothing(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"))
    index = rig.plugged[0].index
    rig.box.send(links.delete(index))
    assert len(plan_detach(rig.plugged, rig.target, rig.detach_facts(rig.plugged))) == 0
    rig.box.add_link("eth0", index=index, kind="dummy")
    assert len(plan_detach(rig.plugged, rig.target, rig.detach_facts(rig.plugged))) == 0
    rig.remove()
    assert rig.box.link("eth0")


def test_a_link_that_is_tied_otherwise_is_not_ours(rig: Rig) -> None:
    rig.host.edit_link(5, lower=6)
    rig.host.edit_link(6, lower=5)
    rig.add(InterfaceSpec("a"))
    assert len(plan_detach(rig.plugged, rig.target, rig.detach_facts(rig.plugged))) == 0


@pytest.mark.parametrize("taken", ["a", "uplink"])
def test_a_name_that_is_taken_at_home_is_refused_and_nothing_done(rig: Rig, taken: str) -> None:
    send(rig.host, links.altnames(5, ["uplink"], add=True))
    rig.add(InterfaceSpec("a"))
    rig.host.add_link(taken, index=30)
    with pytest.raises(NameConflictError) as info:
        rig.remove()
    assert info.value.message == (
        f"give eth0 of sandbox web back to the host as a: EEXIST (the name {taken} is taken by link 30 there)"
    )


def test_an_index_that_is_taken_at_home_is_replaced_by_a_free_one(rig: Rig) -> None:
    send(rig.host, links.change(5, up=True))
    rig.host.add_link("d", index=31)
    rig.add(InterfaceSpec("a"))
    rig.host.add_link("taker", index=5)
    rig.remove()
    found = rig.host.link("a")
    assert found
    assert (found.index, found.is_up) == (32, True)


def test_each_of_several_indexes_that_are_taken_at_home_is_replaced_by_another(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"), InterfaceSpec("b"), InterfaceSpec("c"))
    rig.host.add_link("taker", index=5)
    rig.host.add_link("other", index=6)  # the next that is free on the host is 7, where c comes from
    rig.remove()
    found = [link.index for name in "abc" if (link := rig.host.link(name))]
    assert found == [9, 8, 7]


def test_a_link_that_was_changed_inside_comes_home_as_it_was(rig: Rig) -> None:
    send(rig.host, links.altnames(5, ["uplink", "second"], add=True))
    before = rig.host.state()
    rig.add(InterfaceSpec("a"))
    index = rig.plugged[0].index
    send(rig.box, links.change(index, name="hacked", mac="02:00:00:00:66:66", mtu=900, alias="x", group=9, txqlen=3))
    send(rig.box, links.altnames(index, ["uplink"], add=False), links.altnames(index, ["evil"], add=True))
    rig.host.add_link("evil", index=40)
    rig.remove()
    send(rig.host, links.delete(40))
    found, was = rig.host.state()["links"][5], before["links"][5]
    assert replace(found, altnames=()) == replace(was, altnames=())
    assert set(found.altnames) == {"uplink", "second"}


def test_a_bridge_is_made_again_as_it_is_and_not_as_it_was_planned(rig: Rig) -> None:
    rig.add(InterfaceSpec(Bridge("br")))
    index = rig.plugged[0].index
    send(rig.box, links.change(index, name="renamed", mtu=1300))
    found = rig.box.link(index)
    assert found
    plan = plan_detach(rig.plugged, rig.target, rig.detach_facts(rig.plugged))
    undo = [str(step.inverse()) for step in reversed(plan.steps)]
    assert undo[:2] == [
        f"ip -n web link add name renamed address {found.mac} type bridge",
        "ip -n web link set dev renamed mtu 1300",
    ]


def test_only_what_is_on_the_host_gets_another_index() -> None:
    there = Move(replace(PLACE, netns="web"), PLACE)
    assert reindex(there, 5, 9) == replace(there, new=replace(PLACE, index=9))
    assert reindex(SetUp("web", 5, "a", old=False, new=True), 5, 9) == SetUp("web", 5, "a", old=False, new=True)
    moved = reindex(SetAddress(HOST, 5, "a", None, address_entry("10.0.0.1/24", 5)), 5, 9)
    assert moved == SetAddress(HOST, 9, "a", None, address_entry("10.0.0.1/24", 9))
    assert reindex(CreateLink, 5, 9) is CreateLink
    assert reindex(5, 5, 9) == 5


def test_destroying_gives_back_what_came_from_the_host_and_unpins(rig: Rig) -> None:
    rig.add(InterfaceSpec(Bridge("br")), InterfaceSpec("a", master="br"))
    plan = rig.plan_destroy()
    said = [text for text in plan.commands if not text.startswith("#")]
    assert said == ["ip -n web link set dev eth1 netns $$ name a", "ip netns delete web"]
    for path, unpin in ((None, []), (PIN, ["ip netns delete web"])):
        stays = rig.plan_destroy(path, stays=True)
        said = [text for text in stays.commands if not text.startswith("#")]
        assert said == ["ip -n web link set dev eth1 netns $$ name a", "ip -n web link delete dev eth0", *unpin]
        assert plan.operation == stays.operation == "destroy sandbox web"


def test_two_plans_become_one_under_the_name_of_the_second(rig: Rig) -> None:
    first = rig.plan_destroy()
    second = rig.plan(InterfaceSpec("a"))[0]
    both = joined(first, second)
    assert both.steps == (*first.steps, *second.steps)
    assert (both.operation, both.lenient) == (second.operation, True)


@pytest.mark.parametrize(
    ("up", "addresses", "commands"),
    [
        (True, ["127.0.0.1/8"], []),
        (False, ["127.0.0.1/8"], ["ip -n web link set dev lo up"]),
        (False, [], ["ip -n web address add 127.0.0.1/8 dev lo scope 254", "ip -n web link set dev lo up"]),
    ],
)
def test_the_loopback_link_of_an_adopted_namespace_is_brought_up(
    rig: Rig, *, up: bool, addresses: list[str], commands: list[str]
) -> None:
    found = rig.box.link("lo")
    assert found
    made = tuple(address.Address(1, ip_interface(text)) for text in addresses)
    lo = LinkState(replace(found, flags=links.LOOPBACK | (links.UP if up else 0)), made)
    plan = plan_create(rig.target, PIN, (4, 1), source="/proc/42/ns/net", lo=lo)
    pin = "touch /run/netns/web && mount --bind /proc/42/ns/net /run/netns/web"
    assert list(plan.commands) == [pin, *commands]
    assert plan.operation == "adopt /proc/42/ns/net as sandbox web"
    assert list(plan_create(rig.target, None, (4, 1), source="/proc/42/ns/net", lo=lo).commands) == commands


def test_a_namespace_is_pinned_and_its_loopback_link_brought_up(rig: Rig) -> None:
    plan = plan_create(rig.target, PIN, (4, 1))
    assert list(plan.commands) == ["ip netns add web", "ip -n web link set dev lo up"]
    assert plan.operation == "create sandbox web"


# --- a vrf ---


def test_a_port_of_a_vrf_gets_its_addresses_afterwards(rig: Rig) -> None:
    """Enslaving to a vrf comes before the addresses, which it would take away; to a bridge, after them."""
    specs = [InterfaceSpec(Vrf("red", 10), name="red"), InterfaceSpec("a", master="red", addresses=["fd00::2/64"])]
    commands = rig.commands(*specs)
    assert commands == [
        "ip -n web link add name red type vrf table 10",
        "ip netns exec web sysctl -qw net.ipv6.conf.red.disable_ipv6=1",
        "ip -n web link set dev red up",
        "ip link set dev a netns web name eth0",
        "ip -n web link set dev eth0 master red",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0",
        "ip -n web address add fd00::2/64 dev eth0 nodad",
        "ip -n web link set dev eth0 up",
    ]
    before = rig.state()
    red, port = rig.add(*specs)
    assert (red.kind, red.is_bridge, red.source, port.master) == ("vrf", False, "red", "red")
    assert "fd00::2/64" in map(str, port.addresses)
    rig.remove()
    assert rig.changes(before) == {}


def test_what_a_vrf_takes_from_a_host_link_comes_back(own: Rig) -> None:
    """A link of the host that is up loses IPv6 addresses, routes and neighbors in a vrf; detaching brings them back."""
    own.host.add_link("e", addresses=["10.5.0.1/24", "fd05::1/64"], up=True)
    index = own.host.links()[-1].index
    send(own.host, route.add(route_entry("10.9.0.0/16", index)))
    send(own.host, neighbor.replace(neighbor_entry("10.5.0.9", index)))
    own.add(InterfaceSpec(Vrf("red", 10)))
    before = own.state()
    (port,) = own.add(InterfaceSpec("e", master="red", addresses=["fd06::1/64"]))
    assert {str(address) for address in port.addresses} >= {"10.5.0.1/24", "fd06::1/64"}
    assert "fd05::1/64" not in {str(address) for address in port.addresses}
    own.remove(own.plugged[1])
    assert own.changes(before) == {}


def test_settings_of_a_vrf_port_are_not_set_again(rig: Rig) -> None:
    """A link that comes back to a vrf of the host becomes its port; the kernel refuses settings of such a port."""
    send(rig.host, links.create("vrf", "red", index=50, data=Vrf.pack((("table", 10),))))
    send(rig.host, links.change(5, master=50))
    before = rig.state()
    rig.add(InterfaceSpec("a"))
    rig.remove()
    assert rig.changes(before) == {}
    with pytest.raises(KernelError, match="EOPNOTSUPP"):
        send(rig.host, links.change(5, port=("vrf", bytes.fromhex("08000100 0b000000"))))
