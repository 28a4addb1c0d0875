"""Prints: stdout is data, as text or as JSON; stderr is for people.

Names and texts may come from inside a sandbox, where any program may have chosen them. In text, a character that does
not print is shown as an escape, so that it cannot control a terminal. In JSON, all but ASCII is escaped anyway.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Self

from netsandbox.errors import NetSandboxError, Problem, SpecError, errno_name


def data(value: object) -> None:
    """Print one JSON document, on one line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def text(line: object) -> None:
    """Print one line of text."""
    sys.stdout.write(_encodable(escape(str(line)), sys.stdout.encoding) + "\n")


def complain(line: object) -> None:
    """Tell the person at the terminal something."""
    sys.stderr.write(_encodable(f"netsandbox: {escape(str(line))}", sys.stderr.encoding) + "\n")


def escape(words: str) -> str:
    r"""Return *words* with every character that does not print as an escape such as ``\x1b``."""
    return words if words.isprintable() else "".join(c if c.isprintable() else _hex(c) for c in words)


def command(line: str) -> str:
    r"""Return a shell command with what does not print, which stands in single quotes there, as ``$'\x1b'``."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else f"'$'{_hex(c)}''" for c in line)


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _encodable(words: str, encoding: str | None) -> str:
    """Return *words* with what the terminal's encoding lacks as an escape."""
    name = encoding or "utf-8"
    return words.encode(name, "backslashreplace").decode(name)


def commands(lines: Iterable[str], *, as_json: bool) -> None:
    """Print the commands of a plan, so that a shell takes them, or as a JSON list."""
    if as_json:
        data(list(lines))
    else:
        for line in lines:
            text(command(line))


def heading(words: str) -> None:
    """Print the heading of a part."""
    if sys.stdout.isatty():
        from netsandbox.cli import console_rich  # noqa: PLC0415  rich takes longer to import than all the rest

        console_rich.heading(escape(words))
    else:
        text(f"== {words}")
        sys.stdout.flush()


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", prose: int = 1) -> None:
    """Print rows under headers: as a table on a terminal, otherwise as aligned plain text. Without rows, nothing.

    Args:
        headers: What stands above the columns.
        rows: Their cells.
        title: What stands above it all.
        prose: How many columns, the last ones, may be wrapped on a terminal.
    """
    cells = escaped(rows)
    if not cells:
        return
    if sys.stdout.isatty():
        from netsandbox.cli import console_rich  # noqa: PLC0415  rich takes longer to import than all the rest

        console_rich.show(console_rich.table(headers, cells, title=title, prose=prose))
        return
    if title:
        text(title)
    for line in aligned([headers, *cells]):
        text(line)


def escaped(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return rows as text that can be shown."""
    return [[escape(str(cell)) for cell in row] for row in rows]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def failure(
    code: str,
    message: str,
    *,
    number: int | None = None,
    extack: str | None = None,
    step: str | None = None,
    undone: Iterable[str] = (),
    left: Iterable[str] = (),
) -> dict[str, dict[str, object]]:
    """Return an error as programs get it.

    Args:
        code: What kind of error it is, in one word.
        message: What was asked for and what came back.
        number: The errno.
        extack: The kernel's own words.
        step: The command at which it stopped.
        undone: The commands that took back what had been done.
        left: The commands that are still to be carried out by hand.
    """
    name = errno_name(number) if number else None
    fields = {"code": code, "errno": name, "message": message, "extack": extack, "step": step}
    return {"error": {**fields, "undone": list(undone), "left": list(left)}}


def tell(error: NetSandboxError, *, as_json: bool) -> None:
    """Tell what went wrong: JSON on stdout for programs, or lines on stderr for people."""
    if as_json:
        data(report(error))
        return
    asked = f"{error.operation}: " if error.operation else ""
    lines = [str(problem) for problem in error.problems] if isinstance(error, SpecError) else [error.message]
    for line in lines:
        complain(f"error: {asked}{line}")
    if error.step:
        complain(f"failed at: {error.step}")
    for line in error.undone:
        complain(f"undone: {line}")
    for line in error.left:
        complain(f"LEFT TO DO BY HAND: {line}")


def report(error: NetSandboxError) -> dict[str, dict[str, object]]:
    """Return what went wrong as programs get it."""
    found = failure(
        error.code,
        f"{error.operation}: {error.message}" if error.operation else error.message,
        number=getattr(error, "errno", None),
        extack=getattr(error, "extack", None),
        step=error.step,
        undone=error.undone,
        left=error.left,
    )
    if isinstance(error, SpecError):
        found["error"]["problems"] = [
            {
                **({"file": problem.file, "line": problem.line} if isinstance(problem, LineProblem) else {}),
                "field": problem.field,
                "value": _plain(problem.value),
                "reason": problem.reason,
            }
            for problem in error.problems
        ]
    return found


class LineProblem(Problem):
    """Something that is wrong in a line of a file; what cannot be understood at all has the field "usage".

    Attributes:
        file: Name of the file.
        line: Number of the line, from 1.
    """

    file: str
    line: int

    @classmethod
    def of(cls, problem: Problem, file: str, line: int) -> Self:
        """Return a problem as one of a line."""
        made = cls(*problem)
        made.file, made.line = file, line
        return made

    def __str__(self) -> str:
        """Name the place, then the problem."""
        return f"{self.file}:{self.line}: {self.reason if self.field == 'usage' else super().__str__()}"


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
