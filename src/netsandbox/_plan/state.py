"""What a plan has to know of the kernel, read before anything is changed."""

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

from netsandbox._kernel import Kernel
from netsandbox._record import Attachment
from netsandbox.errors import KernelError
from netsandbox.links import find_kind
from netsandbox.netlink.address import Address
from netsandbox.netlink.conf import disable_ipv6, sysctl_path
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.link import Link
from netsandbox.netlink.neighbor import MASTER, NOARP, NeighborEntry
from netsandbox.netlink.route import TABLE_MAIN, RouteEntry
from netsandbox.spec import InterfaceSpec

K = TypeVar("K", bound=int | str)
LEAVE_TRIES, LEAVE_PAUSE = 300, 0.010  # with a thousand at once, the kernel takes a second or two (pause in seconds)
MANY = 10_000  # how much of what was made inside comes back if a link cannot leave


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link with all that its namespace knows of it and drops when it leaves.

    Attributes:
        link: The link.
        addresses: Its IP addresses, in the kernel's order.
        routes: The routes that lead out of it, of all tables.
        neighbors: Its neighbours, and the forwarding entries that somebody made for it as a port.
        master: The link it is a port of.
        ports: The links that are its ports.
    """

    link: Link
    addresses: tuple[Address, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    neighbors: tuple[NeighborEntry, ...] = ()
    master: Link | None = None
    ports: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Two namespaces as a plan finds them.

    Attributes:
        sources: The links on the host that are asked for, by the name that was asked for.
        host_links: Links on the host that are needed, or whose names or indexes may stand in the way, by name and by
            index.
        links: All links of the sandbox.
        addresses: All addresses of the sandbox.
        routes: The main routing tables of the sandbox.
        sysctls: Settings of the host that may have to come back, by their path below /proc/sys/net.
        lowers: Links on the host that links of the sandbox are tied to, by index.
        ends: Ends on the host of veths that were made here, with all that belongs to them, by index.
        siblings: Indexes of all interfaces of the sandbox.
        states: Links of the sandbox with all that belongs to them, by index.
    """

    sources: Mapping[str, LinkState] = field(default_factory=dict)
    host_links: Mapping[str | int, Link] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    lowers: Mapping[int, Link] = field(default_factory=dict)
    ends: Mapping[int, LinkState] = field(default_factory=dict)
    siblings: frozenset[int] = frozenset()
    states: Mapping[int, LinkState] = field(default_factory=dict)

    def link(self, index: int | None) -> Link | None:
        """Return the link of the sandbox with an index."""
        return next((link for link in self.links if link.index == index), None)

    def named(self, name: str) -> Link | None:
        """Return the link of the sandbox with a name or alternative name."""
        return next((link for link in self.links if name in link.names), None)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The links of a sandbox, told apart.

    Attributes:
        links: All of them.
        ours: What was plugged in and is there, whatever it is called now.
        missing: What was plugged in and is not there: it was deleted or moved away, or another link is in its place.
        foreign: The links that somebody else made, but for loopback, which comes with the namespace.
    """

    links: tuple[Link, ...]
    ours: tuple[Attachment, ...]
    missing: tuple[Attachment, ...]
    foreign: tuple[Link, ...]


def classify(host: Kernel | None, box: Kernel, plugged: Sequence[Attachment]) -> Inventory:
    """Tell the links of a sandbox apart, by what nobody inside can forge: `Attachment.holds` and `is_tied`.

    Args:
        host: The namespace the links came from; None if it is not at hand.
        box: The namespace of the sandbox.
        plugged: All interfaces of the sandbox.
    """
    links = {link.index: link for link in box.links()}
    siblings = {item.index for item in plugged}
    ours = []
    for item in plugged:
        link = links.get(item.index)
        if link and item.holds(link):
            tie = item.tie(link)
            lower = host.link(tie) if host and tie else None
            if item.is_tied(link, lower, siblings) or (item.outer and not host):
                ours.append(item)
    known = {item.index for item in ours}
    foreign = tuple(link for link in links.values() if link.index not in known and not link.is_loopback)
    missing = tuple(item for item in plugged if item not in ours)
    return Inventory(tuple(links.values()), tuple(ours), missing, foreign)


def read_state(kernel: Kernel, link: Link) -> LinkState:
    """Return *link* with all that its namespace knows of it."""
    kind = find_kind(link.kind)
    fixed = [item for item in kernel.neighbors(AF_BRIDGE, link.index) if item.state & NOARP] if link.master else []
    return LinkState(
        link=link,
        addresses=tuple(kernel.addresses(link.index)),
        routes=tuple(kernel.routes(index=link.index)),
        neighbors=(*kernel.neighbors(index=link.index), *(replace(item, flags=item.flags | MASTER) for item in fixed)),
        master=kernel.link(link.master) if link.master else None,
        ports=tuple(port for port in kernel.links() if port.master == link.index) if kind and kind.takes_ports else (),
    )


def attach_facts(
    host: Kernel,
    box: Kernel,
    specs: Sequence[InterfaceSpec],
    *,
    is_host: bool = False,
    is_new: bool = False,
    is_leaving: Callable[[Link], bool] = lambda _: False,
) -> Facts:
    """Return what has to be known to attach links.

    Args:
        host: The namespace they come from.
        box: The namespace they go to.
        specs: What is asked for.
        is_host: Whether *box* is the host's own namespace, whose sysctls have to come back.
        is_new: Whether *box* is new: then it has no addresses and routes.
        is_leaving: Whether a link on the host goes with a namespace that the kernel is still destroying; it is waited
            for.
    """
    found = {spec.source: host.link(spec.source) for spec in specs if isinstance(spec.source, str)}
    others = dict.fromkeys(chain.from_iterable(spec.kind.host_names for spec in specs if spec.kind))
    sysctls: list[str] = []
    for spec in specs if is_host else ():
        link = found.get(spec.source_name)
        name = link.name if link else spec.source_name  # a source may be an alternative name
        sysctls += (disable_ipv6(name), *(sysctl_path(key, name) for key, _ in spec.sysctls))
    check_routes = not is_new and any(spec.addresses and spec.on_conflict == "error" for spec in specs)
    return Facts(
        sources={name: read_state(host, link) for name, link in found.items() if link},
        host_links={name: link for name in others if (link := wait_for_name(host, name, is_leaving))},
        links=tuple(box.links()),
        addresses=tuple(box.addresses()) if check_routes else (),
        routes=tuple(box.routes(table=TABLE_MAIN)) if check_routes else (),
        sysctls=read_sysctls(box, sysctls),
    )


def wait_for_name(host: Kernel, name: str, is_leaving: Callable[[Link], bool]) -> Link | None:
    """Return the link with a name, once none that is leaving has it, or when that was waited for long enough."""
    found = host.link(name)
    for _ in range(LEAVE_TRIES):
        if not found or not is_leaving(found):
            break
        host.pause(LEAVE_PAUSE)
        found = host.link(name)
    return found


def read_sysctls(kernel: Kernel, paths: Iterable[str]) -> dict[str, str]:
    """Return the settings below /proc/sys/net that the kernel has, of those asked for."""
    values = {path: kernel.sysctl(path) for path in paths}
    return {path: value for path, value in values.items() if value is not None}


def detach_facts(host: Kernel, box: Kernel, items: Sequence[Attachment], plugged: Iterable[Attachment]) -> Facts:
    """Return what has to be known to take interfaces out.

    Args:
        host: The namespace they go back to.
        box: The namespace they are in.
        items: The interfaces.
        plugged: All interfaces of the sandbox.
    """
    states: dict[int, LinkState] = {}
    taken: dict[str | int, Link] = {}
    lowers: dict[int, Link] = {}
    ends: dict[int, LinkState] = {}
    indexes: set[str | int] = set()
    for item in items:
        link = box.link(item.index)
        if not link:
            continue
        states[item.index] = _bounded(box, link)
        tie = item.tie(link)
        lowers |= _found(host, (tie,) if tie else ())
        if item.outer and tie and tie in lowers:
            ends[tie] = _bounded(host, lowers[tie])
        if item.home:
            keys: tuple[str | int, ...] = (item.home.name, *item.altnames, item.home.index)
            taken |= _found(host, keys)
            indexes.add(item.home.index)
    if not indexes.isdisjoint(taken):  # another index is needed: know them all
        taken |= {link.index: link for link in host.links()}
    siblings = frozenset(item.index for item in plugged)
    return Facts(host_links=taken, lowers=lowers, ends=ends, siblings=siblings, states=states)


def _bounded(kernel: Kernel, link: Link) -> LinkState:
    """Return *link* with what its namespace knows of it, to come back if it cannot leave.

    Somebody inside who makes more than MANY addresses, routes and neighbours gets none of them back: what is to come
    back is recorded, and must neither fill the runtime directory nor keep the link from leaving.
    """
    try:
        found = read_state(kernel, link)
    except KernelError as error:
        if error.errno != errno.EMSGSIZE:
            raise
    else:
        if len(found.addresses) + len(found.routes) + len(found.neighbors) <= MANY:
            return found
    return LinkState(link, master=kernel.link(link.master) if link.master else None)


def _found(kernel: Kernel, keys: Iterable[K]) -> dict[K, Link]:
    """Return the links that there are, of those with an index or name."""
    found = {key: kernel.link(key) for key in keys}
    return {key: link for key, link in found.items() if link}
