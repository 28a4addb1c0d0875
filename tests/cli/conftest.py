"""Fixtures for the tests of the command line.

`cli` runs a command line in the test's own host namespace, in this process. `program` runs a command line as a separate
process, for tests of exec, pipes, signals and terminals.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from netsandbox.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable


class Result(NamedTuple):
    """The exit status and output of a command line."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:  # noqa: ANN401  any JSON
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error object on stdout; stderr must be empty."""
        assert self.err == ""
        assert set(self.json) == {"error"}
        found: dict[str, Any] = self.json["error"]
        return found


@pytest.fixture
def cli(host: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:  # noqa: ARG001
    def run(*words: str, status: int = 0) -> Result:
        with pytest.raises(SystemExit) as end:
            main([part for word in words[:1] for part in word.split()] + list(words[1:]))
        said = capsys.readouterr()
        result = Result(int(end.value.code or 0), said.out, said.err)
        assert result.status == status, f"{words}: {result}"
        return result

    return run


@pytest.fixture
def program(host: None) -> Callable[..., Result]:  # noqa: ARG001
    def run(*words: str, status: int = 0, **options: Any) -> Result:  # noqa: ANN401  those of subprocess.run
        command = [sys.executable, "-m", "netsandbox", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        result = Result(done.returncode, done.stdout, done.stderr)
        assert result.status == status, f"{words}: {result}"
        return result

    return run
