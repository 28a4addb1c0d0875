"""The command that runs a program inside a sandbox."""

import os
import signal
import sys

import click

from netsandbox.cli import console
from netsandbox.cli.app import JSON, Settings, command, sandbox_argument, usage

NOT_FOUND, NOT_RUNNABLE = 127, 126  # as in shells: POSIX.1-2024, 2.8.2
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them, and the program would inherit that


# Options after SANDBOX belong to the program, also without a -- before it.
@command(JSON, name="exec", context_settings={"allow_interspersed_args": False})
@sandbox_argument
@click.argument("program", metavar="[--] COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(settings: Settings, sandbox: str, program: tuple[str, ...]) -> int:
    """Run a program inside a sandbox.

    Exit with the status of the program, with 127 if there is no such program, and with 126 if it cannot be run. With
    --json, print errors of netsandbox as JSON.
    """
    words = program[1:] if program[0] == "--" else program
    if not words:
        usage("Missing argument '[--] COMMAND...'.")
    with settings.open(sandbox) as box:
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        sys.stdout.flush()
        try:
            # On the thread of box.run: execve(2) keeps the namespace of the calling thread, and ends the others.
            box.run(os.execvp, words[0], words)
        except OSError as error:
            if settings.json:
                console.data(console.failure("exec", f"run {words[0]}: {error.strerror}", error.errno))
            else:
                console.message(f"error: run {words[0]}: {error.strerror}")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
