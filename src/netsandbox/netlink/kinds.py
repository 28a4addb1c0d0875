"""What the kinds of virtual links can be told when they are made: one table, for checks, requests and commands.

Source: ip-link(8), include/uapi/linux/if_link.h, if_vlan.h, if_bridge.h; vxlan(4) listens on 4789 by RFC 7348.
"""

import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

from netsandbox.netlink import attrs

Value = bool | int | str | tuple[int | str | tuple[int, ...], ...]
Options = tuple[tuple[str, Value], ...]

# Which module of the kernel brings a kind, where that has another name.
MODULES = {"vlan": "8021q"}
_VXLAN_LINK = 3  # IFLA_VXLAN_LINK
_MOST = 1000  # of what there may be several: an attribute holds 64 KiB
_U32 = 2**32 - 1
_FORMS = {1: "B", 2: "H", 4: "I", 8: "Q"}  # of numbers, by their size in bytes
_UNICAST = re.compile("(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_GROUP_ADDRESS = re.compile("01:80:c2:00:00:0[04-9a-f]")  # group_addr_store() in net/bridge/br_sysfs_br.c


class Option(NamedTuple):
    """One option of a kind.

    Attributes:
        fits: Whether a value makes sense.
        rule: What makes sense, in words.
        pack: Returns the attributes of a value; of a bit, that of the pair (bits that are on, bits that are told).
        words: Returns what ip(8) calls it with a value.
        bit: Its bit, if several options share the attribute.
        read: Returns a value as it is kept, if it can be given in several forms.
    """

    fits: Callable[[Any], bool]
    rule: str
    pack: Callable[[Any], bytes]
    words: Callable[[Any], str]
    bit: int = 0
    read: Callable[[Any], object] | None = None


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(word: str, number: int, size: int, least: int, most: int, *, order: str = "=") -> Option:
    form = struct.Struct(order + _FORMS[size])
    return Option(
        lambda value: _is_number(value, least, most),
        f"is not a number from {least} to {most}",
        lambda value: attrs.pack(number, form.pack(value)),
        lambda value: f"{word} {value}",
    )


def _switch(pack: Callable[[Any], bytes], on: str, off: str = "", *, bit: int = 0) -> Option:
    return Option(
        lambda value: isinstance(value, bool),
        "is neither True nor False",
        pack,
        lambda value: on if value else off,
        bit,
    )


def _choice(word: str, number: int, size: int, choices: Mapping[str, int], *, order: str = "=") -> Option:
    form = struct.Struct(order + _FORMS[size])
    return Option(
        lambda value: isinstance(value, str) and value in choices,
        f"is none of {', '.join(choices)}",
        lambda value: attrs.pack(number, form.pack(choices[value])),
        lambda value: f"{word} {value}".strip(),
    )


def _address(word: str, number: int, number6: int, *, multicast: bool) -> Option:
    def fits(value: object) -> bool:
        try:
            return isinstance(value, str) and "%" not in value and ip_address(value).is_multicast == multicast
        except ValueError:
            return False

    return Option(
        fits,
        f"is not the address of {'a multicast group' if multicast else 'a host'}",
        lambda value: attrs.pack(number6 if ":" in value else number, ip_address(value).packed),
        lambda value: f"{word} {value}",
    )


def _map(word: str, number: int, most_from: int, most_to: int) -> Option:
    def fits(value: object) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) <= _MOST
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
            and all(_is_number(old, 0, most_from) and _is_number(new, 0, most_to) for old, new in value)
            and len(dict(value)) == len(value)
        )

    return Option(
        fits,
        f"does not map numbers from 0 to {most_from}, each once, to numbers from 0 to {most_to}, {_MOST} at most",
        # 1 is IFLA_VLAN_QOS_MAPPING, of a struct ifla_vlan_qos_mapping
        lambda value: attrs.nest(number, *(attrs.pack(1, struct.pack("=II", *pair)) for pair in value)),
        lambda value: " ".join((word, *(f"{old}:{new}" for old, new in value))) if value else "",
        read=_pairs,
    )


def _pairs(value: Any) -> object:  # noqa: ANN401  what a user gave
    """Return pairs, as a mapping or otherwise, as they are kept; what is none as it is."""
    try:
        return tuple(sorted(map(tuple, value.items() if isinstance(value, Mapping) else value)))
    except TypeError:
        return value


def _macs(value: Any) -> object:  # noqa: ANN401  what a user gave
    """Return MACs, or one alone, as they are kept; what is neither as it is."""
    try:
        return tuple(sorted({str(text).lower() for text in ((value,) if isinstance(value, str) else value)}))
    except TypeError:
        return value


def _pack_macs(value: Iterable[str]) -> bytes:
    """Return IFLA_MACVLAN_MACADDR_MODE (MACVLAN_MACADDR_SET) and IFLA_MACVLAN_MACADDR_DATA."""
    return attrs.pack_u32(3, 3) + attrs.nest(5, *(attrs.pack(4, attrs.mac_bytes(text)) for text in value))


def _macvlan_flags(bits: tuple[int, int]) -> bytes:
    return attrs.pack(2, struct.pack("=H", bits[0]))


def _vlan_flags(bits: tuple[int, int]) -> bytes:
    return attrs.pack(2, struct.pack("=II", *bits))  # struct ifla_vlan_flags


def _bridge_flags(bits: tuple[int, int]) -> bytes:
    return attrs.pack(46, struct.pack("=II", *bits))  # struct br_boolopt_multi


def _on_off(word: str, bit: int) -> Option:
    return _switch(_vlan_flags, f"{word} on", f"{word} off", bit=bit)


def _one_zero(word: str, number: int, size: int = 1) -> Option:
    return _switch(lambda value: attrs.pack(number, value.to_bytes(size, sys.byteorder)), f"{word} 1", f"{word} 0")


def _no(word: str, number: int) -> Option:
    return _switch(lambda value: attrs.pack_u8(number, value), word, f"no{word}")


def _flag(word: str, number: int) -> Option:
    """Return an option that is on if its attribute is there (NLA_FLAG)."""
    return _switch(lambda value: attrs.pack(number) if value else b"", word)


def _tun(word: str) -> Option:
    """Return a switch that no attribute tells: see `_system/tap.py`."""
    return _switch(bytes, word)


_VLAN_PROTOCOLS = {"802.1q": 0x8100, "802.1ad": 0x88A8}
OPTIONS: dict[str, dict[str, Option]] = {
    "bridge": {
        "stp": _one_zero("stp_state", 5, 4),
        "priority": _number("priority", 6, 2, 0, 65535),
        "forward_delay": _number("forward_delay", 1, 4, 200, 3000),
        "hello_time": _number("hello_time", 2, 4, 100, 1000),
        "max_age": _number("max_age", 3, 4, 600, 4000),
        "ageing_time": _number("ageing_time", 4, 4, 0, _U32),
        "vlan_filtering": _one_zero("vlan_filtering", 7),
        "vlan_protocol": _choice("vlan_protocol", 8, 2, _VLAN_PROTOCOLS, order="!"),
        "vlan_default_pvid": _number("vlan_default_pvid", 39, 2, 0, 4094),
        "vlan_stats": _one_zero("vlan_stats_enabled", 41),
        "vlan_stats_per_port": _one_zero("vlan_stats_per_port", 45),
        "mcast_snooping": _one_zero("mcast_snooping", 23),
        "mcast_vlan_snooping": _switch(_bridge_flags, "mcast_vlan_snooping 1", "mcast_vlan_snooping 0", bit=0x2),
        "mcast_router": _number("mcast_router", 22, 1, 0, 2),
        "mcast_querier": _one_zero("mcast_querier", 25),
        "mcast_query_use_ifaddr": _one_zero("mcast_query_use_ifaddr", 24),
        "mcast_query_interval": _number("mcast_query_interval", 33, 8, 100, 8640000),
        "mcast_query_response_interval": _number("mcast_query_response_interval", 34, 8, 0, _U32),
        "mcast_querier_interval": _number("mcast_querier_interval", 32, 8, 0, _U32),
        "mcast_startup_query_count": _number("mcast_startup_query_count", 29, 4, 0, _U32),
        "mcast_startup_query_interval": _number("mcast_startup_query_interval", 35, 8, 100, 8640000),
        "mcast_last_member_count": _number("mcast_last_member_count", 28, 4, 0, _U32),
        "mcast_last_member_interval": _number("mcast_last_member_interval", 30, 8, 0, _U32),
        "mcast_membership_interval": _number("mcast_membership_interval", 31, 8, 0, _U32),
        "mcast_hash_max": _number("mcast_hash_max", 27, 4, 0, _U32),
        "mcast_igmp_version": _number("mcast_igmp_version", 43, 1, 2, 3),
        "mcast_mld_version": _number("mcast_mld_version", 44, 1, 1, 2),
        "mcast_stats": _one_zero("mcast_stats_enabled", 42),
        "group_fwd_mask": _number("group_fwd_mask", 9, 2, 0, 65535),
        "group_address": Option(
            lambda value: isinstance(value, str) and _GROUP_ADDRESS.fullmatch(value) is not None,
            "is neither 01:80:c2:00:00:00 nor from 01:80:c2:00:00:04 to 01:80:c2:00:00:0f",
            lambda value: attrs.pack(20, attrs.mac_bytes(value)),
            lambda value: f"group_address {value}",
            read=lambda value: value.lower() if isinstance(value, str) else value,
        ),
        "fdb_max_learned": _number("fdb_max_learned", 49, 4, 0, _U32),
        "no_linklocal_learn": _switch(_bridge_flags, "no_linklocal_learn 1", "no_linklocal_learn 0", bit=0x1),
        "nf_call_iptables": _one_zero("nf_call_iptables", 36),
        "nf_call_ip6tables": _one_zero("nf_call_ip6tables", 37),
        "nf_call_arptables": _one_zero("nf_call_arptables", 38),
    },
    "veth": {},
    "macvlan": {
        "mode": _choice("mode", 1, 4, {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}),
        "macs": Option(
            lambda value: (
                isinstance(value, tuple)
                and len(value) <= _MOST
                and all(isinstance(text, str) and _UNICAST.fullmatch(text) for text in value)
            ),
            f"are not the addresses of up to {_MOST} hosts",
            _pack_macs,
            lambda value: " ".join(("macaddr set", *value)),
            read=_macs,
        ),
        "nopromisc": _switch(_macvlan_flags, "flag nopromisc", bit=0x1),
        "nodst": _switch(_macvlan_flags, "flag nodst", bit=0x2),
        "bc_queue_len": _number("bcqueuelen", 7, 4, 0, _U32),
    },
    "ipvlan": {
        "mode": _choice("mode", 1, 2, {"l2": 0, "l3": 1, "l3s": 2}),
        "flag": _choice("", 2, 2, {"bridge": 0, "private": 1, "vepa": 2}),
    },
    "vlan": {
        "protocol": _choice("protocol", 5, 2, _VLAN_PROTOCOLS, order="!"),
        "id": _number("id", 1, 2, 0, 4094),
        "reorder_hdr": _on_off("reorder_hdr", 0x1),
        "gvrp": _on_off("gvrp", 0x2),
        "loose_binding": _on_off("loose_binding", 0x4),
        "mvrp": _on_off("mvrp", 0x8),
        "bridge_binding": _on_off("bridge_binding", 0x10),
        "ingress_qos": _map("ingress-qos-map", 4, 7, _U32),
        "egress_qos": _map("egress-qos-map", 3, _U32, 7),
    },
    "vxlan": {
        "id": _number("id", 1, 4, 0, 2**24 - 1),
        "group": _address("group", 2, 16, multicast=True),
        "remote": _address("remote", 2, 16, multicast=False),
        "local": _address("local", 4, 17, multicast=False),
        "port": _number("dstport", 15, 2, 1, 65535, order="!"),
        "source_ports": Option(
            lambda value: (
                isinstance(value, tuple)
                and len(value) == 2
                and all(_is_number(port, 1, 65535) for port in value)
                and value[0] <= value[1]
            ),
            "are not two numbers from 1 to 65535, the lower one first",
            lambda value: attrs.pack(10, struct.pack("!HH", *value)),  # struct ifla_vxlan_port_range
            lambda value: "srcport {} {}".format(*value),
            read=lambda value: tuple(value) if isinstance(value, list) else value,
        ),
        "ttl": _number("ttl", 5, 1, 0, 255),
        "ttl_inherit": _flag("ttl inherit", 28),
        "tos": _number("tos", 6, 1, 0, 255),
        "df": _choice("df", 29, 1, {"unset": 0, "set": 1, "inherit": 2}),
        "label": _number("flowlabel", 26, 4, 0, 0xFFFFF, order="!"),
        "ageing": _number("ageing", 8, 4, 0, _U32),
        "max_addresses": _number("maxaddress", 9, 4, 0, _U32),
        "external": _no("external", 25),  # before learning, which it turns off in ip-link(8)
        "learning": _no("learning", 7),
        "proxy": _no("proxy", 11),
        "rsc": _no("rsc", 12),
        "l2miss": _no("l2miss", 13),
        "l3miss": _no("l3miss", 14),
        "udp_csum": _no("udpcsum", 18),
        "udp6_zero_csum_tx": _no("udp6zerocsumtx", 19),
        "udp6_zero_csum_rx": _no("udp6zerocsumrx", 20),
        "remcsum_tx": _no("remcsumtx", 21),
        "remcsum_rx": _no("remcsumrx", 22),
        "vnifilter": _no("vnifilter", 30),
        "localbypass": _no("localbypass", 31),
        "gbp": _flag("gbp", 23),
        "gpe": _flag("gpe", 27),
    },
    "dummy": {},
    "ifb": {},
    "tun": {
        "mode": _choice("mode", 0, 4, {"tap": 2, "tun": 1}),
        "owner": _number("user", 0, 4, 0, 2**32 - 2),
        "group": _number("group", 0, 4, 0, 2**32 - 2),
        "packet_info": _tun("pi"),
        "vnet_hdr": _tun("vnet_hdr"),
        "multi_queue": _tun("multi_queue"),
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
    bits: dict[Callable[[Any], bytes], tuple[int, int]] = {}
    parts = []
    for name, value in options:
        option = OPTIONS[kind][name]
        if option.bit:
            on, told = bits.get(option.pack, (0, 0))
            bits[option.pack] = (on | (option.bit if value else 0), told | option.bit)
        else:
            parts.append(option.pack(value))
    parts += (pack_bits(pair) for pack_bits, pair in bits.items())
    if kind == "vxlan" and lower:
        parts.append(attrs.pack_u32(_VXLAN_LINK, lower))
    return b"".join(parts)


def words(kind: str, options: Options) -> str:
    """Return the options of a kind in the words of ip-link(8), each after a space; what is external has no number."""
    if kind == "vxlan" and ("external", True) in options:
        options = tuple(option for option in options if option[0] != "id")
    said: Iterable[str] = (OPTIONS[kind][name].words(value) for name, value in options)
    return "".join(f" {word}" for word in said if word)
