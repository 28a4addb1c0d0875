"""Every snippet of docs/kernel-facts.md runs in namespaces of its own, and answers what its comments say.

A comment after a command has the expected output in double quotes, ``no "..."`` for what must not be in it, and
``nothing`` for an empty output. A command may fail only if it has a comment. Comments inside a program for another
interpreter do not count.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow  # it is about the kernel, and the same with each Python
PAGE = (Path(__file__).parents[2] / "docs/kernel-facts.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)# (.*)$")
_HEREDOC = re.compile(r"<<'(\w+)'")
_QUOTED = re.compile(r'(\bno )?"([^"]*)"')
# Before each command, bash writes the exit status of the one before, and the line number: its own line is the first.
_TRACE = """exec 9>&1 2>&1; trap 'echo "@ $? $LINENO" >&9' DEBUG\n"""
_MARK = re.compile(r"^@ (\d+) (\d+)\n", re.MULTILINE)
_HOST = ["unshare", "-nm", "sh", "-c", "mount -t tmpfs -o mode=755 tmpfs /run && exec bash"]


class Answer(NamedTuple):
    """What the commands of one line did."""

    failed: bool
    output: str


SNIPPETS = [
    pytest.param(text, id=title.lower().replace(" ", "-"))
    for title, section in _SECTION.findall(PAGE)
    for text in _BLOCK.findall(section)
]


def run(snippet: str) -> dict[int, Answer]:
    """Run a snippet in new namespaces; return the answers by the numbers of its lines, from 1 on."""
    done = subprocess.run(_HOST, input=f"{_TRACE}{snippet}:\n", capture_output=True, text=True, check=False, timeout=50)
    first, *marks = _MARK.split(done.stdout)
    assert not first, first + done.stderr
    answers: dict[int, Answer] = {}
    statuses = [*map(int, marks[3::3]), done.returncode]
    for number, output, status in zip(map(int, marks[1::3]), marks[2::3], statuses, strict=True):
        before = answers.get(number - 1, Answer(failed=False, output=""))
        answers[number - 1] = Answer(before.failed or status != 0, before.output + output)
    return answers


def commented(snippet: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield number, text and comment of the lines that are shell."""
    end = None
    for number, line in enumerate(snippet.splitlines(), 1):
        if end is None:
            found = _COMMENT.search(line)
            yield number, line, found[1] if found else None
            heredoc = _HEREDOC.search(line)
            end = heredoc[1] if heredoc else None
        elif line == end:
            end = None


def differences(snippet: str) -> list[str]:
    """Run a snippet; return the lines that did something else than their comments say."""
    answers = run(snippet)
    wrong = []
    for number, line, comment in commented(snippet):
        failed, output = answers.get(number, Answer(failed=False, output=""))
        expected = _QUOTED.findall(comment or "")
        agrees = all((text in output) != bool(no) for no, text in expected)
        agrees = agrees and not (comment is None and failed) and not (comment == "nothing" and output.strip())
        if not agrees:
            wrong.append(f"{line}\n{output}")
    return wrong


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_kernel_fact_is_seen_as_documented(snippet: str) -> None:
    """Each command of a snippet answers what its comment says, and succeeds if it has no comment."""
    assert differences(snippet) == []


@pytest.mark.parametrize(
    "line",
    [
        'ip link set lo up # "File exists"',
        'ip -brief link # no "lo"',
        "ip -brief link # nothing",
        "ip link show missing",
        'python3 - <<END # "2"\nprint(1)\nEND',
        "for name in lo missing lo; do ip link show $name; done",
    ],
)
def test_a_wrong_comment_is_found(line: str) -> None:
    """A snippet whose comment differs from the answer, or whose command fails without a comment, is reported."""
    assert len(differences(f"true\n{line}\ntrue\n")) == 1


def test_the_page_has_a_snippet_for_most_facts() -> None:
    """The test finds the snippets of the page."""
    assert len(SNIPPETS) == len(_BLOCK.findall(PAGE)) - 1 > 40  # the first one is the shell to run them in
