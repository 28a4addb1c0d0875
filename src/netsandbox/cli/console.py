"""Output: results go to stdout, as text or as JSON; messages for people go to stderr.

Names and other text may come from a program inside a sandbox. In text, characters that do not print are shown as
escapes, so that they cannot control a terminal. In JSON everything but ASCII is escaped anyway.
"""

import json
import sys
from collections.abc import Sequence
from typing import Self

from netsandbox.errors import NetSandboxError, Problem, SpecError, errno_name


def data(value: object) -> None:
    """Print one JSON document, on one line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def text(*lines: object) -> None:
    """Print lines of text."""
    for line in lines:
        sys.stdout.write(_encodable(escape(str(line)), sys.stdout.encoding) + "\n")


def message(line: object) -> None:
    """Print a message for people."""
    sys.stderr.write(_encodable(f"netsandbox: {escape(str(line))}", sys.stderr.encoding) + "\n")


def escape(words: str) -> str:
    r"""Return *words* with every character that does not print as an escape such as ``\x1b``."""
    return words if words.isprintable() else "".join(c if c.isprintable() else _hex(c) for c in words)


def command(line: str) -> str:
    r"""Return a shell command with each character that does not print, inside single quotes, as ``$'\x1b'``."""
    return line if line.isprintable() else "".join(c if c.isprintable() else f"'$'{_hex(c)}''" for c in line)


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _encodable(words: str, encoding: str | None) -> str:
    """Return *words* with every character that the encoding lacks as an escape."""
    name = encoding or "utf-8"
    return words.encode(name, "backslashreplace").decode(name)


def heading(words: str) -> None:
    """Print a heading."""
    if sys.stdout.isatty():
        from netsandbox.cli import console_rich  # noqa: PLC0415  rich takes longer to import than all the rest

        console_rich.heading(escape(words))
    else:
        text(f"== {words}")
        sys.stdout.flush()


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", prose: int = 1) -> None:
    """Print a table if it has rows; None is shown as "-", and a terminal may wrap the last *prose* columns."""
    cells = escaped(rows)
    if not cells:
        return
    if sys.stdout.isatty():
        from netsandbox.cli import console_rich  # noqa: PLC0415  rich takes longer to import than all the rest

        console_rich.show(console_rich.table(headers, cells, title=title, prose=prose))
        return
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (headers, *cells)]
    text(*([title] if title else []), *lines)


def escaped(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return rows as text without control characters."""
    return [["-" if cell is None else escape(str(cell)) for cell in row] for row in rows]


def failure(code: str, message: str, number: int | None = None) -> dict[str, dict[str, object]]:
    """Return the JSON of an error: its code in one word, what was requested and the answer, and its errno."""
    name = errno_name(number) if number else None
    fields: dict[str, object] = {"code": code, "errno": name, "message": message, "extack": None, "step": None}
    return {"error": {**fields, "undone": [], "left": []}}


def report(error: NetSandboxError) -> dict[str, dict[str, object]]:
    """Return the JSON of an error of the library."""
    request = f"{error.operation}: " if error.operation else ""
    found = failure(error.code, f"{request}{error.message}", getattr(error, "errno", None))
    found["error"] |= {"extack": getattr(error, "extack", None), "step": error.step}
    found["error"] |= {"undone": list(error.undone), "left": list(error.left)}
    if isinstance(error, SpecError):
        found["error"]["problems"] = [
            {
                **({"file": problem.file, "line": problem.line} if isinstance(problem, LineProblem) else {}),
                **problem._asdict(),
                "value": _plain(problem.value),
            }
            for problem in error.problems
        ]
    return found


def show_error(error: NetSandboxError, *, as_json: bool) -> None:
    """Print an error: as JSON on stdout, or as lines on stderr."""
    if as_json:
        data(report(error))
        return
    request = f"{error.operation}: " if error.operation else ""
    for reason in error.problems if isinstance(error, SpecError) else [error.message]:
        message(f"error: {request}{reason}")
    if error.step:
        message(f"failed at: {error.step}")
    for line in error.undone:
        message(f"undone: {line}")
    for line in error.left:
        message(f"LEFT TO DO BY HAND: {line}")


class LineProblem(Problem):
    """A problem in line *line*, from 1, of the file *file*; the field of a line that cannot be parsed is "usage"."""

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
