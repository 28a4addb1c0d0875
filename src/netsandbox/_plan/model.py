"""What a plan is made of: steps in groups, the interfaces they make, and the sandbox they are about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from netsandbox._kernel import HOST
from netsandbox._steps import Step


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A part of a plan that is traced as one span; see `netsandbox.telemetry`."""

    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, in order; each step prints the command it equals.

    Attributes:
        operation: What was asked for, in words.
        sandbox: Name of the sandbox.
        link: Name of the link concerned, if it is one.
        steps: The steps, in order.
        spans: The spans that each step is in, the outermost first.
        idempotent: Whether a step that finds its work done counts as done.
    """

    operation: str
    sandbox: str
    link: str | None
    steps: tuple[Step, ...]
    spans: tuple[tuple[Span, ...], ...] = field(default=(), repr=False, compare=False)
    idempotent: bool = False

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that the steps equal, in order; what begins with # is a comment."""
        return tuple(map(str, self.steps))

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the steps, in order."""
        return iter(self.steps)

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.steps)

    def __str__(self) -> str:
        """Return the commands as a shell script."""
        return "\n".join(self.commands)


class Draft:
    """A plan in the making: steps in order, each in the spans that are open when it is added."""

    def __init__(self) -> None:
        """Begin without steps."""
        self.steps: list[Step] = []
        self._spans: list[tuple[Span, ...]] = []
        self._open: tuple[Span, ...] = ()

    def add(self, *steps: Step) -> None:
        """Add steps at the end."""
        self.steps += steps
        self._spans += [self._open] * len(steps)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        """Put the steps that are added in the meantime into a span."""
        before, self._open = self._open, (*self._open, Span(name, attributes))
        yield
        self._open = before

    def plan(self, operation: str, target: "Target", link: str | None, *, idempotent: bool = False) -> Plan:
        """Return the plan."""
        return Plan(operation, target.name, link, tuple(self.steps), tuple(self._spans), idempotent)


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
    return Plan(operation, target.name, link, steps, ((),) * len(steps))


def joined(first: Plan, second: Plan) -> Plan:
    """Return the plan to do one thing and then another, under the name of the second."""
    return replace(
        second,
        steps=first.steps + second.steps,
        spans=first.spans + second.spans,
        idempotent=first.idempotent,
    )
