"""Renders sandboxes, interfaces, routes and neighbors as JSON, with the names that ``ip -j`` and ``bridge -j`` use.

Source: print_linkinfo() and print_addrinfo() in iproute2's ip/ipaddress.c, print_route() in ip/iproute.c.
"""

from collections.abc import Iterable
from typing import Any

from netsandbox._events.tracker import Event
from netsandbox._run.interfaces import snapshot
from netsandbox.errors import InterfaceNotFoundError
from netsandbox.interface import Interface
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.netlink.route import IPV6_METRIC, SCOPES, TABLE_MAIN, name_of
from netsandbox.netlink.settings import shown
from netsandbox.sandbox import Sandbox
from netsandbox.spec import Neighbor, Route
from netsandbox.stats import Statistics

Json = dict[str, Any]

_UP, _RUNNING = 0x1, 0x40
# IFF_* in the order in which ip(8) says them; include/uapi/linux/if.h
_FLAGS = (
    (0x8, "LOOPBACK"),
    (0x2, "BROADCAST"),
    (0x10, "POINTOPOINT"),
    (0x1000, "MULTICAST"),
    (0x80, "NOARP"),
    (0x200, "ALLMULTI"),
    (0x100, "PROMISC"),
    (0x400, "MASTER"),
    (0x800, "SLAVE"),
    (0x4, "DEBUG"),
    (0x8000, "DYNAMIC"),
    (0x4000, "AUTOMEDIA"),
    (0x2000, "PORTSEL"),
    (0x20, "NOTRAILERS"),
    (0x1, "UP"),
    (0x10000, "LOWER_UP"),
    (0x20000, "DORMANT"),
    (0x40000, "ECHO"),
)
_ADDRESS_FLAGS = ((0x04, "optimistic"), (0x08, "dadfailed"), (0x20, "deprecated"), (0x40, "tentative"), (0x02, "nodad"))
_TYPES = {1: "ether", 772: "loopback", 65534: "none"}  # ARPHRD_*; include/uapi/linux/if_arp.h


def flags(bits: int) -> list[str]:
    """Return the flags of a link as ip(8) says them."""
    no_carrier = ["NO-CARRIER"] if bits & _UP and not bits & _RUNNING else []
    return no_carrier + [name for bit, name in _FLAGS if bits & bit]


def address(item: Address) -> Json:
    """Return an entry of ``addr_info``."""
    made: Json = {
        "family": "inet" if item.interface.version == 4 else "inet6",
        "local": str(item.interface.ip),
        "prefixlen": item.interface.network.prefixlen,
    }
    if item.peer:
        made["address"] = str(item.peer)
    if item.broadcast:
        made["broadcast"] = str(item.broadcast)
    made["scope"] = name_of(item.scope, SCOPES)
    return made | {name: True for bit, name in _ADDRESS_FLAGS if item.flags & bit}


def route(item: Route) -> Json:
    """Return a route; ``family`` is ours: ip(8) is asked for one family at a time."""
    whole, version = item.to.prefixlen == item.to.max_prefixlen, item.to.version
    metric = _metric(item)
    return {
        **({"type": item.type} if item.type != "unicast" else {}),
        "dst": str(item.to.network_address if whole else item.to) if item.to.prefixlen else "default",
        **({"gateway": str(item.via)} if item.via else {}),
        **({"dev": item.interface} if item.interface else {}),
        **({"table": item.table} if item.table != TABLE_MAIN else {}),
        "protocol": item.protocol,
        "scope": item.scope,
        **({"prefsrc": str(item.source)} if item.source else {}),
        **({"metric": metric} if metric else {}),
        "flags": ["onlink"] if item.onlink else [],
        "family": "inet" if version == 4 else "inet6",
    }


def _metric(item: Route) -> int:
    """Return the metric that counts: without one, the kernel's own."""
    return item.metric if item.metric is not None else IPV6_METRIC if item.to.version == 6 else 0


def neighbor(item: Neighbor) -> Json:
    """Return a neighbor as ``ip -j neighbor`` does, or a forwarding entry as ``bridge -j fdb`` does."""
    dst, name = {"dst": str(item.ip)} if item.ip else {}, item.interface or None
    if item.bridge:
        return {"mac": item.mac, "ifname": name, **dst}
    return {**dst, "dev": name, **({"lladdr": item.mac} if item.mac else {}), "state": item.state.split()}


def link(item: Link, master: str | None) -> Json:
    """Return a link as ``ip -j -d link`` does."""
    return {
        "ifindex": item.index,
        "ifname": item.name,
        "flags": flags(item.flags),
        **({"master": master} if master else {}),
        "operstate": item.operstate,
        "link_type": link_type(item.type),
        **({"altnames": list(item.altnames)} if item.altnames else {}),
        **shown(item),
        **({"linkinfo": info} if (info := _info(item)) else {}),
    }


def _info(item: Link) -> Json:
    port = {"info_slave_data": {"state": item.port_state.lower()}} if item.port_state else {}
    return {**({"info_kind": item.kind} if item.kind else {}), **port}


def event(item: Event) -> Json:
    """Return an event; its value stands under its kind, as ``ip -j`` prints it."""
    made: Json = {"sandbox": item.sandbox, "what": item.what, "change": item.change}
    match item.value:
        case None:
            return made
        case Link():
            found = link(item.value, item.master)
        case Address():
            found = {"ifindex": item.value.index, "ifname": item.interface} | address(item.value)
        case Route():
            found = route(item.value)
        case Neighbor():
            found = neighbor(item.value)
    return made | {item.what: found}


def link_type(number: int) -> str:
    """Return the hardware type of a link as ip(8) says it."""
    return _TYPES.get(number, f"[{number}]")


def interface(item: Interface) -> Json:
    """Return an interface as ``ip -j address`` does; ``source``, ``given_name`` (if renamed), ``routes`` are ours."""
    # Its link and addresses as they were read, with all that `Interface` leaves out.
    made = link(item._link, item.master)  # noqa: SLF001
    made["addr_info"] = [address(entry) for entry in item._addresses]  # noqa: SLF001
    if item.source:
        made["source"] = item.source
    if item.given_name not in {"", item.name}:
        made["given_name"] = item.given_name
    if item.dropped:
        made["dropped"] = [str(entry) for entry in item.dropped]
    return made | {"routes": [route(entry) for entry in item.routes]}


def missing(item: Interface) -> Json:
    """Return what is recorded of an interface whose link is not there."""
    return {
        "ifindex": item.index,
        "ifname": item.name,
        "linkinfo": {"info_kind": item.kind},  # without a kind (hardware), null
        "source": item.source,
    }


def gateways(routes: Iterable[Route]) -> dict[str, Json | None]:
    """Return the default route of each family that counts: the one of the lowest metric."""
    found: dict[str, Json | None] = {"ipv4": None, "ipv6": None}
    defaults = [item for item in routes if not item.to.prefixlen]
    for item in sorted(defaults, key=_metric, reverse=True):
        found[f"ipv{item.to.version}"] = {"gateway": str(item.via) if item.via else None, "dev": item.interface}
    return found


def sandbox(box: Sandbox) -> Json:
    """Return everything in a sandbox, as it was at one moment."""
    found = snapshot(box, neighbors=True)
    routes = found.routes
    return {
        "name": box.name,
        "path": box.path,
        "interfaces": [interface(item) for item in found.interfaces],
        "missing": [missing(item) for item in found.missing],
        "foreign": [interface(item) for item in found.foreign],
        "gateways": gateways(routes),
        "routes": [route(item) for item in routes],
        "neighbors": [neighbor(item) for item in found.neighbors],
    }


def statistics(item: Interface, counters: Statistics) -> Json:
    """Return the counters of an interface as ``ip -j -s -s link`` does, and all others the same way."""
    rx: dict[str, int] = {}
    tx: dict[str, int] = {}
    for field in Statistics.__dataclass_fields__:
        side, _, name = field.partition("_")
        (tx if side in {"tx", "collisions"} else rx)[name or side] = getattr(counters, field)
    return {"ifindex": item.index, "ifname": item.name, "stats64": {"rx": rx, "tx": tx}}


def find(box: Sandbox, name: str) -> Interface:
    """Return the interface called *name*.

    Raises:
        InterfaceNotFoundError: There is none.
    """
    for item in box.interfaces:
        if item.name == name:
            return item
    raise InterfaceNotFoundError(f"look for {name} in sandbox {box.name}", "no interface has this name")
