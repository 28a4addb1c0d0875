"""Vlan: the frames of one VLAN on a lower link."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from netsandbox._checks import is_int
from netsandbox.links.base import Kind
from netsandbox.links.bridge import VLAN_PROTOCOLS
from netsandbox.links.options import MOST, U32, Bit, Choice, Name, Number, Option, parse_number
from netsandbox.netlink import options as _options

_PAIRS = re.compile(r"[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*")
_FLAGS = 2  # IFLA_VLAN_FLAGS
_PRIORITY = 7
QosMap = Mapping[int, int] | Iterable[tuple[int, int]]


class _Qos(Option):
    """A map of priorities, as a mapping or in pairs."""

    def __init__(self, attr: int, doc: str, most_from: int, most_to: int, *, word: str) -> None:
        super().__init__(attr, doc, word=word)
        self.most_from, self.most_to = most_from, most_to
        self.values = f"0..{most_from} to 0..{most_to}, up to {MOST}"
        self.rule = (
            f"does not map numbers from 0 to {most_from}, each once, to numbers from 0 to {most_to}, {MOST} at most"
        )

    def normalize(self, value: Any) -> object:  # noqa: ANN401  what a user gave
        try:
            return tuple(sorted(map(tuple, value.items() if isinstance(value, Mapping) else value)))
        except TypeError:
            return value

    def problem(self, value: object) -> str | None:
        fits = (
            isinstance(value, tuple)
            and len(value) <= MOST
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
            and all(is_int(old, 0, self.most_from) and is_int(new, 0, self.most_to) for old, new in value)
            and len(dict(value)) == len(value)
        )
        return None if fits else self.rule

    def pack(self, value: Iterable[tuple[int, int]]) -> bytes:
        return _options.pack_qos(self.attr or 0, value)

    def words(self, value: Iterable[tuple[int, int]]) -> str:
        pairs = [f"{old}:{new}" for old, new in value]
        return " ".join((self.word, *pairs)) if pairs else ""

    def parse(self, text: str) -> object:
        pairs = text.split(",") if _PAIRS.fullmatch(text) else []
        return [tuple(map(int, pair.split(":"))) for pair in pairs] or parse_number(text)


class _Flag(Bit):
    styles = "{} on", "{} off"


@dataclass(frozen=True, slots=True)
class Vlan(Kind):
    """A VLAN of one of the host's links.

    Source: ip-link(8), IEEE 802.1Q.
    """

    link: Annotated[str, Name("Name, on the host, of the lower link")]
    id: Annotated[int, Number(1, "The VLAN", size=2, most=4094)]
    protocol: Annotated[
        Literal["802.1q", "802.1ad"] | None, Choice(5, "Protocol of the tag", VLAN_PROTOCOLS, order="!", before="id")
    ] = None
    reorder_hdr: Annotated[bool | None, _Flag(_FLAGS, 0x1, "Remove the tag before programs see a frame")] = None
    gvrp: Annotated[bool | None, _Flag(_FLAGS, 0x2, "Register the VLAN by GVRP")] = None
    mvrp: Annotated[bool | None, _Flag(_FLAGS, 0x8, "Register it by MVRP")] = None
    loose_binding: Annotated[bool | None, _Flag(_FLAGS, 0x4, "Keep its state apart from that of the lower link")] = None
    bridge_binding: Annotated[bool | None, _Flag(_FLAGS, 0x10, "Take its state from the ports of the lower bridge")] = (
        None
    )
    ingress_qos: Annotated[
        QosMap | None, _Qos(4, "Priority of a packet by that of its tag", _PRIORITY, U32, word="ingress-qos-map")
    ] = None
    egress_qos: Annotated[
        QosMap | None, _Qos(3, "Priority of the tag by that of the packet", U32, _PRIORITY, word="egress-qos-map")
    ] = None
    kind = "vlan"
    module = "8021q"
    source_field = "link"
