"""The command line: arguments → one call of the library → text for people, or JSON for programs.

`main` is the entry point, and prints every error: without a traceback, on stderr for people and on stdout as JSON under
``--json``. Each command lives in a module that is imported when it is used (`app.COMMANDS`).
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
    """Run a command line, by default that of this process, and exit with its status.

    The status is 0 for success, 1 for failure, 2 for invalid usage, 130 after SIGINT and 143 after SIGTERM.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    as_json = wants_json(words)
    signal.signal(signal.SIGTERM, _terminate)
    _fill_streams()
    try:
        status = _run(words, as_json=as_json)
        sys.stdout.flush()
    except OSError as error:
        _show_os_error(error, as_json=as_json)
        status = FAILED
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def _run(words: Sequence[str], *, as_json: bool) -> int:
    """Run a command line and return its status."""
    try:
        import click  # noqa: PLC0415  of the extra "cli": if it is not installed, the user has to know

        from netsandbox.cli.app import netsandbox  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        console.message("error: the command line needs the package click: pip install 'netsandbox[cli]'")
        return FAILED
    try:
        status = netsandbox.main(words, prog_name="netsandbox", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            console.data(console.failure("usage", error.format_message()))
        else:
            _show_usage_error(error)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except NetSandboxError as error:
        console.show_error(error, as_json=as_json)
        return USAGE if error.code == "usage" else FAILED
    return status if isinstance(status, int) else 0


def wants_json(words: Iterable[str]) -> bool:
    """Whether ``--json`` is among the words, even if they are invalid otherwise; the program of `exec` has its own."""
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


def _show_usage_error(error: "click.ClickException") -> None:
    """Print the usage of the command and the error; print the help if no command was given."""
    from click.exceptions import NoArgsIsHelpError, UsageError  # noqa: PLC0415  as above

    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return
    if isinstance(error, UsageError) and error.ctx:
        path = error.ctx.command_path
        sys.stderr.write(f"{error.ctx.get_usage()}\nTry '{path} --help' for help.\n")
    console.message(f"error: {' '.join(error.format_message().split())}")


def _show_os_error(error: OSError, *, as_json: bool) -> None:
    """Print an error of the system, on stderr if stdout cannot be written; a closed pipe is no error (signal(7))."""
    try:
        if as_json:
            console.data(console.failure("system", str(error), error.errno))
        sys.stdout.flush()
    except OSError:
        as_json = False
        discard_output()
    if not as_json and not isinstance(error, BrokenPipeError):
        console.message(f"error: {error}")


def discard_output() -> None:
    """Discard what is still to be written to stdout, because nobody can read it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fill_streams() -> None:
    """Open /dev/null for each closed standard stream, so that no other file gets its number.

    As on a closed stream, reading stdin and writing to stdout fail (EBADF); writing to stderr has no effect.
    """
    for name, flags in (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _terminate(number: int, _: object) -> NoReturn:
    """Exit with the status that a shell reports for the signal; the operation under way is rolled back."""
    sys.exit(128 + number)
