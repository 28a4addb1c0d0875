"""Every example and every code block of the documentation runs on a fresh host, and leaves nothing behind.

A block that is fenced as ``python`` is a program, or a test if it imports pytest; one fenced as ``sh`` is a script. The
tutorial is one long script. The host has three veths to attach: veth-web, veth-a and veth-b, with the peers web-host,
a-host and b-host.
"""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsandbox import Sandbox

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PROGRAMS = {
    "python": (sys.executable, "-W", "error"),
    "sh": ("sh", "-e"),
    "test": (sys.executable, "-m", "pytest", "-q"),
}
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of every executable block of a document."""
    for kind, text in _BLOCK.findall((ROOT / document).read_text(encoding="utf-8")):
        yield ("test" if "import pytest" in text else kind), text


def run(kind: str, file: Path) -> str:
    """Run a program that must not fail, nor write to stderr if it is Python, and return its output."""
    # The commands of this environment come first, and no configuration of the repository is read.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [*PROGRAMS[kind], str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=file.parent, env=environment, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert kind == "sh" or not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
@pytest.mark.usefixtures("run_netns")
def test_an_example_runs_and_restores_the_host(example: Path) -> None:
    before = lab.snapshot()
    assert run("python", example)
    assert lab.snapshot() == before


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param(kind, text, id=f"{document}-{number}")
        for document in ("README.md", "docs/index.md", "docs/how-to.md", "docs/errors.md")
        for number, (kind, text) in enumerate(blocks(document), 1)
    ],
)
@pytest.mark.usefixtures("run_netns")
def test_code_in_the_documentation_runs(kind: str, text: str, tmp_path: Path) -> None:
    for name in ("web", "a", "b"):
        lab.veth(f"veth-{name}", f"{name}-host")
    file = tmp_path / "test_block.py"
    file.write_text(text, encoding="utf-8")
    run(kind, file)


@pytest.mark.usefixtures("run_netns")
def test_the_tutorial_can_be_followed_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "tutorial.sh"
    file.write_text("".join(text for _, text in blocks("docs/tutorial.md")), encoding="utf-8")
    before = lab.snapshot()
    assert "0% packet loss" in run("sh", file)
    assert lab.snapshot() == before


def test_every_test_that_the_documentation_names_exists() -> None:
    files = [*ROOT.glob("tests/**/test_*.py")]
    known = {name for file in files for name in re.findall(r"(?m)^def (test_\w+)", file.read_text(encoding="utf-8"))}
    known |= {file.name for file in files}
    documents = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    named = {name for file in documents for name in re.findall(r"`(?:tests/\w+/)?(test_[\w.*]+)`", file.read_text())}
    assert len(named) > len("ABCDE")
    assert {name for name in named if not fnmatch.filter(known, name)} == set()


def test_ip_leaves_a_link_inside_when_its_name_is_taken(box: Sandbox) -> None:
    """If a name is taken inside, `ip link set netns name` fails but leaves the link inside."""
    lab.veth("v0", "p0")
    lab.veth("eth0", "q0", netns=box.path)
    command = f"ip link set v0 netns {box.path} name eth0".split()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "RTNETLINK answers: File exists\n")
    assert ("v0" in lab.links(), "v0" in lab.links(box.path)) == (False, True)
