"""The public API as a user's type checker sees it; checked by mypy, never run.

A line that a checker must reject has an ignore comment with the error's code. If the checker accepted the line, the
unused comment would be an error.
"""

from __future__ import annotations

import subprocess
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, Literal, assert_type

from netsandbox import (
    Advertise,
    Adverts,
    Bridge,
    Event,
    Events,
    Gateway,
    Interface,
    InterfaceNotFoundError,
    InterfaceSpec,
    KernelError,
    Kind,
    Neighbor,
    NetSandboxError,
    Plan,
    Problem,
    RollbackError,
    Route,
    RouteConflictError,
    Sandbox,
    SourceNotFoundError,
    SpecError,
    Statistics,
    Summary,
    aio,
)
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link


def sandboxes() -> None:
    assert_type(Sandbox.create("web"), Sandbox)
    assert_type(Sandbox.create("web", replace=True, host="/run/netns/host"), Sandbox)
    assert_type(Sandbox.open("/run/netns/web"), Sandbox)
    assert_type(Sandbox.adopt("/proc/4242/ns/net", "ctr"), Sandbox)
    assert_type(Sandbox.host(), Sandbox)
    assert_type(Sandbox.list(), list[str])
    with Sandbox.temporary() as box:
        assert_type(box, Sandbox)
        assert_type((box.name, box.path), tuple[str, str])
        assert_type(box.interfaces, tuple[Interface, ...])
        box.close()
        box.destroy()
    made = Sandbox.create_many({"web": [InterfaceSpec("veth1")]}, progress=print)
    assert_type(made, Summary[Sandbox])
    assert_type((made.done["web"], made.failed["web"], made.ok), tuple[Sandbox, NetSandboxError, bool])
    assert_type([box.name for box in Sandbox.create_many(["web"], replace=True)], list[str])
    assert_type(Sandbox.add_many({"web": [], made.done["web"]: []}), Summary[tuple[Interface, ...]])
    assert_type(Sandbox.destroy_many(["web", *made]), Summary[Sandbox])
    assert_type(Sandbox.create("web", interfaces=[InterfaceSpec("veth1")]), Sandbox)
    Sandbox.create()  # type: ignore[call-arg]
    Sandbox.create("web", True)  # type: ignore[call-arg]  # noqa: FBT003


class Special(Sandbox):
    """A subclass is created by the same methods."""


def subclasses() -> None:
    assert_type(Special.create("web"), Special)
    assert_type(Special.create_many(["web"]), Summary[Special])
    with Special.temporary() as box:
        assert_type(box, Special)


def interfaces(box: Sandbox) -> None:
    eth0 = box.add_interface(
        "veth1",
        prefix="eth",
        name=None,
        mac="02:42:ac:11:00:02",
        mtu=1450,
        addresses=["172.17.0.2/16", ip_interface("fd00::2/64")],
        master="br0",
        routes=["192.168.2.1/32", ip_network("fd08::/32"), Route("10.0.0.0/8", via="172.17.0.1")],
        sysctls={"net.ipv4.conf.IFNAME.rp_filter": 2, "net.ipv6.conf.IFNAME.accept_ra": "0"},
        on_conflict="ignore",
        advertise=(2, 0.5),
    )
    assert_type(eth0, Interface)
    assert_type(eth0.adverts, Adverts)
    assert_type((eth0.adverts.sent, eth0.adverts.due, eth0.adverts.error), tuple[int, int, str | None])
    assert_type(eth0.dropped, tuple[IPv4Interface | IPv6Interface, ...])
    box.add_interface("veth1", advertise={"count": 1, "interval": 0.5})
    box.add_interface("veth1", advertise=Advertise(1))
    box.add_interface("veth1", wait="up", wait_limit=2)
    box.add_interface("veth1", wait="down")  # type: ignore[arg-type]
    box.add_interface("veth1", advertise="3")  # type: ignore[arg-type]
    box.advertise()
    box.advertise(eth0, 1)
    assert_type(box.wait_for_adverts(1, limit=2), bool)
    assert_type(box.add_interface(Bridge("br0")), Interface)
    assert_type(box.add_interface(InterfaceSpec("veth1")), Interface)
    assert_type(box.add_interfaces([InterfaceSpec("veth1"), InterfaceSpec(Bridge("br0"))]), tuple[Interface, ...])
    assert_type((eth0.source, eth0.name, eth0.given_name, eth0.index), tuple[str, str, str, int])
    assert_type((box.interfaces, box.missing), tuple[tuple[Interface, ...], tuple[Interface, ...]])
    assert_type(box.foreign, tuple[Interface, ...])
    assert_type((eth0.mac, eth0.mtu, eth0.master), tuple[str | None, int, str | None])
    assert_type((eth0.is_bridge, eth0.is_up), tuple[bool, bool])
    assert_type(eth0.addresses, tuple[IPv4Interface | IPv6Interface, ...])
    assert_type(eth0.routes, tuple[Route, ...])
    assert_type(eth0.statistics(), Statistics)
    assert_type(eth0.statistics().rx_bytes, int)
    assert_type(eth0.statistics() - Statistics(), Statistics)
    eth0.remove()
    box.remove_interface(eth0)
    box.remove_interface("eth0")
    box.remove_interfaces([eth0, "eth1"])
    box.add_interface("veth1", mtuu=1450)  # type: ignore[call-arg]
    box.add_interface("veth1", mtu="1450")  # type: ignore[arg-type]
    box.add_interface("veth1", on_conflict="maybe")  # type: ignore[arg-type]
    eth0.mtu = 1450  # type: ignore[misc]


def plans(box: Sandbox) -> None:
    plan = box.plan_interface("veth1", addresses="10.0.0.2/24")
    assert_type(plan, Plan)
    assert_type(plan.commands, tuple[str, ...])
    assert_type(str(plan), str)
    box.plan_interface("veth1", adresses="10.0.0.2/24")  # type: ignore[call-arg]


def network(box: Sandbox) -> None:
    box.set_gateway("172.17.0.1", interface="eth0", onlink=True)
    box.set_gateway(ip_address("fe80::1"), interface=box.interfaces[0])
    box.unset_gateway(6)
    assert_type(box.choose_gateways([Gateway("eth0", "10.0.0.1", priority=1)]), tuple[Gateway, ...])
    assert_type(box.gateway4, IPv4Address | None)
    assert_type(box.gateway6, IPv6Address | None)
    box.add_route(Route("10.0.0.0/8", "172.17.0.1", metric=7))
    box.remove_route(Route(ip_network("10.0.0.0/8"), interface="eth0"))
    assert_type(box.routes, tuple[Route, ...])
    box.add_address("eth0", "10.9.9.9/32")
    box.remove_address(box.interfaces[0], ip_interface("10.9.9.9/32"))
    box.add_neighbor(Neighbor(ip="10.0.0.5", mac="02:00:00:00:00:05", interface="eth0"))
    box.remove_neighbor(Neighbor(mac="02:00:00:00:00:05", interface="vx0", bridge=True))
    assert_type(box.neighbors, tuple[Neighbor, ...])
    box.disable_arp_for_vip("eth0")
    box.apply_os_tweaks("ingress")
    box.apply_os_tweaks({"net.ipv4.vs.conntrack": "1"})
    box.add_route("10.0.0.0/8")  # type: ignore[arg-type]


async def awaited() -> None:
    box = await aio.Sandbox.create("web", interfaces=[InterfaceSpec("veth1")])
    assert_type(box, aio.Sandbox)
    eth0 = await box.add_interface("veth1", mtu=1450, addresses=["10.0.0.2/24"])
    assert_type(eth0, aio.Interface)
    assert_type(eth0.name, str)
    assert_type(await eth0.statistics(), Statistics)
    assert_type(await box.interfaces(), tuple[aio.Interface, ...])
    assert_type(await box.gateway4(), IPv4Address | None)
    assert_type(await box.plan_interface("veth1", mtu=1450), Plan)
    assert_type(await box.plan(box.remove_interface, "eth0"), Plan)
    assert_type(await box.run(len, "x"), int)
    assert_type(await aio.Sandbox.list(all=True), list[str])
    assert_type(await aio.Sandbox.create_many(["web"]), Summary[aio.Sandbox])
    await box.set_gateway("172.17.0.1", interface=eth0, onlink=True)
    await box.remove_interfaces([eth0, "eth1"])
    await box.set_gateway("172.17.0.1", onlnk=True)  # type: ignore[call-arg]
    await box.add_interface("veth1", mtuu=1450)  # type: ignore[call-arg]
    await box.add_route("10.0.0.0/8")  # type: ignore[arg-type]
    async with aio.Sandbox.temporary() as other:
        assert_type(other, aio.Sandbox)


def programs(box: Sandbox) -> None:
    def square(number: int, *, of: str) -> float:
        return number * len(of)

    assert_type(box.run(square, 3, of="x"), float)
    box.run(square, "3", of="x")  # type: ignore[arg-type]
    assert_type(box.popen(["ip", "link"], text=True), subprocess.Popen[Any])
    assert_type(box.exec(["ip", "link"]), subprocess.CompletedProcess[Any])


def events(box: Sandbox) -> None:
    with box.events(timeout=1.5) as found, Events([box]), Events():
        assert_type(found, Events)
        assert_type(found.wait(0), Event | None)
        for event in found:
            assert_type(event, Event)
            assert_type(event.what, Literal["link", "address", "route", "neighbor", "sandbox"])
            assert_type((event.sandbox, event.interface, event.master), tuple[str, str | None, str | None])
            assert_type(event.value, Link | Address | Route | Neighbor | None)
    Events(["box"])  # type: ignore[list-item]


def values() -> None:
    route = Route("10.0.0.0/8")
    assert_type(route.to, IPv4Network | IPv6Network)
    assert_type((route.via, route.source), tuple[IPv4Address | IPv6Address | None, IPv4Address | IPv6Address | None])
    assert_type((route.metric, route.onlink, route.interface), tuple[int | None, bool, str | None])
    assert_type((route.table, route.protocol, route.scope, route.type), tuple[int, str, str, str])
    neighbor = Neighbor("10.0.0.5", "02:00:00:00:00:05", "eth0")
    assert_type(neighbor.ip, IPv4Address | IPv6Address | None)
    assert_type((neighbor.mac, neighbor.interface, neighbor.bridge), tuple[str, str, bool])
    assert_type(neighbor.state, str)
    spec = InterfaceSpec("veth1")
    assert_type(spec.source, str | Kind)
    assert_type(spec.addresses, tuple[IPv4Interface | IPv6Interface, ...])
    assert_type(spec.routes, tuple[Route, ...])
    assert_type(spec.sysctls, tuple[tuple[str, str], ...])
    assert_type(spec.on_conflict, Literal["error", "ignore"])
    assert_type(spec.advertise, Advertise)
    assert_type((spec.wait, spec.wait_limit), tuple[Literal["up"] | None, float])
    spec.mtu = 1450  # type: ignore[misc]
    route.metric = 1  # type: ignore[misc]
    Bridge("br0").name = "br1"  # type: ignore[misc]


def failures(box: Sandbox) -> None:
    try:
        box.add_interface("veth1")
    except SourceNotFoundError as error:
        assert_type(error.problems, tuple[Problem, ...])
        assert_type((error.errno, error.request), tuple[int | None, str])
        missing: InterfaceNotFoundError = error
        wrong: ValueError = error
        raise missing from wrong
    except SpecError as error:
        assert_type([(item.field, item.value, item.reason) for item in error.problems], list[tuple[str, object, str]])
    except RouteConflictError as error:
        assert_type((error.address, error.route, error.owner), tuple[str, str, str])
    except KernelError as error:
        refused: OSError = error
        assert_type((error.errno_name, error.extack, error.answered), tuple[str, str | None, bool])
        raise refused from None
    except RollbackError as error:
        assert_type(error.failures, tuple[BaseException, ...])
    except NetSandboxError as error:
        assert_type((error.code, error.message), tuple[str, str])
        assert_type((error.sandbox, error.link, error.step), tuple[str | None, str | None, str | None])
        assert_type((error.undone, error.left), tuple[tuple[str, ...], tuple[str, ...]])
