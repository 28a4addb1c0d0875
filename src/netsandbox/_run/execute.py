"""Runs a plan: all of it or none of it.

A step that the kernel refused did nothing, so what came before it is undone, newest first. A step whose answer got lost
may have been carried out (design.md, kernel fact 13): it is undone too, and undoing looks before it acts. The first
error is what the caller gets, with what was undone; if undoing fails as well, a RollbackError from it says what is
left.
"""

import errno
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

from netsandbox import telemetry
from netsandbox._kernel import World
from netsandbox._plan.model import Group, Plan
from netsandbox._steps import Step
from netsandbox.errors import KernelError, NetSandboxError, RollbackError

T = TypeVar("T")


def execute(plan: Plan, world: World, commit: Callable[[], T]) -> T:
    """Carry out *plan*, then *commit*, and return what that returns; if anything fails, undo everything.

    Args:
        plan: What to do.
        world: The namespaces it is about.
        commit: Makes the result known: reads it back, and writes it down. It comes last, and its failure is a failure
            of the whole.

    Raises:
        NetSandboxError: Something failed and all was undone, or (RollbackError) not all could be.
    """
    done: list[Step] = []
    try:
        with _span(plan.root):
            for item in plan.root.items:
                _run(item, world, done, lenient=plan.lenient)
            return commit()
    except BaseException as error:
        undone, left, failures = undo(done, world)
        if failures:
            broken = RollbackError(error, failures)
            _tell(broken, plan, undone, left)
            raise broken from error
        if isinstance(error, NetSandboxError):
            _tell(error, plan, undone, left)
        raise


def finish(steps: Iterable[Step], world: World) -> None:
    """Carry out what is left of the steps of an interrupted plan to take something out.

    Each step that finds its work done, or its link gone, counts as done; nothing is undone.

    Raises:
        NetSandboxError: A step failed; it can be tried again.
    """
    for step in steps:
        try:
            _run(step, world, [], lenient=True)
        except KernelError as error:
            if error.errno != errno.ENODEV or not error.answered:
                raise


def _run(item: Step | Group, world: World, done: list[Step], *, lenient: bool) -> None:
    """Carry out one step, or a group of them under a span of its own; note in *done* what may have to be undone."""
    if isinstance(item, Group):
        with _span(item):
            for part in item.items:
                _run(part, world, done, lenient=lenient)
        return
    done.append(item)
    try:
        if not item.apply(world) and lenient:
            done.pop()
    except NetSandboxError as error:
        error.step = str(item)
        answer = error.errno if isinstance(error, KernelError) and error.answered else None
        if answer and item.atomic:
            done.pop()
        if not (lenient and answer in item.settled):
            raise


def _span(group: Group) -> AbstractContextManager[object]:
    return telemetry.span(group.span, group.attributes) if group.span else telemetry.OFF


def undo(done: Iterable[Step], world: World) -> tuple[list[str], list[str], list[BaseException]]:
    """Undo steps, newest first.

    Returns:
        The commands that were carried out, those that failed, and how each of these failed.
    """
    undone: list[str] = []
    left: list[str] = []
    failures: list[BaseException] = []
    steps = tuple(done)
    with telemetry.span("rollback") if steps else telemetry.OFF:
        for step in reversed(steps):
            inverse = step.inverse()
            try:
                if inverse.apply(world):
                    undone.append(str(inverse))
            except Exception as error:  # noqa: BLE001  nothing may keep the other steps from being undone
                answer = error.errno if isinstance(error, KernelError) and error.answered else None
                if answer == errno.ENODEV and not inverse.atomic:
                    undone.append(f"# gone meanwhile: {inverse}")
                if answer in {errno.ENODEV, *inverse.settled}:  # ENODEV: a link that is gone needs nothing back
                    continue
                left.append(str(inverse))
                failures.append(error)
    return undone, left, failures


def _tell(error: NetSandboxError, plan: Plan, undone: list[str], left: list[str]) -> None:
    """Note on *error* what was asked for, and what became of it."""
    error.operation = plan.operation
    error.sandbox, error.link = plan.sandbox, plan.link
    error.undone, error.left = tuple(undone), tuple(left)
