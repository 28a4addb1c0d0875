"""stats: counters are checked with ip -j -s -s link."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from netsandbox import Neighbor
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox import Sandbox
    from tests.cli.conftest import Result

    Cli = Callable[..., Result]


@pytest.fixture
def path(box: Sandbox) -> str:
    """Attach two interfaces, one of which has sent packets, and return the sandbox's path."""
    lab.veth()
    lab.sysctl("ipv6/conf/p0/disable_ipv6", "1")  # IPv6 sends packets by itself, at any time
    lab.ip("link set p0 up")
    lab.veth("v1", "p1")
    for source in ("v0", "v1"):
        box.add_interface(source)
    box.add_address("eth0", "10.0.0.2/24")
    box.add_neighbor(Neighbor("10.0.0.9", "02:00:00:00:00:09", "eth0"))
    box.exec(["ping", "-c1", "-W0.1", "-q", "10.0.0.9"], capture_output=True)
    return box.path


def test_counters_agree_with_ip(cli: Cli, path: str) -> None:
    told = cli("stats box --json").json
    asked = {item["ifname"]: item["stats64"] for item in json.loads(lab.ip("-j -s -s link", netns=path))}
    assert [item["ifname"] for item in told] == ["eth0", "eth1"]
    for item in told:
        for side in ("rx", "tx"):
            same = item["stats64"][side]
            judge = {key: value for key, value in asked[item["ifname"]][side].items() if key != "carrier_changes"}
            assert judge.items() <= same.items()
    assert told[0]["stats64"]["tx"]["packets"] > 0


def test_stats_of_one_interface(cli: Cli, path: str) -> None:  # noqa: ARG001
    """`stats` with an interface's name shows that interface only, and fails with ENODEV if it does not exist."""
    [item] = cli("stats box eth1 -j").json
    assert item["ifname"] == "eth1"
    lines = [line.split() for line in cli("stats box eth1").lines]
    assert lines[0] == "NAME SIDE BYTES PACKETS ERRORS DROPPED".split()
    assert [line[:2] for line in lines[1:]] == [["eth1", "RX"], ["eth1", "TX"]]
    assert cli("stats box eth9 -j", status=1).error["errno"] == "ENODEV"


def test_watch_prints_count_readings(cli: Cli, path: str) -> None:  # noqa: ARG001
    """`stats --watch --count N` prints N readings; the table has rates."""
    readings = [json.loads(line) for line in cli("stats box --watch --count 3 --interval 0.01 -j").lines]
    assert [len(reading) for reading in readings] == [2, 2, 2]
    lines = cli("stats box eth1 -w -c 2 --interval 0.01").lines
    assert [line.split()[0] for line in lines] == ["NAME", "eth1", "eth1"] * 2
    assert lines[0].split()[-1] == "BYTES/S"
    assert cli("stats box --interval 0 -j", status=2).error["code"] == "usage"


def test_watch_redraws_on_a_terminal(path: str) -> None:
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "netsandbox", "stats", path, "-w", "-c", "2", "--interval", "0.01"]
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, check=False, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = os.read(mine, 65536).decode()
    os.close(mine)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "BYTES/S" in shown
    assert shown.count("eth1") >= 4
    assert "\x1b[2K" in shown  # the previous line is erased (ECMA-48, EL)
