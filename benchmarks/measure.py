"""Take samples of several competitors at the same work, and print them as a table."""

import gc
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

WARM_UP = 2  # rounds that are not counted
SETTLE = 0.005  # seconds in which the kernel finishes the deferred work of the previous competitor
UNITS = {"ns": 1e9, "µs": 1e6, "ms": 1e3, "MiB": 2.0**-20}  # samples are seconds or bytes

Contestant = Callable[[], Mapping[str, float]]  # does the work once; returns one sample for each part
Samples = dict[str, list[float]]  # for one part of the work, by competitor


@dataclass(frozen=True, slots=True)
class Budget:
    """The upper limit of a figure.

    Attributes:
        limit: The number.
        of: The limited value: the median, or its difference (+) or ratio (x) to the first competitor's median.
    """

    limit: float
    of: Literal["", "+", "x"]


@dataclass(frozen=True, slots=True)
class Figure:
    """The figures of one competitor at one piece of work, in *unit*.

    Attributes:
        work: The work.
        who: The competitor.
        unit: A key of UNITS.
        n: Number of samples; 0 if the competitor is not installed.
        median: The median of the samples.
        p10: The 10th percentile.
        p90: The 90th percentile.
        over: Difference to the median of the first competitor.
        times: Ratio to the median of the first competitor.
        budget: The upper limit, if any.
        is_ok: Whether the figure is within the budget.
    """

    work: str
    who: str
    unit: str
    n: int = 0
    median: float = 0
    p10: float = 0
    p90: float = 0
    over: float = 0
    times: float = 0
    budget: Budget | None = None
    is_ok: bool | None = None


def clock(function: Callable[[], object], times: int = 1) -> float:
    """Return the mean number of seconds of a call of *function*, over *times* calls."""
    begin = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - begin) / times


def compete(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Samples]:
    """Run all competitors in each round, in reverse in every other round, so that drift affects all alike.

    Returns:
        The samples, by part of the work.
    """
    samples: dict[str, Samples] = {}
    for number in range(-WARM_UP, rounds):
        for who in list(contestants)[:: -1 if number % 2 else 1]:
            gc.collect()  # so that no competitor pays for the garbage of another
            time.sleep(SETTLE)
            for part, value in contestants[who]().items():
                if number >= 0:
                    samples.setdefault(part, {}).setdefault(who, []).append(value)
    return samples


def judge(
    work: str, unit: str, samples: Samples, who: Sequence[str], budgets: Mapping[str, Budget] | None = None
) -> Iterator[Figure]:
    """Yield a figure for each of *who*; the first one is the reference."""
    scale = UNITS[unit]
    first = statistics.median(samples[who[0]])
    for name in who:
        values = samples.get(name)
        if not values:
            yield Figure(work, name, unit)
            continue
        median = statistics.median(values)
        tenths = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else values
        kinds = {"": median * scale, "+": (median - first) * scale, "x": median / first}
        budget = budgets.get(name) if budgets else None
        yield Figure(
            work,
            name,
            unit,
            n=len(values),
            median=kinds[""],
            p10=tenths[0] * scale,
            p90=tenths[-1] * scale,
            over=kinds["+"],
            times=kinds["x"],
            budget=budget,
            is_ok=kinds[budget.of] <= budget.limit if budget else None,
        )


def table(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table with aligned columns."""
    rows: list[tuple[str, ...]] = [("work", "who", "median", "p10 .. p90", "n", "+ first", "x first", "budget")]
    last = ""
    for item in figures:
        rows.append((item.work if item.work != last else "", item.who, *_cells(item, first=item.work != last)))
        last = item.work
    return aligned(rows, left={0, 1, 7})


def aligned(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> str:
    """Return rows, the header first, as an aligned Markdown table; *left* are the left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [_pad(cell, width, at in left) for at, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    ]
    rule = ["-" * width if at in left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (padded[0], rule, *padded[1:]))


def _cells(item: Figure, *, first: bool) -> tuple[str, ...]:
    if not item.n:
        return ("not installed", "", "", "", "", "")
    compared = ("", "") if first else (_number(item.over), _number(item.times))
    verdict = ""
    if item.budget:
        limit = f"{item.budget.of} {item.budget.limit:g}{'' if item.budget.of == 'x' else f' {item.unit}'}".strip()
        verdict = f"{limit}: {'ok' if item.is_ok else 'over'}"
    spread = f"{_number(item.p10)} .. {_number(item.p90)}"
    return (f"{_number(item.median)} {item.unit}", spread, str(item.n), *compared, verdict)


def _number(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _pad(cell: str, width: int, is_left: bool) -> str:  # noqa: FBT001
    return cell.ljust(width) if is_left else cell.rjust(width)
