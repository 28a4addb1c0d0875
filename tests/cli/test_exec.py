"""exec: the program runs in the sandbox and replaces the process of the command line."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox import Sandbox
    from tests.cli.conftest import Result

    Cli = Callable[..., Result]


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_exec_runs_inside_and_returns_the_status(program: Cli, box: Sandbox, dashes: list[str]) -> None:
    """`exec` runs a program in the sandbox's namespace and exits with the program's status."""
    done = program("exec", "box", *dashes, "sh", "-c", "stat -Lc %i /proc/self/ns/net; echo no >&2; exit 7", status=7)
    assert int(done.out) == Path(box.path).stat().st_ino
    assert done.err == "no\n"


def test_options_after_the_sandbox_go_to_the_program(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    assert program("exec", "box", "printf", "%s.", "--json", "--help", "--", "-n").out == "--json.--help.--.-n."
    assert program("exec", "--json", "box", "--", "printf", "%s.", "--").out == "--."


def test_exec_replaces_its_process(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    """`exec` replaces its own process: the program has one thread, gets stdin, and its death by a signal is visible."""
    program("exec", "box", "sh", "-c", "kill -9 $$", status=-signal.SIGKILL)
    shell = "import os; print(len(os.listdir('/proc/self/task')), os.readlink('/proc/self/ns/net'))"
    one_thread = program("exec", "box", "python3", "-c", shell).out.split()[0]
    assert one_thread == "1"
    assert program("exec", "box", "cat", input="through\n").out == "through\n"


def test_exec_restores_signals_and_closes_descriptors(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    """`exec` starts the program with SIGPIPE and SIGXFSZ not ignored, and with descriptors 0, 1 and 2 only."""
    ignored = program("exec", "box", "sh", "-c", "grep SigIgn /proc/$$/status").out.split()[1]
    assert not int(ignored, 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)
    assert program("exec", "box", "sh", "-c", "ls /proc/$$/fd").out.split() == ["0", "1", "2"]


def test_exec_exits_with_127_or_126(program: Cli, box: Sandbox, tmp_path: Path) -> None:  # noqa: ARG001
    """`exec` exits with 127 if the program does not exist, and with 126 if it cannot be executed."""
    assert program("exec", "box", "no-such-program", status=127).err.startswith(
        "netsandbox: error: run no-such-program: "
    )
    error = program("exec", "-j", "box", "no-such-program", status=127).error
    assert (error["code"], error["errno"]) == ("exec", "ENOENT")
    script = tmp_path / "script"
    script.write_text("neither a script nor a binary\n")
    program("exec", "box", str(script), status=126)
    script.chmod(0o755)
    assert program("exec", "-j", "box", str(script), status=126).error["errno"] == "ENOEXEC"


def test_exec_without_sandbox_or_program_fails(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    """`exec` exits with 1 if the sandbox does not exist, and with 2 if no program is given."""
    assert program("exec", "-j", "nope", "true", status=1).error["code"] == "sandbox-not-found"
    assert program("exec", "-j", "box", "--", status=2).error["code"] == "usage"
    assert program("exec", "-j", "box", status=2).error["code"] == "usage"


def test_exec_keeps_environment_and_directory(program: Cli, box: Sandbox, tmp_path: Path) -> None:  # noqa: ARG001
    done = program("exec", "box", "sh", "-c", "pwd; echo $COLOUR", cwd=tmp_path, env={**os.environ, "COLOUR": "blue"})
    assert done.out.split() == [str(tmp_path), "blue"]
