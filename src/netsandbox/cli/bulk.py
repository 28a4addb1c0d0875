"""Shared by commands for many sandboxes: a progress bar on a terminal, and the summary at the end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from netsandbox._bulk import Progress, Summary
from netsandbox.cli import FAILED, console
from netsandbox.cli.app import Settings

T = TypeVar("T")
MANY = 8  # sandboxes from which on a bar is shown


@contextmanager
def watched(what: str, total: int, settings: Settings) -> Iterator[Progress | None]:
    """Show a progress bar if stderr is a terminal; after an interrupt, print what was done and what was not."""
    with ExitStack() as stack:
        progress = None
        if total >= MANY and not settings.json and sys.stderr.isatty():
            from netsandbox.cli import console_rich  # noqa: PLC0415  rich takes longer to import than all the rest

            progress = stack.enter_context(console_rich.bar(what, total))
        try:
            yield progress
        except (KeyboardInterrupt, SystemExit) as error:  # SystemExit: SIGTERM, see `main`
            stack.close()
            for note in getattr(error, "__notes__", ()):
                console.message(note)
            raise


def conclude(settings: Settings, summary: Summary[T], as_json: Callable[[T], object]) -> int:
    """Print the summary, and return the exit status: 1 if a sandbox failed."""
    if settings.json:
        failed = [{"sandbox": name, **console.report(error)} for name, error in summary.failed.items()]
        console.data({"done": [as_json(item) for item in summary], "failed": failed})
    elif summary.failed:
        for error in summary.failed.values():
            console.show_error(error, as_json=False)
        console.message(summary)
    return FAILED if summary.failed else 0
