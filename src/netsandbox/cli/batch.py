"""attach --batch: each line of a file is an attach; all lines for one sandbox are one operation.

The parser of the command itself reads each line. All invalid lines are reported before anything is changed.
"""

import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import click

from netsandbox import _bulk
from netsandbox._run.lifecycle import locate
from netsandbox._run.transaction import Records
from netsandbox._system import namespace
from netsandbox.cli import advertise, attach_options, bulk, console, render_json, render_text
from netsandbox.cli.app import Settings, usage
from netsandbox.cli.console import LineProblem
from netsandbox.errors import Problem, SpecError
from netsandbox.interface import Interface, with_dropped
from netsandbox.sandbox import Sandbox
from netsandbox.spec import InterfaceSpec

MOST = 16 << 20  # bytes of a file
LONGEST = 128 << 10  # characters of a line: the time to parse a line grows with the square of its length
_CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f]")
_END = re.compile(r"[ \t]*(#|$)")


@click.command(add_help_option=False)
@click.argument("sandbox")
@attach_options.attach_parameters
def _line(**_: object) -> None:
    """Stand for a line: only its parser is used."""


class Line(NamedTuple):
    """The interface that a line requests, and whether the line has --advertise."""

    spec: InterfaceSpec
    advertised: bool


class _Done(NamedTuple):
    name: str
    path: str
    made: Sequence[Interface]
    shown: Sequence[render_json.Json]


class BatchError(SpecError):
    """Lines of a file are invalid; the code is "usage" if at least one cannot be parsed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.code = "usage" if any(problem.field == "usage" for problem in problems) else self.code


def attach(settings: Settings, file: str, *, create: bool) -> int:
    """Apply the lines of a file, sandbox by sandbox, and return the exit status."""
    given = click.get_current_context().params
    if any(given[item.name] not in (None, ()) for item in _line.params):
        usage("With --batch, give SANDBOX, SOURCE and the options of the interface in the lines of the file.")
    requests = _parse(file, _read(file))
    if not settings.dry_run:
        return _apply(settings, requests, create=create)
    plans = []
    for name, lines in requests.items():
        specs = [line.spec for line in lines]
        if create:
            plans.append(Sandbox.plan_create(name, interfaces=specs))
        else:
            with settings.open(name) as box:
                plans.append(box.plan(box.add_interfaces, specs))
    settings.show_plans(*plans)
    return 0


def _apply(settings: Settings, requests: Mapping[str, Sequence[Line]], *, create: bool) -> int:
    """Apply the requests; keep as many sandboxes open as possible until their interfaces have been advertised."""
    room = namespace.room() // 2  # each also holds descriptors of the host
    due: list[tuple[Sandbox, Interface, bool]] = []

    def finish() -> None:
        for box, line in advertise.finish(due):
            console.message(f"{box.name}: {line}")
        due.clear()
        held.close()

    def work(name: str, lines: Sequence[Line]) -> _Done:
        if len(due) >= room:
            finish()
        specs = [line.spec for line in lines]
        with ExitStack() as stack:
            box = stack.enter_context(Sandbox.create(name, interfaces=specs) if create else settings.open(name))
            made = with_dropped(specs, box.interfaces) if create else box.add_interfaces(specs)
            shown = [render_json.interface(item) for item in made] if settings.json else []
            due.extend((box, item, line.advertised) for item, line in zip(made, lines, strict=False))
            held.push(stack.pop_all())
        return _Done(name, box.path, made, shown)

    what, operation = ("creating", "create sandboxes") if create else ("attaching", "attach to sandboxes")
    with ExitStack() as held:
        with bulk.watched(what, len(requests), settings) as progress:
            done = _bulk.each(operation, requests, work, progress)
        for name, _, interfaces, _ in done:
            for made in interfaces:
                if not settings.json:
                    console.text(f"{name} {render_text.line(made)}")
                for line in render_text.dropped(made):
                    console.message(f"{name}: {line}")
        status = bulk.conclude(
            settings, done, lambda item: {"name": item.name, "path": item.path, "interfaces": item.shown}
        )
        finish()
    return status


@contextmanager
def _collecting(problems: list[Problem], file: str, line: int) -> Iterator[None]:
    """Collect the problems of a line instead of raising them."""
    try:
        yield
    except click.UsageError as error:
        reason = error.format_message().removesuffix(".")
        if isinstance(error, click.NoSuchOption) and error.option_name in _command_options():
            reason = f"{error.option_name} belongs to the whole command, not to a line"
        problems.append(LineProblem.of(Problem("usage", None, reason), file, line))
    except SpecError as error:
        problems += (LineProblem.of(problem, file, line) for problem in error.problems)


def _command_options() -> set[str]:
    """Return the options of the command that the user called."""
    context = click.get_current_context()
    return {*context.help_option_names, *(word for item in context.command.params for word in item.opts)}


def _read(file: str) -> str:
    """Return the text of a file."""
    try:
        with click.open_file(file, "rb") as stream:
            data: bytes = stream.read(MOST + 1)
    except (OSError, RuntimeError, ValueError) as error:  # also: stdin is closed; no file can have this name
        usage(f"Cannot read {file}: {getattr(error, 'strerror', None) or error}")
    if len(data) > MOST:
        usage(f"{file} is larger than {MOST >> 20} MiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        usage(f"{file}:{line}: This is not UTF-8: {error.reason}.")


def _parse(file: str, text: str) -> dict[str, list[Line]]:
    """Return what the lines request for each sandbox, by name; raise BatchError with every problem."""
    found: dict[str, list[Line]] = {}
    takers: dict[str, str] = {}
    problems: list[Problem] = []
    records = Records()
    for number, line in enumerate(text.split("\n"), 1):
        with _collecting(problems, file, number):
            words = list(_words(line.removesuffix("\r")))
            if not words:
                continue
            options = _line.make_context("attach", words).params
            name = None
            with _collecting(problems, file, number):
                name, _ = locate(records, options.pop("sandbox"))
            link, keywords = attach_options.parse(options.pop("source"), options)
            spec = InterfaceSpec(link, **keywords)
            if name is not None:
                conflicts = _bulk.source_problems(takers, name, [spec])
                problems += (LineProblem.of(problem, file, number) for problem in conflicts)
                found.setdefault(name, []).append(Line(spec, "advertise" in keywords))
    if problems:
        raise BatchError(problems)
    return found


def _words(line: str) -> Iterator[str]:
    """Yield the words of a line, split as in a shell; a # where a word would begin starts a comment."""
    if len(line) > LONGEST:
        usage(f"This is longer than {LONGEST >> 10} KiB")
    if found := _CONTROL.search(line):
        usage(f"This is not text: it contains the character {found[0]!r}")
    stream = io.StringIO(line)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""  # a # inside a word would end the word
    while not _END.match(line, stream.tell()):
        try:
            yield lexer.get_token() or ""
        except ValueError as error:
            usage(str(error))
