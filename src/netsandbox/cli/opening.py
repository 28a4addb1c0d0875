"""How commands open a sandbox: what a crash had left behind is cleared up, and the user is told."""

from netsandbox.cli import output
from netsandbox.sandbox import Sandbox


def opened(name: str) -> Sandbox:
    """Open a sandbox, and say what was undone or finished of operations that had been interrupted."""
    box = Sandbox.open(name)
    for words in box.recovered:
        output.complain(words)
    return box
