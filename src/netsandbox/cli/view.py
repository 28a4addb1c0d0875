"""Sandboxes and what is in them as JSON, under the names that ``ip -j`` and ``bridge -j`` give the same things.

Source: print_linkinfo() and print_addrinfo() in iproute2's ip/ipaddress.c, print_route() in ip/iproute.c.
"""

from collections.abc import Iterable
from typing import Any

from netsandbox._events.tracker import Event
from netsandbox.errors import InterfaceNotFoundError
from netsandbox.interface import Interface
from netsandbox.netlink.address import Address
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import ONLINK, TABLE_MAIN, TYPES, UNICAST, RouteEntry
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
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}  # RTPROT_*; include/uapi/linux/rtnetlink.h
_TYPES = {1: "ether", 772: "loopback", 65534: "none"}  # ARPHRD_*; include/uapi/linux/if_arp.h
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}  # RT_SCOPE_*


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
    made["scope"] = _SCOPES.get(item.scope, str(item.scope))
    return made | {name: True for bit, name in _ADDRESS_FLAGS if item.flags & bit}


def route(item: Route) -> Json:
    """Return a route; ``family`` is ours: ip(8) is asked for one family at a time."""
    whole = item.to.prefixlen == item.to.max_prefixlen
    made: Json = {"dst": str(item.to.network_address if whole else item.to) if item.to.prefixlen else "default"}
    if item.via:
        made["gateway"] = str(item.via)
    if item.interface:
        made["dev"] = item.interface
    if item.source:
        made["prefsrc"] = str(item.source)
    if item.metric is not None:
        made["metric"] = item.metric
    made["flags"] = ["onlink"] if item.onlink else []
    return made | {"family": "inet" if item.to.version == 4 else "inet6"}


def neighbor(item: Neighbor) -> Json:
    """Return a neighbour as ``ip -j neighbor`` does, or a forwarding entry as ``bridge -j fdb`` does."""
    ip = {"dst": str(item.ip)} if item.ip else {}
    if item.bridge:
        return {"mac": item.mac, "ifname": item.interface, **ip}
    return {**ip, "dev": item.interface, "lladdr": item.mac, "state": ["PERMANENT"]}


def _route(item: RouteEntry, name: str | None) -> Json:
    """Return a route of any kind, as the kernel has it, which leads out of the link *name*."""
    whole = item.to.prefixlen == item.to.max_prefixlen
    return {
        **({"type": TYPES[item.type]} if item.type != UNICAST and item.type < len(TYPES) else {}),
        "dst": str(item.to.network_address if whole else item.to) if item.to.prefixlen else "default",
        **({"gateway": str(item.via)} if item.via else {}),
        **({"dev": name} if name else {}),
        **({"table": item.table} if item.table != TABLE_MAIN else {}),
        "protocol": _PROTOCOLS.get(item.protocol, str(item.protocol)),
        "scope": _SCOPES.get(item.scope, str(item.scope)),
        **({"prefsrc": str(item.source)} if item.source else {}),
        **({"metric": item.metric} if item.metric else {}),
        "flags": ["onlink"] if item.flags & ONLINK else [],
        "family": "inet" if item.to.version == 4 else "inet6",
    }


def _link(item: Link, master: str | None) -> Json:
    """Return a link as ``ip -j -d link`` does, as far as events have it."""
    return {
        "ifindex": item.index,
        "ifname": item.name,
        "flags": flags(item.flags),
        "mtu": item.mtu,
        **({"master": master} if master else {}),
        "operstate": item.operstate,
        "link_type": link_type(item.type),
        **({"address": item.mac} if item.mac else {}),
        **({"altnames": list(item.altnames)} if item.altnames else {}),
        **({"ifalias": item.alias} if item.alias else {}),
        **({"linkinfo": info} if (info := _info(item)) else {}),
    }


def _info(item: Link) -> Json:
    port = {"info_slave_data": {"state": item.port_state.lower()}} if item.port_state else {}
    return {**({"info_kind": item.kind} if item.kind else {}), **port}


def _entry(item: NeighborEntry, name: str | None) -> Json:
    """Return a neighbour as ``ip -j neighbor`` does, or a forwarding entry as ``bridge -j fdb`` does."""
    mac, dst = {"lladdr": item.mac} if item.mac else {}, {"dst": str(item.ip)} if item.ip else {}
    if item.family == AF_BRIDGE:
        return {"mac": item.mac, "ifname": name, **dst}
    return {**dst, "dev": name, **mac, "state": list(item.states)}


def event(item: Event) -> Json:
    """Return an event; what it is about stands under its kind, as ``ip -j`` has it."""
    made: Json = {"sandbox": item.sandbox, "what": item.what, "change": item.change}
    match item.value:
        case None:
            return made
        case Link():
            told = _link(item.value, item.master)
        case Address():
            told = {"ifindex": item.value.index, "ifname": item.interface} | address(item.value)
        case RouteEntry():
            told = _route(item.value, item.interface)
        case NeighborEntry():
            told = _entry(item.value, item.interface)
    return made | {item.what: told}


def link_type(number: int) -> str:
    """Return the hardware type of a link as ip(8) says it."""
    return _TYPES.get(number, f"[{number}]")


def interface(item: Interface, link: Link, addresses: Iterable[Address]) -> Json:
    """Return an interface as ``ip -j address`` does; ``source``, ``given_name`` (if renamed), ``routes`` are ours."""
    made: Json = {
        "ifindex": item.index,
        "ifname": item.name,
        "flags": flags(item.flags),
        "mtu": item.mtu,
        **({"master": item.master} if item.master else {}),
        "operstate": item.operstate,
        "txqlen": item.txqlen,
        "link_type": link_type(link.type),
    }
    if item.mac:
        made["address"] = item.mac
    if item.kind:
        made["linkinfo"] = {"info_kind": item.kind}
    made["addr_info"] = [address(entry) for entry in addresses]
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


def interfaces(box: Sandbox, items: Iterable[Interface]) -> list[Json]:
    """Return interfaces, with the addresses they have now."""
    kernel = box._kernel()  # noqa: SLF001  the flags, broadcast and scope of addresses, which Interface leaves out
    found = []
    for item in items:
        link = kernel.link(item.index)
        if link is not None:
            found.append(interface(item, link, kernel.addresses(item.index)))
    return found


def gateways(routes: Iterable[Route]) -> dict[str, Json | None]:
    """Return the default route of each family that counts: the one of the lowest metric."""
    found: dict[str, Json | None] = {"ipv4": None, "ipv6": None}
    defaults = [item for item in routes if not item.to.prefixlen]
    for item in sorted(defaults, key=lambda item: item.metric or 0, reverse=True):
        found[f"ipv{item.to.version}"] = {"gateway": str(item.via) if item.via else None, "dev": item.interface}
    return found


def sandbox(box: Sandbox) -> Json:
    """Return all there is to know of a sandbox."""
    routes = box.routes
    return {
        "name": box.name,
        "path": box.path,
        "interfaces": interfaces(box, box.interfaces),
        "missing": [missing(item) for item in box.missing],
        "foreign": interfaces(box, box.foreign),
        "gateways": gateways(routes),
        "routes": [route(item) for item in routes],
        "neighbors": [neighbor(item) for item in box.neighbors],
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
