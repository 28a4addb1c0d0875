"""Macvlan and Ipvlan: links that share a lower link on the host."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from netsandbox._checks import Checks
from netsandbox.links.base import Kind
from netsandbox.links.options import MOST, Bit, Choice, Name, Number, Option
from netsandbox.netlink import options as _options
from netsandbox.netlink.settings import mac_problem


class _Macs(Option):
    rule = f"are not the addresses of up to {MOST} hosts"
    values = f"up to {MOST}"

    def normalize(self, value: object) -> object:
        given = (value,) if isinstance(value, str) else value
        return tuple(sorted({str(text).lower() for text in given})) if isinstance(given, Iterable) else value

    def problem(self, value: object) -> str | None:
        fits = isinstance(value, tuple) and len(value) <= MOST and not any(map(mac_problem, value))
        return None if fits else self.rule

    def pack(self, value: Iterable[str]) -> bytes:
        return _options.pack_source_macs(value)

    def words(self, value: Iterable[str]) -> str:
        return " ".join((self.word, *value))

    def parse(self, text: str) -> object:
        return text.split(",")


class _ModeFlag(Bit):
    styles = "flag {}", ""

    @staticmethod
    def pack_all(attr: int, on: int, mask: int) -> bytes:  # noqa: ARG004  the kernel takes none
        return _options.pack_number(attr, on, 2)


@dataclass(frozen=True, slots=True)
class Macvlan(Kind):
    """A link with a MAC of its own on top of one of the host's.

    Source: ip-link(8), include/uapi/linux/if_link.h.
    """

    link: Annotated[str, Name("Name, on the host, of the lower link")]
    mode: Annotated[
        Literal["bridge", "vepa", "private", "passthru", "source"],
        Choice(
            1,
            "Whether macvlans of one lower link reach each other: bridge directly, vepa if the switch sends the frames"
            " back, private never; passthru: there is only one, which has the MAC of the lower link; source: never, and"
            " each receives what comes from its *macs*",
            {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16},
            size=4,
        ),
    ] = "bridge"
    macs: Annotated[
        Iterable[str] | None, _Macs(5, "MACs that it receives frames from, in mode source", word="macaddr set")
    ] = None
    nopromisc: Annotated[
        bool | None, _ModeFlag(2, 0x1, "Keep the lower link out of promiscuous mode, in mode passthru")
    ] = None
    nodst: Annotated[
        bool | None, _ModeFlag(2, 0x2, "Hide from other macvlans what comes from the *macs* of one, in mode source")
    ] = None
    bc_queue_len: Annotated[int | None, Number(7, "Most broadcasts that may wait", word="bcqueuelen")] = None
    kind = "macvlan"
    source_field = "link"
    unique_mac = True

    def _check(self, check: Checks) -> None:
        if self.macs is not None and self.mode != "source":
            check.wrong("mode", self.mode, "is not source, which macs requires")
        if self.nopromisc and self.mode != "passthru":
            check.wrong("nopromisc", self.nopromisc, "requires mode passthru")

    @property
    def mac_rule(self) -> str | None:
        return "is that of the lower link in mode passthru" if self.mode == "passthru" else None


class _BareChoice(Choice):
    word = "(the value)"

    def words(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Ipvlan(Kind):
    """A link that shares the MAC of one of the host's, and differs from others on it by its IP addresses.

    Source: ip-link(8), Documentation/networking/ipvlan.rst.
    """

    link: Annotated[str, Name("Name, on the host, of the lower link")]
    mode: Annotated[
        Literal["l2", "l3", "l3s"],
        Choice(
            1,
            "l2 switches; l3 routes; l3s routes, and the packet filter of the host sees the packets",
            {"l2": 0, "l3": 1, "l3s": 2},
        ),
    ] = "l2"
    flag: Annotated[
        Literal["bridge", "private", "vepa"] | None,
        _BareChoice(
            2,
            "Whether ipvlans of one lower link reach each other: bridge directly, vepa through the switch, private"
            " never",
            {"bridge": 0, "private": 1, "vepa": 2},
        ),
    ] = None
    kind = "ipvlan"
    source_field = "link"

    @property
    def mac_rule(self) -> str | None:
        return "is that of the lower link"
