"""The verbs for gateways, routes, addresses, neighbors and settings: each makes an operation of a sandbox's record.

Each checks its request, and has it planned by `_plan/network.py`. None of them changes the record.
"""

from collections.abc import Callable, Iterable, Mapping

from netsandbox._checks import IPAddress, IPInterface
from netsandbox._plan import network as plans
from netsandbox._plan.model import InterfaceKey, Plan
from netsandbox._run.handle import Make, Opened
from netsandbox._run.interfaces import nothing
from netsandbox._run.transaction import Operation
from netsandbox.errors import Problem, SpecError
from netsandbox.interface import Interface, key_of
from netsandbox.routes import Gateway, Neighbor, Route, best_gateways, parse_host
from netsandbox.spec import expect_all, parse_address


def _plan(box: Opened, plan: Callable[..., Plan], *args: object, **options: object) -> Make[None]:
    """Return a verb that carries out a plan and leaves the record as it is."""
    handle = box._handle  # noqa: SLF001  a part of the library
    return lambda record: Operation(plan(handle.box, handle.target, *args, **options), record, nothing)


def _key(box: Opened, interface: Interface | str) -> InterfaceKey:
    return key_of(interface, box._handle.name)  # noqa: SLF001  as above


def add_address(box: Opened, interface: Interface | str, address: str | IPInterface) -> Make[None]:
    """Add an address; see `Sandbox.add_address`."""
    return _plan(box, plans.add_address, _key(box, interface), parse_address(address))


def remove_address(box: Opened, interface: Interface | str, address: str | IPInterface) -> Make[None]:
    """Delete an address; see `Sandbox.remove_address`."""
    return _plan(box, plans.remove_address, _key(box, interface), parse_address(address))


def set_gateway(
    box: Opened,
    gateway: str | IPAddress | None,
    interface: Interface | str | None = None,
    *,
    onlink: bool = False,
    family: int = 4,
) -> Make[None]:
    """Set the default route; see `Sandbox.set_gateway`."""
    via = None if gateway is None else parse_host("gateway", gateway)
    if interface is None and (via is None or onlink or via.is_link_local):
        with_what = f"gateway {via}" if via else "no gateway"
        raise SpecError([Problem("interface", interface, f"must be given with {with_what}")])
    version = via.version if via else _version(family)
    key = None if interface is None else _key(box, interface)
    return _plan(box, plans.set_gateway, via, key, onlink=onlink, version=version)


def choose_gateways(box: Opened, candidates: Iterable[Gateway]) -> Make[tuple[Gateway, ...]]:
    """Set the best default route of each family; see `Sandbox.choose_gateways`."""
    gateways = expect_all("gateway", candidates, Gateway)
    handle = box._handle  # noqa: SLF001  as above
    chosen = tuple(best_gateways(gateways).values())
    return lambda record: Operation(plans.choose_gateways(handle.box, handle.target, gateways), record, lambda: chosen)


def unset_gateway(box: Opened, family: int = 4) -> Make[None]:
    """Delete the default route; see `Sandbox.unset_gateway`."""
    return _plan(box, plans.unset_gateway, _version(family))


def add_route(box: Opened, route: Route) -> Make[None]:
    """Add a route; see `Sandbox.add_route`."""
    expect_all("route", (route,), Route)
    if not route.interface and (not route.via or route.onlink or route.via.is_link_local):
        raise SpecError([Problem("interface", route.interface, f"must be given with route {route}")])
    return _plan(box, plans.add_route, route)


def remove_route(box: Opened, route: Route) -> Make[None]:
    """Delete a route; see `Sandbox.remove_route`."""
    expect_all("route", (route,), Route)
    return _plan(box, plans.remove_route, route)


def add_neighbor(box: Opened, neighbor: Neighbor) -> Make[None]:
    """Set a neighbor; see `Sandbox.add_neighbor`."""
    expect_all("neighbor", (neighbor,), Neighbor)
    return _plan(box, plans.add_neighbor, neighbor)


def remove_neighbor(box: Opened, neighbor: Neighbor) -> Make[None]:
    """Delete a neighbor; see `Sandbox.remove_neighbor`."""
    expect_all("neighbor", (neighbor,), Neighbor)
    return _plan(box, plans.remove_neighbor, neighbor)


def disable_arp_for_vip(box: Opened, interface: Interface | str) -> Make[None]:
    """Keep an interface from answering ARP for virtual addresses; see `Sandbox.disable_arp_for_vip`."""
    return _plan(box, plans.disable_arp_for_vip, _key(box, interface))


def apply_os_tweaks(box: Opened, tweaks: str | Mapping[str, str]) -> Make[None]:
    """Set sysctls of the sandbox; see `Sandbox.apply_os_tweaks`."""
    return _plan(box, plans.os_tweaks, tweaks)


def _version(family: int) -> int:
    if family not in (4, 6):  # no set: it may be anything
        raise SpecError([Problem("family", family, "is neither 4 nor 6")])
    return family
