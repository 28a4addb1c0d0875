"""Tables, headings and progress bars on a terminal; importing this module imports rich."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_UNLIMITED = 100_000  # columns
# For NO_COLOR (no-color.org) rich drops colors but keeps bold; without a color system it drops both.
_COLORS: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
console = Console(highlight=False, color_system=_COLORS)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", prose: int = 1) -> Table:
    """Return a table without lines; only the last *prose* columns are wrapped, at spaces."""
    made = Table(box=None, pad_edge=False, title=title or None, title_justify="left", title_style="bold")
    whole = len(headers) - prose
    for number, (header, *cells) in enumerate(zip(headers, *rows, strict=True)):
        words = (header, *cells) if number < whole else (word for cell in (header, *cells) for word in cell.split())
        made.add_column(Text(header, "bold"), min_width=max(map(cell_len, words)), no_wrap=number < whole)
    for row in rows:
        made.add_row(*map(Text, row))  # Text, because a str would be parsed as markup
    return made


def heading(words: str) -> None:
    """Print a heading."""
    console.print(Text(words, "bold"))


def show(thing: Table) -> None:
    """Print a table; a terminal that is too narrow wraps its lines, and nothing is cut off."""
    unlimited = console.options.update(max_width=_UNLIMITED)
    least = console.measure(thing, options=unlimited).minimum
    if least > console.width:
        thing.width = least
    console.print(thing, crop=False)


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr until the block ends; each call of the yielded function advances it by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Console(stderr=True, color_system=_COLORS)
    with Progress(*columns, console=shown, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda *_: progress.advance(task)


def live() -> Live:
    """Return a part of the screen that each update redraws; the caller stops it."""
    part = Live(console=console, auto_refresh=False)
    part.start()
    return part
