"""What the verbs besides plugging in and out come to: each looks at the sandbox and returns its plan.

Gateways, routes, addresses, neighbours and settings have one step each; what is worth saying of them is how the thing
that is there already is found, so that it can be replaced, deleted, and brought back.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import replace

from netsandbox import _facts
from netsandbox._checks import IPAddress, IPInterface, is_setting
from netsandbox._handle import Handle
from netsandbox._outline import Plan, single
from netsandbox._plan import add_step, entry
from netsandbox._steps import Lost, SetAddress, SetNeighbor, SetRoute, SetSysctl, Step
from netsandbox.errors import InterfaceNotFoundError, KernelError, Problem, SpecError
from netsandbox.interface import Interface, read_route
from netsandbox.netlink import address as _address
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry
from netsandbox.spec import Gateway, Neighbor, Route, best_gateways, parse_interface

_TWEAKS = {
    "net.ipv4.vs.conn_reuse_mode": "0",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
}
OS_TWEAKS: Mapping[str, Mapping[str, str]] = {"ingress": _TWEAKS, "load-balancer": _TWEAKS}


def link(handle: Handle, interface: Interface | str) -> Link:
    """Return the link of an interface, or the one that a name inside says."""
    if isinstance(interface, Interface):
        interface.check_owner(handle.name)
        found = handle.box.link(interface.index)
    else:
        found = handle.box.link(parse_interface(interface))
    if found is None:
        text = interface.name if isinstance(interface, Interface) else interface
        raise InterfaceNotFoundError(f"use {text} of sandbox {handle.name}", "there is no such interface")
    return found


def names(handle: Handle) -> dict[int, str]:
    """Return the names of all links by their index."""
    return {item.index: item.name for item in handle.box.links()}


def main_routes(handle: Handle, family: int = 0) -> list[RouteEntry]:
    """Return the unicast routes of the main tables, the preferred ones first."""
    entries = handle.box.routes(family=family, table=_route.TABLE_MAIN)
    return sorted((item for item in entries if item.type == _route.UNICAST), key=lambda item: item.metric)


def default_routes(handle: Handle, version: int) -> list[RouteEntry]:
    """Return the default routes of an IP version, the one that counts first."""
    family = _route.AF_INET if version == 4 else _route.AF_INET6
    return [item for item in main_routes(handle, family) if item.is_default]


def default_route(handle: Handle, version: int) -> RouteEntry | None:
    """Return the default route of an IP version that counts."""
    return next(iter(default_routes(handle, version)), None)


def set_gateway(
    handle: Handle, via: IPAddress | None, interface: Interface | str | None, *, onlink: bool, version: int
) -> Plan:
    """Plan to set the default route."""
    words = f"set the gateway {via or interface}"
    index = link(handle, interface).index if interface else _direct(handle, via, words)
    everything = Route("0.0.0.0/0" if version == 4 else "::/0", via, onlink=onlink)
    old = default_route(handle, version)
    new = entry(everything, index)
    if old:
        new = replace(new, metric=old.metric)
    return _route_plan(handle, new, old, words)


def choose_gateways(handle: Handle, candidates: Sequence[Gateway]) -> Plan:
    """Plan to set the default route of each family to the best candidate, and to delete all where there is none."""
    chosen = best_gateways(candidates)
    plans: list[Plan] = []
    for version in (4, 6):
        wish = chosen.get(version)
        if wish:
            plans.append(set_gateway(handle, wish.via, wish.interface, onlink=wish.onlink, version=version))
        else:
            plans += (_route_plan(handle, None, item, "unset the gateway") for item in default_routes(handle, version))
    words = " and ".join(map(str, chosen.values())) or "none"
    steps = (step for plan in plans for step in plan.steps)
    return single(handle.target, f"choose the gateways {words} of sandbox {handle.name}", None, *steps)


def unset_gateway(handle: Handle, version: int) -> Plan:
    """Plan to delete the default route."""
    return _route_plan(handle, None, default_route(handle, version), "unset the gateway")


def add_route(handle: Handle, wish: Route) -> Plan:
    """Plan to add a route."""
    index = link(handle, wish.interface).index if wish.interface else _direct(handle, wish.via, f"add route {wish}")
    new = entry(wish, index)
    if any((item.to, read_route(item, {}).metric) == (wish.to, wish.metric or None) for item in main_routes(handle)):
        raise KernelError(errno.EEXIST, f"add route {wish} to sandbox {handle.name}", "there is such a route already")
    return _route_plan(handle, new, None, f"add route {wish}")


def remove_route(handle: Handle, wish: Route) -> Plan:
    """Plan to delete the preferred one of the routes that *wish* describes; what it leaves open matches anything."""
    known = names(handle)
    for item in main_routes(handle):
        found = read_route(item, known)
        asked = (wish.via, wish.metric, wish.interface, wish.source)
        there = (found.via, found.metric, found.interface, found.source)
        if found.to == wish.to and all(want in {None, have} for want, have in zip(asked, there, strict=True)):
            return _route_plan(handle, None, item, f"delete route {wish}")
    raise KernelError(errno.ESRCH, f"delete route {wish} from sandbox {handle.name}", "there is no such route")


def add_address(handle: Handle, interface: Interface | str, wish: IPInterface) -> Plan:
    """Plan to add an address."""
    found = link(handle, interface)
    operation = f"add address {wish} to {found.name} of sandbox {handle.name}"
    if any(item.interface == wish for item in handle.box.addresses(found.index)):
        raise KernelError(errno.EEXIST, operation, "the interface has it already")
    return single(handle.target, operation, found.name, add_step((handle.target.netns, found.index, found.name), wish))


def remove_address(handle: Handle, interface: Interface | str, wish: IPInterface) -> Plan:
    """Plan to delete an address, and to keep the others of its network with their routes.

    With the primary address of a network the kernel deletes the others (K16), and with the last IPv4 address of a link
    its routes (fib_inetaddr_event() in net/ipv4/fib_frontend.c): what can come back is added again.
    """
    found = link(handle, interface)
    operation = f"delete address {wish} from {found.name} of sandbox {handle.name}"
    known = [item for item in handle.box.addresses(found.index) if item.interface.version == wish.version]
    gone = next((item for item in known if item.interface == wish), None)
    if gone is None:
        raise KernelError(errno.EADDRNOTAVAIL, operation, "the interface does not have it")
    others, routes = _lost_with(handle, gone, known)
    at = (handle.target.netns, found.index, found.name)
    lost: list[Step] = [SetAddress(*at, None, item) for item in others]
    again = [*lost, *(SetRoute(*at, None, item) for item in routes if item.source != wish.ip)] if others else []
    lost += (SetRoute(*at, None, item) for item in routes)
    steps: tuple[Step, ...] = (*map(Lost, reversed(lost)), SetAddress(*at, gone, None), *again)
    return replace(single(handle.target, operation, found.name, *steps), lenient=True)


def _lost_with(handle: Handle, gone: Address, known: list[Address]) -> tuple[list[Address], list[RouteEntry]]:
    """Return the addresses and routes that the kernel deletes along with an address; *known* are all of its family."""
    if gone.family == _route.AF_INET6 or gone.flags & _address.SECONDARY:
        return [], []
    same = [item for item in known if item.interface.network == gone.interface.network]
    sources = {item.interface.ip for item in same}
    entries = handle.box.routes(family=_route.AF_INET, index=gone.index)
    made = [item for item in entries if item.protocol != _route.KERNEL]
    routes = [item for item in made if same == known or item.source in sources]
    return [item for item in same if item != gone], sorted(routes, key=lambda item: item.via is not None)


def add_neighbor(handle: Handle, wish: Neighbor) -> Plan:
    """Plan to set a neighbour."""
    found = link(handle, wish.interface)
    new = neighbor_entry(wish, found)
    return _neighbor_plan(handle, found, _known(handle, new), new)


def remove_neighbor(handle: Handle, wish: Neighbor) -> Plan:
    """Plan to forget a neighbour."""
    found = link(handle, wish.interface)
    old = _known(handle, neighbor_entry(wish, found))
    if old is None:
        raise KernelError(errno.ENOENT, f"delete neighbor {wish} from sandbox {handle.name}", "it is not known")
    return _neighbor_plan(handle, found, old, None)


def disable_arp_for_vip(handle: Handle, interface: Interface | str) -> Plan:
    """Plan to keep an interface from answering ARP for addresses of others."""
    name = link(handle, interface).name
    settings = {f"ipv4/conf/{name}/arp_ignore": "1", f"ipv4/conf/{name}/arp_announce": "2"}
    return _settings(handle, f"disable ARP for virtual addresses on {name}", settings)


def os_tweaks(handle: Handle, tweaks: str | Mapping[str, str]) -> Plan:
    """Plan to change settings that the kernel has."""
    chosen = OS_TWEAKS.get(tweaks) if isinstance(tweaks, str) else tweaks
    if not isinstance(chosen, Mapping):
        raise SpecError([Problem("tweaks", tweaks, f"is none of {', '.join(OS_TWEAKS)}")])
    problems = [Problem("sysctl", key, "is not a setting below net.") for key in chosen if not _is_setting(key)]
    problems += (
        Problem("sysctl", key, f"has no usable value, {value!r}")
        for key, value in chosen.items()
        if not is_setting(value)
    )
    if problems:
        raise SpecError(problems)
    paths = {key.removeprefix("net.").replace(".", "/"): " ".join(str(value).split()) for key, value in chosen.items()}
    return _settings(handle, "apply OS tweaks", paths)


def _is_setting(key: object) -> bool:
    parts = key.split(".") if isinstance(key, str) else []
    return len(parts) > 2 and parts[0] == "net" and all(parts) and "/" not in str(key) and str(key).isprintable()


def _settings(handle: Handle, operation: str, wanted: Mapping[str, str]) -> Plan:
    """Plan to give the settings that the kernel has, and that differ, a value."""
    old = _facts.read_sysctls(handle.box, wanted)
    changes = {path: (old[path], new) for path, new in wanted.items() if path in old and old[path] != new}
    steps = (SetSysctl(handle.target.netns, 0, "", before, after, path) for path, (before, after) in changes.items())
    return single(handle.target, f"{operation} of sandbox {handle.name}", None, *steps)


def _route_plan(handle: Handle, new: RouteEntry | None, old: RouteEntry | None, words: str) -> Plan:
    """Plan to add, replace or delete a route; none at all needs nothing."""
    there = new or old
    found = handle.box.link(there.index) if there and there.index else None
    name = found.name if found else ""
    steps = (SetRoute(handle.target.netns, there.index or 0, name, old, new),) if there else ()
    return single(handle.target, f"{words} of sandbox {handle.name}", name or None, *steps)


def neighbor_entry(wish: Neighbor, found: Link) -> NeighborEntry:
    """Return *wish* as it is programmed on a link.

    A forwarding entry of a bridge port stands in the table of its bridge; any other in that of the link itself, as osl
    has it for VXLAN.
    """
    if not wish.bridge:
        family = _route.AF_INET if wish.ip and wish.ip.version == 4 else _route.AF_INET6
        return NeighborEntry(family, found.index, wish.ip, wish.mac)
    if wish.ip is None and found.port_kind == "bridge":
        state, flags = _neighbor.NOARP, _neighbor.MASTER  # "static" in the words of bridge(8)
    else:
        state, flags = _neighbor.PERMANENT, _neighbor.SELF
    return NeighborEntry(_neighbor.AF_BRIDGE, found.index, wish.ip, wish.mac, state, flags)


def _neighbor_plan(handle: Handle, found: Link, old: NeighborEntry | None, new: NeighborEntry | None) -> Plan:
    """Plan to add, replace or delete a neighbour."""
    step = SetNeighbor(handle.target.netns, found.index, found.name, old, new)
    operation = f"{'set' if new else 'delete'} neighbor {new or old} on {found.name} of sandbox {handle.name}"
    return single(handle.target, operation, found.name, step)


def _direct(handle: Handle, via: IPAddress | None, words: str) -> int:
    """Return the index of the link on which *via* is reached without a gateway (osl: a direct route)."""
    if via is None:
        raise SpecError([Problem("via", via, "must be given without an interface")])
    operation = f"{words} of sandbox {handle.name}"
    try:
        found = handle.box.route_to(via)
    except KernelError as error:
        error.operation = operation
        raise
    if found.via or found.index is None or found.type != _route.UNICAST:
        reason = f"{via} is reached through another gateway, or is an own address"
        raise KernelError(errno.ENETUNREACH, operation, reason)
    return found.index


def _known(handle: Handle, like: NeighborEntry) -> NeighborEntry | None:
    """Return the neighbour that is known under the same key as *like*: link, family and address."""
    key = "mac" if like.family == _neighbor.AF_BRIDGE else "ip"
    table = _neighbor.SELF  # of a bridge's own table the kernel does not say NTF_MASTER (br_fdb_fill in br_fdb.c)
    for item in handle.box.neighbors(like.family, like.index):
        if getattr(item, key) == getattr(like, key) and item.flags & table == like.flags & table:
            return item
    return None
