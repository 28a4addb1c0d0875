"""What all steps have in common: the namespaces they act on, their face, and how they say their commands."""

import errno
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from netsandbox._checks import IPAddress
from netsandbox.netlink import kinds
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Request
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry

T = TypeVar("T")
HOST = ""  # the host's namespace in a World; its commands need no prefix
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)


class Kernel(Protocol):
    """One network namespace, as steps and plans see it. Every method raises KernelError when the kernel refuses."""

    @property
    def fd(self) -> int:
        """Descriptor of the namespace."""

    def links(self) -> list[Link]:
        """Return all links."""

    def link(self, key: int | str, *, stats: bool = False) -> Link | None:
        """Return the link with an index, name or alternative name; None if there is none."""

    def free_group(self) -> int:
        """Return the number of a link group without links; another process would choose another one."""

    def addresses(self, index: int = 0) -> list[Address]:
        """Return the addresses of a link (0: of all)."""

    def routes(self, *, family: int = 0, table: int = 0, index: int = 0) -> list[RouteEntry]:
        """Return the IPv4 and IPv6 routes of a family, table and outgoing link (0: of all)."""

    def neighbors(self, family: int = 0, index: int = 0) -> list[NeighborEntry]:
        """Return the neighbours of a family (0: IPv4 and IPv6) and link (0: of all)."""

    def route_to(self, destination: IPAddress) -> RouteEntry:
        """Return the route that leads to an address."""

    def send(self, request: Request) -> None:
        """Ask for a change."""

    def sysctl(self, path: str) -> str | None:
        """Return the value of a setting below /proc/sys/net; None if there is no such setting."""

    def set_sysctl(self, path: str, value: str) -> bool:
        """Give a setting below /proc/sys/net a value, unless it has it; return whether it was changed."""

    def make_tap(self, name: str, index: int, options: Mapping[str, kinds.Value]) -> None:
        """Make a link that a program can open; *options* are those of the kind "tun"."""

    def pin(self, path: str) -> None:
        """Make *path*, and mount the namespace on it."""

    def unpin(self, path: str, identity: tuple[int, int]) -> None:
        """Take the namespace with an identity off *path*, and delete that."""

    def pause(self, seconds: float) -> None:
        """Wait."""

    def wait_link(self, index: int, ready: Callable[[Link], bool], seconds: float) -> tuple[Link | None, float]:
        """Wait until a link is *ready*, or gone, and for some *seconds* at most.

        Returns:
            The link as it was last seen (None: it is gone), and the seconds that are left.
        """


World = Mapping[str, Kernel]  # the namespaces that a plan is about, by the names its commands call them


class Step(Protocol):
    """One change, with its inverse."""

    @property
    def atomic(self) -> bool:
        """Whether a refusal means that nothing was changed."""

    def apply(self, world: World) -> bool:
        """Make the change; return False if there was nothing to do."""

    def inverse(self) -> "Step":
        """Return the step that takes this one back."""

    @property
    def settled(self) -> frozenset[int]:
        """The errnos that mean: it is so already."""

    def __str__(self) -> str:
        """Return the ip(8) command it equals."""


def ip(netns: str, command: str, program: str = "ip") -> str:
    """Put a command of ip or bridge, whose words are quoted already, into a namespace."""
    if "/" in netns:  # -n takes names only (netns_switch in iproute2's lib/namespace.c)
        return inside(netns, f"{program} {command}")
    return f"{program} -n {quote(netns)} {command}" if netns else f"{program} {command}"


def quote(word: str) -> str:
    """Return *word* as a shell takes it for one word."""
    return word if _PLAIN.fullmatch(word) else shlex.quote(word)


def inside(netns: str, command: str) -> str:
    """Return *command* as it is run in a namespace."""
    if not netns:
        return command
    return f"nsenter --net={quote(netns)} {command}" if "/" in netns else f"ip netns exec {quote(netns)} {command}"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What the steps that exchange an old value of a link for a new one have in common.

    Attributes:
        netns: The namespace, by its name in the World.
        index: Index of the link.
        link: Name of the link, for the command.
        old: What was there; None: nothing, or it does not matter.
        new: What shall be there; None: nothing.
    """

    netns: str
    index: int
    link: str
    old: T | None
    new: T | None

    @property
    def atomic(self) -> bool:
        """Whether a refusal means that nothing was changed."""
        return True

    def inverse(self) -> Self:
        """Return the step that exchanges the new value for the old one."""
        return replace(self, old=self.new, new=self.old)

    @property
    def settled(self) -> frozenset[int]:
        """The errnos that mean: it is so already."""
        if not self.new:  # nothing, or down: of a link that is gone that is so
            return frozenset((errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT, errno.ENODEV))
        return frozenset((errno.EEXIST,))


@dataclass(frozen=True, slots=True)
class Lost:
    """Something that the kernel drops when a link leaves its namespace; its inverse brings that back."""

    step: Step
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say what gets lost, as a comment."""
        return f"# the move drops: {str(self.step).removeprefix('# ')}"

    def apply(self, world: World) -> bool:  # noqa: ARG002  as every step
        """Do nothing: the kernel does it when the link leaves."""
        return True

    def inverse(self) -> Step:
        """Return the step that brings it back."""
        return self.step

    @property
    def settled(self) -> frozenset[int]:
        """Nothing can be refused."""
        return frozenset()
