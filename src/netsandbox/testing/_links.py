"""Links of the fake: do_setlink() in net/core/rtnetlink.c, __dev_change_net_namespace() in net/core/dev.c."""

import errno
import itertools
import struct
import weakref
from dataclasses import replace
from typing import Any, ClassVar

from netsandbox._checks import NAME_MAX, name_problem
from netsandbox.links import KINDS, find_kind
from netsandbox.netlink import attrs
from netsandbox.netlink import link as _link
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink.address import AF_INET
from netsandbox.netlink.link import UP, Link
from netsandbox.netlink.message import Message
from netsandbox.testing._faults import Refusal
from netsandbox.testing._ip import CONF, Ip, copied

BORN = frozenset(kind.kind for kind in KINDS.values() if kind.by_request)  # the kinds that a request can make
_INFO_SIZE = 16  # struct ifinfomsg, whose last field is ifi_change
_NET_NS_FD, _NEW_IFINDEX, _LINKINFO, _INFO_DATA, _VETH_PEER = 28, 49, 18, 2, 1  # IFLA_*, VETH_INFO_PEER
_NUMBERS = {13: "txqlen", 27: "group"}  # IFLA_TXQLEN, IFLA_GROUP
BASE = 0x1002  # IFF_BROADCAST, IFF_MULTICAST
MACS = itertools.count()  # of links that are made without one: another each time
# Settings of new ports by the kind of master: IFLA_BRPORT_PRIORITY, _COST, _MODE (hairpin); IFLA_VRF_PORT_TABLE.
_PORTS = {
    "bridge": {2: struct.pack("=H", 32), 3: struct.pack("=I", 2), 4: b"\0"},
    "vrf": {1: struct.pack("=I", 10)},
}


class Namespace(Ip):
    """What the kernel does inside a namespace. A call that is refused late leaves done what came before."""

    known: ClassVar["weakref.WeakValueDictionary[int, Namespace]"] = weakref.WeakValueDictionary()
    fds = itertools.count(1_000_000)

    def __init__(self, families: tuple[int, ...]) -> None:
        super().__init__(families)
        self.fd = next(self.fds)
        self.known[self.fd] = self

    def free_index(self) -> int:
        """Return an index that no link has."""
        return max(self.links, default=0) + 1

    def is_taken(self, name: str) -> bool:
        """Whether a link answers to a name."""
        return any(name in link.names for link in self.links.values())

    def check_birth(self, wish: Link) -> None:
        """Refuse a link that cannot be made."""
        self.check_name(wish.name)
        if wish.index in self.links or self.is_taken(wish.name):
            raise Refusal(errno.EEXIST)

    def make_link(self, message: Message) -> None:
        """Make a link, here or in another namespace; a veth with its other end."""
        wish, given = _link.unpack(message), attrs.unpack(message.body, _INFO_SIZE)
        if wish.kind not in BORN:
            raise Refusal(errno.EOPNOTSUPP, "Unknown device type")
        there = self.target(given)
        data = attrs.unpack(attrs.unpack(given[_LINKINFO]).get(_INFO_DATA, b""))
        there.check_birth(wish)
        if wish.kind != "veth":
            if wish.lower is not None:
                self.get(wish.lower)
            there.born(wish, lower=wish.lower, lower_netns=None if there is self else self.fd)
            return
        body = data[_VETH_PEER]
        far, peer = self.target(attrs.unpack(body, _INFO_SIZE)), _link.unpack(message._replace(body=body))
        far.check_birth(peer)
        end = far.born(replace(peer, kind="veth"))
        near = there.born(wish, lower=end, lower_netns=None if far is there else far.fd)
        far.edit(end, lower=near, lower_netns=None if far is there else there.fd)

    def target(self, given: dict[int, bytes]) -> "Namespace":
        """Return the namespace that attributes name; this one if they name none."""
        if _NET_NS_FD not in given:
            return self
        found = self.known.get(attrs.to_int(given[_NET_NS_FD]))
        if found is None:
            raise Refusal(errno.EBADF)
        return found

    def born(self, wish: Link, **fields: Any) -> int:  # noqa: ANN401
        """Take a new link in; return its index."""
        index = wish.index or self.free_index()
        mac = wish.mac or f"06:00:00:00:00:{next(MACS) % 256:02x}"
        made = replace(wish, index=index, mac=mac, mtu=wish.mtu or 1500, flags=BASE, operstate="DOWN", txqlen=1000)
        self.arrive(replace(made, **fields, raw=b""))
        return index

    def check_name(self, name: str) -> None:
        """Refuse a name that no link can have."""
        if name_problem("name", name):
            raise Refusal(errno.ERANGE if len(attrs.to_bytes(name)) > NAME_MAX else errno.EINVAL)

    def arrive(self, link: Link) -> None:
        """Take a link in, with the settings that links get here."""
        self.links[link.index] = link
        self.addresses[link.index] = []
        self.conf[link.name] = copied(self.conf["default"])

    def leave(self, index: int) -> Link:
        """Drop a link and all that belongs to it; return what it takes along."""
        self.set_up(index, up=False)
        for port in [index, *(link.index for link in self.links.values() if link.master == index)]:
            self.release(port)
        self.neighbors = [item for item in self.neighbors if item.index != index]
        del self.addresses[index]
        link = self.links.pop(index)
        del self.conf[link.name]
        return link

    def delete_links(self, wish: Link) -> None:
        """Delete the link with an index, or all of a group."""
        if wish.index:
            self.delete_link(wish.index)
            return
        found = [index for index, link in self.links.items() if link.group == wish.group]
        if not found:
            raise Refusal(errno.ENODEV)
        for index in found:
            if index in self.links:  # it was the other end of one before
                self.delete_link(index)

    def delete_link(self, index: int) -> None:
        """Delete a link."""
        link = self.get(index)
        if link.kind is None:
            raise Refusal(errno.EOPNOTSUPP)
        self.leave(index)
        far = self.known.get(link.lower_netns) if link.lower_netns else self
        if link.kind == "veth" and far and link.lower in far.links and far.links[link.lower].lower == index:
            far.leave(link.lower)

    def change_link(self, message: Message) -> None:
        """Change a link in the kernel's order: what is refused late leaves done what came before it."""
        wish, given = _link.unpack(message), attrs.unpack(message.body, _INFO_SIZE)
        if not wish.index:  # then the name says which link is meant
            known = {link.name: index for index, link in self.links.items()}
            wish = replace(wish, index=known.get(wish.name, 0))
        link = self.get(wish.index)
        if wish.port:
            self.set_port(link, wish.port)
        there, index = self.target(given), wish.index
        if there is not self:
            new_index = attrs.to_int(given.get(_NEW_IFINDEX, bytes(4)))
            index = self.move(link, there, name=wish.name, new_index=new_index)
        there.settle(index, wish, given)
        if attrs.to_int(message.body[_INFO_SIZE - 4 : _INFO_SIZE]) & UP:  # ifi_change
            there.set_up(index, up=wish.is_up)
        if wish.master is not None:
            there.set_master(index, wish.master)

    def settle(self, index: int, wish: Link, given: dict[int, bytes]) -> None:
        """Give a link, after a move, what else is asked for."""
        if wish.mac:
            self.set_mac(index, wish.mac)
        if wish.mtu:
            self.set_mtu(index, wish.mtu)
        if wish.name:
            self.rename(index, wish.name)
        texts = {"alias": wish.alias or None} if wish.alias is not None else {}
        numbers = {field: getattr(wish, field) for kind, field in _NUMBERS.items() if kind in given}
        self.edit(index, **texts, **numbers)
        settings = attrs.unpack(attrs.unpack(wish.af_spec).get(AF_INET, b"")).get(CONF[AF_INET], b"")
        for number, data in attrs.walk(settings):
            self.conf[self.links[index].name][AF_INET][number - 1] = attrs.to_int(data)

    def set_altnames(self, wish: Link, *, add: bool) -> None:
        """Add or delete alternative names."""
        for name in wish.altnames:
            known = self.get(wish.index).altnames
            if add and self.is_taken(name):
                raise Refusal(errno.EEXIST)
            if not add and name not in known:
                raise Refusal(errno.ENOENT)
            self.edit(wish.index, altnames=(*known, name) if add else tuple(item for item in known if item != name))

    def move(self, link: Link, there: "Namespace", *, name: str, new_index: int) -> int:
        """Move a link; return its index there. Its old name is kept if it is free there (behaviour.md K3)."""
        kind = find_kind(link.kind)
        if link.is_loopback or (kind and kind.takes_ports):  # netns_immutable
            raise Refusal(errno.EINVAL, "The interface netns is immutable")
        called = link.name
        if there.is_taken(called):
            if not name:
                raise Refusal(errno.EEXIST, "An interface with the same name exists in the target netns")
            if there.is_taken(name):
                words = f"Unable to use '{name}' for the new interface name in the target netns"
                raise Refusal(errno.EEXIST, words)
            called = name
        for other in filter(there.is_taken, link.altnames):
            raise Refusal(errno.EEXIST, f"An interface with the altname {other} exists in the target netns")
        if new_index in there.links:
            raise Refusal(errno.EBUSY, f"The ifindex {new_index} is not available in the target netns")
        index = new_index or (there.free_index() if link.index in there.links else link.index)
        there.arrive(replace(self.leave(link.index), index=index, name=called))
        return index

    def set_mac(self, index: int, mac: str) -> None:
        """Give a link another link-layer address."""
        if int(mac[:2], 16) & 1 or not any(_link.mac_bytes(mac)):
            raise Refusal(errno.EADDRNOTAVAIL)
        self.edit(index, mac=mac)
        self.forget_neighbors(index)  # neigh_changeaddr(), permanent ones too

    def set_mtu(self, index: int, mtu: int) -> None:
        """Give a link another MTU."""
        if mtu < 68:
            raise Refusal(errno.EINVAL, "mtu less than device minimum")
        if mtu > 65535:
            raise Refusal(errno.EINVAL, "mtu greater than device maximum")
        self.edit(index, mtu=mtu)

    def rename(self, index: int, name: str) -> None:
        """Call a link by another name; it may be up."""
        old = self.links[index].name
        if name != old:
            self.check_name(name)
            if self.is_taken(name):
                raise Refusal(errno.EEXIST)
            self.edit(index, name=name)
            self.conf[name] = self.conf.pop(old)

    def set_up(self, index: int, *, up: bool) -> None:
        """Bring a link up or down, with the addresses and routes that come and go."""
        link = self.links[index]
        if up == link.is_up:
            return
        if not up:
            self.edit(index, flags=link.flags & ~UP, operstate="DOWN", carrier=False)
            self.routes = [item for item in self.routes if item.index != index]
            self.drop_ipv6(index)
            self.forget_neighbors(index)
            return
        kind = find_kind(link.kind)
        twins = [(item.kind, item.lower, item.mac) for item in self.links.values() if item.is_up]
        if kind and kind.unique_mac and (link.kind, link.lower, link.mac) in twins:
            raise Refusal(errno.EADDRINUSE)
        self.edit(index, flags=link.flags | UP, operstate="UNKNOWN" if link.is_loopback else "UP", carrier=True)
        self.make_own(index)
        for address in self.addresses[index]:
            self.connect(address)

    def set_master(self, index: int, master: int) -> None:
        """Make a link a port of another, or (0) of none."""
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
        """Make a link a port of none, with all that belongs to a port."""
        self.cycle(index)
        self.edit(index, master=None, port_kind=None, port=b"")
        gone = _neighbor.MASTER
        self.neighbors = [item for item in self.neighbors if item.index != index or not item.flags & gone]

    def set_port(self, link: Link, data: bytes) -> None:
        """Change settings of a port."""
        kind = find_kind(link.port_kind)
        if kind is None or not kind.port_settings:
            raise Refusal(errno.EOPNOTSUPP)
        self.edit(link.index, port=_pack(attrs.unpack(link.port) | attrs.unpack(data)))


def _pack(attributes: dict[int, bytes]) -> bytes:
    return b"".join(attrs.pack(kind, data) for kind, data in attributes.items())
