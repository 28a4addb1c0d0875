"""What is read back of a sandbox: a snapshot of all of it, and its interfaces, which are values with verbs."""

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
    """What an interface needs of its sandbox."""

    @property
    def name(self) -> str:
        """Its name."""

    def remove_interface(self, interface: "Interface") -> None:
        """Detach an interface."""

    def _kernel(self) -> Kernel: ...

    def _adverts(self, interface: "Interface") -> Adverts: ...


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a sandbox, as the kernel reported it when it was read.

    The values do not change: `Sandbox.interfaces` reads again. The methods find the link by its index, so they act on
    it as it is now, even if it was renamed.

    A foreign interface (`Sandbox.foreign`) has no source, and netsandbox does not detach it. A missing one
    (`Sandbox.missing`) has only the recorded values; its *operstate* is "NOTPRESENT".

    Attributes:
        source: Name of its link on the host, or of the link that was created; empty for a foreign one.
        name: Its name in the sandbox; the recorded name of a missing one.
        given_name: The name it got when it was attached, which differs from *name* if it was renamed inside; empty for
            a foreign one.
        index: Its index (ifindex) there.
        kind: Kind of link, such as "veth"; None for hardware.
        mac: Its link-layer address, in lower-case colon notation.
        mtu: Its MTU, in bytes.
        addresses: Its IP addresses with their prefix lengths.
        routes: Routes that lead out of it, except for those that the kernel makes of its addresses.
        master: Name, in the sandbox, of the bridge it is a port of.
        is_bridge: Whether it is a bridge that netsandbox created.
        is_up: Whether it is administratively up.
        operstate: Its operational state (RFC 2863), such as "UP".
        flags: IFF_* bits.
        txqlen: Length of its transmit queue, in packets.
        id: Its number in the sandbox, never used twice; 0 for a foreign one.
        dropped: Requested addresses that it does not have, because a setting of this link or a program inside removed
            them; only of interfaces that `Sandbox.add_interface` returns.
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
    _link: Link = field(repr=False, compare=False)  # with everything that the kernel reported
    _addresses: tuple[Address, ...] = field(repr=False, compare=False)

    def check_owner(self, sandbox: str) -> None:
        """Refuse an interface of another sandbox, in which its index and id are those of another link.

        Raises:
            InterfaceNotFoundError: It belongs to another sandbox.
        """
        owner = self._owner.name
        if owner != sandbox:
            raise InterfaceNotFoundError(f"use {self.name} of sandbox {sandbox}", f"it belongs to sandbox {owner}")

    def remove(self) -> None:
        """Detach it from its sandbox; see `Sandbox.remove_interface`."""
        self._owner.remove_interface(self)

    @property
    def adverts(self) -> Adverts:
        """How often this process has advertised its addresses to its neighbors so far, and the last error.

        Raises:
            SandboxClosedError: The sandbox was closed or destroyed, which ends its adverts.
        """
        return self._owner._adverts(self)  # noqa: SLF001  as for the statistics

    def statistics(self) -> "Statistics":
        """Return its counters, read now.

        Raises:
            InterfaceNotFoundError: The link is gone.
            SandboxClosedError: The sandbox was closed or destroyed.

        Source: ``Interface.Statistics`` of moby's osl, which leaves the errors out.
        """
        from netsandbox.stats import unpack  # noqa: PLC0415  the import is slow, and few programs need it

        found = self._owner._kernel().link(self.index, stats=True)  # noqa: SLF001
        if found is None:
            request = f"read the statistics of {self.name} of sandbox {self._owner.name}"
            raise InterfaceNotFoundError(request, "it is gone")
        return unpack(found.stats)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sandbox at one moment: each list of the kernel is read once, and its views send no request.

    Links are read last: no view shows anything of a link that vanishes in between.
    """

    inventory: Inventory
    addresses: Mapping[int, Sequence[Address]]  # by index of their link
    route_entries: Sequence[RouteEntry]  # of the main tables
    neighbor_entries: Sequence[NeighborEntry]  # and forwarding entries; empty if they were not read
    _owner: Owner

    @classmethod
    def read(
        cls, owner: Owner, kernel: Kernel, host: Kernel | None, attachments: Sequence[Attachment], *, neighbors: bool
    ) -> Self:
        """Read a sandbox whose record has *attachments*; *host*, where its links came from, if that is open."""
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
        """What was attached and is no longer there; see `Sandbox.missing`."""
        without_link = replace(self, addresses={}, route_entries=())  # its index may be that of another link
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
        """The unicast routes of the main tables, without those that the kernel makes; see `Sandbox.routes`."""
        return read_routes(self.route_entries, self._names)

    @property
    def neighbors(self) -> tuple[Neighbor, ...]:
        """The permanent neighbors and the added forwarding entries; see `Sandbox.neighbors`."""
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
    """Return interfaces as the kernel has them, in three requests; those whose link is gone are left out."""
    addresses, routes = _read_ip(kernel, attachments[0].index if len(attachments) == 1 else 0)
    links = {link.index: link for link in kernel.links()}
    ours = tuple(item for item in attachments if item.matches_kind(links.get(item.index)))
    return Snapshot(Inventory(tuple(links.values()), ours, (), ()), addresses, routes, (), owner).interfaces


def with_dropped(specs: Iterable[InterfaceSpec], made: Iterable[Interface]) -> tuple[Interface, ...]:
    """Return interfaces with the requested addresses that are missing as *dropped*."""
    return tuple(
        replace(item, dropped=tuple(wanted for wanted in spec.addresses if wanted not in item.addresses))
        for spec, item in zip(specs, made, strict=False)  # a program inside may have removed one
    )


def _read_ip(kernel: Kernel, index: int = 0) -> tuple[dict[int, list[Address]], list[RouteEntry]]:
    """Return the addresses, by index of their link, and the routes of the main tables; of one link or (0) of all."""
    found: dict[int, list[Address]] = {}
    try:
        for address in kernel.addresses(index):
            found.setdefault(address.index, []).append(address)
        return found, kernel.routes(table=TABLE_MAIN, index=index)
    except KernelError as error:
        if error.errno != errno.ENODEV:  # the link is gone
            raise
        return {}, []


def key_of(interface: Interface | str, sandbox: str) -> InterfaceKey:
    """Return the key of the link that a user names; refuse one of another sandbox, and names no link can have."""
    if isinstance(interface, Interface):
        interface.check_owner(sandbox)
        return InterfaceKey(interface.index, interface.name)
    return InterfaceKey(parse_interface(interface))
