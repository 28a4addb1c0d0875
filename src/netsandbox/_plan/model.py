"""What a plan is made of: steps in groups, the interfaces they make, and the sandbox they are about."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from netsandbox._kernel import HOST
from netsandbox._steps import Step


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


class InterfaceKey(NamedTuple):
    """Which link of a sandbox is meant.

    Attributes:
        key: Its index, or its name.
        text: What messages call it.
    """

    key: int | str
    text: str

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the key of a link by its name."""
        return cls(name, name)


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


def plan_of(target: Target, operation: str, link: str | None, *steps: Step) -> Plan:
    """Return a plan of a few steps that need no span."""
    return Plan(operation, target.name, link, Group("", {}, steps))


def joined(first: Plan, second: Plan) -> Plan:
    """Return the plan to do one thing and then another, under the name of the second."""
    return replace(second, root=Group("", {}, (first.root, second.root)), lenient=first.lenient)
