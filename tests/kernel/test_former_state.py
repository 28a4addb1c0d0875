"""The original state of a link on the host is restored after a detach and after a failed attach (fault A8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netsandbox import KernelError, Sandbox
from tests.kernel.lab import addresses, bridge, comes_back, ip, links, sysctl, veth

if TYPE_CHECKING:
    from collections.abc import Callable

STATES = {
    "up": "",
    "down": "link set v0 down",
    "MAC": "link set v0 address 02:00:00:00:00:07",
    "MTU": "link set v0 mtu 1280",
    "small MTU": "link set v0 mtu 576",
    "queue": "link set v0 txqueuelen 55",
    "alias": "link set v0 alias something",
    "group": "link set v0 group 7",
    "no ARP": "link set v0 arp off",
    "promiscuous": "link set v0 promisc on",
    "all multicast": "link set v0 allmulticast on",
    "no generated address": "link set v0 addrgenmode none",
    "altname": "link property add dev v0 altname a-name-longer-than-fifteen-bytes",
    "two altnames": "link property add dev v0 altname one altname two",
    "address": "address add 10.0.0.1/24 dev v0",
    "two addresses of a network": "address add 10.0.0.1/24 dev v0; address add 10.0.0.2/24 dev v0",
    "addresses out of order": (
        "address add 10.0.0.9/24 dev v0; address add 10.0.0.2/24 dev v0; address add 10.0.0.5/24 dev v0"
    ),
    "addresses of many lengths": (
        "address add 10.0.0.1/8 dev v0; address add 10.0.0.1/24 dev v0; address add 10.0.0.1/32 dev v0"
    ),
    "peer address": "address add 10.0.0.1 peer 10.0.0.2/32 dev v0",
    "label": "address add 10.0.0.1/24 dev v0 label v0:1",
    "own broadcast": "address add 10.0.0.1/24 broadcast 10.0.0.128 dev v0",
    "link scope": "address add 169.254.1.1/16 scope link dev v0",
    "no prefix route": "address add 10.0.0.1/24 dev v0 noprefixroute",
    "metric of an address": "address add 10.0.0.1/24 dev v0 metric 77",
    "IPv6 address": "address add fd00::1/64 dev v0 nodad",
    "IPv6 addresses": (
        "address add fd00::1/64 dev v0 nodad; address add fd00::2/64 dev v0 nodad; address add fd01::1/64 dev v0 nodad"
    ),
    "IPv6 address with detection": "address add fd00::1/64 dev v0",
    "own link-local address": "address add fe80::1/64 dev v0 nodad",
    "deprecated IPv6 address": "address add fd00::1/64 dev v0 nodad preferred_lft 0",
    "home address": "address add fd00::1/64 dev v0 home nodad",
    "IPv6 without prefix route": "address add fd00::1/64 dev v0 nodad noprefixroute",
    "routes": (
        "address add 10.0.0.1/24 dev v0; route add default via 10.0.0.9; route add 10.9.0.0/16 via 10.0.0.9 metric 5"
    ),
    "link route": "route add 10.9.0.0/16 dev v0",
    "route by a host route": "route add 10.0.0.9/32 dev v0; route add 10.9.0.0/16 via 10.0.0.9",
    "route of another table": "route add 10.9.0.0/16 dev v0 table 100; route add fd09::/64 dev v0 table 100",
    "onlink route": "route add 10.9.0.0/16 via 10.8.0.1 dev v0 onlink",
    "route with source": "address add 10.0.0.1/24 dev v0; route add 10.9.0.0/16 dev v0 src 10.0.0.1",
    "route with protocol": "route add 10.9.0.0/16 dev v0 proto static",
    "route with MTU": "route add 10.9.0.0/16 dev v0 mtu 1300",
    "route with window": "route add 10.9.0.0/16 dev v0 window 5000 rtt 100ms initcwnd 20",
    "two equal routes but for the metric": (
        "route add 10.9.0.0/16 dev v0 metric 5; route add 10.9.0.0/16 dev v0 metric 6"
    ),
    "routes with TOS": "route add 10.9.0.0/16 dev v0 tos 0x10",
    "IPv6 routes": (
        "address add fd00::1/64 dev v0 nodad; route add default via fd00::9; route add fd09::/64 via fe80::9 dev v0"
    ),
    "broadcast route": "route add broadcast 10.9.255.255 dev v0",
    "multicast route": "route add multicast 224.1.0.0/16 dev v0",
    "neighbours": (
        "neighbor add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0; neighbor add fd00::9 lladdr 02:00:00:00:00:09 dev v0"
    ),
    "master": "link set v0 master br0",
    "port settings": (
        "link set v0 master br0; link set v0 type bridge_slave hairpin on guard on cost 42 priority 9 learning off"
    ),
}
SETTINGS = {
    "ipv4/conf/v0/arp_ignore": "2",
    "ipv4/conf/v0/forwarding": "1",
    "ipv4/conf/v0/rp_filter": "1",
    "ipv4/conf/v0/proxy_arp": "1",
    "ipv4/conf/v0/tag": "9",
    "ipv4/conf/v0/igmpv3_unsolicited_report_interval": "500",
    "ipv6/conf/v0/accept_ra": "0",
    "ipv6/conf/v0/accept_dad": "0",
    "ipv6/conf/v0/addr_gen_mode": "1",
    "ipv6/conf/v0/autoconf": "0",
    "ipv6/conf/v0/disable_ipv6": "1",
    "ipv6/conf/v0/forwarding": "1",
    "ipv6/conf/v0/hop_limit": "33",
    "ipv6/conf/v0/use_tempaddr": "1",
    "ipv6/conf/v0/router_solicitations": "0",
}


@pytest.fixture
def _links(host: None) -> None:  # noqa: ARG001
    """Create a link and a bridge, and set both up."""
    veth()
    ip("link add br0 type bridge")
    for name in ("br0", "p0", "v0"):
        ip(f"link set {name} up")


def plug_in_and_out(box: Sandbox) -> None:
    box.add_interface("v0", mac="02:00:00:00:00:11", mtu=1500, addresses=["10.1.0.2/24", "fd01::2/64"]).remove()


def fail_to_plug_in(box: Sandbox) -> None:
    with pytest.raises(KernelError, match="no_such_setting"):
        box.add_interface(
            "v0", mtu=1500, addresses=["10.1.0.2/24"], sysctls={"net.ipv4.conf.IFNAME.no_such_setting": "1"}
        )


def plug_in_and_destroy(box: Sandbox) -> None:
    with Sandbox.create("other") as other:
        other.add_interface("v0", addresses=["10.1.0.2/24"])
        other.destroy()
    assert box.interfaces == ()


@pytest.mark.usefixtures("_links")
@pytest.mark.parametrize("state", STATES)
def test_the_original_state_of_a_link_is_restored(box: Sandbox, state: str) -> None:
    """Attach and detach restore each kind of state that the link had on the host."""
    for command in filter(None, STATES[state].split("; ")):
        ip(command)
    with comes_back():
        plug_in_and_out(box)


@pytest.mark.usefixtures("_links")
@pytest.mark.parametrize("way", [plug_in_and_out, fail_to_plug_in])
def test_sysctls_of_a_link_are_restored(box: Sandbox, way: Callable[[Sandbox], None]) -> None:
    """Per-interface sysctls, which the move resets, are restored after a detach and after a failed attach."""
    before = {setting: sysctl(setting) for setting in SETTINGS}
    for setting, value in SETTINGS.items():
        sysctl(setting, value)
    with comes_back():
        way(box)
    assert {setting: sysctl(setting) for setting in SETTINGS} == SETTINGS
    assert not SETTINGS.items() & before.items()


@pytest.mark.usefixtures("_links")
@pytest.mark.parametrize("way", [plug_in_and_out, fail_to_plug_in, plug_in_and_destroy])
def test_combined_state_of_a_link_is_restored(box: Sandbox, way: Callable[[Sandbox], None]) -> None:
    """Many kinds of state are restored together: after a detach, a failed attach, and destroy."""
    for state in ("MAC", "queue", "alias", "two altnames", "addresses out of order", "IPv6 addresses", "routes"):
        for command in STATES[state].split("; "):
            ip(command)
    for state in ("route of another table", "neighbours", "port settings"):
        for command in STATES[state].split("; "):
            ip(command)
    for setting in ("ipv4/conf/v0/arp_ignore", "ipv4/conf/v0/forwarding", "ipv6/conf/v0/accept_ra"):
        sysctl(setting, SETTINGS[setting])
    with comes_back(box.path):
        way(box)


@pytest.mark.usefixtures("_links")
def test_changed_defaults_of_the_host_do_not_apply(box: Sandbox) -> None:
    """A sysctl default of the host that changes after the attach does not apply to the link after the detach."""
    box.add_interface("v0")
    before = sysctl("ipv4/conf/v0/arp_ignore") if "v0" in links() else "0"
    sysctl("ipv4/conf/default/arp_ignore", "8")
    box.remove_interface("eth0")
    assert sysctl("ipv4/conf/v0/arp_ignore") == before


@pytest.mark.usefixtures("_links")
def test_fdb_entries_of_a_bridge_port_are_restored(box: Sandbox) -> None:
    ip("link set v0 master br0")
    bridge("fdb add 02:00:00:00:00:55 dev v0 master static")
    with comes_back(box.path):
        plug_in_and_out(box)
    assert "02:00:00:00:00:55 dev v0 master br0 static" in bridge("fdb show")


@pytest.mark.usefixtures("_links")
def test_a_link_with_a_stable_secret_can_be_detached(box: Sandbox) -> None:
    sysctl("ipv6/conf/v0/stable_secret", "fd00::1234")
    ip("address add 10.0.0.1/24 dev v0")
    plug_in_and_out(box)
    assert addresses("v0") == {"10.0.0.1/24"}


@pytest.mark.usefixtures("_links")
def test_a_link_whose_master_is_gone_can_be_detached(box: Sandbox) -> None:
    ip("link set v0 master br0")
    ip("address add 10.0.0.1/24 dev v0")
    box.add_interface("v0")
    ip("link delete br0")
    box.remove_interface("eth0")
    assert "master" not in links()["v0"]
    assert addresses("v0") == {"10.0.0.1/24"}


@pytest.mark.usefixtures("_links")
def test_a_recreated_master_gets_its_port_back(box: Sandbox) -> None:
    ip("link set v0 master br0")
    box.add_interface("v0")
    ip("link delete br0")
    ip("link add br0 type bridge")
    box.destroy()
    assert links()["v0"]["master"] == "br0"


def test_a_negative_sysctl_value_is_restored(box: Sandbox) -> None:
    veth()
    sysctl("ipv4/conf/v0/medium_id", "-1")
    with comes_back(box.path):
        box.add_interface("v0").remove()
