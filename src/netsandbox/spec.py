"""What a user can ask for: frozen values that refuse nonsense when they are made, all of it at once.

Source: behaviour.md section 2.1; ip(8) for the words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Literal, TypedDict, TypeVar, Unpack, cast

from netsandbox._checks import (
    METRIC_MAX,
    NAME_MAX,
    Checks,
    IPAddress,
    IPInterface,
    IPNetwork,
    is_int,
    items,
    keyword_problems,
    name_problem,
)
from netsandbox.adverts import Advertise, AdvertiseLike, parse_advertise
from netsandbox.errors import Problem, SpecError
from netsandbox.links import Kind
from netsandbox.netlink.neighbor import STATES
from netsandbox.netlink.route import PROTOCOLS, SCOPES, TABLE_MAIN, TYPES, number_of
from netsandbox.netlink.settings import TABLE, Settings, only

T = TypeVar("T")
WAIT_LIMIT, WAIT_MAX = 5.0, 3600  # seconds that are waited at most: unless said otherwise, and in any case
ALTNAME_MAX = 127  # ALTIFNAMSIZ without the final NUL


@dataclass(frozen=True, slots=True, init=False)
class Route:
    """One route in a sandbox; without *via*, the link itself reaches *to*.

    Attributes:
        to: The destination.
        via: Address of the next hop.
        metric: Priority, 0..4294967295, the lowest wins; None leaves it to the kernel.
        onlink: Whether *via* is taken to be on the link, although no route says so.
        interface: Name inside the sandbox of the link it leads out of. Of a route that belongs to an interface, and
            of one with *via*, it may be left out; it does not count when routes are compared.
        source: Preferred source address of packets that take it.
        table: Number of its routing table; 254 is the main one.
        protocol: Who made it, as ip-route(8) says it: "boot", "static", "kernel", ... It does not count when routes are
            compared.
        scope: How far it reaches: "global", "link", "host", ...; what ip-route(8) takes, if left out. It does not count
            when routes are compared.
        type: "unicast"; or "unreachable", "blackhole", ...: it leads nowhere.

    Only unicast routes of the main table can be added and removed; others are shown in events.

    Raises:
        SpecError: Something of it makes no sense.

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
        hop = None if via is None else check.parse("via", via, ip_address)
        preferred = None if source is None else check.parse("source", source, ip_address)
        for word, address in (("via", hop), ("source", preferred)):
            if address and network and address.version != network.version:
                check.wrong(word, str(address), f"is not of the family of {network}")
            elif address and (address.is_multicast or address.is_unspecified):
                check.wrong(word, str(address), "is not the address of a host")
        if metric is not None and not is_int(metric, 0, METRIC_MAX):
            check.wrong("metric", metric, f"is not a number from 0 to {METRIC_MAX}")
        if onlink and via is None:
            check.wrong("onlink", onlink, "needs via")
        if interface is not None:
            check.add(name_problem("interface", interface))
        scope = _usual_scope(network.version if network else 4, hop, type) if scope is None else scope
        _check_route_words(check, table, type, protocol=protocol, scope=scope)
        check.finish()
        _assign(self, to=network, via=hop, metric=metric, onlink=bool(onlink), interface=interface, source=preferred)
        _assign(self, table=table, protocol=protocol, scope=scope, type=type)

    def __str__(self) -> str:
        """Say it as ip(8) does."""
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
        SpecError: Something of it makes no sense.

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
        address = None if ip is None else check.parse("ip", ip, ip_address)
        if address is None and ip is None and not bridge:
            check.wrong("ip", ip, "only a bridge forwarding entry goes without")
        if address and (address.is_multicast or address.is_unspecified):
            check.wrong("ip", str(address), "is not the address of a host")
        mac = check.setting("mac", mac) or ""
        check.add(name_problem("interface", interface))
        if not {*str(state).split()} <= {*STATES.values()}:
            check.wrong("state", state, f"is none of {', '.join(STATES.values())}")
        check.finish()
        _assign(self, ip=address, mac=mac, interface=interface, bridge=bool(bridge), state=state)

    def __str__(self) -> str:
        """Say it as ip(8) does."""
        if self.bridge:
            return f"{self.mac} dev {self.interface}" + (f" dst {self.ip}" if self.ip else "")
        return f"{self.ip} lladdr {self.mac} dev {self.interface}"


@dataclass(frozen=True, slots=True, init=False)
class Gateway:
    """A way out that an interface offers: a candidate for the default route of one IP version.

    Attributes:
        interface: Name inside the sandbox of the link it is reached through.
        via: Address of the gateway; None: the link itself reaches everything.
        family: 4 or 6; only looked at without *via*.
        priority: The highest wins; of equals, the first by the interface's name.
        onlink: Whether *via* is taken to be on the link, although no route says so.

    Raises:
        SpecError: Something of it makes no sense.

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
        address = None if via is None else check.parse("via", via, ip_address)
        if address and (address.is_multicast or address.is_unspecified):
            check.wrong("via", str(address), "is not the address of a host")
        if family not in (4, 6):  # no set: it may be anything
            check.wrong("family", family, "is neither 4 nor 6")
        if not is_int(priority, -METRIC_MAX, METRIC_MAX):
            check.wrong("priority", priority, f"is not a number from {-METRIC_MAX} to {METRIC_MAX}")
        if onlink and via is None:
            check.wrong("onlink", onlink, "needs via")
        check.finish()
        family = address.version if address else family
        _assign(self, interface=interface, via=address, family=family, priority=priority, onlink=bool(onlink))

    def __str__(self) -> str:
        """Say it as ip(8) does."""
        return f"via {self.via} dev {self.interface}" if self.via else f"dev {self.interface}"


def best_gateways(candidates: Iterable[Gateway]) -> dict[int, Gateway]:
    """Return the best candidate of each IP version for which there is one: by priority, then by interface name."""
    by_name = sorted(candidates, key=lambda item: item.interface)
    best_first = sorted(by_name, key=lambda item: -item.priority)
    best = {item.family: item for item in reversed(best_first)}
    return {family: best[family] for family in sorted(best)}


class InterfaceOptions(TypedDict, total=False):
    """The keywords of `InterfaceSpec` and `Sandbox.add_interface`; see there for what they mean."""

    prefix: str
    name: str | None
    mac: str | None
    mtu: int | None
    txqlen: int | None
    group: int | None
    alias: str | None
    numtxqueues: int | None
    addresses: Iterable[str | IPInterface]
    master: str | None
    routes: Iterable[str | IPNetwork | Route]
    sysctls: Mapping[str, str | int] | Iterable[str]
    on_conflict: Literal["error", "ignore"]
    advertise: AdvertiseLike
    wait: Literal["up"] | None
    wait_limit: float


@dataclass(frozen=True, slots=True, init=False)
class InterfaceSpec(Settings):
    """What an interface shall be: the wish that `Sandbox.add_interface` fulfils.

    Attributes:
        source: Name of an existing link on the host, or the link to make: `Veth`, `Bridge`, `Macvlan`, ...
        prefix: The name inside is this and the lowest free number.
        name: Name inside, verbatim; wins over *prefix*.
        mac: Link-layer address, unicast; None keeps the one it has.
        mtu: Largest packet in bytes, 68..65535, with IPv6 at least 1280; None keeps it.
        txqlen: Length of the transmit queue in packets, 0..2147483647; None keeps it.
        group: Number of the link group, 0..2147483647; None keeps it.
        alias: Free text attached to the link, at most 255 bytes; None keeps it, an empty one removes it.
        numtxqueues: Number of transmit queues, 1..4096, of a link that is created; None leaves it to the kernel.
        addresses: IP addresses with their prefix length. IPv6 is switched off unless one of them is IPv6.
        master: Source name of a bridge or vrf that was attached to the same sandbox before.
        routes: Routes that lead out of this link.
        sysctls: Settings of this link, by keys of the exact form ``net.X.Y.IFNAME.Z``, in the order they are made.
        on_conflict: What an address that overlaps an existing route means: "error" or "ignore".
        advertise: How often its addresses are advertised to its neighbors once it is there.
        wait: "up": wait until packets go through; see `Sandbox.add_interface`. None: do not wait.
        wait_limit: How long is waited at most, in seconds: more than 0, at most 3600.

    Raises:
        SpecError: Something of it makes no sense; all that is wrong is in its `problems`.
    """

    source: str | Kind
    prefix: str
    name: str | None
    addresses: tuple[IPInterface, ...]
    master: str | None
    routes: tuple[Route, ...]
    sysctls: tuple[tuple[str, str], ...]
    on_conflict: Literal["error", "ignore"]
    advertise: Advertise
    wait: Literal["up"] | None
    wait_limit: float

    def __init__(self, source: str | Kind, **options: Unpack[InterfaceOptions]) -> None:
        """Take text or ipaddress objects; refuse all that is wrong at once."""
        check = Checks(keyword_problems(options, InterfaceOptions.__annotations__))
        prefix, name, master = options.get("prefix", "eth"), options.get("name"), options.get("master")
        on_conflict = options.get("on_conflict", "error")
        _check_names(check, source, prefix, name, master)
        addresses = tuple(filter(None, map(check.address, items(options.get("addresses", ())))))
        for twice in dict.fromkeys(address for address in addresses if addresses.count(address) > 1):
            check.wrong("address", str(twice), "is given twice")
        ipv6 = any(address.version == 6 for address in addresses)
        routes = tuple(filter(None, (_route(check, item) for item in items(options.get("routes", ())))))
        for route in routes:
            if route.to.version == 6 and not ipv6:
                check.wrong("route", str(route), "needs an IPv6 address: without one, IPv6 is switched off")
        settings = _settings(check, source, options, ipv6=ipv6)
        if on_conflict not in ("error", "ignore"):
            check.wrong("on_conflict", on_conflict, "is neither 'error' nor 'ignore'")
        wait, limit = options.get("wait"), options.get("wait_limit", WAIT_LIMIT)
        _check_wait(check, wait, limit)
        sysctls = check.sysctls(options.get("sysctls", {}))
        advertise = _advertise(check, options.get("advertise", _USUAL))
        check.finish()
        _assign(self, source=source, prefix=prefix, name=name, addresses=addresses, master=master, **settings)
        _assign(self, routes=routes, sysctls=sysctls, on_conflict=on_conflict, advertise=advertise)
        _assign(self, wait=wait, wait_limit=float(limit))

    @property
    def kind(self) -> Kind | None:
        """The link to make; None: it exists already."""
        return None if isinstance(self.source, str) else self.source

    @property
    def settings(self) -> Settings:
        """The settings of the link that are asked for."""
        return Settings(**only(self))

    @property
    def source_name(self) -> str:
        """The source's name: of the link on the host, or what the link to make is known by."""
        return self.source if isinstance(self.source, str) else self.source.source_name

    @property
    def has_ipv6(self) -> bool:
        """Whether an IPv6 address is asked for."""
        return any(address.version == 6 for address in self.addresses)


_USUAL = Advertise()
_FIELDS = {"addresses": "address", "routes": "route", "sysctls": "sysctl"}  # keyword -> field of a Problem


def salvage(source: object, options: Mapping[str, object], problems: Iterable[Problem]) -> list[InterfaceSpec]:
    """Return what of a refused wish makes sense, so that it can be held against the facts as well.

    Args:
        source: The source of the wish.
        options: Its keywords.
        problems: What was wrong with it.
    """
    wrong = {problem.field for problem in problems}
    if "source" in wrong:
        return []
    sound = {key: options[key] for key in InterfaceOptions.__annotations__ if key in options}
    sound = {key: value for key, value in sound.items() if _FIELDS.get(key, key) not in wrong}
    return [InterfaceSpec(cast("str", source), **cast("InterfaceOptions", sound))]


def parse_address(value: object) -> IPInterface:
    """Return the host address with its prefix length that *value* says.

    Raises:
        SpecError: It is none.
    """
    check = Checks()
    address = check.address(value)
    check.finish()
    return cast("IPInterface", address)


def parse_host(name: str, value: object) -> IPAddress:
    """Return the IP address of a host, without prefix length, that *value*, called *name*, says.

    Raises:
        SpecError: It is none.
    """
    check = Checks()
    address = check.parse(name, value, ip_address)
    if address and (address.is_multicast or address.is_unspecified):
        check.wrong(name, str(address), "is not the address of a host")
    check.finish()
    return cast("IPAddress", address)


def parse_interface(value: object) -> str:
    """Return the name of an interface that *value* says.

    Raises:
        SpecError: It is none that a link can have.
    """
    check = Checks()
    check.add(name_problem("interface", value, longest=ALTNAME_MAX))
    check.finish()
    return cast("str", value)


def expect(field: str, value: object, kind: type) -> None:
    """Refuse a value of another class than *kind*.

    Raises:
        SpecError: It is one.
    """
    if not isinstance(value, kind):
        raise SpecError([Problem(field, value, f"is not of the class {kind.__name__}")])


def expect_all(field: str, values: object, kind: type[T]) -> tuple[T, ...]:
    """Return what a list holds, all of it of the class *kind*.

    Raises:
        SpecError: Some of it is not.
    """
    found = items(values)
    wrong = [
        Problem(field, value, f"is not of the class {kind.__name__}") for value in found if not isinstance(value, kind)
    ]
    if wrong:
        raise SpecError(wrong)
    return cast("tuple[T, ...]", found)


def _check_names(check: Checks, source: object, prefix: object, name: object, master: object) -> None:
    """Refuse names that the kernel would refuse."""
    if not isinstance(source, Kind):
        check.add(name_problem("source", source, longest=ALTNAME_MAX))
    if source == "lo":
        check.wrong("source", source, "the loopback link cannot leave its namespace")
    check.add(name_problem("prefix", prefix, longest=NAME_MAX - 1))
    if name is not None:
        check.add(name_problem("name", name))
    if master is not None:
        check.add(name_problem("master", master, longest=ALTNAME_MAX))


def _settings(
    check: Checks, source: object, options: Mapping[str, object], *, ipv6: bool
) -> dict[str, int | str | None]:
    """Return the settings of a link that are asked for; None for those that are not."""
    found: dict[str, int | str | None] = dict.fromkeys(TABLE)
    for name, row in TABLE.items():
        value = options.get(name) if row.when != "never" else None
        if value is None:
            continue
        found[name] = check.mtu(value, ipv6=ipv6) if name == "mtu" else check.setting(name, value)
        rule = source.mac_rule if isinstance(source, Kind) and name == "mac" else None
        if row.when == "at birth" and not isinstance(source, Kind):
            rule = "can only be given to a link that is created"
        elif row.when == "at birth" and isinstance(source, Kind) and not source.by_request:
            rule = f"cannot be given to a link of the kind {source.kind}"
        if rule:
            check.wrong(name, value, rule)
    return found


def _check_route_words(check: Checks, table: object, type_: object, *, protocol: object, scope: object) -> None:
    """Refuse what ip-route(8) has no number for."""
    if not is_int(table, 1, METRIC_MAX):
        check.wrong("table", table, f"is not a number from 1 to {METRIC_MAX}")
    if type_ not in TYPES:
        check.wrong("type", type_, f"is none of {', '.join(TYPES)}")
    for word, name, names in (("protocol", protocol, PROTOCOLS), ("scope", scope, SCOPES)):
        if not isinstance(name, str) or number_of(name, names) is None:
            check.wrong(word, name, f"is neither one of {', '.join(names.values())} nor a number from 0 to 255")


def _check_wait(check: Checks, wait: object, limit: object) -> None:
    """Refuse what nobody can wait for, or for so long."""
    if wait not in (None, "up"):
        check.wrong("wait", wait, "is neither 'up' nor None")
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit <= WAIT_MAX:
        check.wrong("wait_limit", limit, f"is not a number of seconds above 0 and up to {WAIT_MAX}")


def _route(check: Checks, value: object) -> Route | None:
    """Return the route of an interface that *value* says."""
    if isinstance(value, Route):
        if value.interface is not None:
            check.wrong("route", str(value), "belongs to this interface; leave its interface out")
        for problem in unsupported(value):
            check.wrong("route", str(value), f"{problem.field}: {problem.reason}")
        return value
    try:
        return Route(cast("str", value))
    except SpecError as error:
        check.wrong("route", value, error.problems[0].reason)
        return None


def _advertise(check: Checks, value: object) -> Advertise:
    """Return how often an interface is advertised, as *value* says."""
    try:
        return parse_advertise(value)
    except SpecError as error:
        check.problems += error.problems
        return _USUAL


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
    _assign(made, **values)
    return made


def _usual_scope(version: int, via: IPAddress | None, type_: str) -> str:
    """Return the scope that ip-route(8) gives a route."""
    return "link" if version == 4 and via is None and type_ == "unicast" else "global"


def _assign(target: object, **values: object) -> None:
    """Set the fields of a frozen value that is being made."""
    for name, value in values.items():
        object.__setattr__(target, name, value)
