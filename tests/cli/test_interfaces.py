"""attach and detach as a user calls them; results are checked with ip(8)."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from netsandbox import Sandbox
    from tests.cli.conftest import Result

    Cli = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("host")
EVERYTHING = [
    "--prefix=wan",
    "--mac=02:00:00:00:00:42",
    "--mtu=1450",
    "--address=172.17.0.2/16",
    "--address=fd00::2/64",
    "--route=192.168.2.1/32",
    "--route=10.1.0.0/16 via 172.17.0.1 metric 7",
    "--route=default via 172.17.0.1",
    "--sysctl=net.ipv4.conf.IFNAME.rp_filter=2",
]


def test_attach_applies_every_option(cli: Cli, box: Sandbox) -> None:
    """`attach` applies every option and prints the resulting interface."""
    lab.veth()
    made = cli("attach box v0 --json", *EVERYTHING).json
    found = lab.link("wan0", box.path)
    assert (made["ifname"], made["source"], made["ifindex"]) == ("wan0", "v0", found["ifindex"])
    assert (made["address"], made["mtu"]) == (found["address"], found["mtu"]) == ("02:00:00:00:00:42", 1450)
    assert [f"{item['local']}/{item['prefixlen']}" for item in made["addr_info"]][:2] == ["172.17.0.2/16", "fd00::2/64"]
    assert lab.addresses("wan0", box.path) == {"172.17.0.2/16", "fd00::2/64"}
    assert lab.routes(box.path) == {
        "10.1.0.0/16 via 172.17.0.1 dev wan0 metric 7",
        "192.168.2.1 dev wan0 scope link",
        "default via 172.17.0.1 dev wan0",
    }
    assert {item["dst"] for item in made["routes"]} == {"10.1.0.0/16", "192.168.2.1", "default"}
    assert lab.sysctl("ipv4/conf/wan0/rp_filter", netns=box.path) == "2"


def test_attach_prints_one_line_without_json(cli: Cli, box: Sandbox) -> None:  # noqa: ARG001
    lab.veth()
    [line] = cli(
        "attach box v0 --mac 02:00:00:00:00:42", "--address=10.0.0.2/24", "--route=10.1.0.0/16 via 10.0.0.9"
    ).lines
    words = r"eth0 source v0 kind veth state [A-Z]+ mac 02:00:00:00:00:42 mtu 1500 address 10\.0\.0\.2/24 "
    assert re.fullmatch(words + r'route "10\.1\.0\.0/16 via 10\.0\.0\.9"', line)


def test_bridge_is_created_and_used_as_master(cli: Cli, box: Sandbox) -> None:
    """`attach --bridge` creates a bridge in the sandbox; --master finds the bridge by its source name."""
    lab.veth()
    assert cli("attach box br0 --bridge --name lan --json").json["linkinfo"] == {"info_kind": "bridge"}
    assert cli("attach box v0 --master br0 -j").json["master"] == "lan"
    assert lab.link("eth0", box.path)["master"] == "lan"
    assert set(lab.links()) == {"lo", "p0"}


def test_links_of_many_kinds_are_created_inside(cli: Cli, box: Sandbox) -> None:
    """`attach --type` creates links of many kinds in the sandbox; after `detach` and destroy the host is unchanged."""
    lab.ip("link add br0 type bridge")
    lab.veth("p0", "p1", up=True)
    before = lab.snapshot()
    settings = ["--set=master=br0", "--set", "hairpin=on", "--set=host_mtu=1300", "--address=10.0.0.2/24"]
    made = cli("attach box veth-web --type veth -j", *settings).json
    assert (made["source"], made["linkinfo"]) == ("veth-web", {"info_kind": "veth"})
    outside = lab.link("veth-web")
    assert (outside["master"], outside["mtu"]) == ("br0", 1300)
    cli("attach box p0 --type macvlan --set mode=private")
    cli("attach box 42 --type vxlan --set remote=10.0.0.9 --set learning=no")
    cli("attach box --type tap --set owner=1000")
    cli("attach box p0 --type macvlan --set mode=source --set macs=02:00:00:00:00:0A,02:00:00:00:00:0b")
    cli("attach box 43 --type vxlan --set source_ports=1000-2000 --set df=set --set gbp=on --set port=4790")
    assert len(box.interfaces) == 6
    kinds = [item["linkinfo"]["info_kind"] for item in cli("inspect box -j").json[0]["interfaces"]]
    assert kinds == ["veth", "macvlan", "vxlan", "tun", "macvlan", "vxlan"]
    macvlan, vxlan = (lab.ip_json(f"-d link show {name}", netns=box.path)[0]["linkinfo"] for name in ("eth4", "eth5"))
    assert sorted(macvlan["info_data"]["macaddr_data"]) == ["02:00:00:00:00:0a", "02:00:00:00:00:0b"]
    assert vxlan["info_data"]["port_range"] == {"low": 1000, "high": 2000}
    plan = cli("attach box p0 --type vlan --set id=5 --set egress_qos=2:3,0:1 --dry-run").out
    assert "type vlan id 5 egress-qos-map 0:1 2:3" in plan
    cli("detach box eth0 eth1 eth4")
    box.destroy(wait=True)
    assert lab.snapshot() == before


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        ("x --type veth --set nonsense=1", [("keyword", "nonsense")]),
        ("x --type veth --set hairpin", [("set", "hairpin")]),
        ("--type veth", [("source", None)]),
        ("x --type tap", [("source", "x")]),
        ("abc --type vxlan", [("id", "abc")]),
        ("p --type macvlan --set mode=x --mtu 3", [("mode", "x"), ("mtu", 3)]),
        ("p --type macvlan --set mode=source --set macs=x,y", [("macs", "['x', 'y']")]),
        ("p --type vlan --set id=5 --set egress_qos=0:1,x", [("egress_qos", "0:1,x")]),
        ("7 --type vxlan --set source_ports=5 --set label=x", [("source_ports", 5), ("label", "x")]),
        ("v --type veth --set hairpin=maybe --set master=br0", [("hairpin", "maybe")]),
    ],
)
def test_invalid_link_settings_are_reported_together(
    cli: Cli, box: Sandbox, words: str, problems: list[tuple[str, object]]
) -> None:
    """`attach --type` reports all invalid values at once and changes nothing."""
    with lab.comes_back(box.path), lab.comes_back():
        found = cli(f"attach box {words} -j", status=1).error["problems"]
    assert [(item["field"], item["value"]) for item in found] == problems


def test_route_conflicts_are_rejected_or_ignored(cli: Cli, box: Sandbox) -> None:  # noqa: ARG001
    """`attach` rejects an address whose network overlaps that of another interface, unless --on-conflict is ignore."""
    lab.veth()
    lab.veth("v1", "p1")
    cli("attach box v0 --address 10.0.0.2/24")
    error = cli("attach box v1 --address 10.0.0.3/16 -j", status=1).error
    assert error["code"] == "route-conflict"
    assert "eth0" in error["message"]
    cli("attach box v1 --address 10.0.0.3/16 --on-conflict ignore")


@pytest.mark.parametrize("options", [EVERYTHING, ["--name=x0"], ["--address=10.0.0.2/24", "--route=default"]])
def test_plan_run_in_a_shell_gives_the_same_state(cli: Cli, run_netns: Path, options: list[str]) -> None:
    """The commands printed by `attach --dry-run`, run in a shell, lead to the same state as `attach`."""
    make = "link add v0 index 77 address 02:00:00:00:00:01 type veth peer name p0 index 78 address 02:00:00:00:00:02"
    for name in ("real", "pasted"):
        cli(f"create {name}")
    lab.ip(make.replace("index 78 ", ""))
    untouched = lab.snapshot()
    plan = cli("attach pasted v0 --dry-run", *options)
    assert lab.snapshot() == untouched
    assert cli("attach pasted v0 -nj", *options).json == plan.lines
    subprocess.run(["sh", "-e"], input=plan.out, check=True, text=True, capture_output=True)
    pasted = lab.snapshot(str(run_netns / "pasted"))
    lab.ip("link delete p0")
    lab.ip(make.replace("index 78 ", ""))
    cli("attach real v0", *options)
    assert without_peer(lab.snapshot(str(run_netns / "real"))) == without_peer(pasted)
    cli("destroy real pasted")


def without_peer(state: lab.Snapshot) -> lab.Snapshot:
    """Leave out the index of the veth peer, which differs each time."""
    for item in state["links"].values():
        item.pop("link_index", None)
    return state


def test_attach_reports_all_errors_and_changes_nothing(cli: Cli, box: Sandbox) -> None:
    """`attach` reports all invalid options at once, one line each, and changes nothing."""
    wrong = ["--mtu=3", "--mac=01:00:00:00:00:01", "--address=10.0.0.0/24", "--route=10.1.1.1/8", "--sysctl=x=1"]
    wrong += ["--route=10.0.0.0/8 via fe80::1", "--master=br9"]
    with lab.comes_back(box.path):
        error = cli("attach box nope -j", *wrong, status=1).error
        told = cli("attach box nope", *wrong, status=1)
    assert error["code"] == "spec"
    fields = [problem["field"] for problem in error["problems"]]
    assert set(fields) >= {"mtu", "mac", "address", "route", "sysctl"}
    assert fields.count("route") == 2
    assert {"field": "mtu", "value": 3, "reason": "is not a number from 68 to 65535"} in error["problems"]
    assert told.out == ""
    assert len(told.err.splitlines()) == len(fields)
    assert all(line.startswith("netsandbox: error: ") for line in told.err.splitlines())


def test_invalid_bridge_name_is_reported_with_the_rest(cli: Cli, box: Sandbox) -> None:  # noqa: ARG001
    """`attach --bridge` reports an invalid bridge name together with every other invalid option."""
    problems = cli("attach box a/b --bridge --mtu 3 -j", status=1).error["problems"]
    assert [(item["field"], item["value"]) for item in problems] == [("source", "a/b"), ("mtu", 3)]


def test_missing_source_is_reported(cli: Cli, box: Sandbox) -> None:  # noqa: ARG001
    error = cli("attach box nope -j", status=1).error
    assert (error["code"], error["errno"]) == ("source-not-found", "ENODEV")
    assert error["problems"] == [{"field": "source", "value": "nope", "reason": "no such link on the host"}]


def test_kernel_errors_are_rolled_back_and_reported(cli: Cli, box: Sandbox) -> None:
    """If the kernel rejects a step, `attach` rolls back and reports the step, errno, extack and what was undone."""
    lab.veth()
    command = ["attach box v0 --address 10.0.0.2/24", "--route=10.9.0.0/16 via 192.0.2.1"]
    with lab.comes_back(box.path):
        error = cli(command[0] + " -j", command[1], status=1).error
        told = cli(*command, status=1)
    assert list(error) == ["code", "errno", "message", "extack", "step", "undone", "left"]
    assert (error["code"], error["errno"], error["left"]) == ("kernel", "ENETUNREACH", [])
    assert error["extack"] == "Nexthop has invalid gateway"
    assert error["step"].endswith("route add 10.9.0.0/16 via 192.0.2.1 dev eth0")
    assert error["message"].startswith("attach v0 to sandbox box: add route")
    assert "name v0" in error["undone"][-1]
    lines = told.err.splitlines()
    assert lines[0].startswith("netsandbox: error: attach v0 to sandbox box: add route")
    assert lines[1] == f"netsandbox: failed at: {error['step']}"
    assert lines[2:] == [f"netsandbox: undone: {line}" for line in error["undone"]]


def test_detach_returns_links_to_the_host(cli: Cli, box: Sandbox) -> None:
    """`detach` returns links to the host in their original state, and deletes bridges created by `attach`."""
    lab.veth()
    before = lab.snapshot()
    cli("attach box br0 --bridge")
    cli("attach box v0 --master br0 --mtu 1400")
    assert cli("detach box eth1 eth0").out == ""
    assert lab.snapshot() == before
    assert set(lab.links(box.path)) == {"lo"}


def test_detach_with_a_missing_interface_changes_nothing(cli: Cli, box: Sandbox) -> None:
    """If one of several interfaces does not exist, `detach` detaches none of them."""
    lab.veth()
    cli("attach box v0")
    with lab.comes_back(box.path):
        error = cli("detach box eth0 eth9 -j", status=1).error
    assert (error["code"], error["errno"]) == ("interface-not-found", "ENODEV")


def test_detach_plan_run_in_a_shell_returns_the_link(cli: Cli, run_netns: Path) -> None:
    """The commands printed by `detach --dry-run`, run in a shell, return the link to the host in its original state."""
    cli("create box")
    lab.veth()
    before = lab.snapshot()
    cli("attach box v0 --mtu 1400 --mac 02:00:00:00:00:05 --address 10.0.0.2/24")
    plan = cli("detach box eth0 -n")
    with lab.comes_back(str(run_netns / "box")):
        assert cli("detach box eth0 -n -j").json == plan.lines
    subprocess.run(["sh", "-e"], input=plan.out, check=True, text=True, capture_output=True)
    assert lab.snapshot() == before
    cli("destroy box")


@pytest.mark.parametrize(
    "words",
    [
        "attach box",
        "attach box v0 --mtu many",
        "attach box v0 --set master=br0",
        "attach box v0 --type nonsense",
        "attach box v0 --nope",
        "attach box v0 --on-conflict maybe",
        "detach box",
    ],
)
def test_invalid_command_lines_are_usage_errors(cli: Cli, box: Sandbox, words: str) -> None:  # noqa: ARG001
    """An invalid command line exits with 2 and prints the usage and the error, or with --json an error object."""
    error = cli(f"{words} --json", status=2).error
    rest: dict[str, Any] = {"errno": None, "extack": None, "step": None, "undone": [], "left": []}
    assert error == {"code": "usage", "message": error["message"], **rest}
    told = cli(words, status=2)
    assert told.out == ""
    assert told.err.startswith(f"Usage: netsandbox {words.partition(' ')[0]} ")
    assert f"netsandbox: error: {error['message']}" in told.err
    assert cli("attach box v0", "--route=10.0.0.0/8 via", status=2).err.endswith("in route '10.0.0.0/8 via'\n")


@pytest.mark.usefixtures("box")
def test_a_vrf_is_asked_for_as_any_kind(cli: Cli) -> None:
    """Attach --type vrf takes its options from the declaration, without a line of code of its own."""
    plan = cli("attach box red --type vrf --set table=10 --dry-run").out
    assert "ip link add name eth0 type vrf table 10\n" in plan
    found = cli("attach box red --type vrf --set table=0 -j", status=1).error["problems"]
    assert [(item["field"], item["reason"]) for item in found] == [("table", "is not a number from 1 to 4294967295")]


def test_json_has_the_settings_as_ip_shows_them(cli: Cli, run_netns: Path) -> None:
    """The JSON of inspect has the settings of a link under the names and in the form of `ip -j -d link`."""
    cli("create box")
    lab.veth()
    cli("attach box v0 --txqlen 77 --group 5 --alias text --mtu 1400")
    found, shown = cli("inspect box --json").json[0]["interfaces"][0], lab.link("eth0", str(run_netns / "box"))
    keys = ("address", "mtu", "txqlen", "group", "ifalias", "num_tx_queues")
    assert [found[key] for key in keys] == [shown[key] for key in keys]
    cli("destroy box")
