"""Routes and neighbors, from the values that users see to those of netlink and back. Pure."""

from collections.abc import Mapping
from contextlib import suppress

from netsandbox._kernel import Kernel
from netsandbox.errors import SpecError
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry
from netsandbox.spec import Neighbor, Route

_IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of no metric


def route_entry(route: Route, index: int) -> RouteEntry:
    """Return *route* as it is programmed to lead out of a link."""
    return RouteEntry(
        to=route.to,
        index=index,
        via=route.via,
        metric=route.metric or 0,
        source=route.source,
        scope=RT_SCOPE_UNIVERSE if route.via or route.to.version == 6 else RT_SCOPE_LINK,
        flags=_route.ONLINK if route.onlink else 0,
    )


def read_routes(kernel: Kernel, names: Mapping[int, str]) -> tuple[Route, ...]:
    """Return the routes of the main tables, but for those that come with addresses."""
    return tuple(read_route(entry, names) for entry in kernel.routes(table=_route.TABLE_MAIN) if is_made(entry))


def read_route(entry: RouteEntry, names: Mapping[int, str]) -> Route:
    """Return a route as a value for users; *names* are those of the links by index."""
    usual = _IPV6_METRIC if entry.family == AF_INET6 else 0
    return Route(
        entry.to,
        entry.via,
        metric=None if entry.metric == usual else entry.metric,
        onlink=bool(entry.flags & _route.ONLINK) and entry.via is not None,
        interface=names.get(entry.index or 0),
        source=entry.source,
    )


def read_neighbors(kernel: Kernel, names: Mapping[int, str]) -> tuple[Neighbor, ...]:
    """Return the permanent neighbours, and the bridge forwarding entries that somebody made."""
    found = []
    for entry in (*kernel.neighbors(), *kernel.neighbors(AF_BRIDGE)):
        bridge = entry.family == AF_BRIDGE
        # In a bridge's own table, "permanent" are the addresses of its ports, made by the kernel; "static" are others'.
        made = _neighbor.NOARP if bridge and not entry.flags & _neighbor.SELF else _neighbor.PERMANENT
        if entry.state & made and entry.mac and entry.index in names:
            with suppress(SpecError):  # multicast, or where a vxlan sends what it does not know: nobody's address
                found.append(Neighbor(entry.ip, entry.mac, names[entry.index], bridge=bridge))
    return tuple(found)


def is_made(entry: RouteEntry) -> bool:
    return entry.type == _route.UNICAST and entry.protocol != _route.KERNEL


def neighbor_entry(wish: Neighbor, found: Link) -> NeighborEntry:
    """Return *wish* as it is programmed on a link.

    A forwarding entry of a bridge port stands in the table of its bridge; any other in that of the link itself, as osl
    has it for VXLAN.
    """
    if not wish.bridge:
        family = AF_INET if wish.ip and wish.ip.version == 4 else AF_INET6
        return NeighborEntry(family, found.index, wish.ip, wish.mac)
    if wish.ip is None and found.port_kind == "bridge":
        state, flags = _neighbor.NOARP, _neighbor.MASTER  # "static" in the words of bridge(8)
    else:
        state, flags = _neighbor.PERMANENT, _neighbor.SELF
    return NeighborEntry(AF_BRIDGE, found.index, wish.ip, wish.mac, state, flags)
