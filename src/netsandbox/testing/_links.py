"""Links of the fake: do_setlink() in net/core/rtnetlink.c, __dev_change_net_namespace() in net/core/dev.c."""

import errno
import itertools
import struct
import sys
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from netsandbox._checks import NAME_MAX, name_problem
from netsandbox.links import KINDS, find_kind
from netsandbox.netlink import attrs
from netsandbox.netlink import link as _link
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink.constants import AF_INET, IFF_BROADCAST, IFF_MULTICAST, IFF_UP, IFLA, VETH_INFO_PEER
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Message
from netsandbox.netlink.settings import TABLE
from netsandbox.testing._faults import Refusal
from netsandbox.testing._ip import CONF, SETTINGS, Ip, copied

BY_REQUEST = frozenset(kind.kind for kind in KINDS.values() if kind.by_request)
_INFO_SIZE = _link.INFO.size  # its last field is ifi_change
BASE = IFF_BROADCAST | IFF_MULTICAST
MACS = itertools.count()  # of links that are created without one
# Settings of new ports by the kind of master: IFLA_BRPORT_PRIORITY, _COST, _MODE (hairpin); IFLA_VRF_PORT_TABLE.
_PORTS = {
    "bridge": {2: struct.pack("=H", 32), 3: struct.pack("=I", 2), 4: b"\0"},
    "vrf": {1: struct.pack("=I", 10)},
}


class Namespace(Ip):
    """The kernel's work in a namespace. A request that is refused late keeps the changes before the refusal."""

    known: ClassVar["weakref.WeakValueDictionary[int, Namespace]"] = weakref.WeakValueDictionary()
    fds = itertools.count(1_000_000)

    def __init__(self, families: tuple[int, ...]) -> None:
        super().__init__(families)
        self.fd = next(self.fds)
        self.known[self.fd] = self

    def free_index(self) -> int:
        return max(self.links, default=0) + 1

    def is_taken(self, name: str) -> bool:
        return any(name in link.names for link in self.links.values())

    def check_name(self, name: str) -> None:
        if name_problem("name", name):
            raise Refusal(errno.ERANGE if len(attrs.to_bytes(name)) > NAME_MAX else errno.EINVAL)

    def check_new(self, link: Link) -> None:
        """Refuse a new link with an invalid or taken name, or a taken index."""
        self.check_name(link.name)
        if link.index in self.links or self.is_taken(link.name):
            raise Refusal(errno.EEXIST)

    def make_link(self, message: Message) -> None:
        """Create a link, here or in another namespace; a veth with its other end."""
        wanted, given = _link.unpack(message), attrs.unpack(message.body, _INFO_SIZE)
        if wanted.kind not in BY_REQUEST:
            raise Refusal(errno.EOPNOTSUPP, "Unknown device type")
        there = self.target(given)
        there.check_new(wanted)
        if wanted.kind != "veth":
            if wanted.lower is not None:
                self.get(wanted.lower)
            there.create(wanted, given, lower=wanted.lower, lower_netns=None if there is self else self.fd)
            return
        body = attrs.unpack(attrs.unpack(given[IFLA.LINKINFO])[IFLA.INFO_DATA])[VETH_INFO_PEER]
        given_peer, peer = attrs.unpack(body, _INFO_SIZE), _link.unpack(message._replace(body=body))
        far = self.target(given_peer)
        far.check_new(peer)
        end = far.create(replace(peer, kind="veth"), given_peer)
        near = there.create(wanted, given, lower=end, lower_netns=None if far is there else far.fd)
        far.edit(end, lower=near, lower_netns=None if far is there else there.fd)

    def target(self, given: dict[int, bytes]) -> "Namespace":
        """Return the namespace that attributes name; this one if they name none."""
        if IFLA.NET_NS_FD not in given:
            return self
        found = self.known.get(attrs.to_int(given[IFLA.NET_NS_FD]))
        if found is None:
            raise Refusal(errno.EBADF)
        return found

    def create(self, wanted: Link, given: Mapping[int, bytes], **fields: Any) -> int:  # noqa: ANN401
        """Add a link, with those of the attributes *given* that the kernel takes at creation; return its index."""
        index = wanted.index or self.free_index()
        settings: dict[str, Any] = {
            name: getattr(wanted, name) if row.number in given and row.at_creation else row.usual
            for name, row in TABLE.items()
        }
        settings["mac"] = settings["mac"] or f"06:00:00:00:00:{next(MACS) % 256:02x}"
        settings["mtu"] = settings["mtu"] or 1500
        self.arrive(replace(wanted, index=index, flags=BASE, operstate="DOWN", raw=b""))
        self.edit(index, **settings, **fields)
        return index

    def arrive(self, link: Link) -> None:
        """Add a link, with the default settings of this namespace."""
        self.links[link.index] = link
        self.addresses[link.index] = []
        self.conf[link.name] = copied(self.conf["default"])

    def leave(self, index: int) -> Link:
        """Remove a link and everything that belongs to it here; return the link."""
        self.set_up(index, up=False)
        for port in [index, *(link.index for link in self.links.values() if link.master == index)]:
            self.release(port)
        self.neighbors = [item for item in self.neighbors if item.index != index]
        del self.addresses[index]
        link = self.links.pop(index)
        del self.conf[link.name]
        return link

    def delete_links(self, wanted: Link) -> None:
        """Delete the link with an index, or all of a group."""
        if wanted.index:
            self.delete_link(wanted.index)
            return
        found = [index for index, link in self.links.items() if link.group == wanted.group]
        if not found:
            raise Refusal(errno.ENODEV)
        for index in found:
            if index in self.links:  # not deleted with its other end
                self.delete_link(index)

    def delete_link(self, index: int) -> None:
        link = self.get(index)
        if link.kind is None:
            raise Refusal(errno.EOPNOTSUPP)
        self.leave(index)
        far = self.known.get(link.lower_netns) if link.lower_netns else self
        if link.kind == "veth" and far and link.lower in far.links and far.links[link.lower].lower == index:
            far.leave(link.lower)

    def change_link(self, message: Message) -> None:
        """Change a link in the kernel's order; a request without an index names the link."""
        wanted, given = _link.unpack(message), attrs.unpack(message.body, _INFO_SIZE)
        known = {link.name: index for index, link in self.links.items()}
        link = self.get(wanted.index or known.get(wanted.name))
        if wanted.port:
            self.set_port(link, wanted.port)
        there, index = self.target(given), link.index
        if there is not self:
            new_index = attrs.to_int(given.get(IFLA.NEW_IFINDEX, bytes(4)))
            index = self.move(link, there, name=wanted.name, new_index=new_index)
        there.settle(index, wanted, given)
        if attrs.to_int(message.body[_INFO_SIZE - 4 : _INFO_SIZE]) & IFF_UP:  # ifi_change
            there.set_up(index, up=wanted.is_up)
        if wanted.master is not None:
            there.set_master(index, wanted.master)

    def settle(self, index: int, wanted: Link, given: dict[int, bytes]) -> None:
        """Change the settings, the name and the IPv4 settings of a link, after a move."""
        values = {name: getattr(wanted, name) for name, row in TABLE.items() if row.number in given}
        if "mac" in values:
            self.set_mac(index, values.pop("mac"))
        if "mtu" in values:
            self.set_mtu(index, values.pop("mtu"))
        if wanted.name:
            self.rename(index, wanted.name)
        self.edit(index, **values)
        settings = attrs.unpack(attrs.unpack(wanted.af_spec).get(AF_INET, b"")).get(CONF[AF_INET], b"")
        for number, data in attrs.walk(settings):
            self.settings(index, AF_INET)[SETTINGS[AF_INET][number - 1]] = int.from_bytes(
                data, sys.byteorder, signed=True
            )

    def set_altnames(self, wanted: Link, *, add: bool) -> None:
        """Add or delete alternative names."""
        for name in wanted.altnames:
            known = self.get(wanted.index).altnames
            if add and self.is_taken(name):
                raise Refusal(errno.EEXIST)
            if not add and name not in known:
                raise Refusal(errno.ENOENT)
            self.edit(wanted.index, altnames=(*known, name) if add else tuple(item for item in known if item != name))

    def move(self, link: Link, there: "Namespace", *, name: str, new_index: int) -> int:
        """Move a link, under its old name if that is free there; return its new index.

        See docs/kernel-facts.md, "A refused move may have moved the link".
        """
        kind = find_kind(link.kind)
        if link.is_loopback or (kind and kind.takes_ports):  # netns_immutable
            raise Refusal(errno.EINVAL, "The interface netns is immutable")
        arriving = link.name
        if there.is_taken(arriving):
            if not name:
                raise Refusal(errno.EEXIST, "An interface with the same name exists in the target netns")
            if there.is_taken(name):
                words = f"Unable to use '{name}' for the new interface name in the target netns"
                raise Refusal(errno.EEXIST, words)
            arriving = name
        for other in filter(there.is_taken, link.altnames):
            raise Refusal(errno.EEXIST, f"An interface with the altname {other} exists in the target netns")
        if new_index in there.links:
            raise Refusal(errno.EBUSY, f"The ifindex {new_index} is not available in the target netns")
        index = new_index or (there.free_index() if link.index in there.links else link.index)
        there.arrive(replace(self.leave(link.index), index=index, name=arriving))
        return index

    def set_mac(self, index: int, mac: str) -> None:
        if int(mac[:2], 16) & 1 or not any(attrs.mac_bytes(mac)):
            raise Refusal(errno.EADDRNOTAVAIL)
        self.edit(index, mac=mac)
        self.forget_neighbors(index)  # neigh_changeaddr(), permanent ones too

    def set_mtu(self, index: int, mtu: int) -> None:
        if mtu < 68:
            raise Refusal(errno.EINVAL, "mtu less than device minimum")
        if mtu > 65535:
            raise Refusal(errno.EINVAL, "mtu greater than device maximum")
        self.edit(index, mtu=mtu)

    def rename(self, index: int, name: str) -> None:
        """Rename a link; it may be up."""
        old = self.links[index].name
        if name != old:
            self.check_name(name)
            if self.is_taken(name):
                raise Refusal(errno.EEXIST)
            self.edit(index, name=name)
            self.conf[name] = self.conf.pop(old)

    def set_up(self, index: int, *, up: bool) -> None:
        """Set a link up or down, with the addresses and routes that the kernel adds and deletes then."""
        link = self.links[index]
        if up == link.is_up:
            return
        if not up:
            self.edit(index, flags=link.flags & ~IFF_UP, operstate="DOWN", carrier=False)
            self.routes = [item for item in self.routes if item.index != index]
            self.drop_ipv6(index)
            self.forget_neighbors(index)
            return
        kind = find_kind(link.kind)
        others = [(item.kind, item.lower, item.mac) for item in self.links.values() if item.is_up]
        if kind and kind.unique_mac and (link.kind, link.lower, link.mac) in others:
            raise Refusal(errno.EADDRINUSE)
        self.edit(index, flags=link.flags | IFF_UP, operstate="UNKNOWN" if link.is_loopback else "UP", carrier=True)
        self.make_own(index)
        for address in self.addresses[index]:
            self.connect(address)

    def set_master(self, index: int, master: int) -> None:
        """Make a link a port of another; 0 releases it."""
        link = self.links[index]
        if master == (link.master or 0):
            return
        self.release(index)
        if not master:
            return
        upper = self.links.get(master)
        if upper is None or link.is_loopback:
            raise Refusal(errno.EINVAL)
        kind = find_kind(upper.kind)
        if kind is None or not kind.takes_ports:
            raise Refusal(errno.EOPNOTSUPP)
        if link.kind == "bridge" == upper.kind:
            raise Refusal(errno.ELOOP, "Can not enslave a bridge to a bridge")
        self.edit(index, master=master, port_kind=upper.kind, port=_pack(_PORTS[kind.kind]))
        self.cycle(index)

    def cycle(self, index: int) -> None:
        """Set a port down and up if its master does so: cycle_netdev() in drivers/net/vrf.c."""
        kind = find_kind(self.links[index].port_kind)
        if kind and kind.cycles_ports and self.links[index].is_up:
            self.set_up(index, up=False)
            self.set_up(index, up=True)

    def release(self, index: int) -> None:
        """Release a link from its master, with everything that belongs to a port."""
        self.cycle(index)
        self.edit(index, master=None, port_kind=None, port=b"")
        kept = [item for item in self.neighbors if item.index != index or not item.flags & _neighbor.MASTER]
        self.neighbors = kept

    def set_port(self, link: Link, data: bytes) -> None:
        kind = find_kind(link.port_kind)
        if kind is None or not kind.port_settings:
            raise Refusal(errno.EOPNOTSUPP)
        self.edit(link.index, port=_pack(attrs.unpack(link.port) | attrs.unpack(data)))


def _pack(attributes: dict[int, bytes]) -> bytes:
    return b"".join(attrs.pack(kind, data) for kind, data in attributes.items())
