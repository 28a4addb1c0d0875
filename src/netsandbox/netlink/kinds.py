"""What the kinds of virtual links can be told when they are made: one table, for checks, requests and commands.

Source: ip-link(8), include/uapi/linux/if_link.h, if_vlan.h; vxlan(4) listens on 4789 by RFC 7348.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from netsandbox.netlink import attrs

Value = bool | int | str
Options = tuple[tuple[str, Value], ...]

# Which module of the kernel brings a kind, where that has another name.
MODULES = {"vlan": "8021q"}
_VXLAN_LINK = 3  # IFLA_VXLAN_LINK
_FORMS = {1: "B", 2: "H", 4: "I"}  # of numbers, by their size in bytes
_BITS = struct.Struct("=II")  # struct ifla_vlan_flags: flags, mask


class Option(NamedTuple):
    """One option of a kind.

    Attributes:
        number: Number of its attribute (IFLA_BR_*, IFLA_VXLAN_*, ...).
        fits: Whether a value makes sense.
        rule: What makes sense, in words.
        pack: Returns the bytes of a value.
        words: Returns what ip(8) calls it with a value.
        bit: Its bit, if several options share the attribute.
        number6: Number of the attribute for an IPv6 address, if that is another one.
    """

    number: int
    fits: Callable[[Value], bool]
    rule: str
    pack: Callable[[Value], bytes]
    words: Callable[[Value], str]
    bit: int = 0
    number6: int = 0


def _number(word: str, number: int, size: int, least: int, most: int, *, order: str = "=") -> Option:
    form = struct.Struct(order + _FORMS[size])
    return Option(
        number,
        lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
        f"is not a number from {least} to {most}",
        form.pack,
        lambda value: f"{word} {value}",
    )


def _switch(number: int, on: str, off: str = "", *, size: int = 1, bit: int = 0) -> Option:
    return Option(
        number,
        lambda value: isinstance(value, bool),
        "is neither True nor False",
        lambda value: int(value).to_bytes(size, sys.byteorder),
        lambda value: on if value else off,
        bit,
    )


def _choice(word: str, number: int, size: int, choices: Mapping[str, int], *, order: str = "=") -> Option:
    form = struct.Struct(order + _FORMS[size])
    return Option(
        number,
        lambda value: isinstance(value, str) and value in choices,
        f"is none of {', '.join(choices)}",
        lambda value: form.pack(choices[str(value)]),
        lambda value: f"{word} {value}".strip(),
    )


def _address(word: str, number: int, number6: int, *, multicast: bool) -> Option:
    def fits(value: Value) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        return isinstance(value, str) and "%" not in value and address.is_multicast == multicast

    return Option(
        number,
        fits,
        f"is not the address of {'a multicast group' if multicast else 'a host'}",
        lambda value: ip_address(value).packed,
        lambda value: f"{word} {value}",
        number6=number6,
    )


def _on_off(word: str, number: int, bit: int) -> Option:
    return _switch(number, f"{word} on", f"{word} off", bit=bit)


def _one_zero(word: str, number: int, size: int = 1) -> Option:
    return _switch(number, f"{word} 1", f"{word} 0", size=size)


def _no(word: str, number: int) -> Option:
    return _switch(number, word, f"no{word}")


OPTIONS: dict[str, dict[str, Option]] = {
    "bridge": {
        "stp": _one_zero("stp_state", 5, 4),
        "priority": _number("priority", 6, 2, 0, 65535),
        "forward_delay": _number("forward_delay", 1, 4, 200, 3000),
        "hello_time": _number("hello_time", 2, 4, 100, 1000),
        "max_age": _number("max_age", 3, 4, 600, 4000),
        "ageing_time": _number("ageing_time", 4, 4, 0, 2**32 - 1),
        "vlan_filtering": _one_zero("vlan_filtering", 7),
        "vlan_default_pvid": _number("vlan_default_pvid", 39, 2, 0, 4094),
        "mcast_snooping": _one_zero("mcast_snooping", 23),
        "mcast_querier": _one_zero("mcast_querier", 25),
        "group_fwd_mask": _number("group_fwd_mask", 9, 2, 0, 65535),
    },
    "veth": {},
    "macvlan": {
        "mode": _choice("mode", 1, 4, {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}),
        "nopromisc": _switch(2, "flag nopromisc", size=2),
        "bc_queue_len": _number("bcqueuelen", 7, 4, 0, 2**32 - 1),
    },
    "ipvlan": {
        "mode": _choice("mode", 1, 2, {"l2": 0, "l3": 1, "l3s": 2}),
        "flag": _choice("", 2, 2, {"bridge": 0, "private": 1, "vepa": 2}),
    },
    "vlan": {
        "protocol": _choice("protocol", 5, 2, {"802.1q": 0x8100, "802.1ad": 0x88A8}, order="!"),
        "id": _number("id", 1, 2, 0, 4094),
        "reorder_hdr": _on_off("reorder_hdr", 2, 0x1),
        "gvrp": _on_off("gvrp", 2, 0x2),
        "loose_binding": _on_off("loose_binding", 2, 0x4),
        "mvrp": _on_off("mvrp", 2, 0x8),
        "bridge_binding": _on_off("bridge_binding", 2, 0x10),
    },
    "vxlan": {
        "id": _number("id", 1, 4, 0, 2**24 - 1),
        "group": _address("group", 2, 16, multicast=True),
        "remote": _address("remote", 2, 16, multicast=False),
        "local": _address("local", 4, 17, multicast=False),
        "port": _number("dstport", 15, 2, 1, 65535, order="!"),
        "ttl": _number("ttl", 5, 1, 0, 255),
        "tos": _number("tos", 6, 1, 0, 255),
        "ageing": _number("ageing", 8, 4, 0, 2**32 - 1),
        "max_addresses": _number("maxaddress", 9, 4, 0, 2**32 - 1),
        "learning": _no("learning", 7),
        "proxy": _no("proxy", 11),
        "rsc": _no("rsc", 12),
        "l2miss": _no("l2miss", 13),
        "l3miss": _no("l3miss", 14),
        "udp_csum": _no("udpcsum", 18),
        "udp6_zero_csum_tx": _no("udp6zerocsumtx", 19),
        "udp6_zero_csum_rx": _no("udp6zerocsumrx", 20),
        "external": _no("external", 25),
    },
    "dummy": {},
    "ifb": {},
    "tun": {
        "mode": _choice("mode", 0, 4, {"tap": 2, "tun": 1}),
        "owner": _number("user", 0, 4, 0, 2**32 - 2),
        "group": _number("group", 0, 4, 0, 2**32 - 2),
        "packet_info": _switch(0, "pi"),
        "vnet_hdr": _switch(0, "vnet_hdr"),
        "multi_queue": _switch(0, "multi_queue"),
    },
}


def fit(kind: str, options: Options) -> bool:
    """Whether a kind is known, and all that it is told makes sense."""
    known = OPTIONS.get(kind)
    return known is not None and all(name in known and known[name].fits(value) for name, value in options)


def pack(kind: str, options: Options, *, lower: int = 0) -> bytes:
    """Return the options of a kind as the kernel wants them (IFLA_INFO_DATA).

    Args:
        kind: The kind.
        options: The options, checked.
        lower: Index of the link below, for a kind that is told it here.
    """
    bits: dict[int, tuple[int, int]] = {}
    parts = []
    for name, value in options:
        option = OPTIONS[kind][name]
        if option.bit:
            flags, mask = bits.get(option.number, (0, 0))
            bits[option.number] = (flags | (option.bit if value else 0), mask | option.bit)
            continue
        data = option.pack(value)
        parts.append(attrs.pack(option.number6 if option.number6 and len(data) == 16 else option.number, data))
    parts += (attrs.pack(number, _BITS.pack(*pair)) for number, pair in bits.items())
    if kind == "vxlan" and lower:
        parts.append(attrs.pack_u32(_VXLAN_LINK, lower))
    return b"".join(parts)


def words(kind: str, options: Options) -> str:
    """Return the options of a kind in the words of ip-link(8), each after a space."""
    said: Iterable[str] = (OPTIONS[kind][name].words(value) for name, value in options)
    return "".join(f" {word}" for word in said if word)
