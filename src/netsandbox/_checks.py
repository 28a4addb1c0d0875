"""What makes sense and what does not: the rules for names, addresses, MACs, MTUs and settings.

A rule that is broken becomes a Problem; `Checks` collects them, so that all of them can be told at once.

Source: RFC 3021 and RFC 6164 for networks of two addresses, RFC 8200 for the smallest IPv6 MTU, IEEE 802 for MACs.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)
from typing import TypeVar

from netsandbox.errors import Problem, SpecError

IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address
T = TypeVar("T")

MTU_MIN, MTU_MIN_IPV6, MTU_MAX = 68, 1280, 65535  # RFC 791, RFC 8200, what the kernel allows virtual links
METRIC_MAX = 2**32 - 1
SANDBOX_NAME_MAX = 64
NAME_MAX = 15  # IFNAMSIZ without the final NUL

_EVERYBODY = IPv4Address("255.255.255.255")
_SPACE = re.compile(rb"[\s\xa0]")  # what the kernel's isspace() calls white space
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PATH = re.compile(r"/[^\0\ud800-\udc7f\udd00-\udfff]*")  # of surrogates, those that stand for bytes (PEP 383)
_SYSCTL_PART = re.compile(r"[A-Za-z0-9_-]+")


def is_path(value: object) -> bool:
    """Whether *value* is an absolute path that a file system could take."""
    return isinstance(value, str) and bool(_PATH.fullmatch(value))


def name_problem(field: str, name: object, *, longest: int = NAME_MAX) -> Problem | None:
    """Say what is wrong with *name* as the name of a link, or return None.

    Source: dev_valid_name() in net/core/dev.c; "all" and "default" are taken in /proc/sys/net. A ``%`` would make the
    kernel choose a number.
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


def mac_problem(text: object) -> str | None:
    """Return why *text* is not a unicast link-layer address in lower case, or None."""
    if not isinstance(text, str) or not _MAC.fullmatch(text):
        return "is not of the form 02:42:ac:11:00:02"
    if text == "00:00:00:00:00:00":
        return "is all zero"
    return "is a multicast address, not that of one host" if int(text[:2], 16) & 1 else None  # IEEE 802: the group bit


def sandbox_name_problem(name: object) -> Problem | None:
    """Say what is wrong with *name* as the name of a sandbox, or return None."""
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
    """Name every keyword in *given* that is not in *known*, and the nearest right one."""
    known = tuple(known)
    return [Problem("keyword", word, f"is not known; {_nearest(word, known)}") for word in given if word not in known]


def _nearest(word: str, known: tuple[str, ...]) -> str:
    import difflib  # noqa: PLC0415  not needed unless something is wrong

    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


class Checks:
    """Collects what is wrong, so that all of it can be told at once."""

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
        """Return what *parser* of the ipaddress module makes of text or of a value of its own."""
        if isinstance(value, str) and "%" in value:
            self.wrong(field, value, "may not hold a zone (%)")
            return None
        if isinstance(value, (int, bytes)):  # ipaddress would take them for packed addresses
            self.wrong(field, value, "is not text")
            return None
        try:
            return parser(value)
        except (ValueError, TypeError) as error:
            self.wrong(field, value, str(error))
            return None

    def address(self, value: object) -> IPInterface | None:
        """Return the address of a host with its prefix length."""
        bare = isinstance(value, IPAddress) and not isinstance(value, IPInterface)
        if bare or (isinstance(value, str) and "/" not in value):
            self.wrong("address", str(value), "needs a prefix length, such as /24")
            return None
        if isinstance(value, IPNetwork):
            self.wrong("address", str(value), "is a network, not the address of a host")
            return None
        interface = self.parse("address", value, ip_interface)
        reason = None if interface is None else _no_host(interface)
        if reason:
            self.wrong("address", str(interface), reason)
            return None
        return interface

    def mac(self, value: object, field: str = "mac") -> str:
        """Return a unicast link-layer address in lower case."""
        text = value.lower() if isinstance(value, str) else ""
        reason = mac_problem(text)
        if reason:
            self.wrong(field, value, reason)
        return text

    def mtu(self, value: object, *, ipv6: bool, field: str = "mtu") -> None:
        """Check an MTU; IPv6 needs more than IPv4."""
        if not is_int(value, MTU_MIN, MTU_MAX):
            self.wrong(field, value, f"is not a number from {MTU_MIN} to {MTU_MAX}")
        elif ipv6 and not is_int(value, MTU_MIN_IPV6, MTU_MAX):
            self.wrong(field, value, f"is below {MTU_MIN_IPV6}, the least that IPv6 needs")

    def sysctls(self, given: object) -> tuple[tuple[str, str], ...]:
        """Return (key, value) pairs; the interface's part of each key is the word IFNAME."""
        found: dict[str, str] = {}
        pairs = given.items() if isinstance(given, Mapping) else map(_cut, items(given))
        for key, value in pairs:
            text = " ".join(str(value).split())
            reason = _no_sysctl(key, value)
            if reason:
                self.wrong("sysctl", key, reason)
                continue
            *protocol, _, setting = str(key).split(".")
            exact = ".".join((*protocol, "IFNAME", setting))
            if found.setdefault(exact, text) != text:
                self.wrong("sysctl", exact, f"has two values, {found[exact]!r} and {text!r}")
        return tuple(found.items())


def _no_host(interface: IPInterface) -> str | None:
    """Say why an address is not that of a host, or return None."""
    ip, network = interface.ip, interface.network
    subnet = network.num_addresses > 2  # RFC 3021, RFC 6164: of two addresses both are hosts
    if ip.is_unspecified:
        return "is the unspecified address"
    if ip.is_multicast:
        return "is a multicast address"
    if ip == _EVERYBODY or (subnet and ip.version == 4 and ip == network.broadcast_address):
        return f"is the broadcast address of {network}"
    if subnet and ip == network.network_address:
        return f"is the address of the network {network} itself"
    return None


def _no_sysctl(key: object, value: object) -> str | None:
    """Say why a setting of an interface is none, or return None."""
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
    """Whether *value* is one that a setting can be given: a number, or text that prints."""
    text = " ".join(str(value).split())
    return (
        isinstance(value, (str, int))
        and not isinstance(value, bool)
        and text.isascii()
        and text.isprintable()
        and bool(text)
    )


def _cut(entry: object) -> tuple[object, object]:
    """Return key and value of KEY=VALUE; the value None if it is of another form."""
    key, equals, value = entry.partition("=") if isinstance(entry, str) else (entry, "", None)
    return (key, value) if equals else (entry, None)


def items(value: object) -> tuple[object, ...]:
    """Return what a list of things holds; one thing alone counts as a list of one."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, IPNetwork)):
        return tuple(value)
    return (value,)


def is_int(value: object, least: int, most: int) -> bool:
    """Whether *value* is a number in a range; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
