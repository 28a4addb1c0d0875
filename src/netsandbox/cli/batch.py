"""attach --batch: each line of a file is an attach, and those of one sandbox are one operation.

A line is read by the parser of the command itself. All that is wrong in any of them is told before anything is touched.
"""

import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import click

from netsandbox import _bulk
from netsandbox._run.lifecycle import locate
from netsandbox._run.transaction import Records
from netsandbox._system import namespace
from netsandbox.cli import advertise, bulk, console, render_json, render_text
from netsandbox.cli.app import Settings, opened, usage
from netsandbox.cli.attach_options import asked, wish_options
from netsandbox.cli.console import LineProblem
from netsandbox.errors import Problem, SpecError
from netsandbox.interface import Interface, with_dropped
from netsandbox.sandbox import Sandbox
from netsandbox.spec import InterfaceSpec

MOST = 16 << 20  # bytes of a file
LONGEST = 128 << 10  # characters of a line: a parser of arguments takes time that grows with the square of them
_NO_TEXT = re.compile(r"[\0-\x08\x0b-\x1f\x7f]")
_END = re.compile(r"[ \t]*(#|$)")


@click.command(add_help_option=False)
@click.argument("sandbox")
@wish_options
def _line(**_: object) -> None:
    """Stand for a line: only its parser is used."""


class Wish(NamedTuple):
    """What a line wishes for, and whether it says how often that is advertised."""

    spec: InterfaceSpec
    advertised: bool


class BatchError(SpecError):
    """Something in a file makes no sense: its code is "usage" if any line could not be understood."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.code = "usage" if any(problem.field == "usage" for problem in problems) else self.code


def attach(settings: Settings, file: str, *, create: bool) -> int:
    """Do what the lines of a file say, sandbox by sandbox, and return the exit status."""
    given = click.get_current_context().params
    if any(given[item.name] not in (None, ()) for item in _line.params):
        usage("With --batch, SANDBOX, SOURCE and what is asked for stand in the lines of the file.")
    wishes = _parse(file, _read(file))
    if not settings.dry_run:
        return _carry_out(settings, wishes, create=create)
    plan = _creating if create else _attaching
    specs = {name: [wish.spec for wish in lines] for name, lines in wishes.items()}
    settings.show_plan(tuple(command for item in specs.items() for command in plan(*item)))
    return 0


def _creating(name: str, specs: Sequence[InterfaceSpec]) -> tuple[str, ...]:
    """Return the commands that creating a sandbox with its interfaces comes to."""
    return Sandbox.plan_create(name, interfaces=specs).commands


def _attaching(name: str, specs: Sequence[InterfaceSpec]) -> tuple[str, ...]:
    """Return the commands that plugging in comes to."""
    with opened(name, dry_run=True) as box:
        return box.plan(box.add_interfaces, specs).commands


def _carry_out(settings: Settings, wishes: Mapping[str, Sequence[Wish]], *, create: bool) -> int:
    """Do what is wished for; as many sandboxes as may be are held open until their interfaces were advertised."""
    room = namespace.room() // 2  # each holds descriptors of the host besides
    due: list[tuple[Sandbox, Interface, bool]] = []

    def finish() -> None:
        for box, line in advertise.finish(due):
            console.complain(f"{box.name}: {line}")
        due.clear()
        held.close()

    def work(name: str, lines: Sequence[Wish]) -> _Done:
        if len(due) >= room:
            finish()
        specs = [line.spec for line in lines]
        with ExitStack() as stack:
            box = stack.enter_context(Sandbox.create(name, interfaces=specs) if create else opened(name))
            made = with_dropped(specs, box.interfaces) if create else box.add_interfaces(specs)
            shown = [render_json.interface(item) for item in made] if settings.json else []
            due.extend((box, item, line.advertised) for item, line in zip(made, lines, strict=False))
            held.push(stack.pop_all())
        return _Done(name, box.path, made, shown)

    what, operation = ("creating", "create sandboxes") if create else ("attaching", "attach to sandboxes")
    with ExitStack() as held:
        with bulk.watched(what, len(wishes), settings) as progress:
            done = _bulk.each(operation, wishes, work, progress)
        for item in done:
            for made in item.made:
                if not settings.json:
                    console.text(f"{item.name} {render_text.line(made)}")
                for line in render_text.dropped(made):
                    console.complain(f"{item.name}: {line}")
        status = bulk.conclude(settings, done, _Done.json)
        finish()
    return status


class _Done(NamedTuple):
    name: str
    path: str
    made: Sequence[Interface]
    shown: Sequence[render_json.Json]

    def json(self) -> render_json.Json:
        return {"name": self.name, "path": self.path, "interfaces": self.shown}


class _Noting:
    """Notes what is wrong in a line, which is raised no further."""

    def __init__(self, problems: list[Problem], file: str, line: int) -> None:
        self._problems = problems
        self._place = file, line

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, click.UsageError):
            reason = error.format_message().removesuffix(".")
            if isinstance(error, click.NoSuchOption) and error.option_name in _options_of_all():
                reason = f"{error.option_name} belongs to the whole command, not to a line"
            self._problems.append(LineProblem.of(Problem("usage", None, reason), *self._place))
        elif isinstance(error, SpecError):
            self._problems += (LineProblem.of(problem, *self._place) for problem in error.problems)
        else:
            return False
        return True


def _options_of_all() -> set[str]:
    """Return the options of the whole command."""
    context = click.get_current_context()
    return {*context.help_option_names, *(word for item in context.command.params for word in item.opts)}


def _read(file: str) -> str:
    """Return the text of a file."""
    try:
        with click.open_file(file, "rb") as stream:
            data: bytes = stream.read(MOST + 1)
    except (OSError, RuntimeError, ValueError) as error:  # of no standard input, or of a name that no file can have
        usage(f"Cannot read {file}: {getattr(error, 'strerror', None) or error}")
    if len(data) > MOST:
        usage(f"{file} is larger than {MOST >> 20} MiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        usage(f"{file}:{line}: This is not UTF-8: {error.reason}.")


def _parse(file: str, lines: str) -> dict[str, list[Wish]]:
    """Return what lines wish for in each sandbox, by name.

    Raises:
        BatchError: Something in them makes no sense; all that is wrong is in it.
    """
    found: dict[str, list[Wish]] = {}
    takers: dict[str, str] = {}
    problems: list[Problem] = []
    records = Records()
    for number, line in enumerate(lines.split("\n"), 1):
        noting = _Noting(problems, file, number)
        with noting:
            words = list(_words(line.removesuffix("\r")))
            if not words:
                continue
            options = _line.make_context("attach", words).params
            name = spec = None
            with noting:
                name, _ = locate(records, options.pop("sandbox"))
            with noting:
                wish, keywords = asked(options.pop("source"), options)
                spec = InterfaceSpec(wish, **keywords)
            if name is None or spec is None:
                continue
            if isinstance(spec.source, str) and takers.setdefault(spec.source, name) != name:
                reason = f"cannot go to {takers[spec.source]} and to {name}"
                raise SpecError([Problem("source", spec.source, reason)])
            found.setdefault(name, []).append(Wish(spec, "advertise" in keywords))
    if problems:
        raise BatchError(problems)
    return found


def _words(line: str) -> Iterator[str]:
    """Yield the words of a line, as a shell tells them apart; # begins a comment where a word would begin."""
    if len(line) > LONGEST:
        usage(f"This is longer than {LONGEST >> 10} KiB")
    if found := _NO_TEXT.search(line):
        usage(f"This is no text: it has the character {found[0]!r}")
    stream = io.StringIO(line)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""  # which would end a word that has a # in it
    while not _END.match(line, stream.tell()):
        try:
            yield lexer.get_token() or ""
        except ValueError as error:
            usage(str(error))
