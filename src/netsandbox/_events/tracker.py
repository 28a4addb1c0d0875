"""The tracker: turns the kernel's messages about a sandbox into events, by the objects that it remembers. Pure.

The kernel sends the same message for a new object and for a changed one. It sends none for IPv4 routes that go with
their link or source address (fib_sync_down_dev() in net/ipv4/fib_semantics.c), and a full receive buffer loses
messages. So the tracker remembers all objects, and compares them with what the kernel lists.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice, starmap
from typing import Literal

from netsandbox._checks import IPAddress
from netsandbox._kernel import Kernel
from netsandbox._plan.convert import list_neighbors, read_neighbor, read_route
from netsandbox.errors import KernelError
from netsandbox.netlink import address as _address
from netsandbox.netlink import link as _link
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.address import Address
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import F_REPLACE, Message
from netsandbox.netlink.neighbor import NOARP, NeighborEntry
from netsandbox.netlink.route import RouteEntry
from netsandbox.routes import Neighbor, Route

KNOWN = 10_000  # how many objects are remembered of one sandbox: a program inside may create any number
_DELETED = 1  # the last bit of RTM_DEL*; that of RTM_NEW* is 0
_MULTIPATH, _VIA, _VLAN, _PROXY = 9, 18, 5, 8  # RTA_MULTIPATH, RTA_VIA, NDA_VLAN, NTF_PROXY

Entry = Link | Address | RouteEntry | NeighborEntry  # an object, as it is remembered
Value = Link | Address | Route | Neighbor  # an object, as an event shows it
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A change in a sandbox.

    Attributes:
        sandbox: Name of the sandbox.
        what: "link", "address", "route" (of all tables but the local one), "neighbor" (also a bridge forwarding entry),
            or "sandbox".
        change: "new", "changed" or "deleted". Of a sandbox: "new" (its events follow), "deleted" (it was closed or
            destroyed; no more events follow), "overrun" (more happened than could be read: events were lost) and
            "resynced" (all differences since then have been reported).
        interface: Name of the link concerned; None if there is none, or if its name is not known.
        value: The new, changed or deleted object: a `Link` or `Address` as the kernel describes it, without the
            attributes that are not decoded, or a `Route` or `Neighbor`. None for a sandbox.
        master: For a link, the name of the link it is a port of.
    """

    sandbox: str
    what: Literal["link", "address", "route", "neighbor", "sandbox"]
    change: Literal["new", "changed", "deleted", "overrun", "resynced"]
    interface: str | None = None
    value: Value | None = None
    master: str | None = None


class EventTracker:
    """Turns the kernel's messages about a sandbox into events.

    Attributes:
        name: Name of the sandbox.
        is_stale: Whether the kernel may have deleted objects without a message: `compare` finds them.
        knows_all: Whether all objects of the sandbox are remembered.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stale = False
        self._known: dict[Key, Entry] = {}
        self.knows_all = True

    def receive(self, message: Message) -> Event | None:
        """Return the event of a message; None if nothing has changed that is reported."""
        if message.kind & ~_DELETED == _link.NEWLINK and message.body[:1] == bytes([AF_BRIDGE]):
            return self._receive_port(message)
        found = _read(message)
        if found is None:
            return None
        key, value = found
        if message.kind & _DELETED:
            return self._forget(key, value)
        if message.flags & F_REPLACE and isinstance(value, RouteEntry):
            same = [other for other in self._known if other[:_ROUTE_KEY] == key[:_ROUTE_KEY] and other != key]
            for other in same:  # the new route replaces it: the kernel sends no message of its deletion
                self._known.setdefault(key, self._known.pop(other))
        return self._remember(key, value)

    def compare(self, kernel: Kernel) -> list[Event]:
        """Read the sandbox, remember its objects, and return the differences as events.

        Differences in a sandbox with more than KNOWN objects are not found. If lists change while they are read, the
        error is EINTR.
        """
        try:
            there = dict(islice(_list(kernel), KNOWN + 1))
        except KernelError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            there = {}
            self.knows_all = False
        else:
            self.knows_all = len(there) <= KNOWN
        if self.knows_all:
            gone = [(key, value) for key, value in reversed(self._known.items()) if key not in there]
            events = [*starmap(self._forget, gone), *starmap(self._remember, there.items())]
        else:
            self._known, events = there, []
        self.is_stale = False
        return [event for event in events if event]

    def _receive_port(self, message: Message) -> Event | None:
        """Return the event of a message about a bridge port: it has the port's state, and nothing else of the link."""
        new = _link.unpack(message).digest()
        known = self._known.get(("link", new.index))
        if message.kind & _DELETED or not new.port or not isinstance(known, Link) or known.port_kind != "bridge":
            return None
        return self._remember(("link", new.index), replace(known, port=new.port))

    def _remember(self, key: Key, value: Entry) -> Event | None:
        known = self._known.get(key)
        if known == value or _is_implied(value):
            return None
        if known is None and len(self._known) >= KNOWN:
            self.knows_all = False
        else:
            self._known[key] = value
        if isinstance(value, Link) and not value.is_up:
            self._suspect_routes(value.index, None)
        return self._event("changed" if known else "new", value)

    def _forget(self, key: Key, value: Entry) -> Event | None:
        known = self._known.get(key)
        if known is None and self.knows_all:  # reported by `compare`; or one of several next hops of a route
            self.is_stale |= isinstance(value, RouteEntry)
            return None
        event = self._event("deleted", value)
        self._known.pop(key, None)
        if isinstance(value, Link):
            self._suspect_routes(value.index, None)
        elif isinstance(value, Address) and value.interface.version == 4:
            self._suspect_routes(value.index, value.interface.ip)
        return event

    def _suspect_routes(self, index: int, source: IPAddress | None) -> None:
        """Note that the kernel may have deleted IPv4 routes of a link or source address."""
        if not self.is_stale:
            routes = (item for item in self._known.values() if isinstance(item, RouteEntry) and item.to.version == 4)
            self.is_stale = any(index == item.index or (source and source == item.source) for item in routes)

    def _event(self, change: Literal["new", "changed", "deleted"], value: Entry) -> Event:
        if isinstance(value, Link):
            return Event(self.name, "link", change, value.name, value, self._name(value.master))
        name = self._name(value.index)
        names = {value.index or 0: name} if name else {}
        if isinstance(value, RouteEntry):
            return Event(self.name, "route", change, name, read_route(value, names))
        if isinstance(value, NeighborEntry):
            return Event(self.name, "neighbor", change, name, read_neighbor(value, names))
        return Event(self.name, "address", change, name, value)

    def _name(self, index: int | None) -> str | None:
        link = self._known.get(("link", index))
        return link.name if isinstance(link, Link) else None


_ROUTE_KEY = 6  # routes replace each other if so many items at the beginning of their keys are equal


def _of_link(value: Link) -> tuple[Key, Entry]:
    return ("link", value.index), value.digest()


def _of_address(value: Address) -> tuple[Key, Entry]:
    return ("address", value.index, value.interface, value.peer), replace(value, rest=())


def _of_route(value: RouteEntry) -> tuple[Key, Entry] | None:
    """Return the key of a route and what is remembered; None for the local table and for routes the kernel learned."""
    if value.table == _route.TABLE_LOCAL or value.flags & _route.CLONED:
        return None
    key = ("route", value.table, value.to, value.tos, value.metric, value.source_length, value.index, value.via)
    rest = tuple(item for item in value.rest if item[0] in {_MULTIPATH, _VIA})
    return key, replace(value, flags=value.flags & _route.ONLINK, rest=rest)


def _of_neighbor(value: NeighborEntry) -> tuple[Key, Entry] | None:
    """Return the key of a neighbor and what is remembered; None for a proxy entry and for a multicast MAC."""
    if value.flags & _PROXY:  # the kernel sends messages about proxies and does not list them
        return None
    key: Key = ("neighbor", value.family, value.index, value.ip)
    if value.family == AF_BRIDGE:
        if value.mac is None or int(value.mac[:2], 16) & 1:  # listed, but the kernel sends no messages about them
            return None
        sides = value.flags & (_neighbor.SELF | _neighbor.MASTER)
        key += (value.mac, sides, dict(value.rest).get(_VLAN))
    return key, replace(value, rest=())


def _is_implied(value: Entry) -> bool:
    """Whether a neighbor's MAC follows from its IP address: the kernel sends no message when it is new."""
    return isinstance(value, NeighborEntry) and value.family != AF_BRIDGE and bool(value.state & NOARP)


def _read(message: Message) -> tuple[Key, Entry] | None:
    """Return the key and the object of a message; None if the object is not reported."""
    families, read = _READERS.get(message.kind & ~_DELETED, (set(), None))
    return read(message) if read and message.body[:1] in families else None


_IP = {bytes([AF_INET]), bytes([AF_INET6])}
_READERS: dict[int, tuple[set[bytes], Callable[[Message], tuple[Key, Entry] | None]]] = {
    _link.NEWLINK: ({b"\0"}, lambda message: _of_link(_link.unpack(message))),
    _address.NEWADDR: (_IP, lambda message: _of_address(_address.unpack(message))),
    _route.NEWROUTE: (_IP, lambda message: _of_route(_route.unpack(message))),
    _neighbor.NEWNEIGH: ({*_IP, bytes([AF_BRIDGE])}, lambda message: _of_neighbor(_neighbor.unpack(message))),
}


def _list(kernel: Kernel) -> Iterator[tuple[Key, Entry]]:
    """Yield all objects of a sandbox, links first: they have the names."""
    yield from map(_of_link, kernel.links())
    yield from map(_of_address, kernel.addresses())
    yield from filter(None, chain(map(_of_route, kernel.routes()), map(_of_neighbor, list_neighbors(kernel))))
