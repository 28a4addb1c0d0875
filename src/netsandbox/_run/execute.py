"""Runs a plan: all of it or none of it.

A step that the kernel refused changed nothing, so the steps before it are undone, newest first. A step whose answer was
lost may have been carried out (docs/kernel-facts.md, "A request whose answer is lost may have been carried out"): it is
undone too, and its inverse looks before it acts. The caller gets the first error, with what was undone; if undoing
fails too, it gets a RollbackError from the first error, with what is left.
"""

import errno
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from netsandbox import telemetry
from netsandbox._kernel import World
from netsandbox._plan.model import Plan, Span
from netsandbox._steps import DeleteVeth, Dropped, Step, delete_veths
from netsandbox.errors import KernelError, NetSandboxError, RollbackError

T = TypeVar("T")
Unit = tuple[Step, ...]  # steps that are carried out together


def execute(plan: Plan, world: World, commit: Callable[[], T]) -> T:
    """Carry out *plan*, then *commit*, and return its result; if anything fails, undo everything.

    Raises:
        NetSandboxError: Something failed and all was undone, or (RollbackError) not all could be.
    """
    done: list[Step] = []
    try:
        if telemetry.is_on():
            items = list(zip(_units(plan.steps), plan.spans, strict=True))
            roots = {spans[:1] for spans in plan.spans}
            (root,) = roots.pop() if len(roots) == 1 and () not in roots else (None,)
            with telemetry.span(root.name, root.attributes) if root else telemetry.OFF:  # also around the commit
                _trace(items, world, done, 1 if root else 0, idempotent=plan.idempotent)
                return commit()
        for unit in _units(plan.steps):
            _run(unit, world, done, idempotent=plan.idempotent)
        return commit()
    except BaseException as error:
        undone, left, failures = undo(done, world)
        if failures:
            broken = RollbackError(error, failures)
            _annotate(broken, plan, undone, left)
            raise broken from error
        if isinstance(error, NetSandboxError):
            _annotate(error, plan, undone, left)
        raise


def finish(steps: Iterable[Step], world: World) -> None:
    """Roll an interrupted plan forward; a step that finds its work done, or its link gone, counts as done.

    Raises:
        NetSandboxError: A step failed; it can be tried again.
    """
    for unit in _units(steps):
        try:
            _run(unit, world, [], idempotent=True)
        except KernelError as error:
            if error.errno != errno.ENODEV or not error.answered:
                raise


def _units(steps: Iterable[Step]) -> list[Unit]:
    """Return what to carry out in the place of each step: of veths to delete that are neighbors, all with the last."""
    units: list[Unit] = []
    last: int | None = None
    for at, step in enumerate(steps):
        units.append((step,))
        if isinstance(step, DeleteVeth):
            if last is not None:
                units[last], units[at] = (), (*units[last], step)
            last = at
        elif not isinstance(step, Dropped):
            last = None
    return units


def _trace(
    items: Sequence[tuple[Unit, tuple[Span, ...]]], world: World, done: list[Step], depth: int, *, idempotent: bool
) -> None:
    """Carry out steps under their spans, of which *depth* are open."""
    for span, group in groupby(items, lambda item: item[1][depth] if depth < len(item[1]) else None):
        if span:
            with telemetry.span(span.name, span.attributes):
                _trace(list(group), world, done, depth + 1, idempotent=idempotent)
        else:
            for unit, _ in group:
                _run(unit, world, done, idempotent=idempotent)


def _run(unit: Unit, world: World, done: list[Step], *, idempotent: bool) -> None:
    """Carry out a step, or several together; add what may have to be undone to *done*."""
    before = len(done)
    done += unit
    try:
        changed = delete_veths(unit, world) if len(unit) > 1 else [step for step in unit if step.apply(world)]
        if idempotent:
            done[before:] = changed
    except NetSandboxError as error:
        error.step = " && ".join(map(str, unit))
        answer = error.errno if isinstance(error, KernelError) and error.answered else None
        if answer and unit[0].atomic and len(unit) == 1:
            done.pop()
        if not (idempotent and answer in unit[0].benign_errnos):
            raise


def undo(done: Iterable[Step], world: World) -> tuple[list[str], list[str], list[BaseException]]:
    """Undo steps, newest first; return the commands carried out, those that failed, and their errors."""
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
            except Exception as error:  # noqa: BLE001  the other steps are undone all the same
                answer = error.errno if isinstance(error, KernelError) and error.answered else None
                if answer == errno.ENODEV and not inverse.atomic:
                    undone.append(f"# gone meanwhile: {inverse}")
                if answer in {
                    errno.ENODEV,
                    *inverse.benign_errnos,
                }:  # ENODEV: the link is gone
                    continue
                left.append(str(inverse))
                failures.append(error)
    return undone, left, failures


def _annotate(error: NetSandboxError, plan: Plan, undone: list[str], left: list[str]) -> None:
    """Note on *error* what was requested, and what was rolled back."""
    error.operation = plan.operation
    error.sandbox, error.link = plan.sandbox, plan.link
    error.undone, error.left = tuple(undone), tuple(left)
