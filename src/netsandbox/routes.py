"""Routes, neighbors and gateways that a user can ask for, or is shown: frozen values that refuse invalid arguments.

Source: ip(8) for the words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeVar, cast

from netsandbox._checks import METRIC_MAX, Checks, IPAddress, IPNetwork, is_int, name_problem
from netsandbox.errors import Problem
from netsandbox.netlink.neighbor import STATES
from netsandbox.netlink.route import PROTOCOLS, SCOPES, TABLE_MAIN, TYPES, number_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, init=False)
class Route:
    """One route in a sandbox; without *via*, the link itself reaches *to*.

    Attributes:
        to: The destination.
        via: Address of the next hop.
        metric: Priority, 0..4294967295, the lowest wins; None leaves it to the kernel.
        onlink: Whether *via* is taken to be on the link, although no route says so.
        interface: Name inside the sandbox of the link it leads out of. It may be left out with *via*, and of a route
            that belongs to an interface; it does not count when routes are compared.
        source: Preferred source address of packets that take it.
        table: Number of its routing table; 254 is the main one.
        protocol: Who made it, as ip-route(8) says it: "boot", "static", "kernel", ... It does not count when routes are
            compared.
        scope: How far it reaches: "global", "link", "host", ...; what ip-route(8) takes, if left out. It does not count
            when routes are compared.
        type: "unicast"; or "unreachable", "blackhole", ...: it leads nowhere.

    Only unicast routes of the main table can be added and removed; others are shown in events.

    Raises:
        SpecError: An argument is invalid; all that are invalid are in its `problems`.

    Source: ip-route(8); ``types.StaticRoute`` of libnetwork.
    """

    to: IPNetwork
    via: IPAddress | None
    metric: int | None
    onlink: bool
    interface: str | None = field(compare=False)
    source: IPAddress | None
    table: int
    protocol: str = field(compare=False)
    scope: str = field(compare=False)
    type: str

    def __init__(
        self,
        to: str | IPNetwork,
        via: str | IPAddress | None = None,
        *,
        metric: int | None = None,
        onlink: bool = False,
        interface: str | None = None,
        source: str | IPAddress | None = None,
        table: int = TABLE_MAIN,
        protocol: str = "boot",
        scope: str | None = None,
        type: str = "unicast",  # noqa: A002  the word of ip-route(8)
    ) -> None:
        """Take text or ipaddress objects."""
        check = Checks()
        network = check.parse("to", to, ip_network)
        hop, preferred = _host(check, "via", via), _host(check, "source", source)
        for word, address in (("via", hop), ("source", preferred)):
            if address and network and address.version != network.version:
                check.wrong(word, str(address), f"is not of the family of {network}")
        if metric is not None and not is_int(metric, 0, METRIC_MAX):
            check.wrong("metric", metric, f"is not a number from 0 to {METRIC_MAX}")
        if onlink and via is None:
            check.wrong("onlink", onlink, "needs via")
        if interface is not None:
            check.add(name_problem("interface", interface))
        if not is_int(table, 1, METRIC_MAX):
            check.wrong("table", table, f"is not a number from 1 to {METRIC_MAX}")
        if type not in TYPES:
            check.wrong("type", type, f"is not one of {', '.join(TYPES)}")
        scope = _usual_scope(network.version if network else 4, hop, type) if scope is None else scope
        _check_word(check, "protocol", protocol, PROTOCOLS)
        _check_word(check, "scope", scope, SCOPES)
        check.finish()
        assign(self, to=network, via=hop, metric=metric, onlink=bool(onlink), interface=interface, source=preferred)
        assign(self, table=table, protocol=protocol, scope=scope, type=type)

    def __str__(self) -> str:
        """Return the words of ip-route(8)."""
        words = [self.type] if self.type != "unicast" else []
        words.append(str(self.to))
        words += ["via", str(self.via)] if self.via else []
        words += ["dev", self.interface] if self.interface else []
        words += ["table", str(self.table)] if self.table != TABLE_MAIN else []
        words += ["proto", self.protocol] if self.protocol != "boot" else []
        words += ["scope", self.scope] if self.scope != _usual_scope(self.to.version, self.via, self.type) else []
        words += ["metric", str(self.metric)] if self.metric is not None else []
        words += ["src", str(self.source)] if self.source else []
        words += ["onlink"] if self.onlink else []
        return " ".join(words)


@dataclass(frozen=True, slots=True, init=False)
class Neighbor:
    """A neighbor: an ARP or NDP entry, or a bridge forwarding entry.

    Attributes:
        ip: IP address of the neighbor; of a forwarding entry the tunnel's other end, if there is one.
        mac: Its link-layer address; empty, in an event, if it is not known.
        interface: Name inside the sandbox of the link it is reached through; empty, in an event, if it is not known.
        bridge: Whether it is a forwarding (FDB) entry.
        state: Its state, as ip-neighbour(8) prints it: "PERMANENT", "REACHABLE", "STALE", ... It does not count when
            neighbors are compared. Only permanent ones can be added.

    Raises:
        SpecError: An argument is invalid; all that are invalid are in its `problems`.

    Source: ip-neighbour(8), bridge(8); ``AddNeighbor`` of moby's osl.
    """

    ip: IPAddress | None
    mac: str
    interface: str
    bridge: bool
    state: str = field(compare=False)

    def __init__(
        self,
        ip: str | IPAddress | None = None,
        mac: str = "",
        interface: str = "",
        *,
        bridge: bool = False,
        state: str = "PERMANENT",
    ) -> None:
        """Take text or ipaddress objects."""
        check = Checks()
        address = _host(check, "ip", ip)
        if ip is None and not bridge:
            check.wrong("ip", ip, "only a bridge forwarding entry goes without")
        mac = check.setting("mac", mac) or ""
        check.add(name_problem("interface", interface))
        if not {*str(state).split()} <= {*STATES.values()}:
            check.wrong("state", state, f"is not one of {', '.join(STATES.values())}")
        check.finish()
        assign(self, ip=address, mac=mac, interface=interface, bridge=bool(bridge), state=state)

    def __str__(self) -> str:
        """Return the words of ip-neighbour(8) or bridge(8)."""
        if self.bridge:
            return f"{self.mac} dev {self.interface}" + (f" dst {self.ip}" if self.ip else "")
        return f"{self.ip} lladdr {self.mac} dev {self.interface}"


@dataclass(frozen=True, slots=True, init=False)
class Gateway:
    """A gateway that an interface offers: a candidate for the default route of one IP version.

    Attributes:
        interface: Name inside the sandbox of the link it is reached through.
        via: Address of the gateway; None: the link itself reaches everything.
        family: 4 or 6; only looked at without *via*.
        priority: The highest wins; of equals, the first by the interface's name.
        onlink: Whether *via* is taken to be on the link, although no route says so.

    Raises:
        SpecError: An argument is invalid; all that are invalid are in its `problems`.

    Source: ``getGatewayEndpoint`` and ``epShortest`` of libnetwork's sandbox.go.
    """

    interface: str
    via: IPAddress | None
    family: int
    priority: int
    onlink: bool

    def __init__(
        self,
        interface: str,
        via: str | IPAddress | None = None,
        *,
        family: int = 4,
        priority: int = 0,
        onlink: bool = False,
    ) -> None:
        """Take text or ipaddress objects."""
        check = Checks()
        check.add(name_problem("interface", interface))
        address = _host(check, "via", via)
        if family not in (4, 6):  # no set: it may be anything
            check.wrong("family", family, "is neither 4 nor 6")
        if not is_int(priority, -METRIC_MAX, METRIC_MAX):
            check.wrong("priority", priority, f"is not a number from {-METRIC_MAX} to {METRIC_MAX}")
        if onlink and via is None:
            check.wrong("onlink", onlink, "needs via")
        check.finish()
        family = address.version if address else family
        assign(self, interface=interface, via=address, family=family, priority=priority, onlink=bool(onlink))

    def __str__(self) -> str:
        """Return the words of ip-route(8)."""
        return f"via {self.via} dev {self.interface}" if self.via else f"dev {self.interface}"


def best_gateways(candidates: Iterable[Gateway]) -> dict[int, Gateway]:
    """Return the best candidate of each IP version for which there is one: by priority, then by interface name."""
    best: dict[int, Gateway] = {}
    for item in sorted(candidates, key=lambda item: (item.family, -item.priority, item.interface)):
        best.setdefault(item.family, item)
    return best


def parse_host(name: str, value: object) -> IPAddress:
    """Return the IP address of a host, without prefix length; errors call it *name*.

    Raises:
        SpecError: The value is not one.
    """
    check = Checks()
    address = _host(check, name, value)
    check.finish()
    return cast("IPAddress", address)


def unsupported(route: Route) -> tuple[Problem, ...]:
    """Return why a route can be shown, but neither added nor removed; nothing if it can."""
    expected = {"table": TABLE_MAIN, "type": "unicast"}
    return tuple(
        Problem(name, getattr(route, name), f"only routes of the {name} {value} can be added and removed")
        for name, value in expected.items()
        if getattr(route, name) != value
    )


def unchecked(kind: type[T], **values: object) -> T:
    """Return a value of a class here, made of fields that the kernel has checked."""
    made = object.__new__(kind)
    assign(made, **values)
    return made


def assign(target: object, **values: object) -> None:
    """Set the fields of a frozen value that is being made."""
    for name, value in values.items():
        object.__setattr__(target, name, value)


def _host(check: Checks, field: str, value: object) -> IPAddress | None:
    """Return the address of a host; None if there is none."""
    address = None if value is None else check.parse(field, value, ip_address)
    if address and (address.is_multicast or address.is_unspecified):
        check.wrong(field, str(address), "is not the address of a host")
        return None
    return address


def _check_word(check: Checks, field: str, name: object, names: Mapping[int, str]) -> None:
    """Refuse a word that ip-route(8) has no number for."""
    if not isinstance(name, str) or number_of(name, names) is None:
        check.wrong(field, name, f"is neither one of {', '.join(names.values())} nor a number from 0 to 255")


def _usual_scope(version: int, via: IPAddress | None, type_: str) -> str:
    """Return the scope that ip-route(8) gives a route."""
    return "link" if version == 4 and via is None and type_ == "unicast" else "global"
