"""Gateways, routes, addresses, neighbors and sysctls: the plans of each operation, on a fake sandbox."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import Gateway, InterfaceNotFoundError, InterfaceSpec, KernelError, Neighbor, Plan, Route, SpecError
from netsandbox._plan import network as _network
from netsandbox._plan.model import InterfaceKey, Target
from netsandbox.interface import key_of, read_interfaces
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink import neighbor, route
from tests.unit.rig import Rig, send
from tests.unit.values import forwarding, neighbor_entry, route_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox._kernel import Kernel


MAC = "02:00:00:00:00:99"


@pytest.fixture
def rig() -> Rig:
    """A sandbox with eth0 (10.0.0.2/24, fd00::2/64) and eth1 (10.1.0.2/24), up, and a bridge whose port is eth2."""
    made = Rig()
    made.box.add_link("eth0", index=7, addresses=["10.0.0.2/24", "fd00::2/64"], up=True)
    made.box.add_link("eth1", index=8, addresses=["10.1.0.2/24"], up=True)
    made.box.add_link("br0", index=9, kind="bridge", up=True)
    made.box.add_link("eth2", index=10, up=True)
    send(made.box, requests.modify(10, master=9))
    return made


@pytest.fixture
def handle(rig: Rig) -> tuple[Kernel, Target]:
    return rig.box, rig.target


def carried_out(rig: Rig, plan: Plan) -> list[str]:
    """Execute a plan, roll it back, execute it again, and return its commands."""
    before = rig.state()
    rig.faults.fail(_calls(plan) + 1, errno.EIO)  # the last call, links(), which replaces writing the record
    if plan.steps:
        with pytest.raises(KernelError, match="EIO"):
            rig.carry_out(plan)
    rig.faults.clear()
    assert rig.changes(before) == {}
    rig.carry_out(plan)
    return [text for text in plan.commands if not text.startswith("#")]


def _calls(plan: Plan) -> int:
    """Return how many kernel calls the steps of a plan make."""
    return len(plan.steps) - sum(text.startswith("#") for text in plan.commands)


def main(rig: Rig) -> list[str]:
    """Return the static routes of the main table, as ip(8) writes them."""
    names = {link.index: link.name for link in rig.box.links()}
    entries = rig.box.routes(table=route.TABLE_MAIN)
    return [f"{item.to} via {item.via} dev {names[item.index or 0]}" for item in entries if item.protocol == route.BOOT]


# --- finding a link ---


def test_link_is_given_by_name_or_interface(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """A link is given by its name or as an Interface; one that does not exist raises InterfaceNotFoundError."""
    rig.host.add_link("v1", index=20)
    rig.add(InterfaceSpec("v1"))
    interface = read_interfaces(rig, rig.box, rig.attached)[0]
    assert _network.find_link(*handle, key_of(interface, "web")).index == interface.index
    assert _network.find_link(*handle, InterfaceKey("eth1")).index == 8
    rig.remove()
    for lost in (interface, "eth9"):
        with pytest.raises(
            InterfaceNotFoundError, match=r"use eth\d of sandbox web: ENODEV .there is no such interface"
        ):
            _network.find_link(*handle, key_of(lost, "web"))


# --- gateways and routes ---


@pytest.mark.parametrize(
    ("via", "interface", "command"),
    [
        ("10.0.0.1", None, "ip -n web route add 0.0.0.0/0 via 10.0.0.1 dev eth0"),
        ("fd00::1", None, "ip -n web route add ::/0 via fd00::1 dev eth0"),
        ("fe80::1", "eth1", "ip -n web route add ::/0 via fe80::1 dev eth1"),
        (None, "eth1", "ip -n web route add 0.0.0.0/0 dev eth1 scope 253"),
    ],
)
def test_a_gateway_is_set_and_unset(
    rig: Rig, handle: tuple[Kernel, Target], via: str | None, interface: str | None, command: str
) -> None:
    hop = ip_address(via) if via else None
    version = hop.version if hop else 4
    plan = _network.set_gateway(
        *handle, hop, InterfaceKey(interface) if interface else None, onlink=False, version=version
    )
    assert plan.operation == f"set the gateway {via or interface} of sandbox web"
    assert carried_out(rig, plan) == [command]
    found = _network.default_route(handle[0], version)
    assert found
    assert found.via == hop
    assert carried_out(rig, _network.unset_gateway(*handle, version))
    assert main(rig) == []
    assert len(_network.unset_gateway(*handle, version)) == 0


def test_one_gateway_per_family_is_chosen(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """Choosing gateways sets one default route per family, and deletes that of a family without a candidate."""
    both = [Gateway("eth1", "10.1.0.1"), Gateway("eth0", "10.0.0.1"), Gateway("eth0", "fd00::1", priority=-3)]
    plan = _network.choose_gateways(*handle, both)
    assert plan.operation == "choose the gateways via 10.0.0.1 dev eth0 and via fd00::1 dev eth0 of sandbox web"
    assert len(carried_out(rig, plan)) == 2
    assert main(rig) == ["0.0.0.0/0 via 10.0.0.1 dev eth0", "::/0 via fd00::1 dev eth0"]
    carried_out(rig, _network.choose_gateways(*handle, both[:1]))
    assert main(rig) == ["0.0.0.0/0 via 10.1.0.1 dev eth1"]
    plan = _network.choose_gateways(*handle, [])
    assert plan.operation == "choose the gateways none of sandbox web"
    carried_out(rig, plan)
    assert main(rig) == []


def test_gateway_replaces_the_preferred_default_route(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """Setting a gateway replaces the default route with the lowest metric and keeps that metric."""
    send(rig.box, route.add(route_entry("0.0.0.0/0", 8, "10.1.0.1", metric=50)))
    send(rig.box, route.add(route_entry("0.0.0.0/0", 8, "10.1.0.1", metric=60)))
    plan = _network.set_gateway(*handle, ip_address("10.5.0.1"), InterfaceKey("eth0"), onlink=True, version=4)
    commands = carried_out(rig, plan)
    assert commands == ["ip -n web route replace 0.0.0.0/0 via 10.5.0.1 dev eth0 metric 50 onlink"]
    assert main(rig) == ["0.0.0.0/0 via 10.1.0.1 dev eth1", "0.0.0.0/0 via 10.5.0.1 dev eth0"]


@pytest.mark.parametrize("via", ["10.9.0.1", "10.0.0.2", "10.8.0.1"])
def test_gateway_must_be_directly_reachable(rig: Rig, handle: tuple[Kernel, Target], via: str) -> None:
    """A gateway that is local, unreachable or behind another gateway raises KernelError."""
    send(
        rig.box,
        route.add(route_entry("10.9.0.0/16", 7, "10.0.0.1")),
        route.add(route_entry("10.8.0.0/16", None, type=7)),
    )
    with pytest.raises(KernelError) as info:
        _network.set_gateway(*handle, ip_address(via), None, onlink=False, version=4)
    assert info.value.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH}


def test_route_needs_a_next_hop_or_an_interface(handle: tuple[Kernel, Target]) -> None:
    """A route without a next hop and without an interface raises SpecError."""
    with pytest.raises(SpecError, match="via: must be given without an interface"):
        _network.add_route(*handle, Route("10.9.0.0/16"))


@pytest.mark.parametrize(
    "wanted",
    [
        Route("10.9.0.0/16", via="10.0.0.1"),
        Route("10.9.0.0/16", interface="eth1", metric=7, source="10.1.0.2"),
        Route("fd09::/32", via="fd00::1"),
        Route("fd09::/32", via="fd05::1", onlink=True, interface="eth1"),
    ],
    ids=str,
)
def test_a_route_is_added_and_removed(rig: Rig, handle: tuple[Kernel, Target], wanted: Route) -> None:
    """A route is added once, and removing it restores the previous state."""
    before = rig.state()
    assert carried_out(rig, _network.add_route(*handle, wanted))
    assert len(main(rig)) == 1
    with pytest.raises(KernelError, match=r"there is such a route already"):
        _network.add_route(*handle, wanted)
    assert carried_out(rig, _network.remove_route(*handle, wanted))
    assert rig.changes(before) == {}


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (Route("10.9.0.0/16"), [9]),
        (Route("10.9.0.0/16", metric=9), [5]),
        (Route("10.9.0.0/16", via="10.0.0.254"), [5]),
        (Route("10.9.0.0/16", interface="eth1"), [9]),
    ],
    ids=str,
)
def test_partial_route_removes_the_preferred_match(
    rig: Rig, handle: tuple[Kernel, Target], wanted: Route, left: list[int]
) -> None:
    """Of the routes that match an incomplete Route, the one with the lowest metric is removed."""
    send(rig.box, route.add(route_entry("10.9.0.0/16", 7, "10.0.0.254", metric=9)))
    send(rig.box, route.add(route_entry("10.9.0.0/16", 8, metric=5)))
    carried_out(rig, _network.remove_route(*handle, wanted))
    assert [item.metric for item in rig.box.routes() if item.protocol == route.BOOT] == left


@pytest.mark.parametrize("wanted", [Route("10.9.0.0/16"), Route("10.8.0.0/16", via="10.0.0.3")], ids=str)
def test_removing_a_missing_route_is_refused(rig: Rig, handle: tuple[Kernel, Target], wanted: Route) -> None:
    """Removing a route that does not exist raises KernelError with ESRCH."""
    send(rig.box, route.add(route_entry("10.8.0.0/16", 7, "10.0.0.254")))
    with pytest.raises(KernelError, match=f"delete route {wanted} from sandbox web: ESRCH"):
        _network.remove_route(*handle, wanted)


# --- addresses ---


@pytest.mark.parametrize("text", ["10.0.0.3/24", "fd00::3/64", "10.9.9.9/32"])
def test_an_address_is_added_once_and_removed(rig: Rig, handle: tuple[Kernel, Target], text: str) -> None:
    """An address is added once, and removing it restores the previous state."""
    wanted = ip_interface(text)
    before = rig.state()
    assert carried_out(rig, _network.add_address(*handle, InterfaceKey("eth0"), wanted))
    with pytest.raises(KernelError, match=f"add address {text} to eth0 of sandbox web: EEXIST"):
        _network.add_address(*handle, InterfaceKey("eth0"), wanted)
    assert carried_out(rig, _network.remove_address(*handle, InterfaceKey("eth0"), wanted))
    assert rig.changes(before) == {}
    with pytest.raises(KernelError, match=f"delete address {text} from eth0 of sandbox web: EADDRNOTAVAIL"):
        _network.remove_address(*handle, InterfaceKey("eth0"), wanted)


def test_secondary_addresses_and_routes_survive(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """After a primary address is removed, secondary addresses and routes without that source are added back."""
    for text in ("10.0.0.3/24", "10.0.0.4/24"):
        carried_out(rig, _network.add_address(*handle, InterfaceKey("eth0"), ip_interface(text)))
    for to, via, source in (
        ("0.0.0.0/0", "10.0.0.1", None),
        ("10.8.0.0/16", None, None),
        ("10.7.0.0/16", None, "10.0.0.2"),
    ):
        wanted = Route(to, via, interface="eth0", source=source)
        carried_out(rig, _network.add_route(*handle, wanted))
    commands = carried_out(rig, _network.remove_address(*handle, InterfaceKey("eth0"), ip_interface("10.0.0.2/24")))
    assert commands == [
        "ip -n web address delete 10.0.0.2/24 dev eth0",
        "ip -n web address add 10.0.0.3/24 broadcast 10.0.0.255 dev eth0",
        "ip -n web address add 10.0.0.4/24 broadcast 10.0.0.255 dev eth0",
        "ip -n web route add 10.8.0.0/16 dev eth0 scope 253",
        "ip -n web route add 0.0.0.0/0 via 10.0.0.1 dev eth0",
    ]
    assert main(rig) == ["0.0.0.0/0 via 10.0.0.1 dev eth0", "10.8.0.0/16 via None dev eth0"]
    commands = carried_out(rig, _network.remove_address(*handle, InterfaceKey("eth0"), ip_interface("10.0.0.4/24")))
    assert commands == ["ip -n web address delete 10.0.0.4/24 dev eth0"]
    assert len(main(rig)) == 2


def test_removing_the_last_address_removes_the_routes(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """Removing the last address of a link removes its routes, and rolling that back restores them."""
    carried_out(rig, _network.add_route(*handle, Route("0.0.0.0/0", "10.0.0.1", interface="eth0")))
    commands = carried_out(rig, _network.remove_address(*handle, InterfaceKey("eth0"), ip_interface("10.0.0.2/24")))
    assert commands == ["ip -n web address delete 10.0.0.2/24 dev eth0"]
    assert main(rig) == []


# --- neighbors ---


@pytest.mark.parametrize(
    ("wanted", "command"),
    [
        (
            Neighbor("10.0.0.9", MAC, "eth0"),
            "ip -n web neighbor replace 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0",
        ),
        (
            Neighbor("fd00::9", MAC, "eth0"),
            "ip -n web neighbor replace fd00::9 lladdr 02:00:00:00:00:99 nud permanent dev eth0",
        ),
        (
            Neighbor("10.0.0.9", MAC, "eth0", bridge=True),
            "bridge -n web fdb replace 02:00:00:00:00:99 dev eth0 dst 10.0.0.9 self",
        ),
        (Neighbor(None, MAC, "eth0", bridge=True), "bridge -n web fdb replace 02:00:00:00:00:99 dev eth0 self"),
        (
            Neighbor(None, MAC, "eth2", bridge=True),
            "bridge -n web fdb replace 02:00:00:00:00:99 dev eth2 master static",
        ),
    ],
    ids=str,
)
def test_neighbor_is_set_and_removed(rig: Rig, handle: tuple[Kernel, Target], wanted: Neighbor, command: str) -> None:
    """A neighbor or forwarding entry is set by one command, and removing it restores the previous state."""
    before = rig.state()
    assert carried_out(rig, _network.add_neighbor(*handle, wanted)) == [command]
    assert rig.changes(before)
    assert carried_out(rig, _network.remove_neighbor(*handle, wanted))
    assert rig.changes(before) == {}
    with pytest.raises(KernelError, match="ENOENT"):
        _network.remove_neighbor(*handle, wanted)


def test_neighbor_replaces_the_entry_of_the_same_link(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """Setting a neighbor replaces the entry of that link, and not the entry of another link."""
    send(rig.box, neighbor.replace(neighbor_entry("10.0.0.9", 7, "02:00:00:00:00:01")))
    send(
        rig.box, neighbor.replace(neighbor_entry("10.0.0.9", 8, "02:00:00:00:00:02")), neighbor.replace(forwarding(10))
    )
    carried_out(rig, _network.add_neighbor(*handle, Neighbor("10.0.0.9", MAC, "eth0")))
    with pytest.raises(KernelError, match="ENOENT"):
        _network.remove_neighbor(*handle, Neighbor("10.0.0.8", MAC, "eth0"))
    assert {item.index: item.mac for item in rig.box.neighbors()} == {7: MAC, 8: "02:00:00:00:00:02"}


# --- sysctls ---


def test_disable_arp_for_vip_writes_only_differences(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """Disabling ARP for virtual addresses writes only the sysctls that differ."""
    rig.box.set_sysctl("ipv4/conf/eth0/arp_announce", "2")
    assert carried_out(rig, _network.disable_arp_for_vip(*handle, InterfaceKey("eth0"))) == [
        "ip netns exec web sysctl -qw net.ipv4.conf.eth0.arp_ignore=1"
    ]
    assert len(_network.disable_arp_for_vip(*handle, InterfaceKey("eth0"))) == 0


def test_os_tweaks_set_only_existing_sysctls(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """OS tweaks write the sysctls that exist and differ, and skip those that the kernel lacks."""
    rig.box.sysctls |= {"ipv4/vs/conn_reuse_mode": "1", "core/somaxconn": "128", "ipv4/tcp_rmem": "4096 131072"}
    assert carried_out(rig, _network.os_tweaks(*handle, "ingress")) == [
        "ip netns exec web sysctl -qw net.ipv4.vs.conn_reuse_mode=0"
    ]
    chosen = {"net.core.somaxconn": "128", "net.ipv4.tcp_rmem": " 4096\t131072 ", "net.ipv4.nonsense": "1"}
    assert carried_out(rig, _network.os_tweaks(*handle, chosen)) == []


@pytest.mark.parametrize(
    ("tweaks", "text"),
    [
        ("nonsense", "tweaks 'nonsense': is none of ingress, load-balancer"),
        ({"kernel.panic.x": "1"}, "sysctl 'kernel.panic.x': is not a setting below net."),
        ({"net.x": "1"}, "is not a setting"),
        ({"net..x": "1"}, "is not a setting"),
        ({"net.ipv4.a/b": "1"}, "is not a setting"),
        ({"net.ipv4.a\0": "1"}, "is not a setting"),
        ({7: "1"}, "is not a setting"),
    ],
    ids=str,
)
def test_invalid_os_tweaks_are_refused(handle: tuple[Kernel, Target], tweaks: Any, text: str) -> None:  # noqa: ANN401
    """An unknown set of tweaks or an invalid sysctl key raises SpecError."""
    with pytest.raises(SpecError) as info:
        _network.os_tweaks(*handle, tweaks)
    assert text in str(info.value)


def test_every_operation_names_the_sandbox(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """The operation of every plan ends with the name of the sandbox."""
    made: list[Callable[[], Plan]] = [
        lambda: _network.set_gateway(*handle, ip_address("10.0.0.1"), None, onlink=False, version=4),
        lambda: _network.add_address(*handle, InterfaceKey("eth0"), ip_interface("10.0.0.9/24")),
        lambda: _network.add_neighbor(*handle, Neighbor("10.0.0.9", MAC, "eth0")),
        lambda: _network.disable_arp_for_vip(*handle, InterfaceKey("eth0")),
    ]
    for make in made:
        plan = make()
        assert plan.operation.endswith(" of sandbox web")
        assert plan.sandbox == rig.name


def test_routes_and_neighbors_that_are_only_shown_are_refused(handle: tuple[Kernel, Target]) -> None:
    """Routes of other tables and types, and neighbors that are not permanent, are neither added nor removed."""
    for plan in (_network.add_route, _network.remove_route):
        with pytest.raises(SpecError, match="table 100: only routes of the table 254 can be added and removed"):
            plan(*handle, Route("10.9.0.0/16", via="10.0.0.1", table=100))
        with pytest.raises(SpecError, match="type 'blackhole': only routes of the type unicast"):
            plan(*handle, Route("10.9.0.0/16", type="blackhole"))
    with pytest.raises(SpecError, match="state 'STALE': only permanent neighbors can be added"):
        _network.add_neighbor(*handle, Neighbor("10.0.0.9", "02:00:00:00:00:99", "eth0", state="STALE"))


def test_a_route_is_added_with_its_protocol_and_scope(rig: Rig, handle: tuple[Kernel, Target]) -> None:
    """The protocol and the scope that are asked for are programmed."""
    wanted = Route("10.9.0.0/16", interface="eth0", protocol="static", scope="global")
    assert carried_out(rig, _network.add_route(*handle, wanted)) == ["ip -n web route add 10.9.0.0/16 dev eth0 proto 4"]
    [made] = [item for item in rig.box.routes(table=route.TABLE_MAIN) if item.protocol == 4]
    assert (made.scope, made.protocol) == (0, 4)
