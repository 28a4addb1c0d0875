"""What all steps have in common: what each has to state, and how commands name their namespace."""

import errno
import re
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from netsandbox._kernel import World

T = TypeVar("T")
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)
_GONE = frozenset((errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT, errno.ENODEV))
_THERE = frozenset((errno.EEXIST,))


class Step(ABC):
    """One change, with its inverse. Its text is the command with the same effect, or a comment if there is none."""

    __slots__ = ()

    @property
    def atomic(self) -> bool:
        """Whether a refusal means that nothing was changed."""
        return True

    @property
    def benign_errnos(self) -> frozenset[int]:
        """The errnos which mean that there is nothing to do."""
        return frozenset()

    @abstractmethod
    def apply(self, world: World) -> bool:
        """Make the change; return False if there was nothing to do."""

    @abstractmethod
    def inverse(self) -> "Step":
        """Return the step that undoes this one."""


def ip(netns: str, command: str, program: str = "ip") -> str:
    """Return a command of ip or bridge, whose words are quoted already, as it is run for a namespace."""
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
class Exchange(Step, Generic[T]):
    """A step that exchanges an old value of a link for a new one."""

    netns: str  # the namespace, by its name in the World
    index: int
    link: str  # name of the link, for the command
    old: T | None  # None: nothing, or it does not matter
    new: T | None  # None: nothing

    def inverse(self) -> Self:
        return replace(self, old=self.new, new=self.old)

    @property
    def benign_errnos(self) -> frozenset[int]:
        return _THERE if self.new else _GONE


@dataclass(frozen=True, slots=True)
class Dropped(Step):
    """What the kernel drops by itself with the steps that follow; the inverse is the step that restores it."""

    step: Step

    def __str__(self) -> str:
        return f"# dropped by the kernel, restored on undo: {str(self.step).removeprefix('# restore ')}"

    def apply(self, world: World) -> bool:  # noqa: ARG002  as every step
        return True

    def inverse(self) -> Step:
        return self.step
