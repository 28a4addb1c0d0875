"""What a plan is made of: steps in groups, the interfaces they make, and the sandbox they are about."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from netsandbox._steps import HOST, DeleteVeth, HostEnd, Move, Place, Step
from netsandbox.adverts import NEVER, Advertise
from netsandbox.netlink.link import Link


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that belong together; they are traced as one span if it has a name."""

    span: str
    attributes: Mapping[str, str]
    items: tuple["Step | Group", ...]

    def steps(self) -> Iterator[Step]:
        """Yield the steps in order."""
        for item in self.items:
            if isinstance(item, Group):
                yield from item.steps()
            else:
                yield item


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, in order; each step prints the command it equals.

    Attributes:
        operation: What was asked for, in words.
        sandbox: Name of the sandbox.
        link: Name of the link concerned, if it is one.
        root: The steps, in groups.
        lenient: Whether a step that finds its work done counts as done.
    """

    operation: str
    sandbox: str
    link: str | None
    root: Group
    lenient: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return tuple(self.root.steps())

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that the steps equal, in order; what begins with # is said, not done."""
        return tuple(map(str, self.steps))

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the steps, in order."""
        return self.root.steps()

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.steps)

    def __str__(self) -> str:
        """Say the commands as a shell script."""
        return "\n".join(self.commands)


@dataclass(frozen=True, slots=True)
class Plugged:
    """An interface of a sandbox: what the kernel cannot tell of it.

    Attributes:
        id: Its number, never given twice in a sandbox.
        source: Name of its link on the host, or of the link that was made.
        index: Its index in the sandbox.
        name: The name it got in the sandbox.
        kind: Kind of the link.
        born: Whether it was made in the sandbox.
        altnames: The alternative names of its link on the host.
        lower: Index on the host of the link below it, or at its other end, if that was there.
        back: The steps that take it out again, in order.
        advertise: How often its addresses are advertised; of a record that does not say it, not at all.
    """

    id: int
    source: str
    index: int
    name: str
    kind: str | None
    born: bool
    altnames: tuple[str, ...] = ()
    lower: int | None = None
    back: tuple[Step, ...] = ()
    advertise: Advertise = NEVER

    @property
    def is_bridge(self) -> bool:
        """Whether it is a bridge that was made here."""
        return self.born and self.kind == "bridge"

    @property
    def home(self) -> Place | None:
        """Its place on the host; None if it was born in the sandbox, or never left the host."""
        return next((step.new for step in self.back if isinstance(step, Move)), None)

    @property
    def outer(self) -> HostEnd | None:
        """Its other end on the host, if it is a veth that was made here."""
        return next((step.made.host for step in self.back if isinstance(step, DeleteVeth)), None)

    def tie(self, link: Link) -> int | None:
        """Return the index on the host of the link that *link*, found under the index, is tied to; see `is_tied`."""
        return link.lower if self.outer else self.lower

    def holds(self, link: Link | None) -> bool:
        """Whether *link*, found under the index, looks like this one; see also `is_tied`."""
        return link is not None and link.kind == self.kind

    def is_tied(self, link: Link, lower: Link | None, siblings: Container[int]) -> bool:
        """Whether *link*, which holds, is tied to others as this one is; see docs/threat-model.md.

        Args:
            link: What is found under the index in the sandbox.
            lower: What is found on the host under the index of the link below, or at the other end.
            siblings: Indexes of all interfaces of the sandbox.
        """
        if self.outer:
            return lower is not None and self.outer.matches(lower) and lower.lower == self.index
        if self.lower is None:
            return True
        if lower and self.kind == "veth":
            return lower.lower == self.index and lower.lower_netns is not None
        if (
            link.lower_netns is None
        ):  # the other end is in the sandbox as well: if it was not plugged in, it is not ours
            return link.lower in siblings
        return self.kind == "veth" or link.lower == self.lower  # the other end of a veth got an index where it went


@dataclass(frozen=True, slots=True)
class Target:
    """The sandbox a plan is about.

    Attributes:
        name: Its name, for messages.
        netns: What ip(8) calls its namespace; empty for the host's own.
        mark: The text that says, on the host's end of a veth, whose it is; empty: none.
    """

    name: str
    netns: str
    mark: str = ""

    @property
    def is_host(self) -> bool:
        """Whether it is the host's own namespace: nothing is moved or renamed there."""
        return self.netns == HOST


def single(target: Target, operation: str, link: str | None, *steps: Step) -> Plan:
    """Return a plan of a few steps that need no span."""
    return Plan(operation, target.name, link, Group("", {}, steps))
