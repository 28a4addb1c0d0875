"""Plans for addresses, gateways, routes, neighbors and sysctls of an open sandbox, which each function reads itself.

Each of these has one step; what takes thought is how the existing one is found, to be replaced, deleted or restored.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import replace

from netsandbox._checks import IPAddress, IPInterface, is_setting
from netsandbox._kernel import Kernel
from netsandbox._plan.attach import add_step
from netsandbox._plan.convert import neighbor_entry, read_route, route_entry
from netsandbox._plan.model import InterfaceKey, Plan, Target, plan_of
from netsandbox._plan.state import read_sysctls
from netsandbox._steps import Dropped, SetAddress, SetNeighbor, SetRoute, SetSysctl, Step
from netsandbox.errors import InterfaceNotFoundError, KernelError, Problem, SpecError
from netsandbox.netlink import address as _address
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.address import Address
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry
from netsandbox.routes import Gateway, Neighbor, Route, best_gateways, unsupported

_TWEAKS = {
    "net.ipv4.vs.conn_reuse_mode": "0",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
}
OS_TWEAKS: Mapping[str, Mapping[str, str]] = {"ingress": _TWEAKS, "load-balancer": _TWEAKS}


def find_link(kernel: Kernel, target: Target, interface: InterfaceKey) -> Link:
    """Return the link with a key."""
    found = kernel.link(interface.key)
    if found is None:
        raise InterfaceNotFoundError(f"use {interface} of sandbox {target.name}", "there is no such interface")
    return found


def names(kernel: Kernel) -> dict[int, str]:
    """Return the names of all links by their index."""
    return {item.index: item.name for item in kernel.links()}


def main_routes(kernel: Kernel, family: int = 0) -> list[RouteEntry]:
    """Return the unicast routes of the main tables, in order of preference."""
    entries = kernel.routes(family=family, table=_route.TABLE_MAIN)
    return sorted((item for item in entries if item.type == _route.UNICAST), key=lambda item: item.metric)


def default_routes(kernel: Kernel, version: int) -> list[RouteEntry]:
    """Return the default routes of an IP version, in order of preference."""
    return [item for item in main_routes(kernel, AF_INET if version == 4 else AF_INET6) if item.is_default]


def default_route(kernel: Kernel, version: int) -> RouteEntry | None:
    """Return the preferred default route of an IP version."""
    return next(iter(default_routes(kernel, version)), None)


# --- gateways and routes ---


def set_gateway(
    kernel: Kernel, target: Target, via: IPAddress | None, interface: InterfaceKey | None, *, onlink: bool, version: int
) -> Plan:
    """Plan to set the default route; it keeps the metric of the one that it replaces."""
    words = f"set the gateway {via or interface}"
    default = Route("0.0.0.0/0" if version == 4 else "::/0", via, onlink=onlink)
    new = route_entry(default, _outgoing(kernel, target, interface, via, words))
    old = default_route(kernel, version)
    return _route_plan(kernel, target, replace(new, metric=old.metric) if old else new, old, words)


def choose_gateways(kernel: Kernel, target: Target, candidates: Sequence[Gateway]) -> Plan:
    """Plan to set the default route of each family to the best candidate, or to delete all if there is none."""
    chosen = best_gateways(candidates)
    plans: list[Plan] = []
    for version in (4, 6):
        best = chosen.get(version)
        if best:
            key = InterfaceKey(best.interface)
            plans.append(set_gateway(kernel, target, best.via, key, onlink=best.onlink, version=version))
        else:
            old = default_routes(kernel, version)
            plans += (_route_plan(kernel, target, None, item, "unset the gateway") for item in old)
    words = " and ".join(map(str, chosen.values())) or "none"
    steps = (step for plan in plans for step in plan.steps)
    return plan_of(target, f"choose the gateways {words} of sandbox {target.name}", None, *steps)


def unset_gateway(kernel: Kernel, target: Target, version: int) -> Plan:
    """Plan to delete the default route."""
    return _route_plan(kernel, target, None, default_route(kernel, version), "unset the gateway")


def add_route(kernel: Kernel, target: Target, route: Route) -> Plan:
    """Plan to add a route."""
    _refuse_unsupported(route)
    key = InterfaceKey(route.interface) if route.interface else None
    new = route_entry(route, _outgoing(kernel, target, key, route.via, f"add route {route}"))
    if any((item.to, read_route(item, {}).metric) == (route.to, route.metric or None) for item in main_routes(kernel)):
        raise KernelError(errno.EEXIST, f"add route {route} to sandbox {target.name}", "there is such a route already")
    return _route_plan(kernel, target, new, None, f"add route {route}")


def remove_route(kernel: Kernel, target: Target, route: Route) -> Plan:
    """Plan to delete the preferred one of the routes that match *route*; a field that is None matches anything."""
    _refuse_unsupported(route)
    known = names(kernel)
    wanted = (route.via, route.metric, route.interface, route.source)
    for item in main_routes(kernel):
        found = read_route(item, known)
        fields = (found.via, found.metric, found.interface, found.source)
        if found.to == route.to and all(want in {None, have} for want, have in zip(wanted, fields, strict=True)):
            return _route_plan(kernel, target, None, item, f"delete route {route}")
    raise KernelError(errno.ESRCH, f"delete route {route} from sandbox {target.name}", "there is no such route")


def _refuse_unsupported(route: Route) -> None:
    problems = unsupported(route)
    if problems:
        raise SpecError(problems)


def _outgoing(kernel: Kernel, target: Target, interface: InterfaceKey | None, via: IPAddress | None, words: str) -> int:
    """Return the index of *interface*, or else of the link on which *via* is reached directly."""
    if interface:
        return find_link(kernel, target, interface).index
    if via is None:
        raise SpecError([Problem("via", via, "must be given without an interface")])
    operation = f"{words} of sandbox {target.name}"
    try:
        found = kernel.route_to(via)
    except KernelError as error:
        error.operation = operation
        raise
    if found.via or found.index is None or found.type != _route.UNICAST:
        reason = f"{via} is reached through another gateway, or is an own address"
        raise KernelError(errno.ENETUNREACH, operation, reason)
    return found.index


def _route_plan(kernel: Kernel, target: Target, new: RouteEntry | None, old: RouteEntry | None, words: str) -> Plan:
    """Plan to add, replace or delete a route; without both, there is nothing to do."""
    entry = new or old
    found = kernel.link(entry.index) if entry and entry.index else None
    name = found.name if found else ""
    steps = (SetRoute(target.netns, entry.index or 0, name, old, new),) if entry else ()
    return plan_of(target, f"{words} of sandbox {target.name}", name or None, *steps)


# --- addresses ---


def add_address(kernel: Kernel, target: Target, interface: InterfaceKey, address: IPInterface) -> Plan:
    """Plan to add an address."""
    found = find_link(kernel, target, interface)
    operation = f"add address {address} to {found.name} of sandbox {target.name}"
    if any(item.interface == address for item in kernel.addresses(found.index)):
        raise KernelError(errno.EEXIST, operation, "the interface has it already")
    return plan_of(target, operation, found.name, add_step((target.netns, found.index, found.name), address))


def remove_address(kernel: Kernel, target: Target, interface: InterfaceKey, address: IPInterface) -> Plan:
    """Plan to delete an address, and to keep the others of its network with their routes.

    With the primary address of a network the kernel deletes the secondary ones, and with the last IPv4 address of a
    link its routes (fib_inetaddr_event() in net/ipv4/fib_frontend.c): the plan adds again those that are still valid.
    """
    found = find_link(kernel, target, interface)
    operation = f"delete address {address} from {found.name} of sandbox {target.name}"
    known = [item for item in kernel.addresses(found.index) if item.interface.version == address.version]
    gone = next((item for item in known if item.interface == address), None)
    if gone is None:
        raise KernelError(errno.EADDRNOTAVAIL, operation, "the interface does not have it")
    others, routes = _lost_with(kernel, gone, known)
    at = (target.netns, found.index, found.name)
    lost: list[Step] = [SetAddress(*at, None, item) for item in others]
    again = [*lost, *(SetRoute(*at, None, item) for item in routes if item.source != address.ip)] if others else []
    lost += (SetRoute(*at, None, item) for item in routes)
    steps: tuple[Step, ...] = (*map(Dropped, reversed(lost)), SetAddress(*at, gone, None), *again)
    return replace(plan_of(target, operation, found.name, *steps), idempotent=True)


def _lost_with(kernel: Kernel, gone: Address, known: list[Address]) -> tuple[list[Address], list[RouteEntry]]:
    """Return the addresses and routes that the kernel deletes with an address, of the *known* ones of its family."""
    if gone.family == AF_INET6 or gone.flags & _address.SECONDARY:
        return [], []
    same = [item for item in known if item.interface.network == gone.interface.network]
    sources = {item.interface.ip for item in same}
    entries = kernel.routes(family=AF_INET, index=gone.index)
    made = [item for item in entries if item.protocol != _route.KERNEL]
    routes = [item for item in made if same == known or item.source in sources]
    return [item for item in same if item != gone], sorted(routes, key=lambda item: item.via is not None)


# --- neighbors ---


def add_neighbor(kernel: Kernel, target: Target, neighbor: Neighbor) -> Plan:
    """Plan to set a neighbor."""
    if neighbor.state != "PERMANENT":
        raise SpecError([Problem("state", neighbor.state, "only permanent neighbors can be added")])
    found = find_link(kernel, target, InterfaceKey(neighbor.interface))
    new = neighbor_entry(neighbor, found)
    return _neighbor_plan(target, found, _existing(kernel, new), new)


def remove_neighbor(kernel: Kernel, target: Target, neighbor: Neighbor) -> Plan:
    """Plan to delete a neighbor."""
    found = find_link(kernel, target, InterfaceKey(neighbor.interface))
    old = _existing(kernel, neighbor_entry(neighbor, found))
    if old is None:
        raise KernelError(errno.ENOENT, f"delete neighbor {neighbor} from sandbox {target.name}", "it is not known")
    return _neighbor_plan(target, found, old, None)


def _existing(kernel: Kernel, like: NeighborEntry) -> NeighborEntry | None:
    """Return the neighbor with the link, family and address of *like*."""
    key = "mac" if like.family == AF_BRIDGE else "ip"
    table = _neighbor.SELF  # the kernel does not report NTF_MASTER of a bridge's own table (br_fdb_fill in br_fdb.c)
    for item in kernel.neighbors(like.family, like.index):
        if getattr(item, key) == getattr(like, key) and item.flags & table == like.flags & table:
            return item
    return None


def _neighbor_plan(target: Target, found: Link, old: NeighborEntry | None, new: NeighborEntry | None) -> Plan:
    """Plan to add, replace or delete a neighbor."""
    step = SetNeighbor(target.netns, found.index, found.name, old, new)
    operation = f"{'set' if new else 'delete'} neighbor {new or old} on {found.name} of sandbox {target.name}"
    return plan_of(target, operation, found.name, step)


# --- sysctls ---


def disable_arp_for_vip(kernel: Kernel, target: Target, interface: InterfaceKey) -> Plan:
    """Plan to keep an interface from answering ARP for addresses of other interfaces."""
    name = find_link(kernel, target, interface).name
    wanted = {f"ipv4/conf/{name}/arp_ignore": "1", f"ipv4/conf/{name}/arp_announce": "2"}
    return _sysctl_plan(kernel, target, f"disable ARP for virtual addresses on {name}", wanted)


def os_tweaks(kernel: Kernel, target: Target, tweaks: str | Mapping[str, str]) -> Plan:
    """Plan to set the sysctls of a named set, or the given ones; those that the kernel lacks are skipped."""
    chosen = OS_TWEAKS.get(tweaks) if isinstance(tweaks, str) else tweaks
    if not isinstance(chosen, Mapping):
        raise SpecError([Problem("tweaks", tweaks, f"is none of {', '.join(OS_TWEAKS)}")])
    problems = [Problem("sysctl", key, "is not a setting below net.") for key in chosen if not _is_sysctl(key)]
    unusable = ((key, value) for key, value in chosen.items() if not is_setting(value))
    problems += (Problem("sysctl", key, f"has no usable value, {value!r}") for key, value in unusable)
    if problems:
        raise SpecError(problems)
    paths = {key.removeprefix("net.").replace(".", "/"): " ".join(str(value).split()) for key, value in chosen.items()}
    return _sysctl_plan(kernel, target, "apply OS tweaks", paths)


def _is_sysctl(key: object) -> bool:
    parts = key.split(".") if isinstance(key, str) else []
    return len(parts) > 2 and parts[0] == "net" and all(parts) and "/" not in str(key) and str(key).isprintable()


def _sysctl_plan(kernel: Kernel, target: Target, operation: str, wanted: Mapping[str, str]) -> Plan:
    """Plan to set those of the *wanted* sysctls that the kernel has, and that differ."""
    old = read_sysctls(kernel, wanted)
    changes = {path: (old[path], new) for path, new in wanted.items() if path in old and old[path] != new}
    steps = (SetSysctl(target.netns, 0, "", before, after, path=path) for path, (before, after) in changes.items())
    return plan_of(target, f"{operation} of sandbox {target.name}", None, *steps)
