"""The host as a sandbox: links are neither moved nor renamed, and a detach restores their state (fault A9)."""

from __future__ import annotations

import pytest

from netsandbox import Bridge, KernelError, Sandbox, SpecError
from tests.kernel.lab import addresses, comes_back, ip, link, links, routes, snapshot, sysctl, veth

BAD = {"net.ipv4.conf.IFNAME.forwarding": "1", "net.ipv4.conf.IFNAME.no_such_setting": "1"}


@pytest.fixture
def home(host: None) -> Sandbox:  # noqa: ARG001
    """Set up a host with a link that is up and has addresses and routes."""
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    ip("address add fd00::1/64 dev v0 nodad")
    ip("route add default via 10.0.0.9")
    ip("route add fd09::/64 via fd00::9")
    return Sandbox.host()


def test_a9_attach_on_the_host_adds_to_the_link(home: Sandbox) -> None:
    """A link of the host keeps its name, addresses and routes on attach, and a detach restores its state."""
    with home, comes_back():
        added = home.add_interface(
            "v0",
            mac="02:00:00:00:00:11",
            mtu=1400,
            addresses=["10.1.0.2/24", "fd01::2/64"],
            routes=["10.7.0.0/24"],
            sysctls={"net.ipv4.conf.IFNAME.forwarding": "1"},
        )
        found = link("v0")
        assert (added.source, added.name, added.index) == ("v0", "v0", found["ifindex"])
        assert (found["address"], found["mtu"], "UP" in found["flags"]) == ("02:00:00:00:00:11", 1400, True)
        assert addresses("v0") >= {"10.0.0.1/24", "fd00::1/64", "10.1.0.2/24", "fd01::2/64"}
        assert {"10.7.0.0/24 dev v0 scope link", "default via 10.0.0.9 dev v0"} <= routes()
        assert sysctl("ipv4/conf/v0/forwarding") == "1"
        added.remove()


def test_a9_detach_sets_a_link_down_that_was_down(host: None) -> None:  # noqa: ARG001
    veth()
    with Sandbox.host() as home, comes_back():
        home.add_interface("v0", addresses=["10.1.0.2/24", "fd01::2/64"])
        assert "UP" in link("v0")["flags"]
        assert addresses("v0") == {"10.1.0.2/24", "fd01::2/64"}
        home.remove_interface("v0")


def test_a9_detach_restores_disable_ipv6(host: None) -> None:  # noqa: ARG001
    veth()
    with Sandbox.host() as home, comes_back():
        home.add_interface("v0", addresses=["10.1.0.2/24"])
        assert sysctl("ipv6/conf/v0/disable_ipv6") == "1"
        home.remove_interface("v0")


def test_a9_ipv6_state_lost_by_a_sysctl_is_restored(home: Sandbox) -> None:
    """IPv6 addresses, routes and neighbors that disable_ipv6=1 removes are restored on detach and rollback."""
    ip("neighbor add fd00::9 lladdr 02:00:00:00:00:09 dev v0 nud permanent")
    off = {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}
    with home, comes_back():
        added = home.add_interface("v0", addresses=["fd01::2/64"], sysctls=off)
        assert addresses("v0") == {"10.0.0.1/24"}
        added.remove()
        with pytest.raises(KernelError):
            home.add_interface("v0", sysctls={**off, **BAD})


def test_a9_ipv6_sysctls_survive_an_mtu_below_1280(host: None) -> None:  # noqa: ARG001
    """IPv6 sysctls, which an MTU below 1280 resets, are restored on detach."""
    veth()
    for name, value in {"accept_ra": "0", "addr_gen_mode": "1", "forwarding": "1"}.items():
        sysctl(f"ipv6/conf/v0/{name}", value)
    with Sandbox.host() as home, comes_back():
        home.add_interface("v0", mtu=1000).remove()


def test_a9_a_failed_attach_changes_nothing(home: Sandbox) -> None:
    with home, comes_back(), pytest.raises(KernelError, match="no_such_setting") as info:
        home.add_interface(
            "v0", mac="02:00:00:00:00:11", mtu=1400, addresses=["10.1.0.2/24", "fd01::2/64"], sysctls=BAD
        )
    assert info.value.undone


def test_a_bridge_on_the_host_has_its_source_name(home: Sandbox) -> None:
    with home, comes_back():
        bridge = home.add_interface(Bridge("br0"), addresses=["10.5.0.1/24"])
        port = home.add_interface("v0", master="br0")
        assert (bridge.name, port.master, links()["v0"]["master"]) == ("br0", "br0", "br0")
        home.remove_interface("v0")
        home.remove_interface("br0")


def test_the_original_master_is_restored(home: Sandbox) -> None:
    ip("link add br1 type bridge")
    ip("link set v0 master br1")
    ip("link set v0 type bridge_slave cost 42")
    with home, comes_back():
        home.add_interface(Bridge("br0"))
        home.add_interface("v0", master="br0")
        home.remove_interface("v0")
        home.remove_interface("br0")


def test_the_option_name_is_refused_on_the_host(home: Sandbox) -> None:
    with home, comes_back(), pytest.raises(SpecError, match="on the host nothing is renamed"):
        home.add_interface("v0", name="wan0")


def test_attaching_loopback_on_the_host_is_refused(home: Sandbox) -> None:
    with home, comes_back(), pytest.raises(SpecError, match="loopback"):
        home.add_interface("lo")


def test_a_later_host_sandbox_can_detach_the_interface(home: Sandbox) -> None:
    before = snapshot()
    with home:
        home.add_interface("v0", addresses=["10.1.0.2/24"])
    with Sandbox.host() as again:
        assert [item.source for item in again.interfaces] == ["v0"]
        again.remove_interface("v0")
        assert again.interfaces == ()
    assert snapshot() == before


def test_several_host_sandboxes_share_their_interfaces(home: Sandbox) -> None:
    veth("v1", "p1", up=True)
    with home, Sandbox.host() as other, comes_back():
        for _ in range(2):
            home.add_interface("v0", addresses=["10.1.0.2/24"])
            other.add_interface("v1", addresses=["10.2.0.2/24"])
            assert [item.name for item in home.interfaces] == ["v0", "v1"]
            home.remove_interface("v0")
            other.remove_interface("v1")


def test_destroying_the_host_sandbox_restores_the_host(home: Sandbox) -> None:
    with comes_back():
        home.add_interface("v0", addresses=["10.1.0.2/24"])
        home.add_interface(Bridge("br0"))
        home.destroy()


def test_e9_gateways_and_statistics_work_on_the_host(home: Sandbox) -> None:
    with home, comes_back():
        added = home.add_interface("v0", addresses=["10.1.0.2/24"])
        assert added.statistics().tx_errors == 0
        home.set_gateway("10.1.0.1")
        assert "default via 10.1.0.1 dev v0" in routes()
        home.set_gateway("10.0.0.9")
        added.remove()


def test_removing_a_deleted_link_succeeds(home: Sandbox) -> None:
    with home:
        added = home.add_interface("v0", addresses=["10.1.0.2/24"])
        ip("link delete v0")
        added.remove()
        assert home.interfaces == ()
