"""Attaching interfaces, as osl's interface_linux.go does: the state of the kernel after an attach."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from netsandbox import Bridge, Interface, InterfaceSpec, Route, Sandbox
from tests.kernel.lab import addresses, comes_back, ip, ip_json, link, links, needs, routes, snapshot, sysctl, veth


def test_a_link_is_moved_renamed_configured_and_up(box: Sandbox) -> None:
    veth()
    index = links()["v0"]["ifindex"]
    box.add_interface(
        "v0",
        mac="02:00:00:00:00:42",
        mtu=1450,
        addresses=["172.17.0.2/16", "fd00::2/64", "169.254.9.9/32", "172.18.0.2/16"],
        routes=["192.168.2.1/32", Route("10.1.0.0/16", via="172.17.0.1", metric=7)],
        sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"},
    )
    assert set(links()) == {"lo", "p0"}
    assert set(links(box.path)) == {"lo", "eth0"}
    found = link("eth0", box.path)
    assert (found["ifindex"], found["address"], found["mtu"]) == (index, "02:00:00:00:00:42", 1450)
    assert "UP" in found["flags"]
    assert addresses("eth0", box.path) == {"172.17.0.2/16", "fd00::2/64", "169.254.9.9/32", "172.18.0.2/16"}
    assert routes(box.path) == {
        "10.1.0.0/16 via 172.17.0.1 dev eth0 metric 7",
        "192.168.2.1 dev eth0 scope link",
    }
    assert sysctl("ipv4/conf/eth0/rp_filter", netns=box.path) == "2"


def test_add_interface_returns_the_state_of_the_kernel(box: Sandbox) -> None:
    """add_interface returns an Interface whose fields match what the kernel reports."""
    veth(up=True)
    wish = ["10.0.0.2/24", "fd00::2/64"]
    added = box.add_interface("v0", mtu=1400, addresses=wish, routes=["10.9.0.0/24"])
    found = link("eth0", box.path)
    assert (added.source, added.name, added.master, added.is_bridge) == ("v0", "eth0", None, False)
    assert (added.index, added.mac, added.mtu, added.kind, added.txqlen) == (
        found["ifindex"],
        found["address"],
        found["mtu"],
        found["linkinfo"]["info_kind"],
        found["txqlen"],
    )
    assert added.is_up
    assert set(map(ip_interface, wish)) <= set(added.addresses)
    assert added.routes == (Route("10.9.0.0/24"),)
    assert box.interfaces[0].addresses[0] == ip_interface("10.0.0.2/24")


def test_settings_that_are_not_given_stay_unchanged(box: Sandbox) -> None:
    """An attach without options keeps the link's MAC, MTU and queue length, and adds no address or route."""
    veth()
    ip("link set v0 address 02:00:00:00:00:07 mtu 1333 txqueuelen 77")
    box.add_interface("v0")
    found = link("eth0", box.path)
    assert (found["address"], found["mtu"], found["txqlen"]) == ("02:00:00:00:00:07", 1333, 77)
    assert found["addr_info"] == []
    assert routes(box.path) == set()


def test_a_spec_and_keywords_are_equivalent(box: Sandbox) -> None:
    veth()
    box.add_interface(InterfaceSpec("v0", name="wan0", addresses=["10.0.0.2/24"], mtu=1400))
    by_spec = snapshot(box.path)
    box.remove_interface("wan0")
    box.add_interface("v0", name="wan0", addresses=["10.0.0.2/24"], mtu=1400)
    assert snapshot(box.path) == by_spec


def test_a_source_is_found_by_its_alternative_name(box: Sandbox) -> None:
    veth()
    ip("link property add dev v0 altname a-name-that-is-longer-than-others")
    with comes_back(box.path):
        assert box.add_interface("a-name-that-is-longer-than-others").source == "v0"
        assert links(box.path)["eth0"]["altnames"] == ["a-name-that-is-longer-than-others"]
        box.remove_interface("eth0")


def test_an_interface_renamed_inside_keeps_its_source(box: Sandbox) -> None:
    """A link that is renamed inside is listed with its source and its current name."""
    veth()
    veth("v1", "p1")
    box.add_interfaces([InterfaceSpec("v0"), InterfaceSpec("v1", name="wan0")])
    ip("link set wan0 name wan9", netns=box.path)
    found = {item.source: (item.name, item.index) for item in box.interfaces}
    there = links(box.path)
    assert found == {source: (name, there[name]["ifindex"]) for source, name in (("v0", "eth0"), ("v1", "wan9"))}


def test_the_kernel_adds_the_connected_route(box: Sandbox) -> None:
    """The kernel adds the connected route of an address when the link is up; a /32 address has none."""
    veth(up=True)
    box.add_interface("v0", addresses=["10.0.0.2/24", "10.0.9.9/32"])
    connected = ip("-4 route show table main proto kernel", netns=box.path).strip()
    assert connected == "10.0.0.0/24 dev eth0 scope link src 10.0.0.2"  # a /32 address has no connected route


def test_an_ipv4_address_gets_its_broadcast_address(box: Sandbox) -> None:
    """An IPv4 address gets its broadcast address, unless its prefix is /31 or /32."""
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "10.1.0.2/31", "10.2.0.2/32"])
    found = {item["local"]: item.get("broadcast") for item in link("eth0", box.path)["addr_info"]}
    assert found == {"10.0.0.2": "10.0.0.255", "10.1.0.2": None, "10.2.0.2": None}


def test_a_bridge_is_created_inside_and_deleted_on_removal(box: Sandbox) -> None:
    with comes_back(box.path):
        bridge = box.add_interface(Bridge("br-src"), prefix="br", mac="02:00:00:00:00:b0", mtu=1300)
        assert (bridge.source, bridge.name, bridge.is_bridge, bridge.kind) == ("br-src", "br0", True, "bridge")
        found = links(box.path)["br0"]
        assert (found["linkinfo"]["info_kind"], found["address"], found["mtu"]) == ("bridge", "02:00:00:00:00:b0", 1300)
        assert set(links()) == {"lo"}
        bridge.remove()


def test_the_master_is_a_bridge_named_by_its_source(box: Sandbox) -> None:
    """The option master takes the source of a bridge; detaching the port clears its master."""
    veth()
    box.add_interface(Bridge("br-src"), prefix="br")
    port = box.add_interface("v0", master="br-src")
    assert links(box.path)["eth0"]["master"] == "br0"
    assert port.master == "br0"
    port.remove()
    assert "master" not in links()["v0"]


def test_add_interfaces_attaches_in_order(box: Sandbox) -> None:
    """add_interfaces attaches links in order; a later link can name an earlier bridge as its master."""
    veth()
    veth("v1", "p1")
    added = box.add_interfaces(
        [
            InterfaceSpec(Bridge("br-src")),
            InterfaceSpec("v1", master="br-src", addresses=["10.1.0.2/24"]),
            InterfaceSpec("v0", master="br-src", addresses=["10.2.0.2/24"]),
        ]
    )
    assert [(item.source, item.name, item.master) for item in added] == [
        ("br-src", "eth0", None),
        ("v1", "eth1", "eth0"),
        ("v0", "eth2", "eth0"),
    ]
    assert [_lasting(item) for item in box.interfaces] == [_lasting(item) for item in added]
    assert addresses("eth2", box.path) == {"10.2.0.2/24"}


def _lasting(item: Interface) -> Interface:
    """Leave out the fields that follow the carrier, which the kernel updates asynchronously."""
    return replace(item, operstate="", flags=0)


def test_add_interfaces_is_atomic(box: Sandbox) -> None:
    """If one attach of add_interfaces fails, the earlier attaches of the call are rolled back."""
    veth()
    veth("v1", "p1")
    with comes_back(box.path):
        broken = InterfaceSpec("v1", sysctls={"net.ipv4.conf.IFNAME.no_such_setting": "1"})
        with pytest.raises(OSError, match="no_such_setting"):
            box.add_interfaces([InterfaceSpec(Bridge("b")), InterfaceSpec("v0", master="b", mtu=1400), broken])
        assert box.interfaces == ()


def test_add_interfaces_with_an_empty_list_does_nothing(box: Sandbox) -> None:
    with comes_back(box.path):
        assert box.add_interfaces([]) == ()


def test_a_plan_changes_nothing(box: Sandbox) -> None:
    veth(up=True)
    with comes_back(box.path):
        plan = box.plan_interface("v0", addresses=["10.0.0.2/24"], mtu=1400, routes=["10.9.0.0/24"])
        assert "mtu 1400" in str(plan)
        assert box.interfaces == ()


@pytest.mark.parametrize("kind", ["veth", "macvlan", "macvtap", "tap", "tun", "vxlan", "dummy", "ipvlan", "vlan"])
def test_links_of_every_kind_can_be_attached_and_detached(box: Sandbox, kind: str) -> None:
    veth(up=True)
    if kind in {"dummy", "ipvlan", "vlan"}:
        needs(kind)
    ip(
        {
            "veth": "link set p0 up",
            "macvlan": "link add v1 link p0 type macvlan mode bridge",
            "macvtap": "link add v1 link p0 type macvtap mode bridge",
            "tap": "tuntap add v1 mode tap",
            "tun": "tuntap add v1 mode tun",
            "vxlan": "link add v1 type vxlan id 42 dev p0 dstport 4789 remote 10.9.9.9",
            "dummy": "link add v1 type dummy",
            "ipvlan": "link add v1 link p0 type ipvlan",
            "vlan": "link add v1 link p0 type vlan id 100",
        }[kind]
    )
    source = "v0" if kind == "veth" else "v1"
    before = ip_json(f"link show {source}")[0]
    with comes_back(box.path):
        box.add_interface(source, addresses=["10.0.0.2/24", "fd00::2/64"], mtu=1350)
        assert links(box.path)["eth0"]["linkinfo"]["info_kind"] == before["linkinfo"]["info_kind"]
        assert addresses("eth0", box.path) == {"10.0.0.2/24", "fd00::2/64"}
        box.remove_interface("eth0")


def test_attaching_a_bridge_of_the_host_fails(box: Sandbox) -> None:
    """The kernel refuses to move a bridge, and the error carries the kernel's message."""
    ip("link add br0 type bridge")
    with comes_back(box.path), pytest.raises(OSError, match="The interface netns is immutable"):
        box.add_interface("br0")


def test_interfaces_agree_with_ip_json(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface(Bridge("b"))
    box.add_interface("v0", master="b", addresses=["10.0.0.2/24"])
    shown = {item["ifname"]: item for item in json.loads(ip("-j -d address show", netns=box.path))}
    for item in box.interfaces:
        theirs = shown[item.name]
        assert (item.index, item.mac, item.mtu, item.master, item.is_up) == (
            theirs["ifindex"],
            theirs["address"],
            theirs["mtu"],
            theirs.get("master"),
            "UP" in theirs["flags"],
        )
        assert {str(address) for address in item.addresses} == {
            f"{address['local']}/{address['prefixlen']}" for address in theirs["addr_info"]
        }
