"""Converts routes and neighbors from public values to those of netlink, and back. Pure."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from netsandbox._kernel import Kernel
from netsandbox.errors import SpecError
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import PROTOCOLS, SCOPES, RouteEntry, name_of, number_of
from netsandbox.routes import Neighbor, Route, unchecked


def route_entry(route: Route, index: int) -> RouteEntry:
    """Return *route* as the kernel takes it, for a link."""
    return RouteEntry(
        to=route.to,
        index=index,
        via=route.via,
        metric=route.metric or 0,
        source=route.source,
        protocol=number_of(route.protocol, PROTOCOLS) or 0,
        scope=number_of(route.scope, SCOPES) or 0,
        flags=_route.ONLINK if route.onlink else 0,
    )


def read_routes(entries: Iterable[RouteEntry], names: Mapping[int, str]) -> tuple[Route, ...]:
    """Return the unicast routes as public values, except for those that the kernel makes of addresses."""
    return tuple(
        read_route(entry, names)
        for entry in entries
        if entry.type == _route.UNICAST and entry.protocol != _route.KERNEL
    )


def read_route(entry: RouteEntry, names: Mapping[int, str]) -> Route:
    """Return a route as a public value; *names* are those of the links by index."""
    usual = _route.IPV6_METRIC if entry.family == AF_INET6 else 0
    return unchecked(
        Route,
        to=entry.to,
        via=entry.via,
        metric=None if entry.metric == usual else entry.metric,
        onlink=bool(entry.flags & _route.ONLINK) and entry.via is not None,
        interface=names.get(entry.index or 0),
        source=entry.source,
        table=entry.table,
        protocol=name_of(entry.protocol, PROTOCOLS),
        scope=name_of(entry.scope, SCOPES),
        type=_route.TYPES[entry.type] if entry.type < len(_route.TYPES) else str(entry.type),
    )


def list_neighbors(kernel: Kernel) -> tuple[NeighborEntry, ...]:
    """Return all neighbors, and after them the forwarding entries of bridges and tunnels."""
    return (*kernel.neighbors(), *kernel.neighbors(AF_BRIDGE))


def read_neighbors(entries: Iterable[NeighborEntry], names: Mapping[int, str]) -> tuple[Neighbor, ...]:
    """Return the permanent neighbors, and the bridge forwarding entries that the kernel did not add itself."""
    found = []
    for entry in entries:
        bridge = entry.family == AF_BRIDGE
        # In a bridge's own table, "permanent" entries are the addresses of its ports; those added are "static".
        added = _neighbor.NOARP if bridge and not entry.flags & _neighbor.SELF else _neighbor.PERMANENT
        if entry.state & added and entry.mac and entry.index in names:
            with suppress(SpecError):  # a multicast address, or the entry for unknown destinations of a vxlan
                found.append(
                    Neighbor(entry.ip, entry.mac, names[entry.index], bridge=bridge, state=" ".join(entry.states))
                )
    return tuple(found)


def read_neighbor(entry: NeighborEntry, names: Mapping[int, str]) -> Neighbor:
    """Return a neighbor as a public value; *names* are those of the links by index."""
    return unchecked(
        Neighbor,
        ip=entry.ip,
        mac=entry.mac or "",
        interface=names.get(entry.index, ""),
        bridge=entry.family == AF_BRIDGE,
        state=" ".join(entry.states),
    )


def neighbor_entry(neighbor: Neighbor, link: Link) -> NeighborEntry:
    """Return *neighbor* as the kernel takes it, for a link.

    A forwarding entry of a bridge port goes into the table of the bridge, any other into that of the link itself, as in
    osl for VXLAN.
    """
    if not neighbor.bridge:
        family = AF_INET if neighbor.ip and neighbor.ip.version == 4 else AF_INET6
        return NeighborEntry(family, link.index, neighbor.ip, neighbor.mac)
    if neighbor.ip is None and link.port_kind == "bridge":
        state, flags = _neighbor.NOARP, _neighbor.MASTER  # bridge(8) calls this "static"
    else:
        state, flags = _neighbor.PERMANENT, _neighbor.SELF
    return NeighborEntry(AF_BRIDGE, link.index, neighbor.ip, neighbor.mac, state, flags)
