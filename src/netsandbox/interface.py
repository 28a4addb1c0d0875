"""What is read back of a sandbox: the snapshot of all of it, and an interface, which is a part of it with verbs."""

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

from netsandbox._checks import IPInterface
from netsandbox._kernel import Kernel
from netsandbox._plan.convert import list_neighbors, read_neighbors, read_routes
from netsandbox._plan.model import InterfaceKey
from netsandbox._plan.state import Inventory, classify
from netsandbox._record import Attachment
from netsandbox.adverts import Adverts
from netsandbox.errors import InterfaceNotFoundError, KernelError
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import TABLE_MAIN, RouteEntry
from netsandbox.routes import Neighbor, Route
from netsandbox.spec import InterfaceSpec, parse_interface

if TYPE_CHECKING:
    from netsandbox.stats import Statistics

_NOT_PRESENT = "NOTPRESENT"  # IF_OPER_NOTPRESENT (RFC 2863): some component is missing


class Owner(Protocol):
    """The sandbox of an interface, as far as its verbs need it."""

    @property
    def name(self) -> str:
        """Its name."""

    def remove_interface(self, interface: "Interface") -> None:
        """Detach an interface."""

    def _kernel(self) -> Kernel: ...

    def _adverts(self, interface: "Interface") -> Adverts: ...


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a sandbox, as the kernel had it when it was read.

    The values do not change: `Sandbox.interfaces` reads again. The methods act on the link as it is now, also if it was
    renamed meanwhile: an interface knows its link by number.

    A foreign interface (`Sandbox.foreign`) has no source, and netsandbox does not remove it. A missing one
    (`Sandbox.missing`) has only what was recorded; its *operstate* is "NOTPRESENT".

    Attributes:
        source: Name of its link on the host, or of the link that was created; empty for a foreign one.
        name: Its name in the sandbox; of a missing one, the name it was given.
        given_name: The name it was given when it was attached: another one than *name* if it was renamed inside; empty
            for a foreign one.
        index: Its index (ifindex) there.
        kind: Kind of link, such as "veth"; None for hardware.
        mac: Its link-layer address, in lower-case colon notation.
        mtu: Its MTU, in bytes.
        addresses: Its IP addresses with their prefix lengths.
        routes: Routes that lead out of it, but for those that come with its addresses.
        master: Name, in the sandbox, of the bridge it is a port of.
        is_bridge: Whether it is a bridge that netsandbox created.
        is_up: Whether it is administratively up.
        operstate: Its operational state (RFC 2863), such as "UP".
        flags: IFF_* bits.
        txqlen: Length of its transmit queue, in packets.
        id: Its number in the sandbox, never used twice; 0 for a foreign one.
        dropped: Addresses that were requested and that it does not have: a setting of this link, or a program inside,
            removed them. Only interfaces that `Sandbox.add_interface` returns have them.
    """

    source: str
    name: str
    given_name: str
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
    dropped: tuple[IPInterface, ...] = field(compare=False)
    _owner: Owner = field(repr=False, compare=False)
    _link: Link = field(repr=False, compare=False)  # what it was read from: more than is shown here
    _addresses: tuple[Address, ...] = field(repr=False, compare=False)

    def check_owner(self, sandbox: str) -> None:
        """Refuse an interface of another sandbox: indexes and numbers are unique only in one sandbox.

        Raises:
            InterfaceNotFoundError: It belongs to another sandbox.
        """
        if self._owner.name != sandbox:
            reason = f"it belongs to sandbox {self._owner.name}"
            raise InterfaceNotFoundError(f"use {self.name} of sandbox {sandbox}", reason)

    def remove(self) -> None:
        """Detach it from its sandbox; see `Sandbox.remove_interface`."""
        self._owner.remove_interface(self)

    @property
    def adverts(self) -> Adverts:
        """How often this process has advertised its addresses to its neighbors so far, and the last error.

        Raises:
            SandboxClosedError: The sandbox was closed or destroyed, with which its adverts have ended.
        """
        return self._owner._adverts(self)  # noqa: SLF001  as for the statistics

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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sandbox as it was at one moment: each list of the kernel is read once, and the views of it ask for nothing.

    Links are read last: of a link that vanishes in between, no view shows anything.

    Attributes:
        inventory: Its links and what is recorded of them, told apart.
        addresses: The addresses of each link, by its index.
        route_entries: The routes of the main tables.
        neighbor_entries: The neighbors and forwarding entries; empty if they were not asked for.
    """

    inventory: Inventory
    addresses: Mapping[int, Sequence[Address]]
    route_entries: Sequence[RouteEntry]
    neighbor_entries: Sequence[NeighborEntry]
    _owner: Owner

    @classmethod
    def read(
        cls, owner: Owner, kernel: Kernel, host: Kernel | None, attachments: Sequence[Attachment], *, neighbors: bool
    ) -> Self:
        """Read a sandbox.

        Args:
            owner: The sandbox.
            kernel: Its namespace.
            host: The namespace its links came from; None if it is not at hand.
            attachments: The interfaces of its record.
            neighbors: Whether to read neighbors and forwarding entries as well.
        """
        entries = list_neighbors(kernel) if neighbors else ()
        addresses, routes = _read_ip(kernel)
        return cls(classify(host, kernel, attachments), addresses, routes, entries, owner)

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """What is attached, in the order it was added; see `Sandbox.interfaces`."""
        links = {link.index: link for link in self.inventory.links}
        return self._read((links[item.index], item) for item in self.inventory.ours)

    @property
    def missing(self) -> tuple[Interface, ...]:
        """What was attached and is not there any more; see `Sandbox.missing`."""
        without_link = replace(self, addresses={}, route_entries=())  # another link may have its index by now
        return without_link._read(  # noqa: SLF001  of the same class
            (Link(item.index, item.name, kind=item.kind, mtu=0, operstate=_NOT_PRESENT), item)
            for item in self.inventory.missing
        )

    @property
    def foreign(self) -> tuple[Interface, ...]:
        """The links that netsandbox did not attach; see `Sandbox.foreign`."""
        return self._read((link, None) for link in self.inventory.foreign)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the main tables, but for those that come with addresses; see `Sandbox.routes`."""
        return read_routes(self.route_entries, self._names)

    @property
    def neighbors(self) -> tuple[Neighbor, ...]:
        """The permanent neighbors and the forwarding entries that somebody made; see `Sandbox.neighbors`."""
        return read_neighbors(self.neighbor_entries, self._names)

    @property
    def _names(self) -> dict[int, str]:
        return {link.index: link.name for link in self.inventory.links}

    def _read(self, items: Iterable[tuple[Link, Attachment | None]]) -> tuple[Interface, ...]:
        names = self._names
        routes: dict[int | None, list[RouteEntry]] = {}
        for entry in self.route_entries:
            routes.setdefault(entry.index, []).append(entry)
        return tuple(
            Interface(
                source=item.source if item else "",
                name=link.name,
                given_name=item.name if item else "",
                index=link.index,
                kind=link.kind,
                mac=link.mac,
                mtu=link.mtu,
                addresses=tuple(address.interface for address in self.addresses.get(link.index, ())),
                routes=read_routes(routes.get(link.index, ()), names),
                master=names.get(link.master) if link.master else None,
                is_bridge=item is not None and item.is_bridge,
                is_up=link.is_up,
                operstate=link.operstate,
                flags=link.flags,
                txqlen=link.txqlen,
                id=item.id if item else 0,
                dropped=(),
                _owner=self._owner,
                _link=link,
                _addresses=tuple(self.addresses.get(link.index, ())),
            )
            for link, item in items
        )


def read_interfaces(owner: Owner, kernel: Kernel, attachments: Sequence[Attachment]) -> tuple[Interface, ...]:
    """Return interfaces as the kernel has them; those whose link is gone, or is another one, are left out.

    These are three requests, however many interfaces there are. Of a single one the kernel lists only what it has.
    """
    addresses, routes = _read_ip(kernel, attachments[0].index if len(attachments) == 1 else 0)
    links = {link.index: link for link in kernel.links()}
    ours = tuple(item for item in attachments if item.holds(links.get(item.index)))
    return Snapshot(Inventory(tuple(links.values()), ours, (), ()), addresses, routes, (), owner).interfaces


def with_dropped(wishes: Iterable[InterfaceSpec], made: Iterable[Interface]) -> tuple[Interface, ...]:
    """Return interfaces with those of the wished addresses that are not there as *dropped*."""
    return tuple(
        replace(item, dropped=tuple(wanted for wanted in wish.addresses if wanted not in item.addresses))
        for wish, item in zip(wishes, made, strict=False)  # somebody inside may have taken one away
    )


def _read_ip(kernel: Kernel, index: int = 0) -> tuple[dict[int, list[Address]], list[RouteEntry]]:
    """Return the addresses, by link, and the routes of the main tables of a link (0: of all)."""
    found: dict[int, list[Address]] = {}
    try:
        for address in kernel.addresses(index):
            found.setdefault(address.index, []).append(address)
        return found, kernel.routes(table=TABLE_MAIN, index=index)
    except KernelError as error:
        if error.errno != errno.ENODEV:  # the link has vanished
            raise
        return {}, []


def key_of(interface: Interface | str, sandbox: str) -> InterfaceKey:
    """Return which link of a sandbox is meant.

    Raises:
        InterfaceNotFoundError: The interface belongs to another sandbox.
        SpecError: No link can have this name.
    """
    if isinstance(interface, Interface):
        interface.check_owner(sandbox)
        return InterfaceKey(interface.index, interface.name)
    return InterfaceKey.of(parse_interface(interface))
