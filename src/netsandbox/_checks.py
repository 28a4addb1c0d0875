"""The rules for names, addresses, MACs, MTUs and sysctls; `Checks` collects all that is invalid in a request.

Source: RFC 3021 and RFC 6164 for networks of two addresses, RFC 8200 for the smallest IPv6 MTU.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_interface
from typing import Any, TypeVar

from netsandbox.errors import Problem, SpecError
from netsandbox.netlink.settings import TABLE

IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address
T = TypeVar("T")

MTU_MIN_IPV6 = 1280  # RFC 8200
METRIC_MAX = 2**32 - 1
SANDBOX_NAME_MAX = 64
NAME_MAX = 15  # IFNAMSIZ without the final NUL

_BROADCAST = IPv4Address("255.255.255.255")
_SPACE = re.compile(rb"[\s\xa0]")  # what the kernel's isspace() calls white space
_PATH = re.compile(r"/[^\0\ud800-\udc7f\udd00-\udfff]*")  # of surrogates, those that stand for bytes (PEP 383)
_SYSCTL_PART = re.compile(r"[A-Za-z0-9_-]+")


def is_path(value: object) -> bool:
    """Whether *value* is an absolute path that a file system could take."""
    return isinstance(value, str) and bool(_PATH.fullmatch(value))


def name_problem(field: str, name: object, *, longest: int = NAME_MAX) -> Problem | None:
    """Return what is wrong with *name* as the name of a link, or None.

    Source: dev_valid_name() in net/core/dev.c; "all" and "default" are directories of /proc/sys/net. A ``%`` would make
    the kernel choose a number.
    """
    if not isinstance(name, str):
        return Problem(field, name, "a link name is a string")
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return Problem(field, name, "cannot be written as bytes")
    if not raw:
        reason = "a link name may not be empty"
    elif len(raw) > longest:
        reason = f"has {len(raw)} bytes, at most {longest} are possible"
    elif name in {".", "..", "all", "default"}:
        reason = "is a name that the kernel refuses"
    elif _SPACE.search(raw) or not {*"/:%\0"}.isdisjoint(name):
        reason = "may not hold white space, '/', ':', '%' or NUL"
    else:
        return None
    return Problem(field, name, reason)


def sandbox_name_problem(name: object) -> Problem | None:
    """Return what is wrong with *name* as the name of a sandbox, or None."""
    if not isinstance(name, str):
        return Problem("name", name, "a sandbox name is a string")
    if not name:
        reason = "a sandbox name may not be empty"
    elif name.startswith(("-", ".")):
        reason = f"may not begin with {name[0]!r}"
    elif not {*"/ "}.isdisjoint(name) or not name.isprintable():
        reason = "may not hold '/', NUL, white space or what cannot be printed"
    elif len(name.encode()) > SANDBOX_NAME_MAX:
        reason = f"is longer than {SANDBOX_NAME_MAX} bytes"
    else:
        return None
    return Problem("name", name, reason)


def keyword_problems(given: Iterable[str], known: Iterable[str]) -> list[Problem]:
    """Return a problem for every keyword that is not *known*, with the nearest one that is."""
    known = tuple(known)
    return [Problem("keyword", word, f"is not known; {_nearest(word, known)}") for word in given if word not in known]


def _nearest(word: str, known: tuple[str, ...]) -> str:
    import difflib  # noqa: PLC0415  not needed unless something is wrong

    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


class Checks:
    """Collects problems, to report all of them at once. A check returns the value in its usual form, if it is valid."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)

    def add(self, problem: Problem | None) -> None:
        if problem:
            self.problems.append(problem)

    def wrong(self, field: str, value: object, reason: str) -> None:
        self.problems.append(Problem(field, value, reason))

    def finish(self) -> None:
        if self.problems:
            raise SpecError(self.problems)

    def parse(self, field: str, value: object, parser: Callable[..., T]) -> T | None:
        """Check a text, or a value of the ipaddress module, with a *parser* of that module."""
        if isinstance(value, str) and "%" in value:
            self.wrong(field, value, "may not hold a zone (%)")
        elif isinstance(value, (int, bytes)):  # the parsers would accept them as packed addresses
            self.wrong(field, value, "is not text")
        else:
            try:
                return parser(value)
            except (ValueError, TypeError) as error:
                self.wrong(field, value, str(error))
        return None

    def address(self, value: object) -> IPInterface | None:
        """Check the address of a host with its prefix length."""
        interface = None
        bare = isinstance(value, IPAddress) and not isinstance(value, IPInterface)
        if bare or (isinstance(value, str) and "/" not in value):
            reason: str | None = "needs a prefix length, such as /24"
        elif isinstance(value, IPNetwork):
            reason = "is a network, not the address of a host"
        else:
            interface = self.parse("address", value, ip_interface)
            reason = _host_problem(interface) if interface else None
        if reason:
            self.wrong("address", str(interface or value), reason)
        return None if reason else interface

    def setting(self, name: str, value: object, field: str = "") -> Any:  # noqa: ANN401  as the field of `Settings`
        """Check a setting of a link by its row in the table."""
        try:
            return TABLE[name].parse(value)
        except ValueError as error:
            self.wrong(field or name, value, str(error))
            return None

    def mtu(self, value: object, *, ipv6: bool, field: str = "mtu") -> int | None:
        """Check an MTU; with *ipv6*, it has to be large enough for IPv6."""
        mtu: int | None = self.setting("mtu", value, field)
        if ipv6 and mtu is not None and mtu < MTU_MIN_IPV6:
            self.wrong(field, mtu, f"is below {MTU_MIN_IPV6}, the least that IPv6 needs")
        return mtu

    def sysctls(self, given: object) -> tuple[tuple[str, str], ...]:
        """Check per-interface sysctls; return pairs of a key, with IFNAME for the interface, and a value."""
        found: dict[str, str] = {}
        pairs = given.items() if isinstance(given, Mapping) else map(_split_pair, items(given))
        for key, value in pairs:
            text = " ".join(str(value).split())
            reason = _sysctl_problem(key, value)
            if reason:
                self.wrong("sysctl", key, reason)
                continue
            *protocol, _, setting = str(key).split(".")
            exact = ".".join((*protocol, "IFNAME", setting))
            if found.setdefault(exact, text) != text:
                self.wrong("sysctl", exact, f"has two values, {found[exact]!r} and {text!r}")
        return tuple(found.items())


def _host_problem(interface: IPInterface) -> str | None:
    """Return why an address is not that of a host, or None."""
    ip, network = interface.ip, interface.network
    subnet = network.num_addresses > 2  # RFC 3021, RFC 6164: of two addresses both are hosts
    if ip.is_unspecified:
        return "is the unspecified address"
    if ip.is_multicast:
        return "is a multicast address"
    if ip == _BROADCAST or (subnet and ip.version == 4 and ip == network.broadcast_address):
        return f"is the broadcast address of {network}"
    if subnet and ip == network.network_address:
        return f"is the address of the network {network} itself"
    return None


def _sysctl_problem(key: object, value: object) -> str | None:
    """Return what is wrong with a per-interface sysctl, or None."""
    parts = key.split(".") if isinstance(key, str) else []
    if value is None:
        return "is not of the form KEY=VALUE"
    if len(parts) != 5 or not all(map(_SYSCTL_PART.fullmatch, parts)):
        return "is not of the form net.X.Y.IFNAME.Z"
    if parts[0] != "net":
        return "is outside net."
    if parts[3] not in {"IFNAME", "ifname"}:
        return "must have the word IFNAME as its fourth part"
    return None if is_setting(value) else f"has no usable value, {value!r}"


def is_setting(value: object) -> bool:
    """Whether *value* is valid for a sysctl: a number, or printable ASCII text."""
    text = " ".join(str(value).split())
    is_text_or_number = isinstance(value, (str, int)) and not isinstance(value, bool)
    return is_text_or_number and text.isascii() and text.isprintable() and bool(text)


def _split_pair(entry: object) -> tuple[object, object]:
    """Return key and value of KEY=VALUE; the value None if it is of another form."""
    key, equals, value = entry.partition("=") if isinstance(entry, str) else (entry, "", None)
    return (key, value) if equals else (entry, None)


def items(value: object) -> tuple[object, ...]:
    """Return the items of an iterable; a text, bytes, a network, or any other value is a single item."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, IPNetwork)):
        return tuple(value)
    return (value,)


def is_int(value: object, least: int, most: int) -> bool:
    """Whether *value* is an integer in a range; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
