"""Vxlan: Ethernet over UDP."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Literal

from netsandbox._checks import Checks, is_int
from netsandbox.links.base import Kind
from netsandbox.links.options import Address, Choice, Flag, Name, NoSwitch, Number, Option, parse_number
from netsandbox.links.options import words as join_words
from netsandbox.netlink import options as _options
from netsandbox.netlink.options import Options

_RANGE = re.compile("[0-9]+-[0-9]+")


class _Ports(Option):
    rule = "are not two numbers from 1 to 65535, the lower one first"
    values = "1..65535"

    def normalize(self, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    def problem(self, value: object) -> str | None:
        fits = (
            isinstance(value, tuple)
            and len(value) == 2
            and all(is_int(port, 1, 65535) for port in value)
            and value[0] <= value[1]
        )
        return None if fits else self.rule

    def pack(self, value: tuple[int, int]) -> bytes:
        return _options.pack_ports(self.attr or 0, *value)

    def words(self, value: tuple[int, int]) -> str:
        return f"{self.word} {value[0]} {value[1]}"

    def parse(self, text: str) -> object:
        return tuple(map(int, text.split("-"))) if _RANGE.fullmatch(text) else parse_number(text)


@dataclass(frozen=True, slots=True)
class Vxlan(Kind):
    """An Ethernet over UDP; its packets travel over the host's links, whichever sandbox it is in.

    Source: ip-link(8), RFC 7348.
    """

    id: Annotated[int, Number(1, "Its number (VNI)", most=2**24 - 1)]
    link: Annotated[str | None, Name("Name, on the host, of the link its packets leave by; required with *group*")] = (
        None
    )
    group: Annotated[str | None, Address(2, 16, "Multicast group of all its ends", multicast=True)] = None
    remote: Annotated[str | None, Address(2, 16, "Address of the other end, instead of a group")] = None
    local: Annotated[str | None, Address(4, 17, "Address its packets come from")] = None
    port: Annotated[
        int, Number(15, "UDP port of the other ends", size=2, least=1, most=65535, order="!", word="dstport")
    ] = 4789
    source_ports: Annotated[
        tuple[int, int] | None,
        _Ports(10, "UDP ports its packets come from: the lowest and the highest", word="srcport"),
    ] = None
    ttl: Annotated[int | None, Number(5, "Hops its packets may make; 0: the usual number", size=1, most=255)] = None
    ttl_inherit: Annotated[
        bool | None, Flag(28, "Let them make as many as the packet inside may", word="ttl inherit")
    ] = None
    tos: Annotated[
        int | None, Number(6, "Type of service of its packets; 1: that of the packet inside", size=1, most=255)
    ] = None
    df: Annotated[
        Literal["unset", "set", "inherit"] | None,
        Choice(
            29,
            "Whether routers may not fragment its packets over IPv4; inherit: as the packet inside",
            {"unset": 0, "set": 1, "inherit": 2},
            size=1,
        ),
    ] = None
    label: Annotated[
        int | None, Number(26, "Flow label of its packets over IPv6", most=0xFFFFF, order="!", word="flowlabel")
    ] = None
    ageing: Annotated[int | None, Number(8, "Time until a learned address is forgotten, in seconds")] = None
    max_addresses: Annotated[int | None, Number(9, "Most addresses it keeps", word="maxaddress")] = None
    learning: Annotated[bool | None, NoSwitch(7, "Learn addresses from received packets")] = None
    proxy: Annotated[bool | None, NoSwitch(11, "Answer ARP requests for addresses it knows")] = None
    rsc: Annotated[bool | None, NoSwitch(12, "Route between the addresses behind it")] = None
    l2miss: Annotated[bool | None, NoSwitch(13, "Report unknown MACs by netlink")] = None
    l3miss: Annotated[bool | None, NoSwitch(14, "Report unknown IP addresses by netlink")] = None
    udp_csum: Annotated[bool | None, NoSwitch(18, "Send UDP checksums over IPv4", word="udpcsum")] = None
    udp6_zero_csum_tx: Annotated[bool | None, NoSwitch(19, "Send none over IPv6", word="udp6zerocsumtx")] = None
    udp6_zero_csum_rx: Annotated[bool | None, NoSwitch(20, "Accept none over IPv6", word="udp6zerocsumrx")] = None
    remcsum_tx: Annotated[
        bool | None, NoSwitch(21, "Leave checksums of the packets inside to the other end", word="remcsumtx")
    ] = None
    remcsum_rx: Annotated[bool | None, NoSwitch(22, "Accept that the other end does so", word="remcsumrx")] = None
    external: Annotated[
        bool | None,
        NoSwitch(
            25,
            "Let programs say where each packet goes and with which number: its own is 0, and it does not learn unless"
            " *learning* is on",
            before="learning",
        ),
    ] = None
    vnifilter: Annotated[
        bool | None, NoSwitch(30, "Accept only numbers that bridge(8) adds later, if it is *external*")
    ] = None
    localbypass: Annotated[
        bool | None, NoSwitch(31, "Skip the IP stack for packets to an end on the same machine; Linux 6.5")
    ] = None
    gbp: Annotated[bool | None, Flag(23, "Let packets carry the mark of a group policy")] = None
    gpe: Annotated[
        bool | None,
        Flag(27, "Let packets name their protocol and hold no Ethernet, if it is *external*; it has no MAC then"),
    ] = None
    kind = "vxlan"
    source_field = "id"
    lower_attr = 3  # IFLA_VXLAN_LINK
    uses_host = True

    def _check(self, check: Checks) -> None:
        if self.group is not None and self.link is None:
            check.wrong("link", self.link, "is required with a group")
        if self.group is not None and self.remote is not None:
            check.wrong("remote", self.remote, "cannot be combined with a group")
        known = self.declared
        ends = {name: getattr(self, name) for name in ("group", "remote", "local")}
        valid = [ip_address(end) for name, end in ends.items() if end is not None and not known[name].problem(end)]
        if len({address.version for address in valid}) > 1:
            check.wrong("local", self.local, f"is not of the family of {valid[0]}")
        if self.label and not known["label"].problem(self.label) and not any(end.version == 6 for end in valid):
            check.wrong("label", self.label, "requires an end with an IPv6 address")
        self._check_modes(check)

    def _check_modes(self, check: Checks) -> None:
        if self.ttl is not None and self.ttl_inherit:
            check.wrong("ttl", self.ttl, "cannot be combined with ttl_inherit")
        if self.external is not True:
            for word in ("vnifilter", "gpe"):
                if getattr(self, word):
                    check.wrong(word, getattr(self, word), "requires external")
            return
        if self.id:
            check.wrong("id", self.id, "is not 0, which external requires")
        if self.learning is None:  # as ip(8) does
            object.__setattr__(self, "learning", False)

    @property
    def mac_rule(self) -> str | None:
        return "cannot be set with gpe: it has no MAC" if self.gpe else None

    @classmethod
    def words(cls, options: Options) -> str:
        if ("external", True) in options:  # then ip(8) takes no number
            options = tuple(item for item in options if item[0] != "id")
        return join_words(cls.declared, options)
