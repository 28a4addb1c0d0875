"""The settings of a link, a row each: from it come requests, plans, checks, options of the command line, and the fake.

To add one, write its row in `Settings`, and, if a user can give it, its line in `spec.InterfaceOptions`.

Source: ip-link(8); do_setlink() and rtnl_create_link() in net/core/rtnetlink.c.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from shlex import quote
from typing import Any, Literal, NamedTuple

from netsandbox.netlink import attrs
from netsandbox.netlink.constants import IFLA
from netsandbox.netlink.options import pack_mac

Value = int | str
MTU_MIN, MTU_MAX = 68, 65535  # RFC 791, what the kernel allows virtual links
ALIAS_MAX, MARK = 255, "netsandbox:"  # IFALIASZ without the final NUL; the prefix of the aliases of netsandbox
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Setting(NamedTuple):
    """One setting of a link."""

    number: int  # of its attribute (IFLA_*)
    word: str  # what ip-link(8) calls it
    pack: Callable[[int, Any], bytes]  # returns the attribute of that number with a value
    read: Callable[[bytes], Value | None]  # returns the value that a payload holds
    parse: Callable[[Any], Value]  # returns a value of a user in its usual form; raises a ValueError with the reason
    doc: str  # what its option on the command line does
    form: type[int] | type[str] = str  # class of its values
    when: Literal["always", "at creation", "never"] = "always"  # when a user can give it
    spellings: tuple[str, ...] = ()  # further names of its option on the command line
    usual: Value | None = None  # what a link has by default; None: that depends on the link
    at_creation: bool = True  # whether the kernel takes it with the request that creates a link
    json: str = ""  # what ``ip -j -d`` calls it, if that is not its word
    show: Callable[[Any], Value] | None = None  # returns a value as ``ip -j -d`` shows it


def _row(*args: Any, **more: Any) -> Any:  # noqa: ANN401  as field() of dataclasses
    return field(default=None, metadata={"setting": Setting(*args, **more)})


def _number(number: int, word: str, least: int, most: int, doc: str, **more: Any) -> Any:  # noqa: ANN401  as above
    def parse(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise ValueError(f"is not a number from {least} to {most}")

    return _row(number, word, attrs.pack_u32, attrs.to_int, parse, doc, int, **more)


def _read_mac(data: bytes) -> str | None:
    return attrs.mac_text(data) or None


def mac_problem(text: object) -> str | None:
    """Return why *text* is not a unicast link-layer address in lower case, or None."""
    if not isinstance(text, str) or not _MAC.fullmatch(text):
        return "is not of the form 02:42:ac:11:00:02"
    if text == "00:00:00:00:00:00":
        return "is all zero"
    return "is a multicast address, not that of one host" if int(text[:2], 16) & 1 else None  # IEEE 802: the group bit


def _parse_mac(value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    problem = mac_problem(text)
    if problem:
        raise ValueError(problem)
    return text


def _pack_alias(number: int, value: str) -> bytes:
    return attrs.pack(number, attrs.to_bytes(value))


def _parse_alias(value: object) -> str:
    try:
        data = attrs.to_bytes(value) if isinstance(value, str) else b"\0"
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = b"\0"
    if b"\0" in data or len(data) > ALIAS_MAX:
        raise ValueError(f"is not a text of at most {ALIAS_MAX} bytes without NUL")
    if data.startswith(MARK.encode()):
        raise ValueError(f"begins with {MARK!r}, which marks the links that netsandbox creates on the host")
    return attrs.to_text(data)


def _show_group(value: int) -> str:
    return str(value) if value else "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a link, or some of them; None: as it is, or as the kernel chooses. Their rows say what they are."""

    mac: str | None = _row(
        IFLA.ADDRESS,
        "address",
        pack_mac,
        _read_mac,
        _parse_mac,
        "Set the MAC address, such as 02:42:ac:11:00:02.",
        spellings=("lladdr",),
    )
    mtu: int | None = _number(
        IFLA.MTU, "mtu", MTU_MIN, MTU_MAX, "Set the MTU in bytes, 68..65535, with IPv6 at least 1280."
    )
    alias: str | None = _row(
        IFLA.IFALIAS,
        "alias",
        _pack_alias,
        attrs.to_text,
        _parse_alias,
        "Set the alias, a text of at most 255 bytes.",
        usual="",
        at_creation=False,
        json="ifalias",
    )
    txqlen: int | None = _number(
        IFLA.TXQLEN,
        "txqueuelen",
        0,
        2**31 - 1,
        "Set the length of the transmit queue in packets.",
        spellings=("txqueuelen",),
        json="txqlen",
        usual=1000,
    )
    group: int | None = _number(
        IFLA.GROUP, "group", 0, 2**31 - 1, "Set the link group, a number.", usual=0, show=_show_group
    )
    numtxqueues: int | None = _number(
        IFLA.NUM_TX_QUEUES,
        "numtxqueues",
        1,
        4096,
        "Set the number of transmit queues to create.",
        when="at creation",
        json="num_tx_queues",
    )


TABLE: dict[str, Setting] = {item.name: item.metadata["setting"] for item in fields(Settings)}
_usual: Any = {name: row.usual for name, row in TABLE.items()}
USUAL = Settings(**_usual)
NONE = Settings()
_SETTABLE = [(name, row.usual) for name, row in TABLE.items() if row.when != "at creation"]


def given(settings: Settings) -> Iterator[tuple[str, Setting, Value]]:
    """Yield name, row and value of the settings that have one."""
    for name, row in TABLE.items():
        value = getattr(settings, name)
        if value is not None:
            yield name, row, value


def only(settings: Settings) -> dict[str, Any]:
    """Return the values of the settings that have one, by name."""
    return {name: value for name, _, value in given(settings)}


def of(link: Settings) -> Settings:
    """Return all settings that a link has and that can be set."""
    values: dict[str, Any] = {name: getattr(link, name) for name, _ in _SETTABLE}
    return Settings(**values | {name: usual for name, usual in _SETTABLE if values[name] is None})


def differing(wanted: Settings, found: Settings) -> Settings | None:
    """Return the *wanted* settings that are not as *found*; None if all are."""
    values = {name: value for name, value in only(wanted).items() if getattr(found, name) != value}
    return Settings(**values) if values else None


def among(settings: Settings, like: Settings) -> Settings:
    """Return those of the settings that *like* gives too."""
    return Settings(**{name: getattr(settings, name) for name in only(like)})


def merged(base: Settings, over: Settings) -> Settings:
    """Return the settings *base*, but for those that *over* gives."""
    return replace(base, **only(over))


def split(settings: Settings, *late: str) -> tuple[Settings, Settings | None]:
    """Return the settings to create a link with, and those to give it afterwards: *late*, and what the kernel says."""
    after: dict[str, Any] = {name: value for name, row, value in given(settings) if name in late or not row.at_creation}
    return replace(settings, **dict.fromkeys(after)), Settings(**after) if after else None


def pack(settings: Settings) -> bytes:
    """Return settings as attributes."""
    return b"".join(row.pack(row.number, value) for _, row, value in given(settings))


def words(settings: Settings | None) -> list[str]:
    """Return settings in the words of ip-link(8), as a shell takes them."""
    return [f"{row.word} {quote(str(value))}" for _, row, value in given(settings)] if settings else []


def shown(settings: Settings) -> dict[str, Value]:
    """Return settings under the names and in the form of ``ip -j -d link``; an empty text is left out, as there."""
    found = ((row.json or row.word, row.show(value) if row.show else value) for _, row, value in given(settings))
    return {name: value for name, value in found if value != ""}
