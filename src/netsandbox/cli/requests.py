"""The few link requests that the demo and the doctor need and the library does not have (yet).

Source: rtnetlink(7), include/uapi/linux/if_link.h, include/uapi/linux/veth.h.
"""

import struct

from netsandbox.netlink import attrs
from netsandbox.netlink.message import F_CREATE, F_EXCL, Request

_NEWLINK = 16  # RTM_NEWLINK
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_IFNAME, _LINKINFO, _INFO_KIND, _INFO_DATA, _PEER = 3, 18, 1, 2, 1  # IFLA_*, IFLA_INFO_*, VETH_INFO_PEER


def new_link(kind: str, name: str, settings: bytes = b"") -> Request:
    """Ask for a link of a kind, with the settings of that kind, as the kernel encodes them."""
    info = attrs.pack_text(_INFO_KIND, kind) + (attrs.nest(_INFO_DATA, settings) if settings else b"")
    body = _INFO.pack(0, 0, 0, 0, 0) + attrs.pack_text(_IFNAME, name) + attrs.nest(_LINKINFO, info)
    return Request(f"create {kind} {name}", _NEWLINK, body, F_CREATE | F_EXCL)


def new_veth(name: str, peer: str) -> Request:
    """Ask for a pair of links, each of which receives what the other one sends (veth(4))."""
    return new_link("veth", name, attrs.pack(_PEER, _INFO.pack(0, 0, 0, 0, 0) + attrs.pack_text(_IFNAME, peer)))
