"""Options of virtual links as the kernel encodes them: the attributes inside IFLA_INFO_DATA.

Source: include/uapi/linux/if_link.h, if_vlan.h, if_bridge.h.
"""

import struct
from collections.abc import Iterable
from ipaddress import ip_address

from netsandbox.netlink import attrs

Value = bool | int | str | tuple[int | str | tuple[int, ...], ...]
Options = tuple[tuple[str, Value], ...]

_FORMS = {1: "B", 2: "H", 4: "I", 8: "Q"}  # of numbers, by their size in bytes
_MACVLAN_MODE, _MACVLAN_MAC, _MACVLAN_MACS = 3, 4, 5  # IFLA_MACVLAN_MACADDR_MODE, _MACADDR, _MACADDR_DATA
_MACVLAN_SET = 3  # MACVLAN_MACADDR_SET
_QOS_MAPPING = 1  # IFLA_VLAN_QOS_MAPPING


def pack_number(attr: int, value: int, size: int, order: str = "=") -> bytes:
    """Return a number of *size* bytes, in host order or another *order* of the struct module."""
    return attrs.pack(attr, struct.pack(order + _FORMS[size], value))


def pack_bits(attr: int, on: int, mask: int) -> bytes:
    """Return struct ifla_vlan_flags or struct br_boolopt_multi: the bits that are on, of those in *mask*."""
    return attrs.pack(attr, struct.pack("=II", on, mask))


def pack_address(attr: int, attr6: int, text: str) -> bytes:
    """Return an IPv4 or IPv6 address, each in its own attribute."""
    return attrs.pack(attr6 if ":" in text else attr, ip_address(text).packed)


def pack_mac(attr: int, text: str) -> bytes:
    """Return a link-layer address."""
    return attrs.pack(attr, attrs.mac_bytes(text))


def pack_source_macs(macs: Iterable[str]) -> bytes:
    """Return the MACs from which a macvlan receives frames."""
    listed = (pack_mac(_MACVLAN_MAC, text) for text in macs)
    return attrs.pack_u32(_MACVLAN_MODE, _MACVLAN_SET) + attrs.nest(_MACVLAN_MACS, *listed)


def pack_qos(attr: int, pairs: Iterable[tuple[int, int]]) -> bytes:
    """Return priorities of a VLAN: a struct ifla_vlan_qos_mapping for each."""
    return attrs.nest(attr, *(attrs.pack(_QOS_MAPPING, struct.pack("=II", *pair)) for pair in pairs))


def pack_ports(attr: int, lowest: int, highest: int) -> bytes:
    """Return struct ifla_vxlan_port_range."""
    return attrs.pack(attr, struct.pack("!HH", lowest, highest))
