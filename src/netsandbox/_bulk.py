"""Many sandboxes in one call: for each of them all of it or none of it, and a summary of the results.

They are changed one after the other: rtnl_lock lets only one process at a time change links anyway.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar, cast

from netsandbox._run.lifecycle import locate
from netsandbox._run.transaction import Records
from netsandbox.errors import NetSandboxError, Problem, SpecError
from netsandbox.spec import InterfaceSpec, expect_all

T = TypeVar("T")
W = TypeVar("W")
Progress = Callable[[str, NetSandboxError | None], object]


@dataclass(frozen=True, slots=True)
class Summary(Generic[T]):
    """The results for many sandboxes; its items are the values of *done*.

    Attributes:
        done: The results of those that succeeded, by name, in order.
        failed: The errors of the others, by name; each of these was not changed.
    """

    done: Mapping[str, T]
    failed: Mapping[str, NetSandboxError]

    @property
    def ok(self) -> bool:
        """Whether none failed."""
        return not self.failed

    def __iter__(self) -> Iterator[T]:
        return iter(self.done.values())

    def __len__(self) -> int:
        return len(self.done)

    def __str__(self) -> str:
        which = f": {', '.join(self.failed)}" if self.failed else ""
        return f"{len(self.done)} done, {len(self.failed)} failed{which}"

    def raise_for_failures(self) -> None:
        """Do nothing if none failed.

        Raises:
            NetSandboxError: What failed: the one error, or an error with the texts of all of them.
        """
        errors = list(self.failed.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise NetSandboxError(f"{self}: {'; '.join(map(str, errors))}") from errors[0]


def each(
    operation: str, requests: Mapping[str, W], work: Callable[[str, W], T], progress: Progress | None = None
) -> Summary[T]:
    """Call *work* with each sandbox; one that fails does not stop the others.

    Args:
        operation: What is done with them, in words.
        requests: What is requested, by name.
        work: Does it for one sandbox, all of it or none of it.
        progress: Called with each name, and with the error if it failed.

    Raises:
        BaseException: The call was interrupted, as by KeyboardInterrupt; a note says what was done.
    """
    done: dict[str, T] = {}
    failed: dict[str, NetSandboxError] = {}
    try:
        for name, request in requests.items():
            try:
                done[name] = work(name, request)
            except NetSandboxError as error:
                failed[name] = error
            if progress:
                progress(name, failed.get(name))
    except BaseException as error:
        left = [name for name in requests if name not in done and name not in failed]
        ways: dict[str, Iterable[str]] = {"done": done, "failed": failed, "not done": left}
        notes = [f"{way}: {', '.join(names)}" for way, names in ways.items() if names]
        error.add_note(f"{operation} was interrupted; {'; '.join(notes)}")
        raise
    return Summary(MappingProxyType(done), MappingProxyType(failed))


def parse(requests: Iterable[tuple[object, object]]) -> dict[str, tuple[InterfaceSpec, ...]]:
    """Return the requests for each sandbox, by name, from pairs of a name and interfaces.

    Raises:
        SpecError: A name or an interface is invalid, or a sandbox or a link of the host is named twice; it has all
            problems.
    """
    found: dict[str, tuple[InterfaceSpec, ...]] = {}
    takers: dict[str, str] = {}
    problems: list[Problem] = []
    for given, things in requests:
        try:
            name, _ = locate(Records(), cast("str", given))
            specs = expect_all("spec", things, InterfaceSpec)
        except SpecError as error:
            problems += error.problems
            continue
        if name in found:
            problems.append(Problem("name", name, "is given twice"))
        found[name] = specs
        problems += source_problems(takers, name, specs)
    if problems:
        raise SpecError(problems)
    return found


def source_problems(takers: dict[str, str], name: str, specs: Iterable[InterfaceSpec]) -> Iterator[Problem]:
    """Enter in *takers* that sandbox *name* takes the links of *specs*; yield those that another sandbox takes."""
    for source in (spec.source for spec in specs if isinstance(spec.source, str)):
        if takers.setdefault(source, name) != name:
            yield Problem("source", source, f"cannot go to {takers[source]} and to {name}")
