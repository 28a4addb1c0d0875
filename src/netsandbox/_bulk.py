"""Many sandboxes in one call: for each of them all of it or none of it, and a summary of what became of them.

They are done one after the other: the kernel lets one at a time change links anyway (rtnl_lock), and so does Python.
"""

import sys
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
    """What became of many sandboxes. To iterate over it is to iterate over the values of *done*.

    Attributes:
        done: What came of those that went well, by name, in the order in which they were done.
        failed: Why the others failed, by name; of each of these, nothing was done.
    """

    done: Mapping[str, T]
    failed: Mapping[str, NetSandboxError]

    @property
    def ok(self) -> bool:
        """Whether none failed."""
        return not self.failed

    def __iter__(self) -> Iterator[T]:
        """Iterate over what came of those that went well."""
        return iter(self.done.values())

    def __len__(self) -> int:
        """Count those that went well."""
        return len(self.done)

    def __str__(self) -> str:
        """Say how many went well, and which failed."""
        which = f": {', '.join(self.failed)}" if self.failed else ""
        return f"{len(self.done)} done, {len(self.failed)} failed{which}"

    def raise_for_failures(self) -> None:
        """Do nothing if all went well.

        Raises:
            NetSandboxError: What failed: the error itself if it is one, else one that says all of them, from the first.
        """
        errors = list(self.failed.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise NetSandboxError(f"{self}: {'; '.join(map(str, errors))}") from errors[0]


def each(
    operation: str, wishes: Mapping[str, W], work: Callable[[str, W], T], progress: Progress | None = None
) -> Summary[T]:
    """Do *work* with each sandbox, by name; what fails keeps no other from its turn.

    Args:
        operation: What is done with them, in words.
        wishes: What is wished for, by name.
        work: Does it for one, all or nothing.
        progress: Told of each one that is done, and of the error if it failed.

    Raises:
        BaseException: What is no failure of ours, such as KeyboardInterrupt, with a note of what was done until then.
    """
    done: dict[str, T] = {}
    failed: dict[str, NetSandboxError] = {}
    try:
        for name, wish in wishes.items():
            try:
                done[name] = work(name, wish)
            except NetSandboxError as error:
                failed[name] = error
            if progress:
                progress(name, failed.get(name))
    except BaseException as error:
        left = [name for name in wishes if name not in done and name not in failed]
        ways: dict[str, Iterable[str]] = {"done": done, "failed": failed, "not done": left}
        told = [f"{way}: {', '.join(names)}" for way, names in ways.items() if names]
        error.add_note(f"{operation} was interrupted; {'; '.join(told)}")
        raise
    return Summary(MappingProxyType(done), MappingProxyType(failed))


def parse(wishes: Iterable[tuple[object, object]]) -> dict[str, tuple[InterfaceSpec, ...]]:
    """Return what is wished for in each sandbox, by name, of pairs of a name and interfaces.

    Raises:
        SpecError: Something is no name or no interface, or a sandbox or a link of the host is named twice; all that is
            wrong is in it.
    """
    found: dict[str, tuple[InterfaceSpec, ...]] = {}
    takers: dict[str, str] = {}
    problems: list[Problem] = []
    for given, things in wishes:
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


def room() -> int:
    """Return how many namespaces may be held open at once, of up to four descriptors each."""
    import resource  # noqa: PLC0415  few need it

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(most // 4, 1)
