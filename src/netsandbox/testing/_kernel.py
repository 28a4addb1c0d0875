"""The face of the fake: the Kernel protocol, decoding requests with the codec that made them."""

import errno
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_interface
from typing import Any, TypeVar

from netsandbox._checks import IPAddress
from netsandbox.errors import KernelError
from netsandbox.netlink import address as _address
from netsandbox.netlink import link as _link
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.address import Address
from netsandbox.netlink.constants import AF_INET, AF_INET6, IFF_LOOPBACK
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import F_CREATE, F_EXCL, F_REPLACE, Message, Request
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.options import Value
from netsandbox.netlink.route import RouteEntry
from netsandbox.testing._faults import Faults, Refusal
from netsandbox.testing._ip import copied
from netsandbox.testing._links import BASE, Namespace

T = TypeVar("T")


class FakeKernel:
    """A network namespace; implements `netsandbox._steps.Kernel`.

    Attributes:
        name: What `Faults.calls` calls it.
        faults: Makes its calls fail.
        fd: The number by which a link is moved to it; no open file has such a number.
        identity: What tells it from all others: a device and an inode.
        sysctls: Settings below /proc/sys/net that belong to no link.
        pins: Where it is mounted.
        pauses: How long it was asked to wait, each time, in seconds; it never waits.
    """

    def __init__(self, name: str = "fake", faults: Faults | None = None, *, ipv6: bool = True) -> None:
        """Make a namespace with a loopback link that is down; *ipv6*: whether the kernel has IPv6 at all."""
        self.name = name
        self.faults = faults or Faults()
        self.sysctls: dict[str, str] = {}
        self.pins: set[str] = set()
        self.pauses: list[float] = []
        self._inside = Namespace((AF_INET, AF_INET6) if ipv6 else (AF_INET,))
        self.fd = self._inside.fd
        self.identity = (0, self.fd)
        self.add_link("lo", kind=None, type=772, mac="00:00:00:00:00:00", mtu=65536, flags=IFF_LOOPBACK)

    # --- for the test, not counted as calls ---

    def add_link(self, name: str, *, addresses: Iterable[str] = (), up: bool = False, **fields: Any) -> Link:  # noqa: ANN401
        """Make a link; *fields* are those of `Link`: a veth if left out, with an index and a MAC of its own."""
        inside = self._inside
        index = fields.pop("index", 0) or inside.free_index()
        usual: dict[str, Any] = {
            "kind": "veth",
            "flags": BASE,
            "operstate": "DOWN",
            "txqlen": 1000,
            "mac": f"02:00:00:00:00:{index:02x}",
        }
        inside.arrive(Link(index, name, **usual | fields))
        try:
            for text in addresses:
                inside.add_address(_address.new(index, ip_interface(text)))
            inside.set_up(index, up=up)
        except Refusal as refusal:
            raise KernelError(refusal.code, f"add link {name}", refusal.extack) from None
        return inside.read(index)

    def edit_link(self, index: int, **fields: Any) -> None:  # noqa: ANN401
        """Change a link by somebody else's hand; *fields* are those of `Link`."""
        self._inside.edit(index, **fields)

    def state(self) -> dict[str, Any]:
        """Return all that there is, so that it can be compared with what there is later."""
        inside = self._inside
        return {
            "links": {index: inside.read(index) for index in sorted(inside.links)},
            "addresses": copied(inside.addresses),
            "routes": sorted(inside.routes, key=repr),
            "neighbors": sorted(inside.neighbors, key=repr),
            "settings": {name: copied(conf) for name, conf in inside.conf.items()} | dict(self.sysctls),
            "pins": set(self.pins),
        }

    # --- the Kernel protocol ---

    def links(self) -> list[Link]:
        """Return all links."""
        inside = self._inside
        return self._call("list links", lambda: [inside.read(index) for index in sorted(inside.links)])

    def link(self, key: int | str, *, stats: bool = False) -> Link | None:
        """Return the link with an index, name or alternative name; None if there is none."""

        def work() -> Link | None:
            for index, link in self._inside.links.items():
                if key == index or key in link.names:
                    return self._inside.read(index, stats=bytes(25 * 8) if stats else b"")
            return None

        return self._call(f"look up link {key}", work)

    def addresses(self, index: int = 0) -> list[Address]:
        """Return the addresses of a link (0: of all)."""

        def work() -> list[Address]:
            known = self._inside.addresses
            found = [item for number in sorted(known) if index in {0, number} for item in known[number]]
            return sorted(found, key=lambda item: item.family)

        return self._call("list addresses", work)

    def routes(self, *, family: int = 0, table: int = 0, index: int = 0) -> list[RouteEntry]:
        """Return the IPv4 and IPv6 routes of a family, table and outgoing link (0: of all)."""

        def work() -> list[RouteEntry]:
            found = self._inside.sorted_routes()
            found = [item for item in found if family in {0, item.family} and table in {0, item.table}]
            return [item for item in found if index in {0, item.index}]

        return self._call("list routes", work)

    def neighbors(self, family: int = 0, index: int = 0) -> list[NeighborEntry]:
        """Return the neighbours of a family (0: IPv4 and IPv6) and link (0: of all)."""

        def work() -> list[NeighborEntry]:
            wanted = {family} if family else {AF_INET, AF_INET6}
            return [item for item in self._inside.neighbors if item.family in wanted and index in {0, item.index}]

        return self._call("list neighbors", work)

    def route_to(self, destination: IPAddress) -> RouteEntry:
        """Return the route that leads to an address."""
        return self._call(f"find the route to {destination}", lambda: self._inside.route_to(destination))

    def send(self, request: Request) -> None:
        """Ask for a change."""
        inside, flags = self._inside, request.flags
        message = Message(request.kind, flags, 0, request.body)

        def set_link() -> None:
            if flags & F_CREATE:
                inside.make_link(message)
            else:
                inside.change_link(message)

        work: dict[int, Callable[[], None]] = {
            _link.NEWLINK: set_link,
            _link.SETLINK: set_link,
            _link.DELLINK: lambda: inside.delete_links(_link.unpack(message)),
            _link.NEWLINKPROP: lambda: inside.set_altnames(_link.unpack(message), add=True),
            _link.DELLINKPROP: lambda: inside.set_altnames(_link.unpack(message), add=False),
            _address.NEWADDR: lambda: inside.add_address(_address.unpack(message), update=not flags & F_EXCL),
            _address.DELADDR: lambda: inside.delete_address(_address.unpack(message)),
            _route.NEWROUTE: lambda: inside.add_route(_route.unpack(message), update=bool(flags & F_REPLACE)),
            _route.DELROUTE: lambda: inside.delete_route(_route.unpack(message)),
            _neighbor.NEWNEIGH: lambda: inside.set_neighbor(_neighbor.unpack(message)),
            _neighbor.DELNEIGH: lambda: inside.delete_neighbor(_neighbor.unpack(message)),
        }
        self._call(request.text, work[request.kind])

    def sysctl(self, path: str) -> str | None:
        """Return the value of a setting below /proc/sys/net; None if there is no such setting."""
        return self._call(f"read net/{path}", lambda: self._read(path))

    def set_sysctl(self, path: str, value: str) -> bool:
        """Give a setting below /proc/sys/net a value, unless it has it; return whether it was changed."""

        def work() -> bool:
            old = self._read(path)
            if old is None:
                raise Refusal(errno.ENOENT)
            if path in self.sysctls:
                self.sysctls[path] = value
            elif old != value:
                self._inside.set_setting(path, value)
            return old != value

        return self._call(f"set net/{path} to {value}", work)

    def make_tap(self, name: str, index: int, options: Mapping[str, Value]) -> None:  # noqa: ARG002  all are fine
        """Make a link that a program can open."""

        def work() -> None:
            wish = Link(index, name, kind="tun")
            self._inside.check_birth(wish)
            self._inside.born(wish, {})

        self._call(f"create tap {name}", work)

    def pin(self, path: str) -> None:
        """Make *path*, and mount the namespace on it."""
        self._call(f"create {path}", lambda: self.pins.add(path))

    def unpin(self, path: str, identity: tuple[int, int]) -> None:
        """Take the namespace with an identity off *path*, and delete that."""

        def work() -> None:
            if path not in self.pins:
                raise Refusal(errno.ENOENT)
            if identity != self.identity:
                raise Refusal(errno.ESTALE)
            self.pins.remove(path)

        self._call(f"unpin {path}", work)

    def pause(self, seconds: float) -> None:
        """Note how long it would have waited."""
        self._call(f"pause for {seconds} s", lambda: self.pauses.append(seconds))

    def wait_link(self, index: int, ready: Callable[[Link], bool], seconds: float) -> tuple[Link | None, float]:
        """Return a link as it is, and the seconds that are left: it never waits, so none, or all if it is *ready*."""

        def work() -> tuple[Link | None, float]:
            found = self._inside.read(index) if index in self._inside.links else None
            return found, 0.0 if found and not ready(found) else seconds

        return self._call(f"wait {seconds:g} s for link {index}", work)

    def _call(self, text: str, work: Callable[[], T]) -> T:
        return self.faults.call(f"{self.name}: {text}", work)

    def _read(self, path: str) -> str | None:
        return self.sysctls[path] if path in self.sysctls else self._inside.setting(path)
