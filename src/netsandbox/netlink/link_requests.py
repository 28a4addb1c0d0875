"""The requests that look up, create, modify, move and delete links.

Source: rtnetlink(7), include/uapi/linux/if_link.h, rtnl_newlink() and do_setlink() in net/core/rtnetlink.c.
"""

from collections.abc import Callable, Iterable
from typing import Any

from netsandbox.netlink import attrs, bridge_port
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.constants import AF_INET, IFF_UP, IFLA, VETH_INFO_PEER
from netsandbox.netlink.link import DELLINK, DELLINKPROP, GETLINK, INFO, NEWLINK, NEWLINKPROP, SETLINK
from netsandbox.netlink.message import F_APPEND, F_CREATE, F_DUMP, F_EXCL, Request
from netsandbox.netlink.settings import NONE, Settings

_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS


def get(key: int | str, *, stats: bool = False) -> Request:
    """Request a link, by index, name or alternative name."""
    if isinstance(key, int):
        body = INFO.pack(0, 0, key, 0, 0)
    else:
        kind = IFLA.IFNAME if len(attrs.to_bytes(key)) < 16 else IFLA.ALT_IFNAME  # IFNAMSIZ
        body = INFO.pack(0, 0, 0, 0, 0) + attrs.pack_text(kind, key)
    return Request(f"look up link {key}", GETLINK, body + _filter(stats=stats))


def dump(*, stats: bool = False) -> Request:
    """Request all links of the namespace."""
    return Request("list links", GETLINK, INFO.pack(0, 0, 0, 0, 0) + _filter(stats=stats), F_DUMP)


def modify(
    index: int,
    *,
    settings: Settings = NONE,
    name: str | None = None,
    master: int | None = None,
    up: bool | None = None,
    port: tuple[str, bytes] | None = None,
    ipv4_conf: dict[int, int] | None = None,
    namespace: int | None = None,
    new_index: int | None = None,
) -> Request:
    """Request changes to a link, all at once; None leaves things as they are.

    Args:
        index: The link; 0: the one with the name *name*.
        settings: New settings.
        name: New name.
        master: Index of the new master; 0 releases the link.
        up: Administrative state.
        port: Kind of its master, and settings of its port, as the kernel encodes them.
        ipv4_conf: IPv4 settings by their number (IPV4_DEVCONF_*).
        namespace: Descriptor of the namespace to move to. The kernel moves the link first: see docs/kernel-facts.md,
            "A refused move may have moved the link".
        new_index: Index of the link there.
    """
    place: tuple[tuple[Any, str, Callable[[int, Any], bytes], int], ...] = (
        (namespace, "move to another namespace", attrs.pack_u32, IFLA.NET_NS_FD),
        (new_index, f"with index {new_index}", attrs.pack_u32, IFLA.NEW_IFINDEX),
        (name, f"name {name}", attrs.pack_text, IFLA.IFNAME),
        (master, f"master {master}" if master else "no master", attrs.pack_u32, IFLA.MASTER),
    )
    given = [setting for setting in place if setting[0] is not None]
    parts = [INFO.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)]
    parts += (pack(kind, value) for value, _, pack, kind in given)
    parts.append(_settings.pack(settings))
    words = [word for _, word, _, kind in given if index or kind != IFLA.IFNAME] + _settings.words(settings)
    if port is not None:
        master_kind, data = port
        known = [item for item in attrs.walk(data) if master_kind != "bridge" or item[0] in bridge_port.SETTABLE]
        encoded = attrs.nest(IFLA.INFO_SLAVE_DATA, *(attrs.pack(key, value) for key, value in known))
        parts.append(attrs.nest(IFLA.LINKINFO, attrs.pack_text(IFLA.INFO_SLAVE_KIND, master_kind), encoded))
        words.append("port settings")
    if ipv4_conf is not None:
        numbers = ((key, value % 2**32) for key, value in ipv4_conf.items())  # medium_id may be -1
        conf = attrs.nest(IFLA.INET_CONF, *(attrs.pack_u32(key, number) for key, number in numbers))
        parts.append(attrs.nest(IFLA.AF_SPEC, attrs.nest(AF_INET, conf)))
        words.append("IPv4 settings")
    if up is not None:
        words.append("up" if up else "down")
    verb = SETLINK if port is None else NEWLINK  # only NEWLINK takes port settings
    return Request(f"set link {index or name}: {', '.join(words)}", verb, b"".join(parts))


def create(
    kind: str,
    name: str,
    *,
    settings: Settings = NONE,
    index: int = 0,
    lower: int | None = None,
    namespace: int | None = None,
    data: bytes = b"",
) -> Request:
    """Request a new virtual link.

    Args:
        kind: Its kind, such as "bridge".
        name: Its name.
        settings: Its settings; the kernel ignores those that it does not take with this request: see `settings.split`.
        index: Its index; 0 leaves it to the kernel.
        lower: Index of its lower link, in the namespace of the socket.
        namespace: Descriptor of its namespace, if that is another one.
        data: The options of its kind, as the kernel encodes them.
    """
    info = (attrs.pack_text(IFLA.INFO_KIND, kind), attrs.nest(IFLA.INFO_DATA, data) if data else b"")
    body = _new_link(name, settings, index, namespace)
    body += b"" if lower is None else attrs.pack_u32(IFLA.LINK, lower)
    return Request(f"create {kind} {name}", NEWLINK, body + attrs.nest(IFLA.LINKINFO, *info), F_CREATE | F_EXCL)


def peer(name: str, *, settings: Settings = NONE, index: int = 0, namespace: int | None = None) -> bytes:
    """Return the data of a veth: its other end. The kernel takes the index only if both ends have one."""
    return attrs.pack(VETH_INFO_PEER, _new_link(name, settings, index, namespace))


def _new_link(name: str, settings: Settings, index: int, namespace: int | None) -> bytes:
    """Return the part of the request to create a link that all kinds have."""
    parts = [INFO.pack(0, 0, index, 0, 0), attrs.pack_text(IFLA.IFNAME, name), _settings.pack(settings)]
    parts += [] if namespace is None else [attrs.pack_u32(IFLA.NET_NS_FD, namespace)]
    return b"".join(parts)


def altnames(index: int, names: Iterable[str], *, add: bool) -> Request:
    """Request to add alternative names to a link, or to delete them."""
    wanted = tuple(names)
    listed = attrs.nest(IFLA.PROP_LIST, *(attrs.pack_text(IFLA.ALT_IFNAME, name) for name in wanted))
    text = f"{'add' if add else 'delete'} alternative names {', '.join(wanted)} of link {index}"
    body = INFO.pack(0, 0, index, 0, 0) + listed
    return Request(text, NEWLINKPROP if add else DELLINKPROP, body, F_CREATE | F_APPEND | F_EXCL if add else 0)


def delete_group(group: int) -> Request:
    """Request the deletion of all links of a group, which takes hardly longer than that of one."""
    return Request(f"delete link group {group}", DELLINK, INFO.pack(0, 0, 0, 0, 0) + attrs.pack_u32(IFLA.GROUP, group))


def delete(index: int) -> Request:
    """Request the deletion of a link."""
    return Request(f"delete link {index}", DELLINK, INFO.pack(0, 0, index, 0, 0))


def _filter(*, stats: bool) -> bytes:
    return attrs.pack_u32(IFLA.EXT_MASK, 0 if stats else _SKIP_STATS)
