"""Plans for given specs and facts, compared as the ip(8) commands they equal."""

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
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink.constants import IFF_LOOPBACK, IFF_UP
from netsandbox.netlink.settings import Settings
from tests.unit.rig import PIN, Rig, furnished, send
from tests.unit.values import address_entry, neighbor_entry, route_entry

PLACE = Place(HOST, 5, "a", settings=Settings(mac="02:00:00:00:00:05", mtu=1500))


@pytest.fixture
def rig() -> Rig:
    """A host with the plain links a, b and c (indexes 5, 6, 7), and an empty sandbox."""
    made = Rig()
    for index, name in enumerate("abc", 5):
        made.host.add_link(name, index=index)
    return made


# --- order of the steps ---


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


def test_ipv6_is_disabled_without_an_ipv6_address(rig: Rig) -> None:
    """Without an IPv6 address, IPv6 is disabled on the link before the link is brought up."""
    assert rig.commands(InterfaceSpec("a", addresses=["10.0.0.2/24"])) == [
        "ip link set dev a netns web name eth0",
        "ip -n web address add 10.0.0.2/24 broadcast 10.0.0.255 dev eth0",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
        "ip -n web link set dev eth0 up",
    ]


def test_link_local_address_alone_enables_ipv6(rig: Rig) -> None:
    """A link-local IPv6 address alone enables IPv6 on the link."""
    assert rig.commands(InterfaceSpec("a", addresses=["fe80::2/64"])) == [
        "ip link set dev a netns web name eth0",
        "ip netns exec web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0",
        "ip -n web address add fe80::2/64 dev eth0 nodad",
        "ip -n web link set dev eth0 up",
    ]


def test_bridge_is_created_in_the_sandbox(rig: Rig) -> None:
    """A bridge is created in the sandbox with its final name, and detaching deletes it."""
    plan, (made,) = rig.plan(InterfaceSpec(Bridge("br"), name="lan", mac="02:42:ac:11:00:02", mtu=1400))
    assert list(plan.commands) == [
        "ip -n web link add name lan address 02:42:ac:11:00:02 type bridge",
        "ip -n web link set dev lan mtu 1400",
        "ip netns exec web sysctl -qw net.ipv6.conf.lan.disable_ipv6=1",
        "ip -n web link set dev lan up",
    ]
    assert made.is_bridge
    assert made.host_place is None
    assert [str(step) for step in made.teardown] == ["ip -n web link delete dev lan"]


def test_settings_dropped_by_a_move_are_restored() -> None:
    """A plan lists what the move drops; detaching restores it in reverse order, after the move back."""
    rig = furnished()
    plan, (made,) = rig.plan(InterfaceSpec("v0"))
    dropped = "# dropped by the kernel, restored on undo: "
    lost = [text.removeprefix(dropped) for text in plan.commands if text.startswith(dropped)]
    back = [str(step).removeprefix("# restore ") for step in made.teardown]
    assert lost[::-1] == back[1:]
    assert back == [
        "ip -n web link set dev eth0 netns $$ name v0",
        "per-interface sysctls of v0",
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


def test_plan_has_its_operation_sandbox_and_link(rig: Rig) -> None:
    plan, made = rig.plan(InterfaceSpec("a"), InterfaceSpec("b"))
    assert (plan.operation, plan.sandbox, plan.link) == ("attach a, b to sandbox web", "web", "a")
    assert [item.id for item in made] == [1, 2]
    plan, made = rig.plan()
    assert (plan.operation, plan.link, len(plan), made) == ("attach  to sandbox web", None, 0, ())


# --- names ---


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ((), "eth0"),
        (("eth0", "eth1"), "eth2"),
        (("eth0", "eth2"), "eth1"),
        (("eth2",), "eth0"),
        (("eth-0", "eth-1"), "eth0"),
        (("eth", "eth00", "xeth0"), "eth0"),
    ],
)
def test_name_gets_the_lowest_free_number(rig: Rig, taken: tuple[str, ...], name: str) -> None:
    """A name made of a prefix gets the lowest number that is free in the sandbox."""
    for other in taken:
        rig.box.add_link(other)
    assert rig.add(InterfaceSpec("a"))[0].name == name


def test_an_alternative_name_counts_as_taken(rig: Rig) -> None:
    rig.box.add_link("other", altnames=("eth0",))
    assert rig.add(InterfaceSpec("a"))[0].name == "eth1"


def test_number_of_a_detached_interface_is_reused(rig: Rig) -> None:
    """The number of a detached interface is used again, and plans that are not executed use up no number."""
    assert [item.name for item in rig.add(*map(InterfaceSpec, "abc"))] == ["eth0", "eth1", "eth2"]
    rig.remove(rig.attached[0])
    for _ in range(3):
        rig.plan(InterfaceSpec("a"))
    assert rig.add(InterfaceSpec("a"))[0].name == "eth0"


def test_prefix_that_ends_in_a_digit_gets_a_free_name(rig: Rig) -> None:
    """A prefix that ends in a digit gets a number that makes no existing name."""
    rig.box.add_link("eth10")
    assert rig.add(InterfaceSpec("a", prefix="eth1"))[0].name == "eth11"


def test_interfaces_of_one_call_get_different_names(rig: Rig) -> None:
    found = rig.add(InterfaceSpec("a", name="eth1"), InterfaceSpec("b"), InterfaceSpec("c"))
    assert [item.name for item in found] == ["eth1", "eth0", "eth2"]


def test_prefix_without_room_for_a_number_is_refused(rig: Rig) -> None:
    """A prefix with which the lowest free number makes a name too long raises SpecError."""
    prefix = "x" * 14
    for number in range(10):
        rig.box.add_link(f"{prefix}{number}")
    with pytest.raises(SpecError, match=f"prefix '{prefix}': leaves no room for a free number: {prefix}10 is too long"):
        rig.plan(InterfaceSpec("a", prefix=prefix))


@pytest.mark.parametrize("own", ["wan", "other"])
def test_taken_name_is_refused_with_its_owner(rig: Rig, own: str) -> None:
    """A name that is a name or an alternative name of a link raises NameConflictError with that link."""
    rig.box.add_link("wan", altnames=("other",))
    with pytest.raises(NameConflictError, match=f"call a {own}: EEXIST .the name is taken by link wan"):
        rig.plan(InterfaceSpec("a", name=own))


def test_altname_taken_in_the_sandbox_is_refused(rig: Rig) -> None:
    """A link with an alternative name that is taken in the sandbox raises NameConflictError."""
    rig.host.add_link("d", altnames=("uplink",))
    rig.box.add_link("uplink")
    with pytest.raises(NameConflictError, match="call d uplink"):
        rig.plan(InterfaceSpec("d"))


def test_a_source_may_be_an_alternative_name(rig: Rig) -> None:
    rig.host.add_link("d", altnames=("uplink",))
    (found,) = rig.add(InterfaceSpec("uplink"))
    assert found.source == "d"


# --- indexes ---


def test_link_keeps_its_index_unless_taken(rig: Rig) -> None:
    """A link keeps its index unless that is taken in the sandbox; then the plan gives it a free one."""
    rig.box.add_link("other", index=5)
    plan, made = rig.plan(InterfaceSpec("a"), InterfaceSpec("b"), InterfaceSpec(Bridge("br")))
    assert [item.index for item in made] == [6, 7, 8]
    assert [step.new.index for step in plan if isinstance(step, Move)] == [6, 7]
    assert [step.index for step in plan if isinstance(step, CreateLink)] == [8]


def test_new_index_differs_from_that_of_the_peer(rig: Rig) -> None:
    """A new index is also different from the index of a veth peer on the host."""
    rig.box.add_link("other", index=5)
    rig.host.edit_link(5, lower=40)
    assert rig.plan(InterfaceSpec("a"))[1][0].index == 41


def test_peer_index_is_recorded_if_peer_is_on_the_host(rig: Rig) -> None:
    """The index of a link's peer is recorded if the peer is on the host, and not if it is elsewhere."""
    rig.host.edit_link(5, lower=6)
    rig.host.edit_link(6, lower=9, lower_netns=3)
    assert [item.lower for item in rig.plan(InterfaceSpec("a"), InterfaceSpec("b"))[1]] == [6, None]


# --- masters ---


def test_master_is_given_by_source_and_found_by_index(rig: Rig) -> None:
    """A master is given by its source and found by its index, even if it was renamed."""
    rig.add(InterfaceSpec(Bridge("br")))
    rig.box.send(requests.modify(rig.attached[0].index, name="renamed"))
    assert "ip -n web link set dev eth0 master renamed" in rig.commands(InterfaceSpec("a", master="br"))


def test_master_may_be_created_in_the_same_call(rig: Rig) -> None:
    rig.add(InterfaceSpec(Bridge("br"), prefix="br"), InterfaceSpec("a", master="br"))
    found = rig.box.link("eth0")
    assert found
    assert found.master == rig.attached[0].index


# --- route conflicts ---


def test_overlapping_address_is_refused_with_its_owner(rig: Rig) -> None:
    """An address that overlaps the network of another link raises RouteConflictError with that link."""
    rig.add(InterfaceSpec("a", addresses=["10.0.0.2/24", "fd00::2/64"]))
    for text in ("10.0.0.3/24", "10.0.0.9/25", "10.0.0.9/16", "10.0.0.7/32", "fd00::3/64", "fd00::9/48"):
        with pytest.raises(RouteConflictError) as info:
            rig.plan(InterfaceSpec("b", addresses=[text]))
        assert (info.value.address, info.value.owner) == (text, "eth0")
        assert f"cannot program address {text}: it conflicts with existing route" in str(info.value)
    rig.plan(InterfaceSpec("b", addresses=["10.0.1.3/24", "fd01::3/64"]))


def test_address_of_a_link_that_is_down_conflicts(rig: Rig) -> None:
    """An address conflicts with that of a link that is down, although that has no route."""
    rig.box.add_link("other", addresses=["10.0.0.2/32"])
    with pytest.raises(RouteConflictError, match=r"existing route 10\.0\.0\.2/32 of link other"):
        rig.plan(InterfaceSpec("a", addresses=["10.0.0.3/24"]))


def test_specs_of_one_call_conflict_with_each_other(rig: Rig) -> None:
    """Specs of one call conflict with each other, but the addresses of one spec do not."""
    rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24", "10.0.0.3/24"]))
    with pytest.raises(RouteConflictError, match=r"existing route 10\.0\.0\.2/24 of link eth0"):
        rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24"]), InterfaceSpec("b", addresses=["10.0.0.3/24"]))


def test_a_conflict_can_be_ignored(rig: Rig) -> None:
    """A route conflict is ignored with on_conflict="ignore"."""
    rig.add(InterfaceSpec("a", addresses=["10.0.0.2/24"]))
    (found,) = rig.add(InterfaceSpec("b", addresses=["10.0.0.3/24"], on_conflict="ignore"))
    assert [str(item) for item in found.addresses] == ["10.0.0.3/24"]


HARMLESS = [
    route_entry("0.0.0.0/0", 9, "10.1.0.1"),
    route_entry("0.0.0.0/1", 9),
    route_entry("128.0.0.0/1", 9),  # half of a default route, as of a VPN
    route_entry("::/1", 9),
    route_entry("10.0.0.0/8", None, type=7),  # unreachable
    route_entry("10.0.0.0/8", 9, "10.1.0.1"),  # through a gateway
    route_entry("169.254.0.0/16", 9),
    route_entry("fe80::/64", 9, metric=9),  # link-local
    route_entry("ff00::/8", 9),
    route_entry("10.0.0.0/8", 9, table=100),
]


@pytest.mark.parametrize("entry", HARMLESS, ids=str)
def test_harmless_routes_do_not_conflict(rig: Rig, entry: Any) -> None:  # noqa: ANN401
    """Default, unreachable, indirect, link-local and multicast routes, and those of other tables, do not conflict."""
    rig.box.add_link("other", index=9, addresses=["10.1.0.2/32", "fe80::9/64"], up=True)
    send(rig.box, route.add(route_entry("10.1.0.1/32", 9)), route.add(entry))
    rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24", "fd00::2/64", "169.254.3.3/16", "fe80::2/64"]))


def test_direct_route_conflicts(rig: Rig) -> None:
    """An address in the network of another link's direct route raises RouteConflictError."""
    rig.box.add_link("other", index=9, up=True)
    send(rig.box, route.add(route_entry("10.0.0.0/8", 9)))
    with pytest.raises(RouteConflictError, match=r"existing route 10\.0\.0\.0/8 of link other"):
        rig.plan(InterfaceSpec("a", addresses=["10.0.0.2/24"]))


# --- specs that contradict the facts ---


def _problems(rig: Rig, *specs: InterfaceSpec) -> list[str]:
    with pytest.raises(SpecError) as info:
        rig.plan(*specs)
    return [str(problem) for problem in info.value.problems]


def test_all_contradictions_are_reported_at_once(rig: Rig) -> None:
    """One SpecError reports everything in which the specs contradict the facts or each other."""
    rig.add(InterfaceSpec("a"), InterfaceSpec(Bridge("br")))
    rig.box.send(requests.delete(rig.attached[1].index))
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


def test_missing_sources_alone_raise_source_not_found(rig: Rig) -> None:
    """If missing sources are the only problems, SourceNotFoundError is raised."""
    with pytest.raises(SourceNotFoundError, match="source 'x': no such link on the host; source 'y'"):
        rig.plan(InterfaceSpec("x"), InterfaceSpec("y"))


def test_earlier_problems_are_reported_as_well(rig: Rig) -> None:
    """Problems that were found before the facts were read are reported as well, in a SpecError."""
    refused = [Problem("mtu", 7, "is too small")]
    specs = [InterfaceSpec("x")]
    error = find_problems(specs, rig.target, rig.facts(*specs), (), refused)
    assert "mtu 7: is too small; source 'x': no such link" in str(error)
    assert not isinstance(error, SourceNotFoundError)


def test_renamed_loopback_link_is_refused(rig: Rig) -> None:
    """The loopback link is refused as a source, even under another name."""
    rig.host.send(requests.modify(1, name="loop"))
    assert _problems(rig, InterfaceSpec("loop")) == ["source 'loop': the loopback link cannot leave its namespace"]


def test_attached_source_is_refused_despite_a_namesake(rig: Rig) -> None:
    """A source that is attached already is refused, even if the host has a new link of the same name."""
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
        "ip link set dev a address 02:42:ac:11:00:02 mtu 1400",
        "ip address add 10.0.0.2/24 broadcast 10.0.0.255 dev a",
        "sysctl -qw net.ipv6.conf.a.disable_ipv6=1",
        "ip link set dev a up",
        "ip route add 10.9.0.0/16 dev a scope 253",
    ]
    assert [str(step) for step in made.teardown] == [
        "ip route delete 10.9.0.0/16 dev a scope 253",
        "ip link set dev a down",
        "sysctl -qw net.ipv6.conf.a.disable_ipv6=0",
        "ip address delete 10.0.0.2/24 dev a",
        "ip link set dev a address 02:00:00:00:00:05 mtu 1500",
    ]
    assert (made.host_place, made.created, made.lower) == (None, False, None)


def test_on_the_host_only_the_difference_is_planned(own: Rig) -> None:
    assert own.commands(InterfaceSpec("b", name="b", mac="02:00:00:00:00:06", mtu=1500)) == []


def test_host_link_that_is_up_keeps_its_ipv6(own: Rig) -> None:
    """IPv6 is not disabled on a host link that is up, and is enabled there for an IPv6 address."""
    assert own.commands(InterfaceSpec("b", addresses=["10.0.0.2/24"])) == [
        "ip address add 10.0.0.2/24 broadcast 10.0.0.255 dev b"
    ]
    assert own.commands(InterfaceSpec("b", addresses=["fd00::2/64"])) == [
        "sysctl -qw net.ipv6.conf.b.disable_ipv6=0",
        "ip address add fd00::2/64 dev b nodad",
    ]


def test_on_the_host_a_bridge_has_the_name_of_its_source(own: Rig) -> None:
    """On the host, a bridge is created with the name of its source; a taken name raises NameConflictError."""
    assert (
        own.commands(InterfaceSpec(Bridge("br0"), addresses=["10.0.0.1/24"]))[0] == "ip link add name br0 type bridge"
    )
    with pytest.raises(NameConflictError, match="attach b to sandbox host: call b b"):
        own.plan(InterfaceSpec(Bridge("b")))


def test_all_problems_on_the_host_are_reported_at_once(own: Rig) -> None:
    send(own.host, requests.modify(5, settings=Settings(mtu=1400)))
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


def test_on_the_host_neighbors_are_set_again_after_the_mac(own: Rig) -> None:
    """On the host, permanent neighbors are set again after a change of the MAC, which drops them."""
    send(own.host, neighbor.replace(neighbor_entry("10.0.0.9", 6)))
    send(own.host, neighbor.replace(replace(neighbor_entry("10.0.0.8", 6), state=neighbor.NOARP)))
    assert own.commands(InterfaceSpec("b", mac="02:42:ac:11:00:02")) == [
        "ip link set dev b address 02:42:ac:11:00:02",
        "ip neighbor replace 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev b",
    ]


# --- detach, destroy, adopt and create ---


def test_interfaces_are_detached_newest_first(rig: Rig) -> None:
    rig.add(InterfaceSpec("a"), InterfaceSpec(Bridge("br")), InterfaceSpec("b"))
    plan = plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached))
    assert [text for text in plan.commands if not text.startswith("#")] == [
        "ip -n web link set dev eth2 netns $$ name b",
        "ip -n web link delete dev eth1",
        "ip -n web link set dev eth0 netns $$ name a",
    ]
    assert (plan.operation, plan.link, plan.idempotent) == ("detach eth0, eth1, eth2 from sandbox web", "eth0", True)
    assert plan_detach((), rig.target, rig.detach_facts(())).link is None


def test_each_created_veth_is_deleted_by_its_host_end(rig: Rig) -> None:
    """Detaching deletes each created veth in its turn, by its end on the host."""
    rig.add(InterfaceSpec("a"), InterfaceSpec(Veth("one")), InterfaceSpec("b"), InterfaceSpec(Veth("two")))
    plan = plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached))
    assert [text for text in plan.commands if not text.startswith("#")] == [
        "ip link delete dev two",
        "ip -n web link set dev eth2 netns $$ name b",
        "ip link delete dev one",
        "ip -n web link set dev eth0 netns $$ name a",
    ]


def test_detach_skips_a_missing_or_different_link(rig: Rig) -> None:
    """Detaching needs no step for a link that is missing, or whose index is that of a link of another kind."""
    rig.add(InterfaceSpec("a"))
    index = rig.attached[0].index
    rig.box.send(requests.delete(index))
    assert len(plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached))) == 0
    rig.box.add_link("eth0", index=index, kind="dummy")
    assert len(plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached))) == 0
    rig.remove()
    assert rig.box.link("eth0")


def test_detach_skips_a_link_with_a_different_peer(rig: Rig) -> None:
    """Detaching needs no step for a link whose peer is not the recorded one."""
    rig.host.edit_link(5, lower=6)
    rig.host.edit_link(6, lower=5)
    rig.add(InterfaceSpec("a"))
    assert len(plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached))) == 0


@pytest.mark.parametrize("taken", ["a", "uplink"])
def test_detach_is_refused_if_the_host_name_is_taken(rig: Rig, taken: str) -> None:
    """Detaching a link whose name or alternative name is taken on the host raises NameConflictError."""
    send(rig.host, requests.altnames(5, ["uplink"], add=True))
    rig.add(InterfaceSpec("a"))
    rig.host.add_link(taken, index=30)
    with pytest.raises(NameConflictError) as info:
        rig.remove()
    assert info.value.message == (
        f"give eth0 of sandbox web back to the host as a: EEXIST (the name {taken} is taken by link 30 there)"
    )


def test_detached_link_gets_a_free_index_if_taken(rig: Rig) -> None:
    """A detached link gets a free index if its original index is taken on the host."""
    send(rig.host, requests.modify(5, up=True))
    rig.host.add_link("d", index=31)
    rig.add(InterfaceSpec("a"))
    rig.host.add_link("taker", index=5)
    rig.remove()
    found = rig.host.link("a")
    assert found
    assert (found.index, found.is_up) == (32, True)


def test_detached_links_get_different_free_indexes(rig: Rig) -> None:
    """Several detached links whose original indexes are taken on the host get different free ones."""
    rig.add(InterfaceSpec("a"), InterfaceSpec("b"), InterfaceSpec("c"))
    rig.host.add_link("taker", index=5)
    rig.host.add_link("other", index=6)  # the next free one on the host is 7, the original index of c
    rig.remove()
    found = [link.index for name in "abc" if (link := rig.host.link(name))]
    assert found == [9, 8, 7]


def test_link_changed_in_the_sandbox_is_restored(rig: Rig) -> None:
    """Detaching restores the names, the MAC, the MTU and other settings that were changed in the sandbox."""
    send(rig.host, requests.altnames(5, ["uplink", "second"], add=True))
    before = rig.host.state()
    rig.add(InterfaceSpec("a"))
    index = rig.attached[0].index
    send(
        rig.box,
        requests.modify(
            index, settings=Settings(mac="02:00:00:00:66:66", mtu=900, alias="x", group=9, txqlen=3), name="hacked"
        ),
    )
    send(rig.box, requests.altnames(index, ["uplink"], add=False), requests.altnames(index, ["evil"], add=True))
    rig.host.add_link("evil", index=40)
    rig.remove()
    send(rig.host, requests.delete(40))
    found, was = rig.host.state()["links"][5], before["links"][5]
    assert replace(found, altnames=()) == replace(was, altnames=())
    assert set(found.altnames) == {"uplink", "second"}


def test_undoing_a_bridge_deletion_restores_its_last_state(rig: Rig) -> None:
    """Undoing the deletion of a bridge creates it with its last name, MAC and MTU."""
    rig.add(InterfaceSpec(Bridge("br")))
    index = rig.attached[0].index
    send(rig.box, requests.modify(index, settings=Settings(mtu=1300), name="renamed"))
    found = rig.box.link(index)
    assert found
    plan = plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached))
    undo = [str(step.inverse()) for step in reversed(plan.steps)]
    assert undo[:2] == [
        f"ip -n web link add name renamed address {found.mac} type bridge",
        "ip -n web link set dev renamed mtu 1300",
    ]


def test_reindex_changes_only_what_is_on_the_host() -> None:
    """Replacing an index changes only the places and steps on the host."""
    there = Move(replace(PLACE, netns="web"), PLACE)
    assert reindex(there, 5, 9) == replace(there, new=replace(PLACE, index=9))
    assert reindex(SetUp("web", 5, "a", old=False, new=True), 5, 9) == SetUp("web", 5, "a", old=False, new=True)
    moved = reindex(SetAddress(HOST, 5, "a", None, address_entry("10.0.0.1/24", 5)), 5, 9)
    assert moved == SetAddress(HOST, 9, "a", None, address_entry("10.0.0.1/24", 9))
    assert reindex(CreateLink, 5, 9) is CreateLink
    assert reindex(5, 5, 9) == 5


def test_destroy_returns_host_links_and_unpins(rig: Rig) -> None:
    """Destroying returns the links of the host and unpins; a bridge is deleted only if the namespace stays."""
    rig.add(InterfaceSpec(Bridge("br")), InterfaceSpec("a", master="br"))
    plan = rig.plan_destroy()
    commands = [text for text in plan.commands if not text.startswith("#")]
    assert commands == ["ip -n web link set dev eth1 netns $$ name a", "ip netns delete web"]
    for path, unpin in ((None, []), (PIN, ["ip netns delete web"])):
        stays = rig.plan_destroy(path, stays=True)
        commands = [text for text in stays.commands if not text.startswith("#")]
        assert commands == ["ip -n web link set dev eth1 netns $$ name a", "ip -n web link delete dev eth0", *unpin]
        assert plan.operation == stays.operation == "destroy sandbox web"


def test_joined_plan_has_the_name_of_the_second(rig: Rig) -> None:
    """Joining two plans gives an idempotent plan with the steps of both and the operation of the second."""
    first = rig.plan_destroy()
    second = rig.plan(InterfaceSpec("a"))[0]
    both = joined(first, second)
    assert both.steps == (*first.steps, *second.steps)
    assert (both.operation, both.idempotent) == (second.operation, True)


@pytest.mark.parametrize(
    ("up", "addresses", "commands"),
    [
        (True, ["127.0.0.1/8"], []),
        (False, ["127.0.0.1/8"], ["ip -n web link set dev lo up"]),
        (False, [], ["ip -n web address add 127.0.0.1/8 dev lo scope 254", "ip -n web link set dev lo up"]),
    ],
)
def test_adopt_brings_the_loopback_link_up(rig: Rig, *, up: bool, addresses: list[str], commands: list[str]) -> None:
    """Adopting a namespace pins it, adds the loopback address if it is missing, and brings lo up if it is down."""
    found = rig.box.link("lo")
    assert found
    made = tuple(address.Address(1, ip_interface(text)) for text in addresses)
    lo = LinkState(replace(found, flags=IFF_LOOPBACK | (IFF_UP if up else 0)), made)
    plan = plan_create(rig.target, PIN, (4, 1), source="/proc/42/ns/net", lo=lo)
    pin = "mkdir -p /run/netns && touch /run/netns/web && mount --bind /proc/42/ns/net /run/netns/web"
    assert list(plan.commands) == [pin, *commands]
    assert plan.operation == "adopt /proc/42/ns/net as sandbox web"
    assert list(plan_create(rig.target, None, (4, 1), source="/proc/42/ns/net", lo=lo).commands) == commands


def test_create_pins_the_namespace_and_brings_lo_up(rig: Rig) -> None:
    plan = plan_create(rig.target, PIN, (4, 1))
    assert list(plan.commands) == ["ip netns add web", "ip -n web link set dev lo up"]
    assert plan.operation == "create sandbox web"


def test_an_immobile_link_is_refused_in_the_plan(rig: Rig) -> None:
    """The plan refuses a link that cannot leave its namespace with the request and the words of the kernel."""
    rig.host.add_link("br0", index=9, kind="bridge", is_immobile=True)
    with pytest.raises(
        KernelError, match=r"set link 9: move to .* name eth0: EINVAL .The interface netns is immutable"
    ):
        rig.plan(InterfaceSpec("br0"))


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
    own.remove(own.attached[1])
    assert own.changes(before) == {}


def test_settings_of_a_vrf_port_are_not_set_again(rig: Rig) -> None:
    """A link that comes back to a vrf of the host becomes its port; the kernel refuses settings of such a port."""
    send(rig.host, requests.create("vrf", "red", index=50, data=Vrf.pack((("table", 10),))))
    send(rig.host, requests.modify(5, master=50))
    before = rig.state()
    rig.add(InterfaceSpec("a"))
    rig.remove()
    assert rig.changes(before) == {}
    with pytest.raises(KernelError, match="EOPNOTSUPP"):
        send(rig.host, requests.modify(5, port=("vrf", bytes.fromhex("08000100 0b000000"))))
