"""The cost of many sandboxes on one bridge, from the first one to the deletion of all by the kernel."""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import born
from benchmarks.measure import aligned

COUNTS = (1, 10, 100, 300, 1000)


@dataclass(frozen=True, slots=True)
class Crowd:
    """The figures of one way for many sandboxes; times are in seconds.

    Attributes:
        count: Number of sandboxes.
        addresses: The address families of each.
        who: The way.
        median: Median time to create one.
        p10: 10th percentile of the time to create one.
        p90: 90th percentile of the time to create one.
        first: Median of the first ten.
        last: Median of the last ten.
        made: Time to create all.
        destroyed: Time of the destroying calls.
        gone: Time from the first destroying call until the kernel had deleted all host ends.
        memory: Bytes by which the process grew for each open sandbox.
        skipped: Why it was not measured; empty if it was.
    """

    count: int
    addresses: str
    who: str
    median: float = 0
    p10: float = 0
    p90: float = 0
    first: float = 0
    last: float = 0
    made: float = 0
    destroyed: float = 0
    gone: float = 0
    memory: float = 0
    skipped: str = ""


def crowds(counts: Sequence[int]) -> Iterator[Crowd]:
    """Measure all counts in all ways, each in a process of its own, so that the memory growth is its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for ipv6 in (False, True):
        addresses = "IPv4 + IPv6" if ipv6 else "IPv4"
        for count in counts:
            for who, kind in born.MANY.items():
                if not born.is_installed(kind):
                    yield Crowd(count, addresses, who, skipped="not installed")
                elif count > kind.limit:
                    yield Crowd(count, addresses, who, skipped=f"{kind.limit} are enough")
                else:
                    print(f"{count} sandboxes, {addresses}, {who} ...", file=sys.stderr)
                    yield Crowd(count, addresses, who, **_apart(who, count, ipv6=ipv6))


def _apart(who: str, count: int, *, ipv6: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.crowd", who, str(count), *(["--ipv6"] if ipv6 else [])]
    figures: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def table(found: Sequence[Crowd]) -> str:
    """Return a Markdown table."""
    rows: list[tuple[str, ...]] = [
        ("count", "addresses", "who", "each", "p10 .. p90", "first", "last", "all", "destroy", "gone", "memory")
    ]
    for item in found:
        head = (f"{item.count:,}", item.addresses, item.who)
        if item.skipped:
            rows.append((*head, item.skipped, *[""] * 7))
            continue
        each = (f"{item.median * 1e3:.2f} ms", f"{item.p10 * 1e3:.2f} .. {item.p90 * 1e3:.2f}")
        edges = (f"{item.first * 1e3:.2f} ms", f"{item.last * 1e3:.2f} ms")
        sums = (f"{item.made:.2f} s", f"{item.destroyed:.2f} s", f"{item.gone:.2f} s")
        rows.append((*head, *each, *edges, *sums, f"{item.memory / 1024:.0f} KiB"))
    return aligned(rows, left={1, 2})


WIDTH, HEIGHT, MARGIN = 720, 400, 60  # of the plot, in pixels
COLOURS = (  # distinguishable by color-blind people (Okabe, Ito)
    *("#888888", "#0072b2", "#56b4e9", "#d55e00", "#e69f00"),
    *("#009e73", "#cc79a7", "#000000", "#999933"),
)


def plot(found: Sequence[Crowd], addresses: str) -> str:
    """Return an SVG plot of the time for each sandbox by their number; both axes are logarithmic."""
    shown = [item for item in found if item.addresses == addresses and not item.skipped]
    top = math.ceil(math.log10(max(item.made / item.count * 1e3 for item in shown)) + 0.01)  # in decades of ms
    right = math.log10(max(*(item.count for item in shown), 10))

    def at(count: float, cost: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 4 * MARGIN) * math.log10(count) / right
        return x, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * math.log10(max(cost, 1)) / top

    def text(x: float, y: float, words: str, extra: str = "") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" {extra}>{words}</text>'

    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    title = f"ms for each sandbox, by their number on one bridge ({addresses})"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        '<rect width="100%" height="100%" fill="white"/>',
        text(MARGIN, MARGIN / 2, title, 'font-size="14"'),
    ]
    counts = sorted({item.count for item in shown})
    lines += (text(at(it, 1)[0], HEIGHT - MARGIN / 2, f"{it:,}", 'text-anchor="middle"') for it in counts)
    for cost in (digit * 10**power for power in range(top) for digit in (1, 2, 5)):
        y = at(1, cost)[1]
        lines.append(f'<path d="M{MARGIN} {y:.0f}H{WIDTH - 3 * MARGIN}" stroke="#dddddd"/>')
        lines.append(text(MARGIN - 6, y + 4, str(cost), 'text-anchor="end"'))
    for colour, who in zip(COLOURS, dict.fromkeys(item.who for item in shown), strict=False):
        points = [at(item.count, item.made / item.count * 1e3) for item in shown if item.who == who]
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = points[-1]
        lines.append(text(x + 6, y + 4, who, f'fill="{colour}"'))
    return "\n".join([*lines, "</svg>\n"])
