"""What a user can request of an interface: a frozen value that refuses all invalid arguments at once.

Source: interface_linux.go of moby's osl (docs/from-osl.md); ip(8) for the words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

from netsandbox._checks import NAME_MAX, Checks, IPInterface, IPNetwork, items, keyword_problems, name_problem
from netsandbox.adverts import USUAL, Advertise, AdvertiseLike, parse_advertise
from netsandbox.errors import Problem, SpecError
from netsandbox.links import Kind
from netsandbox.netlink.settings import TABLE, Settings, only
from netsandbox.routes import Route, assign, unsupported

T = TypeVar("T")
WAIT_LIMIT, WAIT_MAX = 5.0, 3600  # the usual and the longest wait, in seconds
ALTNAME_MAX = 127  # ALTIFNAMSIZ without the final NUL


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
    """What `Sandbox.add_interface` attaches, with all its settings.

    Attributes:
        source: Name of an existing link on the host, or the link to create: `Veth`, `Bridge`, `Macvlan`, ...
        prefix: Beginning of the name inside; the lowest free number follows.
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
        sysctls: Settings of this link, by keys of the exact form ``net.X.Y.IFNAME.Z``, in the order of setting them.
        on_conflict: What an address that overlaps an existing route means: "error" or "ignore".
        advertise: How often its addresses are advertised to its neighbors once it is there.
        wait: "up": wait until packets go through; see `Sandbox.add_interface`. None: do not wait.
        wait_limit: The longest wait, in seconds: more than 0, at most 3600.

    Raises:
        SpecError: An argument is invalid; all that are invalid are in its `problems`.
    """

    source: str | Kind
    prefix: str = "eth"
    name: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    master: str | None = None
    routes: tuple[Route, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    on_conflict: Literal["error", "ignore"] = "error"
    advertise: Advertise = USUAL
    wait: Literal["up"] | None = None
    wait_limit: float = WAIT_LIMIT

    def __init__(self, source: str | Kind, **options: Unpack[InterfaceOptions]) -> None:
        """Take text or ipaddress objects; refuse all that is invalid at once."""
        check = Checks(keyword_problems(options, InterfaceOptions.__annotations__))
        values = _DEFAULTS | dict(options) | {"source": source}
        _check_names(check, values)
        values["addresses"] = addresses = _addresses(check, values["addresses"])
        ipv6 = any(address.version == 6 for address in addresses)
        values["routes"] = _routes(check, values["routes"], ipv6=ipv6)
        _check_settings(check, values, ipv6=ipv6)
        _check_words(check, values)
        values["sysctls"] = check.sysctls(values["sysctls"])
        values["advertise"] = _advertise(check, values["advertise"])
        check.finish()
        assign(self, **values)

    @property
    def kind(self) -> Kind | None:
        """The link to create; None: it exists already."""
        return None if isinstance(self.source, str) else self.source

    @property
    def settings(self) -> Settings:
        """The requested settings of the link."""
        return Settings(**only(self))

    @property
    def source_name(self) -> str:
        """Name of the link on the host, or the source name of the link to create."""
        return self.source if isinstance(self.source, str) else self.source.source_name

    @property
    def has_ipv6(self) -> bool:
        """Whether an IPv6 address is requested."""
        return any(address.version == 6 for address in self.addresses)


_DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(InterfaceSpec)}
_FIELDS = {"addresses": "address", "routes": "route", "sysctls": "sysctl"}  # keyword -> field of a Problem


def salvage(source: object, options: Mapping[str, object], problems: Iterable[Problem]) -> list[InterfaceSpec]:
    """Return a spec of the valid options among those of a refused one, to check it against the facts as well."""
    wrong = {problem.field for problem in problems}
    if "source" in wrong:
        return []
    known = InterfaceOptions.__annotations__.keys() & options
    valid = {key: options[key] for key in known if _FIELDS.get(key, key) not in wrong}
    return [InterfaceSpec(cast("str", source), **cast("InterfaceOptions", valid))]


def parse_address(value: object) -> IPInterface:
    """Return the address of a host with its prefix length.

    Raises:
        SpecError: The value is not one.
    """
    check = Checks()
    address = check.address(value)
    check.finish()
    return cast("IPInterface", address)


def parse_interface(value: object) -> str:
    """Return the name of an interface.

    Raises:
        SpecError: A link cannot have that name.
    """
    check = Checks()
    check.add(name_problem("interface", value, longest=ALTNAME_MAX))
    check.finish()
    return cast("str", value)


def expect_all(field: str, values: object, kind: type[T]) -> tuple[T, ...]:
    """Return what a list holds, or a value alone, all of it of the class *kind*.

    Raises:
        SpecError: Some of it is of another class.
    """
    found = items(values)
    reason = f"is not of the class {kind.__name__}"
    wrong = [Problem(field, value, reason) for value in found if not isinstance(value, kind)]
    if wrong:
        raise SpecError(wrong)
    return cast("tuple[T, ...]", found)


def _check_names(check: Checks, values: Mapping[str, object]) -> None:
    """Refuse names that the kernel would refuse."""
    source = values["source"]
    if not isinstance(source, Kind):
        check.add(name_problem("source", source, longest=ALTNAME_MAX))
    if source == "lo":
        check.wrong("source", source, "the loopback link cannot leave its namespace")
    check.add(name_problem("prefix", values["prefix"], longest=NAME_MAX - 1))
    for field, longest in (("name", NAME_MAX), ("master", ALTNAME_MAX)):
        if values[field] is not None:
            check.add(name_problem(field, values[field], longest=longest))


def _addresses(check: Checks, given: object) -> tuple[IPInterface, ...]:
    """Return the addresses of hosts, each of which may be given once."""
    addresses = tuple(address for item in items(given) if (address := check.address(item)))
    for twice in dict.fromkeys(address for address in addresses if addresses.count(address) > 1):
        check.wrong("address", str(twice), "is given twice")
    return addresses


def _routes(check: Checks, given: object, *, ipv6: bool) -> tuple[Route, ...]:
    """Return the routes of an interface, which has an IPv6 address or not."""
    routes = tuple(route for item in items(given) if (route := _route(check, item)))
    for route in routes:
        if route.to.version == 6 and not ipv6:
            check.wrong("route", str(route), "needs an IPv6 address: without one, IPv6 is switched off")
    return routes


def _route(check: Checks, value: object) -> Route | None:
    """Return a route of an interface, or None."""
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


def _check_settings(check: Checks, values: dict[str, Any], *, ipv6: bool) -> None:
    """Give the requested settings of a link their usual form."""
    source = values["source"]
    for name, row in TABLE.items():
        value = values[name]
        if value is None:
            continue
        values[name] = check.mtu(value, ipv6=ipv6) if name == "mtu" else check.setting(name, value)
        rule = source.mac_rule if isinstance(source, Kind) and name == "mac" else None
        if row.when == "at creation" and not isinstance(source, Kind):
            rule = "can only be given to a link that is created"
        elif row.when == "at creation" and not source.by_request:
            rule = f"cannot be given to a link of the kind {source.kind}"
        if rule:
            check.wrong(name, value, rule)


def _check_words(check: Checks, values: dict[str, Any]) -> None:
    """Refuse other words and numbers than the possible ones."""
    if values["on_conflict"] not in ("error", "ignore"):
        check.wrong("on_conflict", values["on_conflict"], "is neither 'error' nor 'ignore'")
    if values["wait"] not in (None, "up"):
        check.wrong("wait", values["wait"], "is neither 'up' nor None")
    limit = values["wait_limit"]
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit <= WAIT_MAX:
        check.wrong("wait_limit", limit, f"is not a number of seconds above 0 and up to {WAIT_MAX}")
    else:
        values["wait_limit"] = float(limit)


def _advertise(check: Checks, value: object) -> Advertise:
    """Return how often an interface is advertised."""
    try:
        return parse_advertise(value)
    except SpecError as error:
        check.problems += error.problems
        return USUAL
