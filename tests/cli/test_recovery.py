"""Recovery: a terminated command rolls back; the next command or prune cleans up after a killed command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import InterfaceSpec, Sandbox
from netsandbox._system import store
from tests.kernel import faults, lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("host")
SLOW = """
import signal, sys
from netsandbox._steps import SetUp
from netsandbox.cli import main

def apply(self, world, plain=SetUp.apply):
    if not self.new:
        return plain(self, world)
    print("under way", flush=True)
    signal.pause()

SetUp.apply = apply
main()
"""


def interrupted() -> None:
    """Leave an attach half done: kill the process after the link has moved into the sandbox."""

    def program(arm: faults.Switch, disarm: faults.Switch) -> None:
        with Sandbox.open("box") as made:
            arm()
            made.add_interfaces([InterfaceSpec("v0", addresses=["10.0.0.2/24"])])
            disarm()

    calls = faults.count(program, "sendto")["sendto"]
    with Sandbox.open("box") as made:
        made.interfaces[0].remove()
    assert faults.run(program, "sendto", n=calls - 4, fault=signal.SIGKILL).end == "died"
    assert "v0" not in lab.links()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_rolls_back_a_running_attach(box: Sandbox, number: signal.Signals) -> None:
    """On SIGTERM or SIGINT a running `attach` rolls back and exits with 143 or 130."""
    lab.veth("v0", "p0")
    with lab.comes_back(box.path):
        command = [sys.executable, "-c", SLOW, "attach", box.name, "v0"]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert running.stdout
        assert running.stdout.readline() == b"under way\n"
        running.send_signal(number)
        running.communicate()
        assert running.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]


def test_next_command_reports_what_it_rolled_back(cli: Cli, box: Sandbox) -> None:
    """The next command for a sandbox rolls back an attach that was killed, and reports the rollback on stderr."""
    lab.veth("v0", "p0")
    with lab.comes_back(box.path):
        interrupted()
        done = cli(f"inspect {box.name} --json")
    assert "rolled back what was interrupted: attach v0 to sandbox box" in done.err


def test_prune_rolls_back_an_interrupted_attach(cli: Cli, box: Sandbox) -> None:
    """`prune` rolls back and reports an attach that was killed; `prune --dry-run` only reports the attach."""
    lab.veth("v0", "p0")
    with lab.comes_back(box.path):
        interrupted()
        assert cli("prune --dry-run").out == "box: interrupted: attach v0 to sandbox box\n"
        assert "v0" not in lab.links()
        assert cli("prune").out == "rolled back what was interrupted: attach v0 to sandbox box\n"
    assert cli("prune --json").out.strip() == "[]"


def test_prune_deletes_records_of_deleted_namespaces(cli: Cli, run_netns: Path) -> None:
    """`prune` deletes the record of a sandbox whose namespace was deleted by ip-netns(8), and keeps other sandboxes."""
    cli("create web")
    cli("create kept")
    lab.ip("netns delete web")
    assert cli("prune --dry-run").out == f"web: its namespace is no longer at {run_netns}/web\n"
    assert Sandbox.list() == ["kept", "web"]
    cli("prune")
    assert Sandbox.list() == ["kept"]
    cli("destroy kept")


def test_pins_of_another_mount_namespace_are_kept(
    cli: Cli,
    run_netns: Path,  # noqa: ARG001
) -> None:
    """No command deletes a pin made in another mount namespace, although that pin looks like an empty file."""
    # unlink(2) would detach the mount in every mount namespace, and the kernel would destroy the network namespace
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
        assert elsewhere.stdout
        elsewhere.stdout.readline()

        def there(*words: str) -> tuple[int, str]:
            enter = [
                "nsenter",
                f"--mount=/proc/{elsewhere.pid}/ns/mnt",
                f"--wd={Path.cwd()}",
                sys.executable,
                "-m",
                "netsandbox",
            ]
            done = subprocess.run([*enter, *words], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr

        with Sandbox.create("box") as box:
            lab.veth("v0", "p0")
            box.add_interface("v0")
            with lab.comes_back(box.path):
                assert there("prune", "--dry-run") == there("prune") == (0, "")
                for words in (
                    ("inspect", "box"),
                    ("create", "box"),
                    ("create", "box", "--replace"),
                    ("destroy", "box"),
                ):
                    status, said = there(*words)
                    assert status == 1
                    hidden = "may be in another mount namespace; if not, delete that file" in said
                    assert hidden or "netsandbox did not pin it there" in said
            box.remove_interface("eth0")
            interrupted()
            with lab.comes_back(box.path):
                status, said = there("prune")
            assert (status, "attach v0 to sandbox box was interrupted: nothing is mounted on" in said) == (1, True)
            assert Sandbox.recover() == ("rolled back what was interrupted: attach v0 to sandbox box",)
            assert "v0" in lab.links()
            box.destroy()
        elsewhere.communicate(b"\n")
    assert cli("prune").out == ""


def test_records_of_an_earlier_boot_are_deleted(cli: Cli, run_netns: Path) -> None:
    """The next command deletes a record of an earlier boot, and its pin file if nothing is mounted there."""
    cli("create old")
    record = Path("/run/netsandbox/old.json")
    lab.ip("netns delete old")
    (run_netns / "old").touch(mode=0o444)
    lab.age(record)
    refused = cli("inspect old", status=1)
    assert "before the machine was started again" in refused.err
    assert not record.exists()
    assert not (run_netns / "old").exists()


def test_prune_deletes_drafts_and_locks_of_killed_processes(cli: Cli, box: Sandbox) -> None:
    """`prune` deletes drafts and locks left by killed processes, and keeps locks that are held and unrelated files."""
    kept = store.Store()
    records = Path(kept.records)
    orphans = [records / name for name in (".draft-box.json", ".draft-new.json", ".lock-new.json", ".lock-%2Fa.json")]
    strange = [records / name for name in (".draft", ".lockout-x.json", "not-ours")]
    for file in (*orphans, *strange):
        file.touch()

    def said() -> list[str]:
        return sorted(f"{file}: left behind by a process that was killed" for file in orphans if file.exists())

    everything = sorted(records.iterdir())
    with kept.locked("new", keep=True):
        assert sorted(cli("prune --dry-run").lines) == [words for words in said() if "-new" not in words]
    assert sorted(cli("prune --dry-run").lines) == said()
    assert sorted(records.iterdir()) == everything
    expected = said()
    assert sorted(cli("prune").lines) == expected
    assert not any(file.exists() for file in orphans)
    assert cli("prune").out == ""
    assert box.interfaces == ()
    for file in strange:
        file.unlink()


def test_prune_deletes_a_draft_without_its_lock(cli: Cli, box: Sandbox) -> None:
    draft = Path(store.Store().records, ".draft-new.json")
    draft.touch()
    words = f"{draft}: left behind by a process that was killed\n"
    assert [cli("prune --dry-run").out, cli("prune").out, cli("prune").out] == [words, words, ""]
    assert sorted(file.name for file in draft.parent.iterdir()) == [".lock-box.json", "box.json"]
    assert Sandbox.list() == [box.name]


def test_prune_reports_drafts_and_locks_it_cannot_delete(cli: Cli, box: Sandbox) -> None:
    records = Path(store.Store().records)
    for name, words in ((".draft-new.json", "EISDIR"), (".lock-new.json", "lock .*: EISDIR")):
        (records / name).mkdir()
        assert re.search(words, cli("prune", status=1).err)
        (records / name).rmdir()
    assert Sandbox.list() == [box.name]
