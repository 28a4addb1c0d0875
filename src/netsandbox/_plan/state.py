"""What a plan needs to know of the kernel, read before anything is changed."""

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

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

LEAVE_TRIES, LEAVE_PAUSE = 300, 0.010  # with a thousand at once, the kernel takes a second or two (pause in seconds)
MANY = 10_000  # a link with more addresses, routes and neighbors loses them all if its detach is rolled back


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link with everything that its namespace knows of it and drops when it leaves."""

    link: Link
    addresses: tuple[Address, ...] = ()  # in the kernel's order
    routes: tuple[RouteEntry, ...] = ()  # those that lead out of it, of all tables
    neighbors: tuple[NeighborEntry, ...] = ()  # and the forwarding entries that were added for it as a port
    master: Link | None = None
    ports: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """The host and the sandbox as a plan finds them."""

    sources: Mapping[str, LinkState] = field(default_factory=dict)  # links of the host, by their names in the request
    host_links: Mapping[str | int, Link] = field(default_factory=dict)  # needed or in the way, by name and by index
    links: tuple[Link, ...] = ()  # all of the sandbox
    addresses: tuple[Address, ...] = ()  # all of the sandbox
    routes: tuple[RouteEntry, ...] = ()  # the main routing tables of the sandbox
    sysctls: Mapping[str, str] = field(default_factory=dict)  # to restore on the host, by path below /proc/sys/net
    lowers: Mapping[int, Link] = field(default_factory=dict)  # lower links and peers on the host, by index
    ends: Mapping[int, LinkState] = field(default_factory=dict)  # host ends of veths created here, by index
    siblings: frozenset[int] = frozenset()  # indexes of all interfaces of the sandbox
    states: Mapping[int, LinkState] = field(default_factory=dict)  # links to detach, by index in the sandbox

    def link(self, index: int | None) -> Link | None:
        """Return the link of the sandbox with an index."""
        return next((link for link in self.links if link.index == index), None)

    def named(self, name: str) -> Link | None:
        """Return the link of the sandbox with a name or alternative name."""
        return next((link for link in self.links if name in link.names), None)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The links of a sandbox: attached, missing and foreign."""

    links: tuple[Link, ...]  # all of them
    ours: tuple[Attachment, ...]  # attached and there, under whatever name
    missing: tuple[Attachment, ...]  # attached and not there: deleted, moved away, or replaced by another link
    foreign: tuple[Link, ...]  # not attached by netsandbox, except for loopback


def classify(host: Kernel | None, box: Kernel, attached: Sequence[Attachment]) -> Inventory:
    """Compare links with the record, by what nobody in the sandbox can forge; without *host*, ignore their peers."""
    links = {link.index: link for link in box.links()}
    siblings = {item.index for item in attached}
    ours = []
    for item in attached:
        link = links.get(item.index)
        if link and item.matches_kind(link):
            peer = item.peer_index(link)
            lower = host.link(peer) if host and peer else None
            if item.matches_identity(link, lower, siblings) or (item.host_end and not host):
                ours.append(item)
    known = {item.index for item in ours}
    foreign = tuple(link for link in links.values() if link.index not in known and not link.is_loopback)
    missing = tuple(item for item in attached if item not in ours)
    return Inventory(tuple(links.values()), tuple(ours), missing, foreign)


def read_state(kernel: Kernel, link: Link) -> LinkState:
    """Return *link* with everything that its namespace knows of it."""
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
    is_host: bool = False,  # *box* is the host's own namespace, whose sysctls must be restored
    is_new: bool = False,  # *box* has no addresses and routes yet
    is_leaving: Callable[[Link], bool] = lambda _: False,  # a link belongs to a namespace that is being destroyed
) -> Facts:
    """Return what is needed to know to attach links of *host* to *box*."""
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
    """Return the link with a name; wait, with a limit, for one that is leaving."""
    found = host.link(name)
    for _ in range(LEAVE_TRIES):
        if not found or not is_leaving(found):
            break
        host.pause(LEAVE_PAUSE)
        found = host.link(name)
    return found


def read_sysctls(kernel: Kernel, paths: Iterable[str]) -> dict[str, str]:
    """Return those of the sysctls that the kernel has, by path below /proc/sys/net."""
    return {path: value for path in paths if (value := kernel.sysctl(path)) is not None}


def detach_facts(host: Kernel, box: Kernel, items: Sequence[Attachment], attached: Iterable[Attachment]) -> Facts:
    """Return what is needed to know to detach *items*, of all that are *attached* to the sandbox *box*."""
    states: dict[int, LinkState] = {}
    taken: dict[str | int, Link] = {}
    lowers: dict[int, Link] = {}
    ends: dict[int, LinkState] = {}
    indexes: set[str | int] = set()
    for item in items:
        link, place = box.link(item.index), item.host_place
        if not link:
            continue
        states[item.index] = _limited(box, link)
        peer = item.peer_index(link)
        if peer and (lower := host.link(peer)):
            lowers[peer] = lower
            if item.host_end:
                ends[peer] = _limited(host, lower)
        if place:
            keys: tuple[str | int, ...] = (place.name, *item.altnames, place.index)
            taken |= {key: found for key in keys if (found := host.link(key))}
            indexes.add(place.index)
    if not indexes.isdisjoint(taken):  # a link needs another index: read all that are in use
        taken |= {link.index: link for link in host.links()}
    siblings = frozenset(item.index for item in attached)
    return Facts(host_links=taken, lowers=lowers, ends=ends, siblings=siblings, states=states)


def _limited(kernel: Kernel, link: Link) -> LinkState:
    """Return the state of a link; without addresses, routes and neighbors if there are more than MANY.

    They are recorded, to be restored after a rollback; a program in the sandbox that adds any number of them must
    neither fill the runtime directory nor keep the link from leaving.
    """
    try:
        found = read_state(kernel, link)
        if len(found.addresses) + len(found.routes) + len(found.neighbors) <= MANY:
            return found
    except KernelError as error:
        if error.errno != errno.EMSGSIZE:
            raise
    return LinkState(link, master=kernel.link(link.master) if link.master else None)
