"""FakeKernel: implements the Kernel protocol, and decodes requests with the codec that encoded them."""

import errno
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature
from ipaddress import ip_interface
from typing import Any, ParamSpec, TypeVar

from netsandbox._checks import IPAddress
from netsandbox._kernel import Kernel
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
P = ParamSpec("P")


def _counted(text: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a method a call that `Faults` counts; *text* describes it by its arguments."""

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        parameters = signature(method)

        @wraps(method)
        def call(*args: P.args, **options: P.kwargs) -> T:
            arguments = parameters.bind(*args, **options).arguments
            kernel: FakeKernel = arguments["self"]
            return kernel.faults.call(f"{kernel.name}: {text.format(**arguments)}", lambda: method(*args, **options))

        return call

    return decorate


class FakeKernel(Kernel):
    """A network namespace in memory, with the methods of `Kernel`.

    Attributes:
        name: Its name in `Faults.calls`.
        faults: Makes its calls fail.
        fd: The number that stands for it in requests; no open file has such a number.
        identity: Its device and inode; no other FakeKernel has them.
        sysctls: Settings below /proc/sys/net that belong to no link.
        pins: The paths where it is mounted.
        pauses: How long each pause would have been, in seconds; it never waits.
    """

    fd = 0  # the property of the protocol is an attribute here

    def __init__(self, name: str = "fake", faults: Faults | None = None, *, ipv6: bool = True) -> None:
        """Create a namespace with a loopback link that is down; *ipv6*: whether the kernel has IPv6 at all."""
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
        """Create a link; *fields* are those of `Link`, by default a veth with an index and a MAC of its own."""
        inside = self._inside
        index = fields.pop("index", 0) or inside.free_index()
        mac = f"02:00:00:00:00:{index:02x}"
        usual: dict[str, Any] = {"kind": "veth", "flags": BASE, "operstate": "DOWN", "txqlen": 1000, "mac": mac}
        inside.arrive(Link(index, name, **usual | fields))
        try:
            for text in addresses:
                inside.add_address(_address.new(index, ip_interface(text)))
            inside.set_up(index, up=up)
        except Refusal as refusal:
            raise KernelError(refusal.code, f"add link {name}", refusal.extack) from None
        return inside.read(index)

    def edit_link(self, index: int, **fields: Any) -> None:  # noqa: ANN401
        """Change a link as another program would; *fields* are those of `Link`."""
        self._inside.edit(index, **fields)

    def state(self) -> dict[str, Any]:
        """Return everything in the namespace, to compare it with a later state."""
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

    @_counted("list links")
    def links(self) -> list[Link]:
        return [self._inside.read(index) for index in sorted(self._inside.links)]

    @_counted("look up link {key}")
    def link(self, key: int | str, *, stats: bool = False) -> Link | None:
        for index, link in self._inside.links.items():
            if key == index or key in link.names:
                return self._inside.read(index, stats=bytes(25 * 8) if stats else b"")
        return None

    @_counted("list addresses")
    def addresses(self, index: int = 0) -> list[Address]:
        known = self._inside.addresses
        found = [item for number in sorted(known) if index in {0, number} for item in known[number]]
        return sorted(found, key=lambda item: item.family)

    @_counted("list routes")
    def routes(self, *, family: int = 0, table: int = 0, index: int = 0) -> list[RouteEntry]:
        found = [item for item in self._inside.routes if family in {0, item.family} and index in {0, item.index}]
        found = [item for item in found if table in {0, item.table}]
        return sorted(found, key=lambda item: (item.family, item.table, item.to))

    @_counted("list neighbors")
    def neighbors(self, family: int = 0, index: int = 0) -> list[NeighborEntry]:
        wanted = {family} if family else {AF_INET, AF_INET6}
        return [item for item in self._inside.neighbors if item.family in wanted and index in {0, item.index}]

    @_counted("find the route to {destination}")
    def route_to(self, destination: IPAddress) -> RouteEntry:
        return self._inside.route_to(destination)

    @_counted("{request.text}")
    def send(self, request: Request) -> None:
        inside, flags = self._inside, request.flags
        message = Message(request.kind, flags, 0, request.body)
        work: dict[int, Callable[[], None]] = {
            _link.NEWLINK: lambda: (inside.make_link if flags & F_CREATE else inside.change_link)(message),
            _link.SETLINK: lambda: inside.change_link(message),
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
        work[request.kind]()

    @_counted("read net/{path}")
    def sysctl(self, path: str) -> str | None:
        return self.sysctls[path] if path in self.sysctls else self._inside.setting(path)

    @_counted("set net/{path} to {value}")
    def set_sysctl(self, path: str, value: str) -> bool:
        old = self.sysctls.get(path, self._inside.setting(path))
        if old is None:
            raise Refusal(errno.ENOENT)
        if path in self.sysctls:
            self.sysctls[path] = value
        elif old != value:
            self._inside.set_setting(path, value)
        return old != value

    @_counted("create tap {name}")
    def make_tap(self, name: str, index: int, options: Mapping[str, Value]) -> None:  # noqa: ARG002  all are valid
        link = Link(index, name, kind="tun")
        self._inside.check_new(link)
        self._inside.create(link, {})

    @_counted("create {path}")
    def pin(self, path: str) -> None:
        self.pins.add(path)

    @_counted("unpin {path}")
    def unpin(self, path: str, identity: tuple[int, int]) -> None:
        if path not in self.pins:
            raise Refusal(errno.ENOENT)
        if identity != self.identity:
            raise Refusal(errno.ESTALE)
        self.pins.remove(path)

    @_counted("pause for {seconds} s")
    def pause(self, seconds: float) -> None:
        """Note how long it would have waited."""
        self.pauses.append(seconds)

    @_counted("wait {seconds:g} s for link {index}")
    def wait_link(self, index: int, ready: Callable[[Link], bool], seconds: float) -> tuple[Link | None, float]:
        """Return a link, and the seconds that are left: it never waits, so all if it is *ready* or gone, else none."""
        found = self._inside.read(index) if index in self._inside.links else None
        return found, 0.0 if found and not ready(found) else seconds
