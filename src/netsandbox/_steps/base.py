"""What all steps have in common: the namespaces they act on, their face, and how they say their commands."""

import errno
import re
import shlex
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from netsandbox._kernel import World

T = TypeVar("T")
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)


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
class Exchange(Generic[T]):
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
