"""The protocol of a kernel: one network namespace, as steps and plans see it. Pure.

`_system/kernel.py` implements it with system calls, `testing/` in memory.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from netsandbox._checks import IPAddress
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Request
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.options import Value
from netsandbox.netlink.route import RouteEntry

HOST = ""  # the host's namespace in a World; its commands need no prefix


class Kernel(Protocol):
    """One network namespace, as steps and plans see it. Every method raises KernelError when the kernel refuses."""

    @property
    def fd(self) -> int:
        """Descriptor of the namespace."""

    def links(self) -> list[Link]:
        """Return all links."""

    def link(self, key: int | str, *, stats: bool = False) -> Link | None:
        """Return the link with an index, name or alternative name; None if there is none."""

    def addresses(self, index: int = 0) -> list[Address]:
        """Return the addresses of a link (0: of all)."""

    def routes(self, *, family: int = 0, table: int = 0, index: int = 0) -> list[RouteEntry]:
        """Return the IPv4 and IPv6 routes of a family, table and outgoing link (0: of all)."""

    def neighbors(self, family: int = 0, index: int = 0) -> list[NeighborEntry]:
        """Return the neighbors of a family (0: IPv4 and IPv6) and link (0: of all)."""

    def route_to(self, destination: IPAddress) -> RouteEntry:
        """Return the route that leads to an address."""

    def send(self, request: Request) -> None:
        """Send a request for a change."""

    def sysctl(self, path: str) -> str | None:
        """Return the value of a sysctl below /proc/sys/net; None if there is no such sysctl."""

    def set_sysctl(self, path: str, value: str) -> bool:
        """Set a sysctl below /proc/sys/net to a value, unless it has it; return whether it was changed."""

    def make_tap(self, name: str, index: int, options: Mapping[str, Value]) -> None:
        """Create a link that a program can open; *options* are those of the kind "tun"."""

    def pin(self, path: str) -> None:
        """Create the file *path*, and mount the namespace on it."""

    def unpin(self, path: str, identity: tuple[int, int]) -> None:
        """Unmount the namespace with an identity from *path*, and delete that file."""

    def pause(self, seconds: float) -> None:
        """Wait."""

    def wait_link(self, index: int, ready: Callable[[Link], bool], seconds: float) -> tuple[Link | None, float]:
        """Wait until a link is *ready*, or gone, and for some *seconds* at most.

        Returns:
            The link as last seen (None: it is gone), and the seconds that are left.
        """


World = Mapping[str, Kernel]  # the namespaces that a plan is about, by the names its commands call them
