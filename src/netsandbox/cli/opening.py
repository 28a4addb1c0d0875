"""How commands open a sandbox: what a crash had left behind is cleared up, and the user is told."""

from netsandbox.cli import output
from netsandbox.sandbox import Sandbox


def opened(name: str, *, dry_run: bool = False) -> Sandbox:
    """Open a sandbox, and print what was recovered; a dry run recovers nothing."""
    if dry_run:
        return Sandbox._open_as_it_is(name)  # noqa: SLF001  a part of the library
    box = Sandbox.open(name)
    for words in box.recovered:
        output.complain(words)
    return box
