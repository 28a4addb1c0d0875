"""Gateways and routes (faults C7 to C11)."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from netsandbox import Bridge, Gateway, InterfaceSpec, KernelError, NetSandboxError, Route, Sandbox, SpecError
from tests.kernel.lab import comes_back, fails, ip, routes, veth


@pytest.fixture
def lan(box: Sandbox) -> Sandbox:
    """Attach two links, each with IPv4 and IPv6."""
    veth(up=True)
    veth("v1", "p1", up=True)
    box.add_interfaces(
        [
            InterfaceSpec("v0", addresses=["10.0.0.2/24", "fd00::2/64"]),
            InterfaceSpec("v1", addresses=["10.1.0.2/24", "fd01::2/64"]),
        ]
    )
    return box


def defaults(box: Sandbox) -> set[str]:
    return routes(box.path, "default")


def test_a_gateway_is_set_and_unset_per_family(lan: Sandbox) -> None:
    assert (lan.gateway4, lan.gateway6) == (None, None)
    with comes_back(lan.path):
        lan.set_gateway("10.0.0.1")
        lan.set_gateway("fd00::1")
        assert (lan.gateway4, lan.gateway6) == (ip_address("10.0.0.1"), ip_address("fd00::1"))
        assert defaults(lan) == {"default via 10.0.0.1 dev eth0", "default via fd00::1 dev eth0 metric 1024"}
        lan.unset_gateway(4)
        assert (lan.gateway4, lan.gateway6) == (None, ip_address("fd00::1"))
        lan.unset_gateway(6)
    lan.unset_gateway()
    lan.unset_gateway(6)


@pytest.mark.parametrize(("first", "second"), [("10.0.0.1", "10.1.0.1"), ("fd00::1", "fd01::1")])
def test_c8_a_gateway_replaces_the_previous_one(lan: Sandbox, first: str, second: str) -> None:
    lan.set_gateway(first)
    lan.set_gateway(second)
    assert len(defaults(lan)) == 1
    assert defaults(lan).pop().startswith(f"default via {second} dev eth1")
    lan.set_gateway(second)
    assert len(defaults(lan)) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_c8_a_foreign_default_route_is_replaced(lan: Sandbox, family: int) -> None:
    theirs, ours = ("10.0.0.9", "10.1.0.1") if family == 4 else ("fd00::9", "fd01::1")
    ip(f"-{family} route add default via {theirs}", netns=lan.path)
    lan.set_gateway(ours)
    assert len(defaults(lan)) == 1
    assert f"default via {ours} dev eth1" in defaults(lan).pop()


def test_c8_a_link_local_gateway_needs_an_interface(lan: Sandbox) -> None:
    with fails(lan, SpecError, match="interface"):
        lan.set_gateway("fe80::1")
    lan.set_gateway("fe80::1", interface="eth1")
    assert defaults(lan) == {"default via fe80::1 dev eth1 metric 1024"}


@pytest.mark.parametrize("gateway", ["192.168.7.1", "2001:db8::1"])
def test_c8_a_gateway_outside_the_subnet_needs_onlink(lan: Sandbox, gateway: str) -> None:
    with fails(lan, KernelError) as info:
        lan.set_gateway(gateway)
    assert info.value.errno == errno.ENETUNREACH
    lan.set_gateway(gateway, interface="eth1", onlink=True)
    assert f"default via {gateway} dev eth1" in defaults(lan).pop()


@pytest.mark.parametrize("family", [4, 6])
def test_a_default_route_may_have_no_gateway(lan: Sandbox, family: int) -> None:
    lan.set_gateway("10.0.0.1" if family == 4 else "fd00::1")
    lan.set_gateway(None, interface="eth1", family=family)
    assert defaults(lan) == {"default dev eth1 scope link" if family == 4 else "default dev eth1 metric 1024"}
    assert (lan.gateway4 if family == 4 else lan.gateway6) is None
    lan.unset_gateway(family)
    assert defaults(lan) == set()


def test_c8_default_routes_with_metrics_can_coexist(lan: Sandbox) -> None:
    lan.add_route(Route("0.0.0.0/0", "10.0.0.1", metric=100))
    lan.add_route(Route("0.0.0.0/0", "10.1.0.1", metric=50))
    assert defaults(lan) == {"default via 10.0.0.1 dev eth0 metric 100", "default via 10.1.0.1 dev eth1 metric 50"}


def test_the_gateway_has_the_lowest_metric(lan: Sandbox) -> None:
    lan.add_route(Route("0.0.0.0/0", "10.0.0.1", metric=100))
    assert lan.gateway4 == ip_address("10.0.0.1")
    lan.add_route(Route("0.0.0.0/0", "10.1.0.1", metric=50))
    assert lan.gateway4 == ip_address("10.1.0.1")


@pytest.mark.parametrize("names", [("eth0", "eth1"), ("eth1", "eth0")])
def test_choose_gateways_compares_priority_then_name(lan: Sandbox, names: tuple[str, str]) -> None:
    """choose_gateways selects one gateway for each family: by the highest priority, then by the name."""
    four = {"eth0": "10.0.0.1", "eth1": "10.1.0.1"}
    six = {"eth0": "fd00::1", "eth1": "fd01::1"}
    equal = [Gateway(name, via) for name in names for via in (four[name], six[name])]
    assert lan.choose_gateways(equal) == (Gateway("eth0", "10.0.0.1"), Gateway("eth0", "fd00::1"))
    assert defaults(lan) == {"default via 10.0.0.1 dev eth0", "default via fd00::1 dev eth0 metric 1024"}
    others = [Gateway("eth1", "fd01::9", priority=5), Gateway("eth1", "10.1.0.9", priority=-1)]
    assert lan.choose_gateways([*equal, *others]) == (Gateway("eth0", "10.0.0.1"), others[0])
    assert defaults(lan) == {"default via 10.0.0.1 dev eth0", "default via fd01::9 dev eth1 metric 1024"}
    assert lan.choose_gateways([Gateway("eth1", family=6)]) == (Gateway("eth1", family=6),)
    assert defaults(lan) == {"default dev eth1 metric 1024"}
    assert lan.choose_gateways([]) == ()
    assert defaults(lan) == set()


def test_choose_gateways_without_a_candidate_removes_routes(lan: Sandbox) -> None:
    """If a family has no candidate, choose_gateways removes all its default routes."""
    lan.choose_gateways([Gateway("eth0", "10.0.0.1"), Gateway("eth0", "fd00::1")])
    lan.add_route(Route("0.0.0.0/0", via="10.1.0.1", metric=100))
    lan.add_route(Route("::/0", via="fd01::1", metric=9))
    lan.choose_gateways([Gateway("eth0", "10.0.0.9")])
    assert defaults(lan) == {"default via 10.0.0.9 dev eth0", "default via 10.1.0.1 dev eth1 metric 100"}
    lan.choose_gateways([])
    assert defaults(lan) == set()


def test_choose_gateways_is_atomic(lan: Sandbox) -> None:
    """If the gateway of one family is refused, choose_gateways changes neither family."""
    lan.set_gateway("10.0.0.1")
    with fails(lan, KernelError):
        lan.choose_gateways([Gateway("eth1", "10.1.0.1"), Gateway("eth1", "2001:db8::1")])
    with fails(lan, KernelError):
        lan.choose_gateways([Gateway("eth1", "10.1.0.1"), Gateway("eth7", "fd00::1")])
    with fails(lan, SpecError, match="is not of the class Gateway"):
        lan.choose_gateways(["10.1.0.1"])  # type: ignore[list-item]
    with fails(lan, SpecError, match="gateway 5: is not of the class Gateway"):
        lan.choose_gateways(5)  # type: ignore[arg-type]
    [command] = lan.plan(lan.choose_gateways, [Gateway("eth1")]).commands
    assert command.endswith("route replace 0.0.0.0/0 dev eth1 scope 253")
    assert defaults(lan) == {"default via 10.0.0.1 dev eth0"}


@pytest.mark.parametrize("gateway", ["10.0.0.2", "fd00::2", "10.0.0.0/24", "224.0.0.1", "::", "nonsense", "10.0.0.255"])
def test_an_invalid_gateway_is_refused(lan: Sandbox, gateway: str) -> None:
    with fails(lan, NetSandboxError):
        lan.set_gateway(gateway)


def test_a_gateway_of_a_missing_interface_is_refused(lan: Sandbox) -> None:
    with fails(lan, KernelError, match="eth7"):
        lan.set_gateway("10.0.0.1", interface="eth7")


@pytest.mark.parametrize("gateway", ["10.0.0.1", "fd00::1"])
def test_c9_detaching_a_link_removes_its_gateway(lan: Sandbox, gateway: str) -> None:
    lan.set_gateway(gateway)
    lan.remove_interface("eth0")
    assert (lan.gateway4, lan.gateway6) == (None, None)
    lan.unset_gateway(4)
    lan.unset_gateway(6)


def test_c10_detaching_a_link_removes_its_routes(lan: Sandbox) -> None:
    """Detaching a link removes its routes; remove_route finds a route by value."""
    lan.add_route(Route("10.7.0.0/16", "10.0.0.1"))
    lan.add_route(Route("10.8.0.0/16", "10.1.0.1"))
    lan.remove_interface("eth0")
    assert lan.routes == (Route("10.8.0.0/16", "10.1.0.1"),)
    with fails(lan, KernelError) as info:
        lan.remove_route(Route("10.7.0.0/16", "10.0.0.1"))
    assert info.value.errno == errno.ESRCH
    lan.remove_route(Route("10.8.0.0/16", via="10.1.0.1"))
    assert routes(lan.path) == set()


@pytest.mark.parametrize(("gateway", "far"), [("10.0.0.1", "10.9.0.1"), ("fd00::1", "fd09::1")])
def test_c11_a_next_hop_behind_another_gateway_is_refused(lan: Sandbox, gateway: str, far: str) -> None:
    lan.set_gateway(gateway)
    with fails(lan, KernelError) as info:
        lan.set_gateway(far)
    assert info.value.errno == errno.ENETUNREACH
    with fails(lan, KernelError) as info:
        lan.add_route(Route("10.8.0.0/16" if "." in far else "fd08::/64", far))
    assert info.value.errno == errno.ENETUNREACH


def test_c7_half_default_routes_are_installed(box: Sandbox) -> None:
    veth()
    box.add_interface(
        "v0", addresses=["10.0.0.2/24", "fd00::2/64"], routes=["0.0.0.0/1", "128.0.0.0/1", "::/3", "0.0.0.0/0"]
    )
    assert routes(box.path) == {
        "0.0.0.0/1 dev eth0 scope link",
        "128.0.0.0/1 dev eth0 scope link",
        "default dev eth0 scope link",
        "::/3 dev eth0 metric 1024",
    }


@pytest.mark.parametrize(
    ("everything", "addresses", "gateway", "default"),
    [
        ("0.0.0.0/0", ("10.0.0.2/24", "10.1.0.2/24"), "10.0.0.1", "default dev eth0 scope link"),
        ("::/0", ("fd00::2/64", "fd01::2/64"), "fd00::1", "default dev eth0 metric 1024"),
    ],
)
def test_a_gateway_replaces_an_on_link_default_route(
    box: Sandbox, everything: str, addresses: tuple[str, str], gateway: str, default: str
) -> None:
    """An interface route to 0.0.0.0/0 or ::/0 is the default route until set_gateway replaces it."""
    veth(up=True)
    veth("v1", "p1", up=True)
    box.add_interface("v0", addresses=[addresses[0]], routes=[everything])
    assert defaults(box) == {default}
    with fails(box, KernelError) as info:
        box.add_interface("v1", addresses=[addresses[1]], routes=[everything])
    assert info.value.errno == errno.EEXIST
    box.add_interface("v1", addresses=[addresses[1]])
    box.set_gateway(gateway)
    assert len(defaults(box)) == 1
    assert f"default via {gateway} dev eth0" in defaults(box).pop()


def test_static_routes_are_added_listed_and_removed(lan: Sandbox) -> None:
    wishes = [
        Route("10.7.0.0/16", "10.0.0.1"),
        Route("10.7.0.0/16", "10.1.0.1", metric=20),
        Route("10.8.0.0/16", interface="eth1"),
        Route("10.9.0.0/16", "192.168.0.1", interface="eth0", onlink=True),
        Route("10.10.0.0/16", "10.0.0.1", source="10.0.0.2"),
        Route("fd07::/64", "fd01::1"),
        Route("fd08::/64", "fe80::1", interface="eth0", metric=7),
    ]
    with comes_back(lan.path):
        for wish in wishes:
            lan.add_route(wish)
        assert routes(lan.path) == {
            "10.7.0.0/16 via 10.0.0.1 dev eth0",
            "10.7.0.0/16 via 10.1.0.1 dev eth1 metric 20",
            "10.8.0.0/16 dev eth1 scope link",
            "10.9.0.0/16 via 192.168.0.1 dev eth0 onlink",
            "10.10.0.0/16 via 10.0.0.1 dev eth0 src 10.0.0.2",
            "fd07::/64 via fd01::1 dev eth1 metric 1024",
            "fd08::/64 via fe80::1 dev eth0 metric 7",
        }
        assert set(lan.routes) == set(wishes)
        for wish in wishes:
            lan.remove_route(wish)


def test_an_existing_route_is_refused(lan: Sandbox) -> None:
    lan.add_route(Route("10.7.0.0/16", "10.0.0.1"))
    with fails(lan, KernelError) as info:
        lan.add_route(Route("10.7.0.0/16", "10.0.0.1"))
    assert info.value.errno == errno.EEXIST


def test_a_route_without_gateway_and_interface_is_refused(lan: Sandbox) -> None:
    with fails(lan, SpecError, match="interface"):
        lan.add_route(Route("10.7.0.0/16"))


@pytest.mark.parametrize("how", [Route("10.7.0.0/16", "10.0.0.1"), Route("10.7.0.0/16", interface="eth0")])
def test_a_next_hop_on_a_link_that_is_down_is_refused(lan: Sandbox, how: Route) -> None:
    """A route or gateway over a link that is down is refused, and the link can be detached."""
    ip("link set eth0 down", netns=lan.path)
    with fails(lan, KernelError):
        lan.add_route(how)
    with fails(lan, KernelError):
        lan.set_gateway("10.0.0.1", interface="eth0")
    lan.remove_interface("eth0")
    assert [item.name for item in lan.interfaces] == ["eth1"]


def test_the_routes_follow_attach_and_detach(box: Sandbox) -> None:
    """After each attach and detach, the kernel has exactly the routes of the attached interfaces."""
    veth(up=True)
    veth("v1", "p1", up=True)
    expected = {
        0: {"10.7.0.0/24 dev eth0 scope link", "default via 10.0.0.1 dev eth0"},
        1: {"fd07::/64 dev eth1 metric 1024"},
    }
    for _ in range(2):
        first = box.add_interface("v0", addresses=["10.0.0.2/24"], routes=["10.7.0.0/24"])
        box.set_gateway("10.0.0.1")
        assert routes(box.path) == expected[0]
        second = box.add_interface("v1", addresses=["fd01::2/64"], routes=["fd07::/64"])
        assert routes(box.path) == expected[0] | expected[1]
        first.remove()
        assert routes(box.path) == expected[1]
        second.remove()
        assert routes(box.path) == set()


@pytest.mark.parametrize(
    ("one", "other"), [("10.0.0.0/31", "10.0.0.1/31"), ("fd00::2/127", "fd00::3/127"), ("10.0.0.1/24", "10.0.0.2/24")]
)
def test_two_sandboxes_without_a_gateway_can_ping(box: Sandbox, one: str, other: str) -> None:
    veth()
    with Sandbox.temporary() as second:
        box.add_interface("v0", addresses=[one])
        second.add_interface("p0", addresses=[other])
        done = box.exec(["ping", "-c1", "-W5", other.partition("/")[0]], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_without_a_gateway_only_neighbors_are_reachable(box: Sandbox) -> None:
    veth()
    ip("address add 10.0.0.1/24 dev p0")
    ip("link set p0 up")
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    near = box.exec(["ping", "-c1", "-W5", "10.0.0.1"], capture_output=True, text=True)
    far = box.exec(["ping", "-c1", "-W5", "10.9.0.1"], capture_output=True, text=True)
    assert near.returncode == 0
    assert far.returncode != 0
    assert "Network is unreachable" in far.stderr


def test_sandboxes_reach_each_other_over_a_third_one(box: Sandbox) -> None:
    """Two sandboxes whose veths are ports of a bridge in a third sandbox reach each other."""
    veth("a0", "a1")
    veth("b0", "b1")
    with Sandbox.temporary() as one, Sandbox.temporary() as two:
        box.add_interfaces(
            [InterfaceSpec(Bridge("b")), InterfaceSpec("a1", master="b"), InterfaceSpec("b1", master="b")]
        )
        one.add_interface("a0", addresses=["10.0.0.1/24", "fd00::1/64"])
        two.add_interface("b0", addresses=["10.0.0.2/24", "fd00::2/64"])
        for address in ("10.0.0.2", "fd00::2"):
            assert one.exec(["ping", "-c1", "-W5", address], capture_output=True).returncode == 0
