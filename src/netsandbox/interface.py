"""An interface as the kernel has it: a snapshot with verbs, and how it is read."""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from netsandbox._checks import IPInterface
from netsandbox._outline import Plugged
from netsandbox._steps import Kernel
from netsandbox.errors import InterfaceNotFoundError, KernelError
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.link import Link
from netsandbox.netlink.route import RouteEntry
from netsandbox.spec import Neighbor, Route

if TYPE_CHECKING:
    from netsandbox.stats import Statistics

_IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of no metric


class Owner(Protocol):
    """The sandbox of an interface, as far as its verbs need it."""

    @property
    def name(self) -> str:
        """Its name."""

    def remove_interface(self, interface: "Interface") -> None:
        """Take an interface out."""

    def _kernel(self) -> Kernel: ...


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a sandbox, as the kernel had it when it was read.

    It is a snapshot with verbs: `Sandbox.interfaces` reads anew, and an old snapshot still removes the right link,
    which it knows by number and not by name.

    Attributes:
        source: Name of its link on the host, or of the link that was made.
        name: Its name in the sandbox.
        index: Its index (ifindex) there.
        kind: Kind of link, such as "veth"; None for hardware.
        mac: Its link-layer address, in lower-case colon notation.
        mtu: Its MTU, in bytes.
        addresses: Its IP addresses with their prefix lengths.
        routes: Routes that lead out of it, but for those that come with its addresses.
        master: Name, in the sandbox, of the bridge it is a port of.
        is_bridge: Whether it is a bridge that was made here.
        is_up: Whether it is administratively up.
        operstate: Its operational state (RFC 2863), such as "UP".
        flags: IFF_* bits.
        txqlen: Length of its transmit queue, in packets.
        id: Its number in the sandbox, never given twice.
    """

    source: str
    name: str
    index: int
    kind: str | None
    mac: str | None
    mtu: int
    addresses: tuple[IPInterface, ...]
    routes: tuple[Route, ...]
    master: str | None
    is_bridge: bool
    is_up: bool
    operstate: str
    flags: int
    txqlen: int
    id: int
    _owner: Owner = field(repr=False, compare=False)

    def remove(self) -> None:
        """Take it out of its sandbox; see `Sandbox.remove_interface`."""
        self._owner.remove_interface(self)

    def statistics(self) -> "Statistics":
        """Return its counters, read now.

        Raises:
            InterfaceNotFoundError: It has vanished.
            SandboxClosedError: The sandbox was closed or destroyed.

        Source: ``Interface.Statistics`` of moby's osl, which leaves the errors out.
        """
        from netsandbox.stats import unpack  # noqa: PLC0415  25 fields take a while to make, and few ask for them

        found = self._owner._kernel().link(self.index, stats=True)  # noqa: SLF001
        if found is None:
            raise InterfaceNotFoundError(
                f"read the statistics of {self.name} of sandbox {self._owner.name}", "it is gone"
            )
        return unpack(found.stats)


def read_interfaces(owner: Owner, kernel: Kernel, plugged: Iterable[Plugged]) -> tuple[Interface, ...]:
    """Return interfaces as the kernel has them now; those whose link has vanished are left out."""
    links = {link.index: link for link in kernel.links()}
    names = {index: link.name for index, link in links.items()}
    found = []
    for item in plugged:
        link = links.get(item.index)
        if link is None or not item.holds(link):
            continue
        try:
            found.append(_read(owner, kernel, item, link, names))
        except KernelError as error:
            if error.errno != errno.ENODEV:  # it vanished between two looks
                raise
    return tuple(found)


def _read(owner: Owner, kernel: Kernel, item: Plugged, link: Link, names: Mapping[int, str]) -> Interface:
    routes = kernel.routes(table=_route.TABLE_MAIN, index=link.index)
    return Interface(
        source=item.source,
        name=link.name,
        index=link.index,
        kind=link.kind,
        mac=link.mac,
        mtu=link.mtu,
        addresses=tuple(address.interface for address in kernel.addresses(link.index)),
        routes=tuple(read_route(entry, names) for entry in routes if _is_made(entry)),
        master=names.get(link.master) if link.master else None,
        is_bridge=item.is_bridge,
        is_up=link.is_up,
        operstate=link.operstate,
        flags=link.flags,
        txqlen=link.txqlen,
        id=item.id,
        _owner=owner,
    )


def read_routes(kernel: Kernel, names: Mapping[int, str]) -> tuple[Route, ...]:
    """Return the routes of the main tables, but for those that come with addresses."""
    return tuple(read_route(entry, names) for entry in kernel.routes(table=_route.TABLE_MAIN) if _is_made(entry))


def read_route(entry: RouteEntry, names: Mapping[int, str]) -> Route:
    """Return a route as a value for users; *names* are those of the links by index."""
    usual = _IPV6_METRIC if entry.family == _route.AF_INET6 else 0
    return Route(
        entry.to,
        entry.via,
        metric=None if entry.metric == usual else entry.metric,
        onlink=bool(entry.flags & _route.ONLINK) and entry.via is not None,
        interface=names.get(entry.index or 0),
        source=entry.source,
    )


def read_neighbors(kernel: Kernel, names: Mapping[int, str]) -> tuple[Neighbor, ...]:
    """Return the permanent neighbours, and the bridge forwarding entries that somebody made."""
    found = []
    for entry in (*kernel.neighbors(), *kernel.neighbors(_neighbor.AF_BRIDGE)):
        bridge = entry.family == _neighbor.AF_BRIDGE
        # In a bridge's own table, "permanent" are the addresses of its ports, made by the kernel; "static" are others'.
        made = _neighbor.NOARP if bridge and not entry.flags & _neighbor.SELF else _neighbor.PERMANENT
        if entry.state & made and entry.mac and entry.index in names and not int(entry.mac[:2], 16) & 1:
            found.append(Neighbor(entry.ip, entry.mac, names[entry.index], bridge=bridge))
    return tuple(found)


def _is_made(entry: RouteEntry) -> bool:
    return entry.type == _route.UNICAST and entry.protocol != _route.KERNEL
