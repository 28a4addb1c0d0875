"""Addresses that overlap the networks of another link (faults C1 to C3)."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, RouteConflictError, Sandbox
from tests.kernel.lab import addresses, comes_back, fails, ip, routes, veth


@pytest.fixture
def lan(box: Sandbox) -> Sandbox:
    """Attach a link with 10.0.0.0/16 and fd00::/48, and create another link on the host."""
    veth(up=True)
    veth("v1", "p1", up=True)
    box.add_interface("v0", addresses=["10.0.0.2/16", "fd00::2/48"])
    return box


def test_an_overlapping_address_is_refused(lan: Sandbox) -> None:
    """An address that overlaps the network of another link is refused, and the error names that link."""
    ipv4 = ["10.0.0.2/16", "10.0.5.5/24", "10.1.0.1/8", "10.0.0.2/32"]
    ipv6 = ["fd00::2/48", "fd00::5:1/64", "fd00:0:9::1/32", "fd00::2/128"]
    with comes_back(lan.path):
        for address in (*ipv4, *ipv6):
            with pytest.raises(RouteConflictError) as info:
                lan.add_interface("v1", addresses=["192.168.0.1/24", address])
            assert (info.value.owner, info.value.address) == ("eth0", address)
            assert "conflicts with existing route" in str(info.value)
            assert "of link eth0" in str(info.value)


def test_an_adjacent_network_is_accepted(lan: Sandbox) -> None:
    near = {"10.1.0.1/16", "11.0.0.1/24", "fd00:1::1/48"}
    lan.add_interface("v1", addresses=near)
    assert addresses("eth1", lan.path) == near


def test_an_overlap_can_be_allowed_per_interface(lan: Sandbox) -> None:
    lan.add_interface("v1", addresses=["10.0.0.3/16", "fd00::3/48"], on_conflict="ignore")
    assert addresses("eth1", lan.path) == {"10.0.0.3/16", "fd00::3/48"}


def test_one_link_may_have_several_addresses_of_a_network(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "10.0.0.3/24", "fd00::2/64", "fd00::3/64"])
    assert len(addresses("eth0", box.path)) == 4


def test_addresses_of_one_call_are_checked_too(box: Sandbox) -> None:
    """Interfaces of one add_interfaces call are checked against each other."""
    veth()
    with fails(box, RouteConflictError) as info:
        box.add_interfaces(
            [InterfaceSpec(Bridge("b"), addresses=["10.0.0.1/24"]), InterfaceSpec("v0", addresses=["10.0.0.2/24"])]
        )
    assert info.value.owner == "eth0"


@pytest.mark.parametrize("how", ["via {}", "dev eth0"])
def test_c1_default_and_half_default_routes_claim_no_network(lan: Sandbox, how: str) -> None:
    for route in ("default", "0.0.0.0/1", "128.0.0.0/1"):
        ip(f"-4 route add {route}", how.format("10.0.0.1"), netns=lan.path)
    for route in ("default", "::/1", "8000::/1"):
        ip(f"-6 route add {route}", how.format("fd00::1"), netns=lan.path)
    wish = {"192.168.1.2/24", "172.17.0.2/16", "fd05::2/64", "2001:db8::2/64"}
    lan.add_interface("v1", addresses=wish)
    assert addresses("eth1", lan.path) == wish


def test_c2_unreachable_and_gateway_routes_claim_no_network(lan: Sandbox) -> None:
    """Routes of type unreachable, blackhole or prohibit, and routes through a gateway, claim no network."""
    kinds = ["unreachable 192.168.0.0/16", "blackhole 172.16.0.0/12", "prohibit 11.0.0.0/8", "12.0.0.0/8 via 10.0.0.1"]
    for route in kinds:
        ip(f"route add {route}", netns=lan.path)
    wish = {"192.168.1.2/24", "172.17.0.2/16", "11.1.0.1/16", "12.1.0.1/16"}
    lan.add_interface("v1", addresses=wish)
    assert addresses("eth1", lan.path) == wish


def test_c2_a_direct_route_of_another_link_claims_its_network(lan: Sandbox) -> None:
    ip("route add 192.168.0.0/16 dev eth0", netns=lan.path)
    with fails(lan, RouteConflictError, match=r"192\.168\.0\.0/16 of link eth0"):
        lan.add_interface("v1", addresses=["192.168.1.2/24"])


def test_c2_a_host_address_claims_its_address(lan: Sandbox) -> None:
    """An address with prefix /32, which has no connected route, still conflicts with a network around it."""
    ip("address add 192.168.1.2/32 dev eth0", netns=lan.path)  # the kernel adds no route to the main table
    with fails(lan, RouteConflictError, match="eth0"):
        lan.add_interface("v1", addresses=["192.168.1.3/16"])


def test_c2_concurrent_adds_of_one_address_conflict(box: Sandbox) -> None:
    """Of four concurrent adds with one address, one succeeds and the others are refused."""

    def add(number: int) -> bool:
        try:
            box.add_interface(Bridge(f"b{number}"), addresses=["10.0.0.1/24"])
        except RouteConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(4))) == [False, False, False, True]


def test_c3_link_local_networks_do_not_conflict(lan: Sandbox) -> None:
    lan.add_interface("v1", addresses=["fe80::5/64", "169.254.1.1/16"])
    added = lan.add_interface(Bridge("b"), addresses=["fe80::5/64", "169.254.1.2/16"])
    assert addresses(added.name, lan.path) == {"fe80::5/64", "169.254.1.2/16"}


def test_conflicts_are_found_after_opening_again(lan: Sandbox) -> None:
    """In a sandbox that is opened again, equal and overlapping addresses are refused."""
    with comes_back(lan.path), Sandbox.open("box") as again:
        with pytest.raises(KernelError) as info:
            again.add_address("eth0", "10.0.0.2/16")
        assert info.value.errno == errno.EEXIST
        with pytest.raises(RouteConflictError):
            again.add_interface("v1", addresses=["10.0.0.3/16"])


def test_routes_are_not_checked_for_conflicts(lan: Sandbox) -> None:
    """The option routes may overlap the network of another link."""
    lan.add_interface("v1", addresses=["192.168.1.2/24"], routes=["10.0.5.0/24"])
    assert "10.0.5.0/24 dev eth1 scope link" in routes(lan.path)
