"""Links as values, and the requests that make, change, move and delete them.

Source: rtnetlink(7), include/uapi/linux/if_link.h, net/core/rtnetlink.c.
"""

import struct
from dataclasses import dataclass

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs
from netsandbox.netlink.message import F_CREATE, F_DUMP, F_EXCL, Message, Request

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19  # RTM_*
UP, LOOPBACK = 0x1, 0x8  # IFF_*
AF_INET, AF_INET6 = 2, 10

_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _OPERSTATE, _LINKINFO = 1, 3, 4, 5, 10, 13, 16, 18  # IFLA_*
_NET_NS_FD, _IFALIAS, _STATS64, _AF_SPEC, _GROUP, _EXT_MASK = 28, 20, 23, 26, 27, 29
_CARRIER, _LINK_NETNSID, _NEW_IFINDEX, _PROP_LIST, _ALT_IFNAME, _PERM_ADDRESS = 33, 37, 49, 52, 53, 54
_INFO_KIND, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 4, 5  # IFLA_INFO_*
_INET_CONF, _INET6_CONF = 1, 2  # IFLA_INET_CONF, IFLA_INET6_CONF
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_DECODED = frozenset(
    (_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _OPERSTATE, _LINKINFO, _IFALIAS, _STATS64, _AF_SPEC, _GROUP)
    + (_CARRIER, _LINK_NETNSID, _PROP_LIST, _PERM_ADDRESS)
)
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
        permanent_mac: The address the hardware was made with, if the kernel tells.
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
        rest: Attributes that are not decoded: (type, payload).
    """

    index: int
    name: str
    altnames: tuple[str, ...] = ()
    kind: str | None = None
    type: int = 1
    mac: str | None = None
    permanent_mac: str | None = None
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
    rest: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether it is administratively up."""
        return bool(self.flags & UP)

    @property
    def is_loopback(self) -> bool:
        """Whether it is a loopback link."""
        return bool(self.flags & LOOPBACK)

    @property
    def names(self) -> tuple[str, ...]:
        """All names it answers to."""
        return (self.name, *self.altnames)

    def conf(self, family: int) -> tuple[int, ...]:
        """Return the per-link settings of a family (AF_INET or AF_INET6); empty if the family is off.

        For AF_INET item N-1 is IPV4_DEVCONF_N (include/uapi/linux/ip.h), for AF_INET6 item N is DEVCONF_N
        (include/uapi/linux/ipv6.h).
        """
        families = attrs.unpack(self.af_spec)
        data = attrs.unpack(families.get(family, b"")).get(_INET_CONF if family == AF_INET else _INET6_CONF, b"")
        return struct.unpack_from(f"={len(data) // 4}i", data)


def mac_text(data: bytes) -> str:
    """Return a link-layer address in colon notation."""
    return data.hex(":")


def mac_bytes(text: str) -> bytes:
    """Return the bytes of a link-layer address in colon notation."""
    return bytes.fromhex(text.replace(":", ""))


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
    get = found.get

    def number(kind: int) -> int | None:
        data = get(kind)
        return None if data is None else attrs.to_int(data)

    def mac(kind: int) -> str | None:
        data = get(kind)
        return mac_text(data) if data else None

    def text(data: bytes | None) -> str | None:
        return None if data is None else attrs.to_text(data)

    info = attrs.unpack(get(_LINKINFO, b""))
    altnames = attrs.walk(get(_PROP_LIST, b""))
    operstate = get(_OPERSTATE, b"\0")[:1] or b"\0"
    return Link(
        index=index,
        name=attrs.to_text(get(_IFNAME, b"")),
        altnames=tuple(attrs.to_text(data) for kind, data in altnames if kind == _ALT_IFNAME),
        kind=text(info.get(_INFO_KIND)),
        type=type_,
        mac=mac(_ADDRESS),
        permanent_mac=mac(_PERM_ADDRESS),
        mtu=number(_MTU) or 0,
        flags=flags,
        operstate=OPERSTATES[operstate[0]] if operstate[0] < len(OPERSTATES) else "UNKNOWN",
        carrier=get(_CARRIER, b"\0") != b"\0",
        master=number(_MASTER),
        lower=number(_LINK),
        lower_netns=number(_LINK_NETNSID),
        alias=text(get(_IFALIAS)),
        txqlen=number(_TXQLEN) or 0,
        group=number(_GROUP) or 0,
        port_kind=text(info.get(_INFO_SLAVE_KIND)),
        port=info.get(_INFO_SLAVE_DATA, b""),
        stats=get(_STATS64, b""),
        af_spec=get(_AF_SPEC, b""),
        rest=tuple(item for item in found.items() if item[0] not in _DECODED),
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
    namespace: int | None = None,
    new_index: int | None = None,
) -> Request:
    """Ask for changes to the link *index*, all in one request; None leaves a setting as it is.

    Args:
        index: The link.
        name: New name.
        mac: New link-layer address, in colon notation.
        mtu: New MTU, in bytes.
        master: Index of the new master; 0 releases the link.
        up: Administrative state.
        port: Kind of the master it is a port of, and the settings of that port, as the kernel encodes them.
        ipv4_conf: IPv4 settings by their number (IPV4_DEVCONF_*).
        namespace: Descriptor of the namespace to move to. The move comes first: if the request fails later, the link
            has moved all the same (behaviour.md K3).
        new_index: Index that the link gets there.
    """
    parts = [_INFO.pack(0, 0, index, UP if up else 0, 0 if up is None else UP)]
    words = []
    if namespace is not None:
        parts.append(attrs.pack_u32(_NET_NS_FD, namespace))
        words.append("move to another namespace")
    if new_index is not None:
        parts.append(attrs.pack_u32(_NEW_IFINDEX, new_index))
        words.append(f"with index {new_index}")
    if name is not None:
        parts.append(attrs.pack_text(_IFNAME, name))
        words.append(f"name {name}")
    if mac is not None:
        parts.append(attrs.pack(_ADDRESS, mac_bytes(mac)))
        words.append(f"address {mac}")
    if mtu is not None:
        parts.append(attrs.pack_u32(_MTU, mtu))
        words.append(f"mtu {mtu}")
    if master is not None:
        parts.append(attrs.pack_u32(_MASTER, master))
        words.append(f"master {master}" if master else "no master")
    if port is not None:
        kind, data = port
        settings = attrs.pack_text(_INFO_SLAVE_KIND, kind), attrs.pack(_INFO_SLAVE_DATA | attrs.NESTED, data)
        parts.append(attrs.nest(_LINKINFO, *settings))
        words.append("port settings")
    if ipv4_conf is not None:
        conf = attrs.nest(_INET_CONF, *(attrs.pack_u32(key, value) for key, value in ipv4_conf.items()))
        parts.append(attrs.nest(_AF_SPEC, attrs.nest(AF_INET, conf)))
        words.append("IPv4 settings")
    if up is not None:
        words.append("up" if up else "down")
    kind = NEWLINK if port is not None else SETLINK  # only NEWLINK takes port settings
    return Request(f"set link {index}: {', '.join(words)}", kind, b"".join(parts))


def create(kind: str, name: str, *, index: int, mac: str | None = None, mtu: int | None = None) -> Request:
    """Ask for a new virtual link of a *kind* such as "bridge", with the given name, index, MAC and MTU (bytes)."""
    parts = [_INFO.pack(0, 0, index, 0, 0), attrs.pack_text(_IFNAME, name)]
    if mac is not None:
        parts.append(attrs.pack(_ADDRESS, mac_bytes(mac)))
    if mtu is not None:
        parts.append(attrs.pack_u32(_MTU, mtu))
    parts.append(attrs.nest(_LINKINFO, attrs.pack_text(_INFO_KIND, kind)))
    return Request(f"create {kind} {name}", NEWLINK, b"".join(parts), F_CREATE | F_EXCL)


def delete(index: int) -> Request:
    """Ask for the link *index* to be deleted."""
    return Request(f"delete link {index}", DELLINK, _INFO.pack(0, 0, index, 0, 0))


def _filter(*, stats: bool) -> bytes:
    return attrs.pack_u32(_EXT_MASK, 0 if stats else _SKIP_STATS)
