"""The command that runs a program inside a sandbox."""

import os
import signal
import sys

import click

from netsandbox.cli import console
from netsandbox.cli.app import Settings, json_option, opened, pass_settings, sandbox_argument

NOT_FOUND, NOT_RUNNABLE = 127, 126  # as shells have it: POSIX.1-2024, 2.8.2
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # the interpreter ignores them, and a program would inherit that


# What follows SANDBOX belongs to the program, options too; a -- before it is for those who want to be sure.
@click.command("exec", context_settings={"allow_interspersed_args": False})
@sandbox_argument
@click.argument("command", metavar="[--] COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
@pass_settings
def execute(settings: Settings, sandbox: str, command: tuple[str, ...]) -> int:
    """Run a program inside a sandbox.

    It takes the place of this process, so that its exit status is the program's own. 127: there is no such program;
    126: it cannot be run.
    """
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("Missing argument '[--] COMMAND...'.", click.get_current_context())
    with opened(sandbox) as box:
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        sys.stdout.flush()
        try:
            # On the thread of box.run: an exec keeps the namespace of the thread that calls it, and ends the others.
            box.run(os.execvp, words[0], words)
        except OSError as error:
            if settings.json:
                console.data(console.failure("exec", f"run {words[0]}: {error.strerror}", number=error.errno))
            else:
                console.complain(f"error: run {words[0]}: {error.strerror}")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
