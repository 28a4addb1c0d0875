"""What a plan is made of: steps, the spans that they are traced in, and the sandbox that they change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from netsandbox._kernel import HOST
from netsandbox._steps import Step


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A part of a plan that is traced as one span, by identity; see `netsandbox.telemetry`."""

    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, in order; each step prints the command it equals.

    Attributes:
        operation: What was requested, in words.
        sandbox: Name of the sandbox.
        link: Name of the link, if the plan is about a single one.
        steps: The steps, in order.
        spans: The spans of each step, the outermost first.
        idempotent: Whether a step succeeds if there is nothing left to do.
    """

    operation: str
    sandbox: str
    link: str | None
    steps: tuple[Step, ...]
    spans: tuple[tuple[Span, ...], ...] = field(default=(), repr=False, compare=False)
    idempotent: bool = False

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that the steps equal, in order; those that begin with # are comments."""
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


@dataclass(frozen=True, slots=True)
class Target:
    """The sandbox that a plan changes."""

    name: str  # in messages
    netns: str  # for ip(8); empty for the host's own namespace
    mark: str = ""  # the alias of the host ends of its veths; empty: they get none

    @property
    def is_host(self) -> bool:
        """Whether it is the host's own namespace, where nothing is moved or renamed."""
        return self.netns == HOST


class Draft:
    """A plan in the making: steps in order, each in the spans that are open when it is added."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.steps: list[Step] = []
        self._spans: list[tuple[Span, ...]] = []
        self._open: tuple[Span, ...] = ()

    def add(self, *steps: Step) -> None:
        """Add steps at the end."""
        self.steps += steps
        self._spans += [self._open] * len(steps)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        """Put the steps that are added in this context into a span."""
        before, self._open = self._open, (*self._open, Span(name, attributes))
        yield
        self._open = before

    def plan(self, operation: str, link: str | None, *, idempotent: bool = False) -> Plan:
        """Return the plan."""
        return Plan(operation, self.target.name, link, tuple(self.steps), tuple(self._spans), idempotent)


class InterfaceKey(NamedTuple):
    """The key of a link in a sandbox."""

    key: int | str  # its index or name
    name: str = ""  # in messages, if *key* is an index

    def __str__(self) -> str:
        return self.name or str(self.key)


def plan_of(target: Target, operation: str, link: str | None, *steps: Step) -> Plan:
    """Return a plan of steps without spans."""
    return Plan(operation, target.name, link, steps, ((),) * len(steps))


def joined(first: Plan, second: Plan) -> Plan:
    """Return the plan with the steps of both; its operation is that of the second."""
    steps, spans = first.steps + second.steps, first.spans + second.spans
    return replace(second, steps=steps, spans=spans, idempotent=first.idempotent)
