"""What commands over many sandboxes share: a bar on a terminal while it lasts, and what became of each at the end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from netsandbox._bulk import Progress, Summary
from netsandbox.cli import FAILED, console
from netsandbox.cli.app import Settings

T = TypeVar("T")
MANY = 8  # so many sandboxes and more are worth a bar


@contextmanager
def watched(what: str, total: int, settings: Settings) -> Iterator[Progress | None]:
    """Show how far it is, if a person looks on; when it is interrupted, say what was done until then."""
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
                console.complain(note)
            raise


def conclude(settings: Settings, summary: Summary[T], show: Callable[[T], object]) -> int:
    """Tell what became of each, and return the exit status: 1 if one failed."""
    if settings.json:
        failed = [{"sandbox": name, **console.report(error)} for name, error in summary.failed.items()]
        console.data({"done": [show(item) for item in summary], "failed": failed})
    else:
        for error in summary.failed.values():
            console.tell(error, as_json=False)
        if summary.failed:
            console.complain(summary)
    return FAILED if summary.failed else 0
