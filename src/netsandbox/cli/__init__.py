"""The command line: arguments → one call of the library → text for people, or JSON for programs.

`main` is where it starts and where every error ends: what failed is told without a traceback, on stderr for people and
on stdout as JSON under ``--json``. Each command lives in a module that is imported when it is used (`app.COMMANDS`).
"""

import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from netsandbox.cli import console
from netsandbox.errors import NetSandboxError

if TYPE_CHECKING:
    import click

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_JSON = re.compile(r"--json|-[a-zA-Z46]*j[a-zA-Z46]*")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command line and exit with its status: 0 done, 1 failed, 2 usage, 130 interrupted, 143 ended.

    Args:
        arguments: The words after the program's name; those of this process if left out.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    as_json = wants_json(words)
    signal.signal(signal.SIGTERM, _terminate)
    _fill_streams()
    try:
        status = _run(words, as_json=as_json)
        sys.stdout.flush()
    except OSError as error:
        _tell_system(error, as_json=as_json)
        status = FAILED
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def _run(words: Sequence[str], *, as_json: bool) -> int:
    """Carry out a command line and return its status."""
    try:
        import click  # noqa: PLC0415  it belongs to the extra "cli"; without it, that is what has to be said

        from netsandbox.cli.app import netsandbox  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        console.complain("error: the command line needs the package click: pip install 'netsandbox[cli]'")
        return FAILED
    try:
        status = netsandbox.main(words, prog_name="netsandbox", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            console.data(console.failure("usage", error.format_message()))
        else:
            _tell_usage(error)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except NetSandboxError as error:
        console.tell(error, as_json=as_json)
        return USAGE if error.code == "usage" else FAILED
    return status if isinstance(status, int) else 0


def wants_json(words: Iterable[str]) -> bool:
    """Whether ``--json`` is among the words, even if they cannot be understood otherwise.

    The words of a program that `exec` shall start are its own.
    """
    plain = 0
    is_exec = False
    for word in words:
        if word == "--" or (is_exec and plain > 1):
            return False
        if not word.startswith("-"):
            is_exec = is_exec or (plain == 0 and word == "exec")
            plain += 1
        elif _JSON.fullmatch(word):
            return True
    return False


def _tell_usage(error: "click.ClickException") -> None:
    """Say how the command is used and what was wrong; where no command was given, help."""
    from click.exceptions import NoArgsIsHelpError, UsageError  # noqa: PLC0415  as above

    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return
    if isinstance(error, UsageError) and error.ctx:
        path = error.ctx.command_path
        sys.stderr.write(f"{error.ctx.get_usage()}\nTry '{path} --help' for help.\n")
    console.complain(f"error: {' '.join(error.format_message().split())}")


def _tell_system(error: OSError, *, as_json: bool) -> None:
    """Tell what the system refused outside the library: on stderr too where stdout itself cannot be written.

    Nobody has to be told of a reader that has gone (signal(7), SIGPIPE).
    """
    try:
        if as_json:
            console.data(console.failure("system", str(error), number=error.errno))
        sys.stdout.flush()
    except OSError:
        as_json = False
        discard_output()
    if not as_json and not isinstance(error, BrokenPipeError):
        console.complain(f"error: {error}")


def discard_output() -> None:
    """Send what is still to be written to stdout to nowhere, once nothing reads it any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fill_streams() -> None:
    """Put something where a standard stream was closed, lest a file gets its number.

    As if it were closed, reading from stdin and writing to stdout fails (EBADF); what is said on stderr, nobody hears.
    """
    for name, flags in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _terminate(number: int, _: object) -> NoReturn:
    """End as a shell says it of a program that was ended; on the way out, what is under way is undone."""
    sys.exit(128 + number)
