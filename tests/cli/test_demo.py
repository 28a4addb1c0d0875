"""demo: runs in namespaces of its own, with root and without, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEMO = [sys.executable, "-m", "netsandbox", "demo"]
# Drops the capabilities that the demo needs, as for a user without root. A new user namespace grants them, but root
# needs CAP_SETFCAP to map itself to root in that namespace (user_namespaces(7)).
UNPRIVILEGED = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]


@pytest.fixture(autouse=True)
def nothing_is_left(run_netns: Path) -> Iterator[None]:
    """Check that a demo changes neither the test's host nor its runtime directories."""
    here = os.stat(lab.OWN).st_ino  # noqa: PTH116
    with lab.comes_back():
        yield
    assert os.stat(lab.OWN).st_ino == here  # noqa: PTH116
    assert not run_netns.exists()


def play(*words: str, before: tuple[str, ...] = (), **environment: str) -> str:
    command = [*before, *DEMO, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("before", [[], UNPRIVILEGED], ids=["root", "user"])
def test_demo_runs_with_and_without_root(before: list[str]) -> None:
    """The demo runs as root, and without root in a new user namespace, and leaves no sandbox."""
    said = play(before=tuple(before))
    headings = [line for line in said.splitlines() if line.startswith("== ")]
    assert len(headings) == 7
    assert ("in new user, network" in said) == bool(before)
    assert said.count(" ms\n") == 4
    assert "ip link set dev veth-alice netns alice name eth0 mtu 1400" in said
    assert "ENETUNREACH (Nexthop has invalid gateway)" in said
    assert "are as before" in said
    assert "sandboxes left: none" in said


def test_demo_needs_neither_ip_nor_ping(tmp_path: Path) -> None:
    assert play(PATH=str(tmp_path)).count(" ms\n") == 4


def test_demo_json_is_one_document() -> None:
    """`demo --json` prints one JSON document: interfaces, pings, statistics and the error that was rolled back."""
    told = json.loads(play("--json"))
    assert list(told["interfaces"]) == ["switch", "alice", "bob"]
    assert [item["ifname"] for item in told["interfaces"]["switch"]] == ["br0", "port0", "port1"]
    assert {item["master"] for item in told["interfaces"]["switch"][1:]} == {"br0"}
    assert len(told["pings"]) == 4
    assert all(item["ms"] > 0 for item in told["pings"])
    assert told["statistics"]["alice"]["stats64"]["rx"]["packets"] >= 4
    assert told["rollback"]["error"]["errno"] == "ENETUNREACH"
    assert told["rollback"]["error"]["undone"]
    assert (told["rolled_back"], told["left"]) == (True, [])


def test_demo_exits_with_130_on_sigint() -> None:
    """On SIGINT the demo exits with 130, prints no error, and leaves no process behind."""
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout
        assert process.stdout.readline() == "== A host of its own\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr
        assert process.stderr.read().strip() == ""
    with pytest.raises(ProcessLookupError):  # the demo's process group is empty
        os.killpg(process.pid, 0)


def test_demo_without_user_namespaces_asks_for_root() -> None:
    """If no user namespace can be created, the demo fails with ENOSPC and says that it needs root."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", forbid, "sh", *UNPRIVILEGED, *DEMO, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["errno"]) == ("kernel", "ENOSPC")
    assert "it takes root, or a kernel that gives user namespaces to everyone" in error["message"]
