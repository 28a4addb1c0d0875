"""create and destroy with many names: each sandbox is atomic, and failures are reported at the end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from netsandbox import Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("host")
NAMES = [f"s{number}" for number in range(10)]
SLOW = """
import signal, sys
from netsandbox import Sandbox
from netsandbox.cli import main
unpin = Sandbox._unpin

def slow(box):
    if box.name == "s1":
        print("under way", flush=True)
        signal.pause()
    return unpin(box)

Sandbox._unpin = slow
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores SIGINT in background processes
main()
"""


def test_create_and_destroy_take_many_names(cli: Cli, tmp_path: Path) -> None:
    """`create` and `destroy` take many names and print nothing; `destroy` ignores a repeated name."""
    assert cli("create", *NAMES) == (0, "", "")
    assert Sandbox.list() == NAMES
    assert "UP" in lab.link("lo", str(tmp_path / "netns" / "s9"))["flags"]
    assert cli("destroy", *NAMES, "s0") == (0, "", "")
    assert cli("destroy --all").out == cli("ls").out == ""


def test_bulk_failure_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    """`create` and `destroy` go on after a sandbox that fails, and report every failure at the end."""
    cli("create web")
    told = cli("create a web b", status=1)
    assert told.err.splitlines()[1:] == ["netsandbox: 2 done, 1 failed: web"]
    assert "create sandbox web: EEXIST (a sandbox of this name exists)" in told.err
    found = cli("create c web -j", status=1).json
    assert found["done"] == [{"name": "c", "path": f"{tmp_path}/netns/c"}]
    [failed] = found["failed"]
    assert (failed["sandbox"], failed["error"]["code"], failed["error"]["errno"]) == ("web", "sandbox-exists", "EEXIST")
    assert cli("create web d --replace --json").json["failed"] == []
    lab.veth()
    cli("attach a v0")
    lab.ip("link add v0 type bridge")
    assert "3 done, 1 failed: a" in cli("destroy a b c d", status=1).err
    found = cli("destroy --all --json", status=1).json
    assert found["done"] == [{"name": "web"}]
    assert (found["failed"][0]["sandbox"], found["failed"][0]["error"]["code"]) == ("a", "name-conflict")
    assert Sandbox.list() == ["a"]
    lab.ip("link delete v0")
    assert cli("destroy -aj").json == {"done": [{"name": "a"}], "failed": []}
    assert "v0" in lab.links()


def test_create_rejects_invalid_names_up_front(cli: Cli) -> None:
    """`create` rejects invalid and repeated names before it creates any sandbox."""
    error = cli("create a", "b c", "a", "-j", status=1).error
    assert [problem["field"] for problem in error["problems"]] == ["name", "name"]
    assert "is given twice" in error["problems"][1]["reason"]
    assert Sandbox.list() == []


@pytest.mark.parametrize("words", ["create", "destroy", "destroy --all web"])
def test_bulk_commands_need_names_or_all(cli: Cli, words: str) -> None:
    """`create` needs names; `destroy` takes either names or --all."""
    assert cli(f"{words} -j", status=2).error["code"] == "usage"


def test_bulk_plan_covers_every_sandbox(cli: Cli, run_netns: Path) -> None:  # noqa: ARG001
    """--dry-run prints the commands for every sandbox, one sandbox after the other, and changes nothing."""
    plans = [cli("create -n", name).lines for name in "ab"]
    assert cli("create -n a b").lines == cli("create -nj a b").json == [line for plan in plans for line in plan]
    assert Sandbox.list() == []
    cli("create a b")
    assert cli("destroy -n a b").lines == cli("destroy --all -n").lines == ["ip netns delete a", "ip netns delete b"]
    assert cli("create -n --replace a").lines[0] == "ip netns delete a"
    cli("destroy a b")


def test_progress_bar_only_on_a_terminal_without_json() -> None:
    """`create` and `destroy` draw a progress bar on a terminal for ten sandboxes, not for three or with --json."""

    def shown(*words: str) -> str:
        mine, theirs = pty.openpty()
        settings = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
        command = [sys.executable, "-m", "netsandbox", *words]
        subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, check=True, env=settings)
        os.write(theirs, b"\n.")  # so that os.read() does not block
        os.close(theirs)
        seen = os.read(mine, 65536).decode()
        os.close(mine)
        return seen

    assert "creating" in shown("create", *NAMES)
    assert "10/10" in shown("destroy", *NAMES)
    assert [shown("create", *NAMES, "--json"), shown("destroy", *NAMES[:3])] == ["\r\n.", "\r\n."]
    shown("destroy", "--all", "--json")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupt_reports_done_and_not_done(cli: Cli, number: signal.Signals) -> None:
    """On SIGINT or SIGTERM, `destroy --all` reports which sandboxes are destroyed and which are not."""
    cli("create s0 s1 s2")
    command = [sys.executable, "-c", SLOW, "destroy", "--all"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    assert running.stdout.readline() == "under way\n"
    running.send_signal(number)
    _, told = running.communicate()
    assert running.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert told.rstrip() == "netsandbox: destroy sandboxes was interrupted; done: s0; not done: s1, s2"
    cli("destroy s1 s2")
