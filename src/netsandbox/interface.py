"""An interface as the kernel has it: a snapshot with verbs, and how it is read."""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from netsandbox._checks import IPInterface
from netsandbox._kernel import Kernel
from netsandbox._plan.convert import is_made, read_route
from netsandbox._plan.model import InterfaceKey
from netsandbox._record import Attachment
from netsandbox.adverts import Adverts
from netsandbox.errors import InterfaceNotFoundError, KernelError
from netsandbox.netlink import route as _route
from netsandbox.netlink.link import Link
from netsandbox.spec import InterfaceSpec, Route, parse_interface

if TYPE_CHECKING:
    from netsandbox.stats import Statistics

_NOT_PRESENT = "NOTPRESENT"  # IF_OPER_NOTPRESENT (RFC 2863): some component is missing


class Owner(Protocol):
    """The sandbox of an interface, as far as its verbs need it."""

    @property
    def name(self) -> str:
        """Its name."""

    def remove_interface(self, interface: "Interface") -> None:
        """Take an interface out."""

    def _kernel(self) -> Kernel: ...

    def _adverts(self, interface: "Interface") -> Adverts: ...


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a sandbox, as the kernel had it when it was read.

    It is a snapshot with verbs: `Sandbox.interfaces` reads anew, and an old snapshot still removes the right link,
    which it knows by number and not by name.

    Of a foreign one (`Sandbox.foreign`) netsandbox knows no source, and does not remove it. Of a missing one
    (`Sandbox.missing`) there is only what was recorded; its *operstate* is "NOTPRESENT".

    Attributes:
        source: Name of its link on the host, or of the link that was made; empty for a foreign one.
        name: Its name in the sandbox; the one it was given, if it is missing.
        given_name: The name it was given when it was plugged in: another one than *name* if it was renamed inside;
            empty for a foreign one.
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
        id: Its number in the sandbox, never given twice; 0 for a foreign one.
        dropped: Addresses that were asked for, and are not there although it is plugged in: a setting of this link, or
            somebody inside, took them away. Only what `Sandbox.add_interface` returns knows of them.
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

    def check_owner(self, sandbox: str) -> None:
        """Refuse it where another sandbox is meant: indexes and numbers of interfaces repeat from one to the other.

        Raises:
            InterfaceNotFoundError: It belongs to another sandbox.
        """
        if self._owner.name != sandbox:
            reason = f"it belongs to sandbox {self._owner.name}"
            raise InterfaceNotFoundError(f"use {self.name} of sandbox {sandbox}", reason)

    def remove(self) -> None:
        """Take it out of its sandbox; see `Sandbox.remove_interface`."""
        self._owner.remove_interface(self)

    @property
    def adverts(self) -> Adverts:
        """What came so far of annotate_errors its neighbors its addresses; nothing of what other processes sent.

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


def read_interfaces(
    owner: Owner, kernel: Kernel, links: Sequence[Link], plugged: Iterable[Attachment]
) -> tuple[Interface, ...]:
    """Return interfaces as the kernel has them; those whose link is not among *links* (all there are) are left out."""
    found = {link.index: link for link in links}
    return _read(
        owner, kernel, links, ((found[item.index], item) for item in plugged if item.holds(found.get(item.index)))
    )


def with_dropped(wishes: Iterable[InterfaceSpec], made: Iterable[Interface]) -> tuple[Interface, ...]:
    """Return interfaces as they say which of the addresses that were asked for are not there."""
    return tuple(
        replace(item, dropped=tuple(wanted for wanted in wish.addresses if wanted not in item.addresses))
        for wish, item in zip(wishes, made, strict=False)  # somebody inside may have taken one away
    )


def read_foreign(owner: Owner, kernel: Kernel, links: Sequence[Link], foreign: Iterable[Link]) -> tuple[Interface, ...]:
    """Return links that somebody else made, of *links* (all there are), as interfaces."""
    return _read(owner, kernel, links, ((link, None) for link in foreign))


def recorded(owner: Owner, plugged: Iterable[Attachment]) -> tuple[Interface, ...]:
    """Return interfaces whose links are not there, as they were recorded."""
    return tuple(
        _interface(owner, Link(item.index, item.name, kind=item.kind, mtu=0, operstate=_NOT_PRESENT), item)
        for item in plugged
    )


def _read(
    owner: Owner, kernel: Kernel, links: Sequence[Link], items: Iterable[tuple[Link, Attachment | None]]
) -> tuple[Interface, ...]:
    names = {link.index: link.name for link in links}
    found = []
    for link, item in items:
        try:
            addresses = tuple(address.interface for address in kernel.addresses(link.index))
            entries = kernel.routes(table=_route.TABLE_MAIN, index=link.index)
        except KernelError as error:
            if error.errno != errno.ENODEV:  # it vanished between two looks
                raise
            continue
        routes = tuple(read_route(entry, names) for entry in entries if is_made(entry))
        master = names.get(link.master) if link.master else None
        found.append(_interface(owner, link, item, addresses=addresses, routes=routes, master=master))
    return tuple(found)


def _interface(
    owner: Owner,
    link: Link,
    item: Attachment | None,
    *,
    addresses: tuple[IPInterface, ...] = (),
    routes: tuple[Route, ...] = (),
    master: str | None = None,
) -> Interface:
    return Interface(
        source=item.source if item else "",
        name=link.name,
        given_name=item.name if item else "",
        index=link.index,
        kind=link.kind,
        mac=link.mac,
        mtu=link.mtu,
        addresses=addresses,
        routes=routes,
        master=master,
        is_bridge=item is not None and item.is_bridge,
        is_up=link.is_up,
        operstate=link.operstate,
        flags=link.flags,
        txqlen=link.txqlen,
        id=item.id if item else 0,
        dropped=(),
        _owner=owner,
    )


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
