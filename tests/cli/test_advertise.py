"""attach --advertise and advertise: what is said, and what arrives at the other end."""

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


def test_attach_does_not_end_before_the_first_round(program: Cli, path: str, wire: Wire) -> None:
    result = program("attach", "box", "v0", *ADDRESSES)
    assert (result.lines[0].split()[0], result.err) == ("eth0", "")
    assert ips(wire.take(2)) == BOTH
    assert wire.rest("eth0", path) == []


def test_attach_sends_all_rounds_that_were_asked_for(program: Cli, path: str, wire: Wire) -> None:
    assert program("attach", "box", "v0", "--advertise=2,0.1", *ADDRESSES).err == ""
    assert len(wire.take(4)) == 4
    assert wire.rest("eth0", path) == []


def test_attach_sends_nothing_if_asked_to(cli: Cli, path: str, wire: Wire) -> None:
    assert cli("attach box v0 --advertise 0", *ADDRESSES).err == ""
    assert wire.rest("eth0", path) == []


def test_attach_says_what_it_could_not_send_if_it_was_asked_to(cli: Cli, path: str) -> None:  # noqa: ARG001
    lab.veth()
    error = "eth0 was advertised 0 times: advertise eth0: ENETDOWN (it has no carrier)"
    assert cli("attach box v0 --advertise 1", *ADDRESSES).err == f"netsandbox: {error}\n"
    lab.veth("v1", "p1")
    assert cli("attach box v1").err == ""


@pytest.mark.parametrize("wrong", ["nonsense", "4", "-1", "1.5", "3,nan", "3,2.001", "3,0.099", "1,x", "1,1,1", ""])
def test_attach_refuses_a_count_or_interval_that_is_none(cli: Cli, path: str, wrong: str) -> None:
    lab.veth()
    error = cli("attach box v0 --json", f"--advertise={wrong}", "--mtu=1", status=1).error
    assert {problem["field"] for problem in error["problems"]} == {"advertise", "mtu"}
    assert "eth0" not in lab.links(path)


def test_attach_tells_of_addresses_that_a_setting_took_away(cli: Cli, path: str) -> None:
    lab.veth()
    off = "--sysctl=net.ipv6.conf.IFNAME.disable_ipv6=1"
    result = cli("attach box v0 --json", off, *ADDRESSES)
    assert result.err == "netsandbox: eth0: fd00::2/64 was dropped: it is gone now that all settings are made\n"
    assert result.json["dropped"] == ["fd00::2/64"]
    assert lab.addresses("eth0", path) == {"10.0.0.2/24"}
    assert "dropped" not in cli("inspect box --json").json[0]["interfaces"][0]


def test_other_commands_send_nothing(cli: Cli, path: str, wire: Wire) -> None:
    cli("attach box v0", *ADDRESSES)
    wire.take(2)
    for command in ("ls", "inspect box", "route box", "address box add eth0 10.9.9.9/32", "advertise box --dry-run"):
        cli(command)
    assert wire.rest("eth0", path) == []


def test_advertise_sends_again_as_attached_and_says_so(cli: Cli, path: str, wire: Wire) -> None:
    cli("attach box v0 --advertise 2,0.1", *ADDRESSES)
    wire.take(4)
    lab.veth("v1", "p1")
    cli("attach box v1 --advertise 0")
    assert [line.split() for line in cli("advertise box").lines] == [["NAME", "SENT", "ERROR"], ["eth0", "2", "-"]]
    assert len(wire.take(4)) == 4
    assert cli("advertise box eth0 --count 1 --json").json == [{"ifname": "eth0", "sent": 1, "error": None}]
    assert len(wire.take(2)) == 2
    assert wire.rest("eth0", path) == []


def test_advertise_fails_if_it_could_not_be_done(cli: Cli, path: str) -> None:  # noqa: ARG001
    lab.veth()
    cli("attach box v0", *ADDRESSES)
    reason = "advertise eth0: ENETDOWN (it has no carrier)"
    told = cli("advertise box --count 2 --interval 0.1 --json", status=1).json
    assert told == [{"ifname": "eth0", "sent": 0, "error": reason}]
    error = cli("advertise box eth7 --json", status=1).error
    assert (error["code"], error["message"].split(":")[0]) == ("interface-not-found", "advertise eth7 of sandbox box")
    assert cli("advertise box --interval 9 --json", status=1).error["code"] == "spec"
