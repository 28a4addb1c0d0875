"""gateway, route, neighbor and address as a user calls them; results are checked with ip(8) and bridge(8)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox import Sandbox
    from tests.cli.conftest import Result

    Cli = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("host")

KEYS = ("dst", "gateway", "dev", "prefsrc")


@pytest.fixture
def web(box: Sandbox) -> str:
    """Attach an interface with IPv4 and IPv6 addresses to a sandbox, and return the sandbox's path."""
    lab.veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
    return box.path


def test_gateways_are_set_shown_and_unset(cli: Cli, web: str) -> None:
    assert cli("gateway box").out == ""
    assert cli("gateway box 10.0.0.1").out == ""
    cli("gateway box fd00::1")
    assert lab.routes(web) == {"default via 10.0.0.1 dev eth0", "default via fd00::1 dev eth0 metric 1024"}
    both = {"ipv4": {"gateway": "10.0.0.1", "dev": "eth0"}, "ipv6": {"gateway": "fd00::1", "dev": "eth0"}}
    assert cli("gateway box --json").json == both
    assert cli("gateway box -6 --json").json == {**both, "ipv4": None}
    assert [line.split()[1] for line in cli("gateway box -4").lines[1:]] == ["(IPv4)"]
    rows = [line.split() for line in cli("gateway box").lines]
    assert [row[:4] for row in rows[1:]] == [
        ["default", "(IPv4)", "10.0.0.1", "eth0"],
        ["default", "(IPv6)", "fd00::1", "eth0"],
    ]
    cli("gateway box 10.0.0.9")
    cli("gateway box --unset -6")
    assert lab.routes(web) == {"default via 10.0.0.9 dev eth0"}
    cli("gateway box --unset")
    assert cli("gateway box -j").json == {"ipv4": None, "ipv6": None}


def test_gateways_can_be_onlink_or_a_bare_interface(cli: Cli, web: str) -> None:
    """A gateway outside all networks needs --onlink; --interface alone sets a default route without a gateway."""
    cli("gateway box 192.0.2.1 --dev eth0 --onlink")
    cli("gateway box --interface eth0 -6")
    assert lab.routes(web) == {"default via 192.0.2.1 dev eth0 onlink", "default dev eth0 metric 1024"}
    assert cli("gateway box -j").json["ipv6"] == {"gateway": None, "dev": "eth0"}


def test_gateway_dry_run_changes_nothing(cli: Cli, web: str) -> None:
    with lab.comes_back(web):
        [line] = cli("gateway box 10.0.0.1 -n").lines
    assert "route" in line
    assert "10.0.0.1" in line


@pytest.mark.parametrize("words", ["--unset 10.0.0.1", "--unset -i eth0", "-6 10.0.0.1", "-4 fd00::1", "--onlink"])
def test_contradictory_gateway_options_are_usage_errors(cli: Cli, web: str, words: str) -> None:  # noqa: ARG001
    assert cli(f"gateway box -j {words}", status=2).error["code"] == "usage"


def test_invalid_and_unreachable_gateways_are_rejected(cli: Cli, web: str) -> None:  # noqa: ARG001
    assert cli("gateway box -j 10.0.0.300", status=1).error["problems"][0]["field"] == "gateway"
    assert cli("gateway box -j 192.0.2.1", status=1).error["errno"] == "ENETUNREACH"


def test_routes_are_added_by_options_or_ip_syntax(cli: Cli, web: str) -> None:
    """`route add` takes options or the syntax of ip(8), and `route` lists the routes that ip(8) lists."""
    cli("route box add 10.8.0.0/16 --via 10.0.0.1 --metric 5")
    cli("route box add 10.9.0.0/16 via 10.0.0.1 dev eth0 metric 6 src 10.0.0.2")
    cli("route box add 10.10.0.0/16 --dev eth0")
    cli("route box add fd01::/64 via fd00::1")
    cli("route box add 10.11.0.0/16 via 192.0.2.1 dev eth0 onlink")
    cli("route box add default via fd00::1")
    assert lab.routes(web) == {
        "10.8.0.0/16 via 10.0.0.1 dev eth0 metric 5",
        "10.9.0.0/16 via 10.0.0.1 dev eth0 src 10.0.0.2 metric 6",
        "10.10.0.0/16 dev eth0 scope link",
        "fd01::/64 via fd00::1 dev eth0 metric 1024",
        "10.11.0.0/16 via 192.0.2.1 dev eth0 onlink",
        "default via fd00::1 dev eth0 metric 1024",
    }
    told = cli("route box -j").json
    for family, flag in (("inet", "-4"), ("inet6", "-6")):
        asked = [item for item in lab.ip_json(flag, "route show", netns=web) if item["protocol"] != "kernel"]
        mine = [item for item in told if item["family"] == family]
        assert {tuple(map(item.get, KEYS)) for item in mine} == {tuple(map(item.get, KEYS)) for item in asked}
        assert len(mine) == len(asked)
    assert {line.split()[0] for line in cli("route box list").lines} == {"TO", *(item["dst"] for item in told)}


def test_routes_are_deleted(cli: Cli, web: str) -> None:
    cli("route box add 10.8.0.0/16 via 10.0.0.1")
    [line] = cli("route box delete 10.8.0.0/16 -n").lines
    assert "route delete 10.8.0.0/16" in line
    assert len(lab.routes(web)) == 1
    cli("route box del 10.8.0.0/16")
    assert lab.routes(web) == set()
    assert cli("route box del 10.8.0.0/16 -j", status=1).error["errno"] == "ESRCH"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("add", "needs a route"),
        ("list 10.0.0.0/8", "list takes no route"),
        ("list --metric 5", "list takes no options"),
        ("add 10.0.0.0/8 through 10.0.0.1", "'through' is not understood"),
        ("add 10.0.0.0/8 via", "'via' needs a value"),
        ("add 10.0.0.0/8 via 10.0.0.1 via 10.0.0.2", "'via' is given twice"),
        ("add 10.0.0.0/8 via 10.0.0.1 --via 10.0.0.2", "'via' is given twice"),
        ("add 10.0.0.0/8 metric low", "the metric 'low' is not a number"),
        ("replace 10.0.0.0/8", "'replace' is not one of"),
    ],
)
def test_unparsable_routes_are_usage_errors(cli: Cli, web: str, words: str, said: str) -> None:  # noqa: ARG001
    assert said in cli(f"route box -j {words}", status=2).error["message"]


@pytest.mark.parametrize("words", ["10.0.0.300/8", "10.1.1.1/8", "dev eth0", "10.0.0.0/8 via fd00::1"])
def test_invalid_routes_are_rejected(cli: Cli, web: str, words: str) -> None:  # noqa: ARG001
    assert cli(f"route box add -j {words}", status=1).error["code"] == "spec"


def test_neighbors_are_added_replaced_listed_and_deleted(cli: Cli, web: str) -> None:
    assert cli("neighbor box").out == ""
    cli("neighbor box add 10.0.0.9 lladdr 02:00:00:00:00:08 dev eth0")
    cli("neighbor box add 10.0.0.9 --mac 02:00:00:00:00:09 --interface eth0")
    cli("neighbor box add fd00::9 --lladdr 02:00:00:00:00:0a --dev eth0")
    asked = lab.ip_json("neighbor show nud permanent", netns=web)
    told = cli("neighbor box -j").json
    assert sorted(told, key=str) == sorted(asked, key=str)
    assert cli("neighbor box show").lines[1].split() == "10.0.0.9 02:00:00:00:00:09 eth0 -".split()
    with lab.comes_back(web):
        [line] = cli("neighbor box del 10.0.0.9 dev eth0 -n").lines
    assert "neighbor delete 10.0.0.9" in line
    cli("neighbor box del 10.0.0.9 --dev eth0")
    cli("neighbor box del fd00::9 lladdr 02:00:00:00:00:0a dev eth0")
    assert lab.ip_json("neighbor show nud permanent", netns=web) == []
    error = cli("neighbor box del 10.0.0.9 --dev eth0 -j", status=1).error
    assert (error["errno"], error["extack"]) == ("ENOENT", "it is not known")


def test_fdb_entries_are_listed_as_by_bridge(cli: Cli, web: str) -> None:
    """`neighbor add --bridge` adds an FDB entry; `neighbor` lists the entry as bridge(8) does."""
    lab.veth("v1", "p1")
    cli("attach box br0 --bridge")
    cli("attach box v1 --master br0")
    cli("neighbor box add --bridge --mac 02:00:00:00:00:aa --dev eth2")
    told = [item for item in cli("neighbor box -j").json if item.get("mac") == "02:00:00:00:00:aa"]
    asked = json.loads(lab._run("bridge", "-j", "fdb", "show", "dev", "eth2", netns=web))
    [entry] = [item for item in asked if item["mac"] == "02:00:00:00:00:aa"]
    assert told == [{key: entry.get(key, "eth2") for key in ("mac", "ifname")}]
    cli("neighbor box del --bridge --mac 02:00:00:00:00:aa --dev eth2")
    assert "02:00:00:00:00:aa" not in cli("neighbor box").out


@pytest.mark.parametrize("words", ["list 10.0.0.9", "list --dev eth0", "add 10.0.0.9 at home"])
def test_unparsable_neighbors_are_usage_errors(cli: Cli, web: str, words: str) -> None:  # noqa: ARG001
    assert cli(f"neighbor box -j {words}", status=2).error["code"] == "usage"


@pytest.mark.parametrize(
    "words", ["add 10.0.0.9", "add 10.0.0.9 dev eth0", "del 10.0.0.9", "add --mac 02:00:00:00:00:08"]
)
def test_incomplete_neighbors_are_rejected(cli: Cli, web: str, words: str) -> None:  # noqa: ARG001
    assert cli(f"neighbor box -j {words}", status=1).error["code"] == "spec"


def test_addresses_are_added_listed_and_deleted(cli: Cli, web: str) -> None:
    cli("address box add eth0 10.9.9.9/32")
    assert lab.addresses("eth0", web) == {"10.0.0.2/24", "10.9.9.9/32", "fd00::2/64"}
    assert {"eth0 10.9.9.9/32", "eth0 fd00::2/64"} <= {" ".join(line.split()) for line in cli("address box").lines}
    [told] = cli("address box list eth0 -j").json
    assert {item["local"] for item in told["addr_info"]} >= {"10.0.0.2", "10.9.9.9", "fd00::2"}
    with lab.comes_back(web):
        [line] = cli("address box del eth0 10.9.9.9/32 -n").lines
    assert "address delete 10.9.9.9/32" in line
    cli("address box del eth0 10.9.9.9/32")
    assert lab.addresses("eth0", web) == {"10.0.0.2/24", "fd00::2/64"}
    assert cli("address box del eth0 10.9.9.9/32 -j", status=1).error["errno"] == "EADDRNOTAVAIL"
    assert cli("address box add eth0 10.0.0.2/24 -j", status=1).error["errno"] == "EEXIST"
    assert cli("address box list eth9 -j", status=1).error["errno"] == "ENODEV"


@pytest.mark.parametrize("words", ["add eth0", "add", "list eth0 10.0.0.2/24"])
def test_unparsable_addresses_are_usage_errors(cli: Cli, web: str, words: str) -> None:  # noqa: ARG001
    assert cli(f"address box -j {words}", status=2).error["code"] == "usage"


def test_address_without_prefix_length_is_rejected(cli: Cli, web: str) -> None:  # noqa: ARG001
    problem = cli("address box add eth0 10.9.9.9 -j", status=1).error["problems"][0]
    assert (problem["field"], problem["value"]) == ("address", "10.9.9.9")
