"""create, adopt, ls, inspect and destroy as a user calls them; results are checked with ip(8)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import Sandbox
from netsandbox._run.handle import Handle
from netsandbox._system.transport import Transport
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox._record import Record
    from netsandbox.netlink.message import Message, Request
    from tests.cli.conftest import Result

    Cli = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("host")


def netns() -> list[str]:
    return [item["name"] for item in lab.ip_json("netns list")]


def shell(script: str) -> None:
    done = subprocess.run(["sh", "-e"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_created_sandbox_is_listed_by_ip_netns(cli: Cli, run_netns: Path) -> None:
    """`create` makes a namespace that ip-netns(8) lists, with loopback up; `destroy` deletes the namespace."""
    assert cli("create web").out == ""
    assert netns() == ["web"]
    assert "UP" in lab.link("lo", str(run_netns / "web"))["flags"]
    cli("destroy web")
    assert netns() == []


def test_create_json_has_name_and_path(cli: Cli, tmp_path: Path) -> None:
    assert cli("create web --json").json == {"name": "web", "path": f"{tmp_path}/netns/web"}
    cli("destroy web")


def test_existing_name_is_rejected_or_replaced(cli: Cli) -> None:
    """`create` rejects a name in use; `create --replace` destroys the old sandbox, whose links return to the host."""
    cli("create web")
    error = cli("create web -j", status=1).error
    assert (error["code"], error["errno"]) == ("sandbox-exists", "EEXIST")
    lab.veth()
    cli("attach web v0")
    cli("create web --replace")
    assert "v0" in lab.links()
    assert cli("inspect web -j").json[0]["interfaces"] == []
    cli("destroy web")


def test_create_plan_run_in_a_shell_gives_the_same_state(cli: Cli, run_netns: Path) -> None:
    """The commands printed by `create --dry-run`, run in a shell, lead to the same state as `create`."""
    plan = cli("create web --dry-run")
    assert netns() == []
    shell(plan.out)
    assert netns() == ["web"]
    pasted = lab.snapshot(str(run_netns / "web"))
    shell("ip netns delete web")
    cli("create web")
    assert lab.snapshot(str(run_netns / "web")) == pasted
    assert cli("create other -n --json").json == [line.replace("web", "other") for line in plan.lines]
    assert cli("create -n -j web", status=1).error == cli("create -j web", status=1).error
    assert cli("create -n --replace web").lines == ["ip netns delete web", *plan.lines]
    cli("destroy web")


def test_ls_lists_sandboxes_or_all_namespaces(cli: Cli, run_netns: Path) -> None:  # noqa: ARG001
    """`ls` lists the sandboxes of netsandbox; `ls --all` also lists namespaces made by others."""
    assert cli("ls").out == ""
    cli("create web")
    cli("create db")
    lab.ip("netns add foreign")
    assert cli("ls").lines == ["NAME", "db", "web"]
    assert cli("list --json").json == cli("--json ls").json == [{"name": "db"}, {"name": "web"}]
    every = cli("ls --all -j").json
    assert {item["name"] for item in every} == set(netns())
    assert [item["name"] for item in every if not item["managed"]] == ["foreign"]
    assert cli("ls -a").lines == ["NAME     MADE BY", "db       netsandbox", "foreign  others", "web      netsandbox"]
    cli("destroy web db")
    lab.ip("netns delete foreign")


def test_ls_agrees_with_the_library(cli: Cli) -> None:
    """`ls` lists the names that Sandbox.list() returns, also while the host has an attached interface."""
    lab.veth()
    for name in ("web", "db"):
        cli(f"create {name}")
    with Sandbox.host() as host:
        plugged = host.add_interface("v0")
        assert [item["name"] for item in cli("ls -j").json] == Sandbox.list()
        assert [item["name"] for item in cli("ls -a -j").json] == Sandbox.list(all=True)
        plugged.remove()
    cli("destroy web db")


def test_destroy_keeps_an_adopted_namespace(cli: Cli, tmp_path: Path) -> None:
    """`destroy` returns the links of an adopted namespace to the host, and keeps the namespace."""
    process = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
    path = f"/proc/{process.pid}/ns/net"
    while os.stat(path).st_ino == os.stat("/proc/self/ns/net").st_ino:  # noqa: PTH116  wait until unshare has created it
        pass
    made = cli("adopt", path, "mine", "--json").json
    assert made == {"name": "mine", "path": f"{tmp_path}/netns/mine"}
    assert "it is sandbox mine already" in cli("adopt", path, "again", status=1).err
    lab.veth()
    cli("attach mine v0 --name x0")
    assert "x0" in lab.links(path)
    cli("destroy mine")
    assert "v0" in lab.links()
    assert set(lab.links(path)) == {"lo"}
    process.communicate()


def test_adopt_plan_run_in_a_shell_gives_the_same_state(cli: Cli, run_netns: Path, tmp_path: Path) -> None:
    """The commands printed by `adopt --dry-run`, run in a shell, pin the namespace and bring up its loopback."""
    path = str(tmp_path / "theirs")
    shell(f"touch {path} && unshare --net={path} true")
    up = [
        f"nsenter --net={path} ip {words}"
        for words in ("address add 127.0.0.1/8 dev lo scope 254", "link set dev lo up")
    ]
    assert cli("adopt -n", path).lines == up
    plan = cli("adopt -n", path, "mine")
    assert netns() == []
    shell(plan.out)
    assert (run_netns / "mine").stat().st_ino == Path(path).stat().st_ino
    assert "UP" in lab.link("lo", path)["flags"]
    assert cli("adopt -n -j", path, "mine", status=1).error["code"] == "sandbox-exists"
    shell(f"ip netns delete mine; umount {path}")


def test_adopt_rejects_other_files_and_relative_paths(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    error = cli("adopt -j", str(file), status=1).error
    assert (error["code"], error["errno"]) == ("kernel", "EINVAL")
    assert "no namespace file" in error["extack"]
    assert cli("adopt -j relative", status=1).error["problems"][0]["field"] == "path"


def test_destroy_with_a_missing_name_changes_nothing(cli: Cli) -> None:
    """If one of several names does not exist, `destroy` destroys none of them."""
    cli("create web")
    error = cli("destroy web nope -j", status=1).error
    assert (error["code"], error["errno"]) == ("sandbox-not-found", "ENOENT")
    assert [item["name"] for item in cli("ls -j").json] == ["web"]
    cli("destroy web web")
    assert cli("ls").out == ""


def test_destroy_plan_run_in_a_shell_returns_links(cli: Cli, run_netns: Path) -> None:  # noqa: ARG001
    """The commands printed by `destroy --dry-run`, run in a shell, return the links in their original state."""
    cli("create web")
    lab.veth()
    before = lab.snapshot()
    cli("attach web v0 --mtu 1400")
    plan = cli("destroy web -n")
    assert netns() == ["web"]
    assert cli("destroy web --json -n").json == plan.lines
    shell(plan.out)
    assert netns() == []
    assert lab.snapshot() == before
    cli("create web")  # the old record, whose namespace is gone, does not block the name
    cli("destroy web")


def test_inspect_agrees_with_ip(cli: Cli) -> None:
    """`inspect --json` shows the links, addresses, routes, gateways and neighbors that ip -j shows."""
    cli("create web")
    lab.veth()
    lab.veth("v1", "p1", up=True)
    cli("attach web br0 --bridge")
    wish = "--master br0 --address 10.0.0.2/24 --address 10.0.0.3/24 --address fd00::2/64 --route 10.8.0.0/16"
    cli(f"attach web v0 {wish}")
    cli("attach web v1 --name wan0 --mac 02:00:00:00:00:07 --mtu 1400 --address 192.0.2.1/31")
    cli("gateway web 10.0.0.1")
    cli("gateway web fd00::1")
    cli("neighbor web add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth1")
    [found] = cli("inspect web --json").json
    path = found["path"]
    assert found["name"] == "web"
    assert [item["source"] for item in found["interfaces"]] == ["br0", "v0", "v1"]
    for item in found["interfaces"]:
        theirs = lab._settled(lab.link(item["ifname"], path))
        ours = lab._settled(item)
        assert {"ifindex", "ifname", "mtu", "address", "flags", "link_type", "addr_info"} <= set(ours)
        for key in set(ours) - {"addr_info", "linkinfo", "source", "routes"}:
            assert ours[key] == theirs[key], key
        assert ours["linkinfo"]["info_kind"] == theirs["linkinfo"]["info_kind"]
        assert ("operstate" in item, item.get("master")) == (True, theirs.get("master"))
        pairs = [
            pair for pair in zip(ours["addr_info"], theirs["addr_info"], strict=True) if pair[0]["scope"] != "link"
        ]
        assert all(mine.items() <= judge.items() for mine, judge in pairs)
    assert sum(len(item["addr_info"]) for item in found["interfaces"]) >= len("10.0.0.2 10.0.0.3 fd00::2 x".split())
    told = [item for item in found["routes"] if item["family"] == "inet"]
    asked = [item for item in lab.ip_json("-4 route show", netns=path) if item["protocol"] != "kernel"]
    assert len(told) == len(asked) == 2
    for mine in told:
        judge = next(item for item in asked if item["dst"] == mine["dst"])
        assert all(judge[key] == mine[key] for key in ("dst", "gateway", "dev") if key in mine)
        assert set(mine) & {"gateway", "metric"} == set(judge) & {"gateway", "metric"}
    gateways = {"ipv4": {"gateway": "10.0.0.1", "dev": "eth1"}, "ipv6": {"gateway": "fd00::1", "dev": "eth1"}}
    assert found["gateways"] == gateways
    assert [item for item in found["neighbors"] if "dst" in item] == lab.ip_json(
        "neighbor show nud permanent", netns=path
    )
    cli("destroy web")


def test_inspect_prints_tables(cli: Cli) -> None:
    cli("create web")
    lab.veth()
    cli("attach web v0 --address 10.0.0.2/24 --mac 02:00:00:00:00:02")
    cli("gateway web 10.0.0.1")
    lines = cli("inspect web").lines
    assert lines[0].startswith("sandbox web at /")
    assert lines[1] == "interfaces"
    assert lines[2].split() == "NAME SOURCE KIND STATE MAC MTU MASTER ADDRESSES".split()
    row = lines[3].split()
    assert row[:3] + row[4:] == "eth0 v0 veth 02:00:00:00:00:02 1500 - 10.0.0.2/24".split()
    assert lines[4] == "gateways"
    assert lines[6].split() == "default (IPv4) 10.0.0.1 eth0 - - -".split()
    cli("destroy web")


def test_inspect_shows_changes_made_inside(cli: Cli, box: Sandbox) -> None:
    """`inspect` shows renamed, missing and foreign interfaces as such, and has no such section if there are none."""
    for number in range(2):
        lab.veth(f"v{number}", f"p{number}")
        cli(f"attach box v{number} --mac 02:00:00:00:00:0{number}")
    assert cli("inspect box").lines[2:] == cli("inspect box").lines[2:5]
    lab.ip("link set eth0 name lan0", netns=box.path)
    lab.ip("link delete eth1", netns=box.path)
    lab.ip("link add evil\x1b address 02:00:00:00:00:66 type bridge", netns=box.path)
    index = box.missing[0].index
    [found] = cli("inspect box -j").json
    [renamed] = found["interfaces"]
    assert (renamed["ifname"], renamed["given_name"], renamed["source"]) == ("lan0", "eth0", "v0")
    assert found["missing"] == [{"ifindex": index, "ifname": "eth1", "linkinfo": {"info_kind": "veth"}, "source": "v1"}]
    [foreign] = found["foreign"]
    assert (foreign["ifname"], foreign["linkinfo"]) == ("evil\x1b", {"info_kind": "bridge"})
    assert foreign["address"] == "02:00:00:00:00:66"  # ip -j prints invalid JSON for such a name
    assert "source" not in foreign
    lines = [line.split() for line in cli("inspect box").lines]
    assert lines[2][:2] == ["NAME", "SOURCE"]
    assert lines[3][:3] == ["lan0", "v0", "veth"]
    assert [" ".join(line) for line in lines[4:9]] == [
        "renamed or missing",
        "ATTACHED AS NOW SOURCE",
        "eth0 lan0 v0",
        "eth1 - v1",
        "foreign: not attached by netsandbox",
    ]
    assert lines[10][:3] == ["evil\\x1b", "-", "bridge"]
    assert "it is foreign" in cli("detach box", "evil\x1b", status=1).err
    cli("detach box eth1")
    assert cli("inspect box -j").json[0]["missing"] == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what the kernel is asked, and when the record of an open sandbox is read."""
    found: list[str] = []
    ask, record = Transport.ask, Handle.record

    def noting_ask(self: Transport, request: Request) -> list[Message]:
        found.append(request.text)
        return ask(self, request)

    def noting_record(self: Handle) -> Record:
        found.append("read the record")
        return record(self)

    monkeypatch.setattr(Transport, "ask", noting_ask)
    monkeypatch.setattr(Handle, "record", noting_record)
    return found


def test_inspect_reads_each_list_once(cli: Cli, box: Sandbox, asked: list[str]) -> None:
    """Under --json as in text, inspect reads the record once and each list of the kernel once."""
    for name in ("v0", "v1"):
        lab.veth(name, f"{name}-peer")
        box.add_interface(name, advertise=0)
    lab.ip("link add trap type ifb", netns=box.path)
    for words in ("inspect box -j", "inspect box"):
        asked.clear()
        shown = cli(words)
        assert "trap" in shown.out
        looks = [text for text in asked if text.startswith("look up link")]  # at the ends on the host
        assert sorted(item for item in asked if item not in looks) == [
            "list addresses", "list links", "list neighbors", "list neighbors", "list routes", "read the record",
        ]  # fmt: skip
        assert len(looks) <= len(box.interfaces)


def test_attach_asks_no_more_for_json(cli: Cli, box: Sandbox, asked: list[str]) -> None:
    """The JSON of attach is made of what was read back."""
    numbers = []
    for option in ("", "-j"):
        lab.veth()
        asked.clear()
        cli(f"attach box v0 --address 10.0.0.2/24 {option}")
        numbers.append(len(asked))
        box.remove_interface("eth0")
        lab.ip("link delete v0")
    assert numbers[0] == numbers[1]
