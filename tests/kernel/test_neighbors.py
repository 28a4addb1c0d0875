"""Neighbors and bridge forwarding entries (faults D1 to D3)."""

from __future__ import annotations

import errno
import re
import socket
import time

import pytest

from netsandbox import Bridge, InterfaceNotFoundError, InterfaceSpec, KernelError, Neighbor, Sandbox, SpecError
from tests.kernel.lab import bridge, comes_back, fails, ip, ip_json, veth

LIMIT = 30  # seconds; the wait takes far less
ONE, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture
def lan(box: Sandbox) -> Sandbox:
    """Attach two links with addresses."""
    veth()
    veth("v1", "p1")
    box.add_interfaces(
        [
            InterfaceSpec("v0", addresses=["10.0.0.2/24", "fd00::2/64"]),
            InterfaceSpec("v1", addresses=["10.1.0.2/24", "fd01::2/64"]),
        ]
    )
    return box


def known(box: Sandbox) -> set[tuple[str, str, str]]:
    """Return the permanent neighbors, as ip(8) shows them."""
    found = ip_json("neighbor show nud permanent", netns=box.path)
    return {(item["dst"], item["lladdr"], item["dev"]) for item in found}


@pytest.mark.parametrize("address", ["10.0.0.9", "fd00::9", "fe80::9"])
def test_a_neighbor_is_added_replaced_and_removed(lan: Sandbox, address: str) -> None:
    with comes_back(lan.path):
        lan.add_neighbor(Neighbor(address, ONE, "eth0"))
        assert known(lan) == {(address, ONE, "eth0")}
        lan.add_neighbor(Neighbor(address, OTHER, "eth0"))
        assert known(lan) == {(address, OTHER, "eth0")}
        assert lan.neighbors == (Neighbor(address, OTHER, "eth0"),)
        lan.remove_neighbor(Neighbor(address, OTHER, "eth0"))
        assert not lan.neighbors


def test_d1_one_neighbor_may_be_on_two_links(lan: Sandbox) -> None:
    lan.add_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    lan.add_neighbor(Neighbor("10.0.0.9", ONE, "eth1"))
    lan.add_neighbor(Neighbor("fd00::9", ONE, "eth0"))
    assert known(lan) == {("10.0.0.9", ONE, "eth0"), ("10.0.0.9", ONE, "eth1"), ("fd00::9", ONE, "eth0")}
    lan.remove_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    assert known(lan) == {("10.0.0.9", ONE, "eth1"), ("fd00::9", ONE, "eth0")}


def test_d2_detaching_a_link_removes_its_neighbors(lan: Sandbox) -> None:
    """Detaching a link removes its neighbors; they can be added again after the next attach."""
    lan.add_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    lan.remove_interface("eth0")
    assert lan.neighbors == ()
    with fails(lan, InterfaceNotFoundError, match="eth0"):
        lan.remove_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    lan.add_interface("v0", addresses=["10.0.0.2/24"])
    lan.add_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    assert known(lan) == {("10.0.0.9", ONE, "eth0")}


def test_removing_an_unknown_neighbor_fails_with_enoent(lan: Sandbox) -> None:
    with fails(lan, KernelError) as info:
        lan.remove_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    assert info.value.errno == errno.ENOENT


def test_a_dynamic_neighbor_is_replaced(lan: Sandbox) -> None:
    ip(f"neighbor add 10.0.0.9 lladdr {OTHER} nud reachable dev eth0", netns=lan.path)
    lan.add_neighbor(Neighbor("10.0.0.9", ONE, "eth0"))
    assert known(lan) == {("10.0.0.9", ONE, "eth0")}


def test_a_neighbor_of_a_missing_interface_is_refused(lan: Sandbox) -> None:
    with fails(lan, InterfaceNotFoundError, match="eth7"):
        lan.add_neighbor(Neighbor("10.0.0.9", ONE, "eth7"))


def test_an_ipv6_neighbor_where_ipv6_is_disabled_is_refused(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    with fails(box, KernelError):
        box.add_neighbor(Neighbor("fd00::9", ONE, "eth0"))


@pytest.mark.parametrize(
    "given", [(None, ONE), ("224.0.0.1", ONE), ("10.0.0.9", "01:00:00:00:00:01"), ("10.0.0.9", "x")]
)
def test_an_invalid_neighbor_is_refused(host: None, given: tuple[str | None, str]) -> None:  # noqa: ARG001
    with pytest.raises(SpecError):
        Neighbor(*given, "eth0")


@pytest.fixture
def port(box: Sandbox) -> Sandbox:
    """Attach a bridge with a port, and a vxlan."""
    veth(up=True)
    ip("link add x0 type vxlan id 42 dstport 4789 local 10.9.9.9")
    box.add_interfaces(
        [InterfaceSpec(Bridge("b"), prefix="br"), InterfaceSpec("v0", master="b"), InterfaceSpec("x0", prefix="vx")]
    )
    return box


def test_local_fdb_entries_of_ports_are_not_listed(port: Sandbox) -> None:
    """The permanent forwarding entries that the kernel makes for bridge ports are not listed."""
    assert "permanent" in bridge("fdb show dev eth0", netns=port.path)
    assert not port.neighbors
    static = Neighbor(None, ONE, "eth0", bridge=True)
    port.add_neighbor(static)
    assert port.neighbors == (static,)


def forwarding(box: Sandbox) -> list[str]:
    """Return the forwarding entries of the two test MACs, as bridge(8) shows them."""
    lines = re.sub(r" link-netnsid \d+", "", bridge("fdb show", netns=box.path)).splitlines()
    return sorted(line.strip() for line in lines if line.startswith((ONE, OTHER)))


def test_an_fdb_entry_of_a_vxlan_has_a_destination(port: Sandbox) -> None:
    with comes_back(port.path):
        port.add_neighbor(Neighbor("10.9.0.1", ONE, "vx0", bridge=True))
        assert forwarding(port) == [f"{ONE} dev vx0 dst 10.9.0.1 self permanent"]
        port.add_neighbor(Neighbor("10.9.0.2", ONE, "vx0", bridge=True))
        assert forwarding(port) == [f"{ONE} dev vx0 dst 10.9.0.2 self permanent"]
        assert Neighbor("10.9.0.2", ONE, "vx0", bridge=True) in port.neighbors
        port.remove_neighbor(Neighbor("10.9.0.2", ONE, "vx0", bridge=True))


def test_an_fdb_entry_of_a_port_belongs_to_the_bridge(port: Sandbox) -> None:
    with comes_back(port.path):
        port.add_neighbor(Neighbor(None, ONE, "eth0", bridge=True))
        assert forwarding(port) == [f"{ONE} dev eth0 master br0 static"]
        port.remove_neighbor(Neighbor(None, ONE, "eth0", bridge=True))


def test_d3_a_dynamic_fdb_entry_is_replaced(port: Sandbox) -> None:
    ip("link set eth0 type bridge_slave state 3", netns=port.path)  # forwarding at once
    bridge(f"fdb add {ONE} dev eth0 master dynamic", netns=port.path)
    port.add_neighbor(Neighbor(None, ONE, "eth0", bridge=True))
    assert forwarding(port) == [f"{ONE} dev eth0 master br0 static"]
    bridge(f"fdb add {OTHER} dev vx0 dst 10.9.0.7 self dynamic", netns=port.path)
    port.add_neighbor(Neighbor("10.9.0.1", OTHER, "vx0", bridge=True))
    assert forwarding(port)[1] == f"{OTHER} dev vx0 dst 10.9.0.1 self permanent"


def test_d3_a_learned_fdb_entry_is_replaced(port: Sandbox) -> None:
    """A forwarding entry learned from a frame is replaced; adding a second one fails with EEXIST (moby PR #53663)."""
    ip("link set eth0 type bridge_slave state 3", netns=port.path)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as station:
        station.bind(("p0", 0))
        station.send(bytes.fromhex((OTHER + ONE).replace(":", "")) + b"\x88\xb5" + bytes(46))
    deadline = time.monotonic() + LIMIT
    while forwarding(port) != [f"{ONE} dev eth0 master br0"]:
        assert time.monotonic() < deadline, forwarding(port)
    with pytest.raises(AssertionError, match="File exists"):
        bridge(f"fdb add {ONE} dev eth0 master static", netns=port.path)
    port.add_neighbor(Neighbor(None, ONE, "eth0", bridge=True))
    assert forwarding(port) == [f"{ONE} dev eth0 master br0 static"]
