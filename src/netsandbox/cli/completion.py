"""The command that prints what a shell needs to complete our command lines."""

import click
from click.shell_completion import get_completion_class

from netsandbox.cli import app, console


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(netsandbox completion bash)"
    zsh:   eval "$(netsandbox completion zsh)"
    fish:  netsandbox completion fish | source
    """  # noqa: D301  \b is how click is told not to wrap
    kind = get_completion_class(shell)
    if kind:
        for line in kind(app.netsandbox, {}, "netsandbox", "_NETSANDBOX_COMPLETE").source().splitlines():
            console.text(line)
