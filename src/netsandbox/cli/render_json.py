"""Renders sandboxes, interfaces, routes and neighbors as JSON, with the field names of ``ip -j`` and ``bridge -j``.

Source: print_linkinfo() and print_addrinfo() in iproute2's ip/ipaddress.c, print_route() in ip/iproute.c.
"""

from collections.abc import Iterable
from typing import Any

from netsandbox._checks import IPAddress
from netsandbox._events.tracker import Event
from netsandbox._run.interfaces import snapshot
from netsandbox.interface import Interface
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.netlink.route import IPV6_METRIC, SCOPES, TABLE_MAIN, name_of
from netsandbox.netlink.settings import shown
from netsandbox.routes import Neighbor, Route
from netsandbox.sandbox import Sandbox
from netsandbox.stats import Statistics

Json = dict[str, Any]

_UP, _RUNNING = 0x1, 0x40
# IFF_* in the order in which ip(8) prints them; include/uapi/linux/if.h
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


def _given(**fields: object) -> Json:
    """Return the fields that have a value; ip(8) leaves out the others."""
    return {name: str(item) if isinstance(item, IPAddress) else item for name, item in fields.items() if item}


def flags(bits: int) -> list[str]:
    """Return the flags of a link as ip(8) prints them."""
    no_carrier = ["NO-CARRIER"] if bits & _UP and not bits & _RUNNING else []
    return no_carrier + [name for bit, name in _FLAGS if bits & bit]


def address(item: Address) -> Json:
    """Return an entry of ``addr_info``."""
    return {
        "family": "inet" if item.interface.version == 4 else "inet6",
        "local": str(item.interface.ip),
        "prefixlen": item.interface.network.prefixlen,
        **_given(address=item.peer, broadcast=item.broadcast),
        "scope": name_of(item.scope, SCOPES),
        **{name: True for bit, name in _ADDRESS_FLAGS if item.flags & bit},
    }


def route(item: Route) -> Json:
    """Return a route; the field ``family`` is not in ip(8), which lists one family at a time."""
    is_host, version = item.to.prefixlen == item.to.max_prefixlen, item.to.version
    return {
        **_given(type="" if item.type == "unicast" else item.type),
        "dst": str(item.to.network_address if is_host else item.to) if item.to.prefixlen else "default",
        **_given(gateway=item.via, dev=item.interface, table="" if item.table == TABLE_MAIN else item.table),
        "protocol": item.protocol,
        "scope": item.scope,
        **_given(prefsrc=item.source, metric=_metric(item)),
        "flags": ["onlink"] if item.onlink else [],
        "family": "inet" if version == 4 else "inet6",
    }


def _metric(item: Route) -> int:
    """Return the metric, by default that of the kernel."""
    return item.metric if item.metric is not None else IPV6_METRIC if item.to.version == 6 else 0


def neighbor(item: Neighbor) -> Json:
    """Return a neighbor as ``ip -j neighbor`` does, or a forwarding entry as ``bridge -j fdb`` does."""
    destination, name = _given(dst=item.ip), item.interface or None
    if item.bridge:
        return {"mac": item.mac, "ifname": name, **destination}
    return {**destination, "dev": name, **_given(lladdr=item.mac), "state": item.state.split()}


def link(item: Link, master: str | None) -> Json:
    """Return a link as ``ip -j -d link`` does."""
    port = _given(state=(item.port_state or "").lower())
    return {
        "ifindex": item.index,
        "ifname": item.name,
        "flags": flags(item.flags),
        **_given(master=master),
        "operstate": item.operstate,
        "link_type": link_type(item.type),
        **_given(altnames=list(item.altnames)),
        **shown(item),
        **_given(linkinfo=_given(info_kind=item.kind, info_slave_data=port)),
    }


def event(item: Event) -> Json:
    """Return an event; the field named after its kind has the object as ``ip -j`` prints it."""
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
    """Return the hardware type of a link as ip(8) prints it."""
    return _TYPES.get(number, f"[{number}]")


def interface(item: Interface) -> Json:
    """Return an interface as ``ip -j address`` does; ``source``, ``given_name``, ``dropped``, ``routes`` are ours."""
    return {
        **link(item._link, item.master),  # noqa: SLF001  with what `Interface` leaves out
        "addr_info": [address(entry) for entry in item._addresses],  # noqa: SLF001  as above
        **_given(source=item.source, given_name="" if item.given_name == item.name else item.given_name),
        **_given(dropped=[str(entry) for entry in item.dropped]),
        "routes": [route(entry) for entry in item.routes],
    }


def missing(item: Interface) -> Json:
    """Return what is recorded of an interface whose link is gone; the kind of hardware is null."""
    info = {"info_kind": item.kind}
    return {"ifindex": item.index, "ifname": item.name, "linkinfo": info, "source": item.source}


def gateways(routes: Iterable[Route]) -> dict[str, Json | None]:
    """Return the default route of each family with the lowest metric."""
    found: dict[str, Json | None] = {"ipv4": None, "ipv6": None}
    defaults = [item for item in routes if not item.to.prefixlen]
    for item in sorted(defaults, key=_metric, reverse=True):
        found[f"ipv{item.to.version}"] = {"gateway": str(item.via) if item.via else None, "dev": item.interface}
    return found


def sandbox(box: Sandbox) -> Json:
    """Return everything in a sandbox, as of one moment."""
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
    """Return all counters of an interface, in the form of ``ip -j -s -s link``."""
    rx: dict[str, int] = {}
    tx: dict[str, int] = {}
    for field in Statistics.__dataclass_fields__:
        side, _, name = field.partition("_")
        (tx if side in {"tx", "collisions"} else rx)[name or side] = getattr(counters, field)
    return {"ifindex": item.index, "ifname": item.name, "stats64": {"rx": rx, "tx": tx}}
