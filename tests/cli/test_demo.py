"""demo: plays on a host of its own, with root and without, and leaves nothing behind."""

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
# Neither of the capabilities that the demo needs: what a user without root has. A user namespace gives them, but to be
# root in it as root takes CAP_SETFCAP (user_namespaces(7)).
UNPRIVILEGED = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]


@pytest.fixture(autouse=True)
def nothing_is_left(run_netns: Path) -> Iterator[None]:
    """Expect that neither the test's host nor its runtime directories see anything of a demo."""
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
def test_it_plays_with_root_and_without(before: list[str]) -> None:
    said = play(before=tuple(before))
    headings = [line for line in said.splitlines() if line.startswith("== ")]
    assert len(headings) == 7
    assert ("in new user, network" in said) == bool(before)
    assert said.count(" ms\n") == 4
    assert "ip link set dev veth-alice netns alice name eth0 mtu 1400" in said
    assert "ENETUNREACH (Nexthop has invalid gateway)" in said
    assert "are as before" in said
    assert "sandboxes left: none" in said


def test_it_needs_neither_ip_nor_ping(tmp_path: Path) -> None:
    assert play(PATH=str(tmp_path)).count(" ms\n") == 4


def test_programs_get_one_json_document() -> None:
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


def test_an_interruption_ends_it_with_130() -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout
        assert process.stdout.readline() == "== A host of its own\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr
        assert process.stderr.read().strip() == ""
    with pytest.raises(ProcessLookupError):  # no process of it is left
        os.killpg(process.pid, 0)


def test_without_user_namespaces_it_says_what_it_takes() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", forbid, "sh", *UNPRIVILEGED, *DEMO, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["errno"]) == ("kernel", "ENOSPC")
    assert "it takes root, or a kernel that gives user namespaces to everyone" in error["message"]
