"""monitor: prints changes inside sandboxes in the format of ip-monitor(8), and ends as requested."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]
    Program = subprocess.Popen[str]

INTERRUPTED, TERMINATED = 130, 143


@contextmanager
def monitor(*words: str) -> Iterator[Program]:
    """Start `monitor` and wait until it listens; kill it at the end."""
    command = [sys.executable, "-m", "netsandbox", "monitor", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr
        try:
            assert "listening to" in program.stderr.readline()
            yield program
        finally:
            program.kill()


def lines(program: Program, number: int) -> list[str]:
    assert program.stdout
    return [program.stdout.readline().rstrip("\n") for _ in range(number)]


@pytest.fixture
def path(box: Sandbox) -> str:
    """Create a bridge that is up in the sandbox, with IPv6 off, which would cause events by itself."""
    for name in ("default", "all"):
        lab.sysctl(f"ipv6/conf/{name}/disable_ipv6", "1", netns=box.path)
    lab.ip("link add eth0 type bridge", netns=box.path)
    lab.ip("link set eth0 up", netns=box.path)
    return box.path


COMMANDS = """address add 10.0.0.2/24 brd + dev eth0
route add default via 10.0.0.1
neighbor add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0
neighbor delete 10.0.0.9 dev eth0
link add ifb7 type ifb
link delete ifb7"""


def do(path: str) -> None:
    for command in COMMANDS.splitlines():
        lab.ip(command, netns=path)


def test_events_are_printed_as_by_ip_monitor(path: str) -> None:
    """`monitor` prints changes of addresses, routes, neighbors and links in the format of ip-monitor(8)."""
    index = lab.link("eth0", path)["ifindex"]
    with monitor("box", "--count", "8") as program:
        do(path)
        shown = lines(program, 8)
        assert program.wait() == 0
    assert shown[0] == f"box [ADDR] {index}: eth0 inet 10.0.0.2/24 brd 10.0.0.255 scope global"
    assert shown[1].startswith("box [ROUTE] 10.0.0.0/24 dev eth0 ")
    assert shown[2] == "box [ROUTE] default via 10.0.0.1 dev eth0"
    assert shown[3] == "box [NEIGH] 10.0.0.9 dev eth0 lladdr 02:00:00:00:00:09 PERMANENT"
    assert any(line.startswith("box [NEIGH] Deleted 10.0.0.9 dev eth0") for line in shown[4:6])
    assert any(": ifb7: <BROADCAST,NOARP> mtu 1500 state DOWN link/ether " in line for line in shown[5:])


def test_json_events_are_objects_as_in_ip_json(path: str) -> None:
    """With --json, `monitor` prints each event as an object with the keys and values of ip -j."""
    with monitor("box", "--json", "-c", "8") as program:
        do(path)
        shown = [json.loads(line) for line in lines(program, 8)]
        assert program.wait() == 0
    assert {item["sandbox"] for item in shown} == {"box"}
    assert [(item["what"], item["change"]) for item in shown[:4]] == [
        ("address", "new"), ("route", "new"), ("route", "new"), ("neighbor", "new"),
    ]  # fmt: skip
    [judge] = [item for item in lab.link("eth0", path)["addr_info"] if item["local"] == "10.0.0.2"]
    address = shown[0]["address"]
    assert address["ifname"] == "eth0"
    assert {
        key: judge[key] for key in ("family", "local", "prefixlen", "broadcast", "scope")
    }.items() <= address.items()
    for item, judge in zip(shown[1:3], sorted(lab.ip_json("route", netns=path), key=lambda r: r["dst"]), strict=True):
        same = {key: judge[key] for key in judge if key in item["route"]}
        assert {"dst", "dev", "flags", "scope"} <= set(same) or judge["dst"] == "default"
        assert same.items() <= item["route"].items()
    assert shown[3]["neighbor"] == {
        "dst": "10.0.0.9", "dev": "eth0", "lladdr": "02:00:00:00:00:09", "state": ["PERMANENT"],
    }  # fmt: skip
    [new] = [item for item in shown[4:] if (item["what"], item["change"]) == ("link", "new")]
    assert new["link"]["ifname"] == "ifb7"
    assert new["link"]["linkinfo"] == {"info_kind": "ifb"}


def test_bridge_ports_and_fdb_entries_are_shown(path: str) -> None:
    """`monitor` shows bridge ports, forwarding entries, and routes of other tables."""
    with monitor("box") as text, monitor("box", "-j") as program:
        lab.ip("link add p0 mtu 1400 type veth peer name p1", netns=path)
        lab.ip("link set p0 master eth0 alias port", netns=path)
        lab.ip("link property add dev p0 altname first-port", netns=path)
        lab.ip("link set p0 up", netns=path)
        lab.ip("link set p1 up", netns=path)
        lab.bridge("fdb add 02:00:00:00:00:0b dev p0 master static", netns=path)
        lab.ip("route add unreachable 10.8.0.0/16 table 100", netns=path)
        shown: list[dict[str, Any]] = []
        while not (shown and shown[-1]["what"] == "route"):
            shown += map(json.loads, lines(program, 1))
        said: list[str] = []
        while not (said and "[ROUTE]" in said[-1]):
            said += lines(text, 1)
    ports = [item["link"] for item in shown if item["what"] == "link" and item["link"]["ifname"] == "p0"]
    assert ports[-1]["linkinfo"]["info_slave_data"]["state"] == "forwarding"
    assert (ports[-1]["master"], ports[-1]["altnames"], ports[-1]["ifalias"]) == ("eth0", ["first-port"], "port")
    assert {"mac": "02:00:00:00:00:0b", "ifname": "p0"} in [item.get("neighbor") for item in shown]
    assert shown[-1]["route"] | {"flags": []} == {
        "type": "unreachable", "dst": "10.8.0.0/16", "table": 100, "protocol": "boot", "scope": "global",
        "flags": [], "family": "inet",
    }  # fmt: skip
    assert any(" p0: <" in line and " master eth0 " in line and " port forwarding" in line for line in said)
    assert "box [NEIGH] 02:00:00:00:00:0b dev p0" in said
    assert said[-1] == "box [ROUTE] unreachable 10.8.0.0/16 table 100"


def test_all_includes_sandboxes_created_later(box: Sandbox) -> None:
    """`monitor --all` also reports the creation and destruction of sandboxes created after its start."""
    assert box.name == "box"
    with monitor("--all") as program:
        with Sandbox.create("later") as later:
            assert lines(program, 1) == ["later [SANDBOX] new: its events follow"]
            later.destroy()
        said = lines(program, 1)
        while "[SANDBOX]" not in said[-1]:
            said += lines(program, 1)
    assert said[-1] == "later [SANDBOX] Deleted: closed or destroyed"


def test_monitor_ends_with_the_last_sandbox(box: Sandbox) -> None:
    """`monitor` exits with 0 when the last sandbox it listens to is destroyed."""
    with monitor("box", "-j") as program:
        box.destroy()
        shown = [json.loads(line) for line in program.stdout or ()]
        assert program.wait() == 0
    assert shown[-1] == {"sandbox": "box", "what": "sandbox", "change": "deleted"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_signal_ends_monitor_silently(box: Sandbox, number: signal.Signals, status: int) -> None:
    """On SIGINT or SIGTERM `monitor` exits with 130 or 143 and prints nothing."""
    with monitor("box") as program:
        program.send_signal(number)
        out, err = program.communicate()
    assert (program.returncode, out, err.strip()) == (status, "", "")
    assert [item.name for item in box.interfaces] == []


def test_closed_pipe_ends_monitor_silently(path: str) -> None:
    """If the reader has closed the pipe, `monitor` exits with 1 at the next event and prints no error."""
    with monitor("box") as program:
        assert program.stdout
        assert program.stderr
        program.stdout.close()
        lab.ip("address add 10.0.0.2/24 dev eth0", netns=path)
        assert program.wait() == 1
        assert program.stderr.read() == ""


def test_control_characters_in_names_are_escaped(path: str) -> None:
    """`monitor` escapes control characters in an interface's name in text, and keeps them in JSON."""
    name = "a\x1b[2Jb\n"
    with monitor("box") as text, monitor("box", "-j") as program:
        subprocess.run(["nsenter", f"--net={path}", "ip", "link", "add", name.strip(), "type", "ifb"], check=True)
        [line] = lines(text, 1)
        [told] = map(json.loads, lines(program, 1))
    assert r": a\x1b[2Jb: <" in line
    assert told["link"]["ifname"] == name.strip()


def test_monitor_needs_names_or_all(cli: Cli) -> None:
    """`monitor` takes either names of existing sandboxes or --all, and a count above 0."""
    assert "or --all" in cli("monitor -j", status=2).error["message"]
    assert "--all takes no names" in cli("monitor box --all -j", status=2).error["message"]
    assert cli("monitor nowhere -j", status=1).error["code"] == "sandbox-not-found"
    assert cli("monitor box --count 0 -j", status=2).error["code"] == "usage"


def test_sandbox_names_are_completed(box: Sandbox, program: Cli) -> None:
    words = {
        "COMP_WORDS": f"netsandbox monitor {box.name[:2]}",
        "COMP_CWORD": "2",
        "_NETSANDBOX_COMPLETE": "bash_complete",
    }
    assert program("monitor", env={**os.environ, **words}).lines == ["plain,box"]


def test_attach_waits_until_the_interface_is_up(box: Sandbox, cli: Cli) -> None:
    """`attach --wait up` waits until the interface is up; after --wait-limit it fails with ETIMEDOUT and rolls back."""
    lab.veth()
    error = cli("attach box v0 --wait up --wait-limit 0.2 -j", status=1).error
    assert (error["errno"], error["step"]) == (
        "ETIMEDOUT", "# wait until eth0 is up and packets go through, for 0.2 s at most",
    )  # fmt: skip
    assert "eth0 has no carrier" in error["message"]
    assert "v0" in lab.links()
    lab.ip("link set p0 up")
    assert cli("attach box v0 --wait up -j").json["operstate"] == "UP"
    assert cli("attach box v0 --wait down -j", status=2).error["code"] == "usage"
    [problem] = cli("attach box p0 --wait-limit nan -j", status=1).error["problems"]
    assert problem["field"] == "wait_limit"
    assert box.interfaces[0].operstate == "UP"
