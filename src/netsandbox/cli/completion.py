"""The command that prints the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

from netsandbox.cli import app, console


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(netsandbox completion bash)"
    zsh:   eval "$(netsandbox completion zsh)"
    fish:  netsandbox completion fish | source
    """  # noqa: D301  \b is keeps click from wrapping
    kind = get_completion_class(shell)
    if kind:
        console.text(*kind(app.netsandbox, {}, "netsandbox", "_NETSANDBOX_COMPLETE").source().splitlines())
