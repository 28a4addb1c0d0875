"""Links as values, and the requests that make, change, move and delete them.

Source: rtnetlink(7), include/uapi/linux/if_link.h, net/core/rtnetlink.c.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs
from netsandbox.netlink.message import F_APPEND, F_CREATE, F_DUMP, F_EXCL, Message, Request

NEWLINK, DELLINK, GETLINK, SETLINK, NEWLINKPROP, DELLINKPROP = 16, 17, 18, 19, 108, 109  # RTM_*
UP, LOOPBACK, RUNNING, LOWER_UP = 0x1, 0x8, 0x40, 0x10000  # IFF_*
ETHERNET = 1  # ARPHRD_ETHER; include/uapi/linux/if_arp.h
AF_INET, AF_INET6, AF_BRIDGE = 2, 10, 7

_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _OPERSTATE, _LINKINFO = 1, 3, 4, 5, 10, 13, 16, 18  # IFLA_*
_PROTINFO = 12
_NET_NS_FD, _IFALIAS, _STATS64, _AF_SPEC, _GROUP, _EXT_MASK = 28, 20, 23, 26, 27, 29
_CARRIER, _LINK_NETNSID, _NEW_IFINDEX, _PROP_LIST, _ALT_IFNAME, _NETNS_IMMUTABLE = 33, 37, 49, 52, 53, 67
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5  # IFLA_INFO_*
_VETH_PEER = 1  # VETH_INFO_PEER
_INET_CONF, _INET6_CONF = 1, 2  # IFLA_INET_CONF, IFLA_INET6_CONF
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
# IFLA_BRPORT_* that can be set (br_setport() in net/bridge/br_netlink.c). The kernel tells more than it takes, and
# refuses the whole for one of these (IFLA_BRPORT_MCAST_N_GROUPS); a port finds its state by itself.
_BRIDGE_PORT = frozenset((*range(2, 13), 25, *range(27, 35), 37, 39, 40, 42, 43, 44))
# Of these, those that ip-link(8) can set (bridge_slave), and what they are if nobody did; None: it depends on the link.
_PORT_SWITCHES = {"hairpin": 4, "guard": 5, "root_block": 6, "fastleave": 7, "learning": 8, "flood": 9, "proxy_arp": 10}
_PORT_SWITCHES |= {"proxy_arp_wifi": 12, "mcast_flood": 27, "mcast_to_unicast": 28, "vlan_tunnel": 29}
_PORT_SWITCHES |= {"bcast_flood": 30, "neigh_suppress": 32, "isolated": 33, "locked": 39}
_PORT_ON = {"learning", "flood", "mcast_flood", "bcast_flood"}
_PORT_NUMBERS = {"priority": (2, 32), "cost": (3, None), "mcast_router": (25, 1), "group_fwd_mask": (31, 0)}
PORT_STATES = ("DISABLED", "LISTENING", "LEARNING", "FORWARDING", "BLOCKING")  # BR_STATE_*; if_bridge.h
_PORT_STATE = 1  # IFLA_BRPORT_STATE
OPERSTATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")  # RFC 2863


@dataclass(frozen=True, slots=True)
class Link:
    """A network device, as the kernel describes it.

    Attributes:
        index: Its number (ifindex), unique in its namespace.
        name: Its name.
        altnames: Its alternative names.
        kind: Kind of virtual link, such as "veth"; None for hardware and loopback.
        type: Hardware type (ARPHRD_*): 1 is Ethernet, 772 loopback.
        mac: Link-layer address in lower-case colon notation; None if it has none.
        is_immobile: Whether it cannot leave its namespace, as a bridge; False before Linux 6.16, which does not say it.
        mtu: Largest packet, in bytes.
        flags: IFF_* bits.
        operstate: Operational state (RFC 2863).
        carrier: Whether there is a signal.
        master: Index of the link it is enslaved to.
        lower: Index of the link below or at the other end, in the namespace *lower_netns*.
        lower_netns: The kernel's number for that namespace; None if it is the link's own.
        alias: Free text attached to the link.
        txqlen: Length of the transmit queue, in packets.
        group: Number of the link group.
        port_kind: Kind of the master it is a port of, such as "bridge".
        port: Settings of that port, as the kernel encodes them.
        stats: Counters, as the kernel encodes them (IFLA_STATS64); empty if not asked for.
        af_spec: Settings per address family, as the kernel encodes them.
        raw: All that the kernel said, as it said it; see `rest`.
    """

    index: int
    name: str
    altnames: tuple[str, ...] = ()
    kind: str | None = None
    type: int = 1
    mac: str | None = None
    is_immobile: bool = False
    mtu: int = 1500
    flags: int = 0
    operstate: str = "UNKNOWN"
    carrier: bool = False
    master: int | None = None
    lower: int | None = None
    lower_netns: int | None = None
    alias: str | None = None
    txqlen: int = 0
    group: int = 0
    port_kind: str | None = None
    port: bytes = b""
    stats: bytes = b""
    af_spec: bytes = b""
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def rest(self) -> tuple[tuple[int, bytes], ...]:
        """Attributes that are not decoded: (type, payload)."""
        known = {_LINKINFO, *(kind for kind, _, _ in _FIELDS)}
        return tuple((kind, data) for kind, data in attrs.walk(self.raw, _INFO.size) if kind not in known)

    @property
    def is_up(self) -> bool:
        """Whether it is administratively up."""
        return bool(self.flags & UP)

    @property
    def is_loopback(self) -> bool:
        """Whether it is a loopback link."""
        return bool(self.flags & LOOPBACK)

    def digest(self) -> "Link":
        """Return it without what is not decoded, and without all of its port but the state."""
        state = attrs.unpack(self.port).get(_PORT_STATE) if self.port_kind == "bridge" else None
        port = b"" if state is None else attrs.pack(_PORT_STATE, state)
        return replace(self, port=port, stats=b"", af_spec=b"", raw=b"")

    @property
    def is_ready(self) -> bool:
        """Whether packets go through: it has a signal (IFF_LOWER_UP) and is operational, and as a port it forwards.

        Some drivers never tell their operational state; it stays UNKNOWN then (operstates.rst of the kernel).
        """
        works = self.is_up and self.carrier and self.operstate in {"UP", "UNKNOWN"}
        return works and self.port_state in {None, "FORWARDING"}

    @property
    def port_state(self) -> str | None:
        """State of the port of a bridge, such as "FORWARDING"; None if it is none.

        Raises:
            ProtocolError: What the kernel said of the port is malformed.
        """
        data = attrs.unpack(self.port).get(_PORT_STATE) if self.port_kind == "bridge" else None
        number = None if data is None else attrs.to_int(data, 1)
        return PORT_STATES[number] if number is not None and number < len(PORT_STATES) else None

    @property
    def names(self) -> tuple[str, ...]:
        """All names it answers to."""
        return (self.name, *self.altnames)

    def conf(self, family: int) -> tuple[int, ...]:
        """Return the per-link settings of a family (AF_INET or AF_INET6); empty if the family is off.

        For AF_INET item N-1 is IPV4_DEVCONF_N (include/uapi/linux/ip.h), for AF_INET6 item N is DEVCONF_N
        (include/uapi/linux/ipv6.h).
        """
        return _conf(self.af_spec, family)


def conf(message: Message, family: int) -> tuple[int, ...]:
    """Return what `Link.conf` of the link in a message is, in a third of the time.

    Raises:
        ProtocolError: The message is malformed.
    """
    return _conf(attrs.unpack(message.body, _INFO.size).get(_AF_SPEC, b""), family)


def _conf(af_spec: bytes, family: int) -> tuple[int, ...]:
    data = attrs.unpack(attrs.unpack(af_spec).get(family, b"")).get(
        _INET_CONF if family == AF_INET else _INET6_CONF, b""
    )
    return struct.unpack_from(f"={len(data) // 4}i", data)


def mac_text(data: bytes) -> str:
    """Return a link-layer address in colon notation."""
    return data.hex(":")


def mac_bytes(text: str) -> bytes:
    """Return the bytes of a link-layer address in colon notation.

    Raises:
        ProtocolError: It is none.
    """
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError as error:
        raise ProtocolError(f"link-layer address {text!r}") from error


def unpack(message: Message) -> Link:
    """Return the link that a RTM_NEWLINK or RTM_DELLINK message, or a request of ours, describes.

    Raises:
        ProtocolError: The message is malformed.
    """
    body = message.body
    if len(body) < _INFO.size:
        raise ProtocolError(f"link message of {len(body)} bytes")
    _, type_, index, flags, _ = _INFO.unpack_from(body)
    found = attrs.unpack(body, _INFO.size)
    fields: dict[str, Any] = {"name": "", "mtu": 0, "raw": body}
    fields |= {name: read(found[kind]) for kind, name, read in _FIELDS if kind in found}
    if body[0] == AF_BRIDGE and _PROTINFO in found:  # what is told when nothing but a port changes
        fields |= {"port_kind": "bridge", "port": found[_PROTINFO]}
    if _LINKINFO in found:
        info = attrs.unpack(found[_LINKINFO])
        fields |= {name: read(info[kind]) for kind, name, read in _INFO_FIELDS if kind in info}
    return Link(index=index, type=type_, flags=flags, **fields)


def _mac(data: bytes) -> str | None:
    return mac_text(data) or None


def _altnames(data: bytes) -> tuple[str, ...]:
    return tuple(attrs.to_text(name) for kind, name in attrs.walk(data) if kind == _ALT_IFNAME)


def _operstate(data: bytes) -> str:
    number = attrs.to_int(data, 1)
    return OPERSTATES[number] if number < len(OPERSTATES) else "UNKNOWN"


def _switch(data: bytes) -> bool:
    return data != b"\0"


# What becomes which field of Link, and how.
_FIELDS: tuple[tuple[int, str, Callable[[bytes], object]], ...] = (
    (_ADDRESS, "mac", _mac),
    (_IFNAME, "name", attrs.to_text),
    (_MTU, "mtu", attrs.to_int),
    (_LINK, "lower", attrs.to_int),
    (_MASTER, "master", attrs.to_int),
    (_TXQLEN, "txqlen", attrs.to_int),
    (_OPERSTATE, "operstate", _operstate),
    (_IFALIAS, "alias", attrs.to_text),
    (_STATS64, "stats", bytes),
    (_AF_SPEC, "af_spec", bytes),
    (_GROUP, "group", attrs.to_int),
    (_CARRIER, "carrier", _switch),
    (_LINK_NETNSID, "lower_netns", attrs.to_int),
    (_PROP_LIST, "altnames", _altnames),
    (_NETNS_IMMUTABLE, "is_immobile", _switch),
)
_INFO_FIELDS: tuple[tuple[int, str, Callable[[bytes], object]], ...] = (
    (_INFO_KIND, "kind", attrs.to_text),
    (_INFO_SLAVE_KIND, "port_kind", attrs.to_text),
    (_INFO_SLAVE_DATA, "port", bytes),
)


def get(key: int | str, *, stats: bool = False) -> Request:
    """Ask for one link, by index or by name (alternative names count)."""
    if isinstance(key, int):
        body = _INFO.pack(0, 0, key, 0, 0)
    else:
        kind = _IFNAME if len(attrs.to_bytes(key)) < 16 else _ALT_IFNAME  # IFNAMSIZ
        body = _INFO.pack(0, 0, 0, 0, 0) + attrs.pack_text(kind, key)
    return Request(f"look up link {key}", GETLINK, body + _filter(stats=stats))


def dump(*, stats: bool = False) -> Request:
    """Ask for all links of the namespace."""
    return Request("list links", GETLINK, _INFO.pack(0, 0, 0, 0, 0) + _filter(stats=stats), F_DUMP)


def change(
    index: int,
    *,
    name: str | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    master: int | None = None,
    up: bool | None = None,
    port: tuple[str, bytes] | None = None,
    ipv4_conf: dict[int, int] | None = None,
    alias: str | None = None,
    txqlen: int | None = None,
    group: int | None = None,
    namespace: int | None = None,
    new_index: int | None = None,
) -> Request:
    """Ask for changes to the link *index*, all in one request; None leaves a setting as it is.

    Args:
        index: The link; 0: the one that is called *name*.
        name: New name.
        mac: New link-layer address, in colon notation.
        mtu: New MTU, in bytes.
        master: Index of the new master; 0 releases the link.
        up: Administrative state.
        port: Kind of the master it is a port of, and the settings of that port, as the kernel encodes them.
        ipv4_conf: IPv4 settings by their number (IPV4_DEVCONF_*).
        alias: Free text attached to the link; empty: none.
        txqlen: Length of the transmit queue, in packets.
        group: Number of the link group.
        namespace: Descriptor of the namespace to move to. The move comes first: if the request fails later, the link
            has moved all the same (behaviour.md K3).
        new_index: Index that the link gets there.
    """
    settings: tuple[tuple[Any, str, Callable[[int, Any], bytes], int], ...] = (
        (namespace, "move to another namespace", attrs.pack_u32, _NET_NS_FD),
        (new_index, f"with index {new_index}", attrs.pack_u32, _NEW_IFINDEX),
        (name, f"name {name}", attrs.pack_text, _IFNAME),
        (None if mac is None else mac_bytes(mac), f"address {mac}", attrs.pack, _ADDRESS),
        (mtu, f"mtu {mtu}", attrs.pack_u32, _MTU),
        (master, f"master {master}" if master else "no master", attrs.pack_u32, _MASTER),
        (None if alias is None else attrs.to_bytes(alias), f"alias {alias!r}", attrs.pack, _IFALIAS),
        (txqlen, f"txqlen {txqlen}", attrs.pack_u32, _TXQLEN),
        (group, f"group {group}", attrs.pack_u32, _GROUP),
    )
    given = [setting for setting in settings if setting[0] is not None]
    parts = [_INFO.pack(0, 0, index, UP if up else 0, 0 if up is None else UP)]
    parts += (pack(kind, value) for value, _, pack, kind in given)
    words = [word for _, word, _, kind in given if index or kind != _IFNAME]
    if port is not None:
        master_kind, data = port
        known = [item for item in attrs.walk(data) if master_kind != "bridge" or item[0] in _BRIDGE_PORT]
        told = attrs.nest(_INFO_SLAVE_DATA, *(attrs.pack(key, value) for key, value in known))
        parts.append(attrs.nest(_LINKINFO, attrs.pack_text(_INFO_SLAVE_KIND, master_kind), told))
        words.append("port settings")
    if ipv4_conf is not None:
        numbers = ((key, value % 2**32) for key, value in ipv4_conf.items())  # medium_id may be -1
        conf = attrs.nest(_INET_CONF, *(attrs.pack_u32(key, number) for key, number in numbers))
        parts.append(attrs.nest(_AF_SPEC, attrs.nest(AF_INET, conf)))
        words.append("IPv4 settings")
    if up is not None:
        words.append("up" if up else "down")
    verb = SETLINK if port is None else NEWLINK  # only NEWLINK takes port settings
    return Request(f"set link {index or name}: {', '.join(words)}", verb, b"".join(parts))


def create(
    kind: str,
    name: str,
    *,
    index: int = 0,
    mac: str | None = None,
    mtu: int | None = None,
    lower: int | None = None,
    namespace: int | None = None,
    data: bytes = b"",
) -> Request:
    """Ask for a new virtual link.

    Args:
        kind: Its kind, such as "bridge".
        name: Its name.
        index: Its index; 0 leaves it to the kernel.
        mac: Its link-layer address, in colon notation.
        mtu: Its MTU, in bytes.
        lower: Index of the link below it, in the namespace of the socket.
        namespace: Descriptor of the namespace it is born in, if that is another one.
        data: What its kind is told, as the kernel wants it.
    """
    info = (attrs.pack_text(_INFO_KIND, kind), attrs.nest(_INFO_DATA, data) if data else b"")
    body = _newborn(name, index, mac, mtu, namespace)
    body += b"" if lower is None else attrs.pack_u32(_LINK, lower)
    return Request(f"create {kind} {name}", NEWLINK, body + attrs.nest(_LINKINFO, *info), F_CREATE | F_EXCL)


def bridge_port(settings: Mapping[str, bool]) -> bytes:
    """Return settings of a port of a bridge, by their names in bridge(8), as the kernel encodes them."""
    return b"".join(attrs.pack_u8(_PORT_SWITCHES[name], value) for name, value in settings.items())


def port_words(settings: bytes) -> str:
    """Return what is not usual of the settings of a port of a bridge, in the words of ip-link(8)."""
    found = {kind: int.from_bytes(value, sys.byteorder) for kind, value in attrs.unpack(settings).items()}
    words = [
        f"{name} {found[kind]}"
        for name, (kind, usual) in _PORT_NUMBERS.items()
        if kind in found and found[kind] != usual
    ]
    words += [
        f"{name} {'on' if found[kind] else 'off'}"
        for name, kind in _PORT_SWITCHES.items()
        if kind in found and bool(found[kind]) != (name in _PORT_ON)
    ]
    return " ".join(words)


def peer(
    name: str, *, index: int = 0, mac: str | None = None, mtu: int | None = None, namespace: int | None = None
) -> bytes:
    """Return what a veth is told of its other end; as in `create`, but the index counts only if both ends have one."""
    return attrs.pack(_VETH_PEER, _newborn(name, index, mac, mtu, namespace))


def _newborn(name: str, index: int, mac: str | None, mtu: int | None, namespace: int | None) -> bytes:
    """Return what any link is told when it is made."""
    parts = [_INFO.pack(0, 0, index, 0, 0), attrs.pack_text(_IFNAME, name)]
    parts += [] if mac is None else [attrs.pack(_ADDRESS, mac_bytes(mac))]
    parts += [] if mtu is None else [attrs.pack_u32(_MTU, mtu)]
    parts += [] if namespace is None else [attrs.pack_u32(_NET_NS_FD, namespace)]
    return b"".join(parts)


def altnames(index: int, names: Iterable[str], *, add: bool) -> Request:
    """Ask for alternative names of the link *index* to be added or deleted."""
    wanted = tuple(names)
    listed = attrs.nest(_PROP_LIST, *(attrs.pack_text(_ALT_IFNAME, name) for name in wanted))
    text = f"{'add' if add else 'delete'} alternative names {', '.join(wanted)} of link {index}"
    body = _INFO.pack(0, 0, index, 0, 0) + listed
    return Request(text, NEWLINKPROP if add else DELLINKPROP, body, F_CREATE | F_APPEND | F_EXCL if add else 0)


def delete_group(group: int) -> Request:
    """Ask for all links of a group to be deleted: that takes hardly longer than one."""
    return Request(f"delete link group {group}", DELLINK, _INFO.pack(0, 0, 0, 0, 0) + attrs.pack_u32(_GROUP, group))


def delete(index: int) -> Request:
    """Ask for the link *index* to be deleted."""
    return Request(f"delete link {index}", DELLINK, _INFO.pack(0, 0, index, 0, 0))


def _filter(*, stats: bool) -> bytes:
    return attrs.pack_u32(_EXT_MASK, 0 if stats else _SKIP_STATS)
