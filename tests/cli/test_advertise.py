"""attach --advertise and advertise: what is printed, and which adverts arrive at the other end of the veth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel import lab
from tests.kernel.wire import ips, without_other_addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox import Sandbox
    from tests.cli.conftest import Result
    from tests.kernel.wire import Wire

    Cli = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("host")
BOTH = {"10.0.0.2", "fd00::2"}
ADDRESSES = ["--address=10.0.0.2/24", "--address=fd00::2/64"]


@pytest.fixture
def path(box: Sandbox) -> str:
    without_other_addresses(box)
    return box.path


def test_attach_sends_first_round_before_exiting(program: Cli, path: str, wire: Wire) -> None:
    """By default, `attach` sends one round of adverts before it exits, and none afterwards."""
    result = program("attach", "box", "v0", *ADDRESSES)
    assert (result.lines[0].split()[0], result.err) == ("eth0", "")
    assert ips(wire.take(2)) == BOTH
    assert wire.rest("eth0", path) == []


def test_attach_sends_all_requested_rounds(program: Cli, path: str, wire: Wire) -> None:
    assert program("attach", "box", "v0", "--advertise=2,0.1", *ADDRESSES).err == ""
    assert len(wire.take(4)) == 4
    assert wire.rest("eth0", path) == []


def test_attach_advertise_0_sends_nothing(cli: Cli, path: str, wire: Wire) -> None:
    assert cli("attach box v0 --advertise 0", *ADDRESSES).err == ""
    assert wire.rest("eth0", path) == []


def test_attach_warns_about_unsent_requested_adverts(cli: Cli, path: str) -> None:  # noqa: ARG001
    """On a link without carrier, `attach` warns about adverts requested with --advertise, not about default ones."""
    lab.veth()
    error = "eth0 was advertised 0 times: advertise eth0: ENETDOWN (it has no carrier)"
    assert cli("attach box v0 --advertise 1", *ADDRESSES).err == f"netsandbox: {error}\n"
    lab.veth("v1", "p1")
    assert cli("attach box v1").err == ""


@pytest.mark.parametrize("wrong", ["nonsense", "4", "-1", "1.5", "3,nan", "3,2.001", "3,0.099", "1,x", "1,1,1", ""])
def test_attach_rejects_invalid_advertise_values(cli: Cli, path: str, wrong: str) -> None:
    """`attach` reports an invalid --advertise together with every other invalid option, and attaches nothing."""
    lab.veth()
    error = cli("attach box v0 --json", f"--advertise={wrong}", "--mtu=1", status=1).error
    assert {problem["field"] for problem in error["problems"]} == {"advertise", "mtu"}
    assert "eth0" not in lab.links(path)


def test_attach_reports_addresses_dropped_by_a_sysctl(cli: Cli, path: str) -> None:
    """`attach` reports an address that the kernel dropped because of a sysctl given with it; `inspect` does not."""
    lab.veth()
    off = "--sysctl=net.ipv6.conf.IFNAME.disable_ipv6=1"
    result = cli("attach box v0 --json", off, *ADDRESSES)
    assert (
        result.err == "netsandbox: eth0: fd00::2/64 was dropped: a sysctl of this link or a program inside removed it\n"
    )
    assert result.json["dropped"] == ["fd00::2/64"]
    assert lab.addresses("eth0", path) == {"10.0.0.2/24"}
    assert "dropped" not in cli("inspect box --json").json[0]["interfaces"][0]


def test_other_commands_send_no_adverts(cli: Cli, path: str, wire: Wire) -> None:
    """ls, inspect, route, address and advertise --dry-run send no adverts."""
    cli("attach box v0", *ADDRESSES)
    wire.take(2)
    for command in ("ls", "inspect box", "route box", "address box add eth0 10.9.9.9/32", "advertise box --dry-run"):
        cli(command)
    assert wire.rest("eth0", path) == []


def test_advertise_sends_again_and_prints_counts(cli: Cli, path: str, wire: Wire) -> None:
    """`advertise` sends as many rounds as `attach` was given, or --count rounds, and prints how many it sent."""
    cli("attach box v0 --advertise 2,0.1", *ADDRESSES)
    wire.take(4)
    lab.veth("v1", "p1")
    cli("attach box v1 --advertise 0")
    assert [line.split() for line in cli("advertise box").lines] == [["NAME", "SENT", "ERROR"], ["eth0", "2", "-"]]
    assert len(wire.take(4)) == 4
    assert cli("advertise box eth0 --count 1 --json").json == [{"ifname": "eth0", "sent": 1, "error": None}]
    assert len(wire.take(2)) == 2
    assert wire.rest("eth0", path) == []


def test_advertise_fails_if_no_advert_was_sent(cli: Cli, path: str) -> None:  # noqa: ARG001
    """`advertise` exits with 1 on a link without carrier, a missing interface, or an invalid interval."""
    lab.veth()
    cli("attach box v0", *ADDRESSES)
    reason = "advertise eth0: ENETDOWN (it has no carrier)"
    told = cli("advertise box --count 2 --interval 0.1 --json", status=1).json
    assert told == [{"ifname": "eth0", "sent": 0, "error": reason}]
    error = cli("advertise box eth7 --json", status=1).error
    assert (error["code"], error["message"].split(":")[0]) == ("interface-not-found", "advertise eth7 of sandbox box")
    assert cli("advertise box --interval 9 --json", status=1).error["code"] == "spec"
