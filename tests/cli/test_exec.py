"""exec: the program is in the sandbox, and takes the place of the command line."""

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
def test_a_program_runs_inside_and_its_status_is_passed_on(program: Cli, box: Sandbox, dashes: list[str]) -> None:
    done = program("exec", "box", *dashes, "sh", "-c", "stat -Lc %i /proc/self/ns/net; echo no >&2; exit 7", status=7)
    assert int(done.out) == Path(box.path).stat().st_ino
    assert done.err == "no\n"


def test_options_after_the_sandbox_are_those_of_the_program(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    assert program("exec", "box", "printf", "%s.", "--json", "--help", "--", "-n").out == "--json.--help.--.-n."
    assert program("exec", "--json", "box", "--", "printf", "%s.", "--").out == "--."


def test_it_takes_the_place_of_the_command_line(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    program("exec", "box", "sh", "-c", "kill -9 $$", status=-signal.SIGKILL)
    shell = "import os; print(len(os.listdir('/proc/self/task')), os.readlink('/proc/self/ns/net'))"
    one_thread = program("exec", "box", "python3", "-c", shell).out.split()[0]
    assert one_thread == "1"
    assert program("exec", "box", "cat", input="through\n").out == "through\n"


def test_signals_and_descriptors_are_as_a_program_expects(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    ignored = program("exec", "box", "sh", "-c", "grep SigIgn /proc/$$/status").out.split()[1]
    assert not int(ignored, 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)
    assert program("exec", "box", "sh", "-c", "ls /proc/$$/fd").out.split() == ["0", "1", "2"]


def test_a_missing_program_is_127_and_one_that_cannot_run_126(program: Cli, box: Sandbox, tmp_path: Path) -> None:  # noqa: ARG001
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


def test_a_missing_sandbox_is_1_and_a_missing_program_name_2(program: Cli, box: Sandbox) -> None:  # noqa: ARG001
    assert program("exec", "-j", "nope", "true", status=1).error["code"] == "sandbox-not-found"
    assert program("exec", "-j", "box", "--", status=2).error["code"] == "usage"
    assert program("exec", "-j", "box", status=2).error["code"] == "usage"


def test_the_environment_and_directory_are_kept(program: Cli, box: Sandbox, tmp_path: Path) -> None:  # noqa: ARG001
    done = program("exec", "box", "sh", "-c", "pwd; echo $COLOUR", cwd=tmp_path, env={**os.environ, "COLOUR": "blue"})
    assert done.out.split() == [str(tmp_path), "blue"]
