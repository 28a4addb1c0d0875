"""Links as values, read from the messages that describe them; the requests are in `link_requests`.

Source: rtnetlink(7), include/uapi/linux/if_link.h, net/core/rtnetlink.c.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from netsandbox.netlink import attrs, bridge_port
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, IFF_LOOPBACK, IFF_UP, IFLA
from netsandbox.netlink.message import Message
from netsandbox.netlink.settings import TABLE, Settings

NEWLINK, DELLINK, GETLINK, SETLINK, NEWLINKPROP, DELLINKPROP = 16, 17, 18, 19, 108, 109  # RTM_*
INFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
OPERSTATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")  # RFC 2863


@dataclass(frozen=True, slots=True)
class Link(Settings):
    """A network device, as the kernel describes it; its settings (`settings.Settings`) are among its attributes.

    Attributes:
        index: Its number (ifindex), unique in its namespace.
        name: Its name.
        altnames: Its alternative names.
        kind: Kind of virtual link, such as "veth"; None for hardware and loopback.
        type: Hardware type (ARPHRD_*): 1 is Ethernet, 772 loopback.
        mac: Link-layer address in lower-case colon notation; None if it has none.
        is_immobile: Whether it cannot leave its namespace, as a bridge; before Linux 6.16, which reports that: False.
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
        stats: Counters, as the kernel encodes them (IFLA.STATS64); empty if not asked for.
        af_spec: Settings per address family, as the kernel encodes them.
        raw: The whole message of the kernel; see `rest`.
    """

    index: int
    name: str
    altnames: tuple[str, ...] = ()
    kind: str | None = None
    type: int = 1
    is_immobile: bool = False
    mtu: int = field(default=1500, kw_only=True)
    flags: int = 0
    operstate: str = "UNKNOWN"
    carrier: bool = False
    master: int | None = None
    lower: int | None = None
    lower_netns: int | None = None
    txqlen: int = field(default=0, kw_only=True)
    group: int = field(default=0, kw_only=True)
    port_kind: str | None = None
    port: bytes = b""
    stats: bytes = b""
    af_spec: bytes = b""
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def rest(self) -> tuple[tuple[int, bytes], ...]:
        """Attributes that are not decoded: (type, payload)."""
        known = {IFLA.LINKINFO, *(kind for kind, _, _ in _FIELDS)}
        return tuple((kind, data) for kind, data in attrs.walk(self.raw, INFO.size) if kind not in known)

    @property
    def is_up(self) -> bool:
        """Whether it is administratively up."""
        return bool(self.flags & IFF_UP)

    @property
    def is_loopback(self) -> bool:
        """Whether it is a loopback link."""
        return bool(self.flags & IFF_LOOPBACK)

    def digest(self) -> "Link":
        """Return it without what is not decoded, and without all of its port but the state."""
        state = bridge_port.state(self.port) if self.port_kind == "bridge" else None
        port = b"" if state is None else attrs.pack(bridge_port.STATE, state)
        return replace(self, port=port, stats=b"", af_spec=b"", raw=b"")

    @property
    def is_ready(self) -> bool:
        """Whether packets go through: it has a signal (IFF_LOWER_UP) and is operational, and as a port it forwards.

        Some drivers never report their operational state: it stays UNKNOWN (operstates.rst of the kernel).
        """
        works = self.is_up and self.carrier and self.operstate in {"UP", "UNKNOWN"}
        return works and self.port_state in {None, "FORWARDING"}

    @property
    def port_state(self) -> str | None:
        """State of its port of a bridge, such as "FORWARDING"; None if it is not a port."""
        data = bridge_port.state(self.port) if self.port_kind == "bridge" else None
        number = None if data is None else attrs.to_int(data, 1)
        return bridge_port.STATES[number] if number is not None and number < len(bridge_port.STATES) else None

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
    """Return `Link.conf` of the link in a message, in a third of the time."""
    return _conf(attrs.unpack(message.body, INFO.size).get(IFLA.AF_SPEC, b""), family)


def _conf(af_spec: bytes, family: int) -> tuple[int, ...]:
    data = attrs.unpack(attrs.unpack(af_spec).get(family, b"")).get(
        IFLA.INET_CONF if family == AF_INET else IFLA.INET6_CONF, b""
    )
    return struct.unpack_from(f"={len(data) // 4}i", data)


def unpack(message: Message) -> Link:
    """Return the link that a RTM_NEWLINK or RTM_DELLINK message, or a request made here, describes."""
    (_, type_, index, flags, _), found = message.split(INFO, "link")
    body = message.body
    fields: dict[str, Any] = {"name": "", "mtu": 0, "raw": body}
    fields |= {name: read(found[kind]) for kind, name, read in _FIELDS if kind in found}
    if body[0] == AF_BRIDGE and IFLA.PROTINFO in found:  # of a change of nothing but a port
        fields |= {"port_kind": "bridge", "port": found[IFLA.PROTINFO]}
    if IFLA.LINKINFO in found:
        info = attrs.unpack(found[IFLA.LINKINFO])
        fields |= {name: read(info[kind]) for kind, name, read in _INFO_FIELDS if kind in info}
    return Link(index=index, type=type_, flags=flags, **fields)


def _altnames(data: bytes) -> tuple[str, ...]:
    return tuple(attrs.to_text(name) for kind, name in attrs.walk(data) if kind == IFLA.ALT_IFNAME)


def _operstate(data: bytes) -> str:
    number = attrs.to_int(data, 1)
    return OPERSTATES[number] if number < len(OPERSTATES) else "UNKNOWN"


def _switch(data: bytes) -> bool:
    return data != b"\0"


# What becomes which field of Link, and how.
_FIELDS: tuple[tuple[int, str, Callable[[bytes], object]], ...] = (
    (IFLA.IFNAME, "name", attrs.to_text),
    (IFLA.LINK, "lower", attrs.to_int),
    (IFLA.MASTER, "master", attrs.to_int),
    (IFLA.OPERSTATE, "operstate", _operstate),
    (IFLA.STATS64, "stats", bytes),
    (IFLA.AF_SPEC, "af_spec", bytes),
    (IFLA.CARRIER, "carrier", _switch),
    (IFLA.LINK_NETNSID, "lower_netns", attrs.to_int),
    (IFLA.PROP_LIST, "altnames", _altnames),
    (IFLA.NETNS_IMMUTABLE, "is_immobile", _switch),
    *((row.number, name, row.read) for name, row in TABLE.items()),
)
_INFO_FIELDS: tuple[tuple[int, str, Callable[[bytes], object]], ...] = (
    (IFLA.INFO_KIND, "kind", attrs.to_text),
    (IFLA.INFO_SLAVE_KIND, "port_kind", attrs.to_text),
    (IFLA.INFO_SLAVE_DATA, "port", bytes),
)
