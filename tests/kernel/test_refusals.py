"""Refusals come first and all together; errors say what was asked and what came back (behaviour.md I12, gaps H)."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

import netsandbox
from netsandbox import Bridge, InterfaceNotFoundError, InterfaceSpec, KernelError, NetSandboxError, Sandbox, SpecError
from tests.kernel.lab import comes_back, fails, ip, ip_json, veth


def test_h_everything_that_is_wrong_is_told_at_once(box: Sandbox) -> None:
    veth(up=True)
    with fails(box, SpecError) as info:
        box.add_interface(
            "nowhere",
            name="a/b",
            mac="01:00:00:00:00:01",
            mtu=67,
            addresses=["10.0.0.0/24", "10.0.0.5"],
            routes=["nonsense"],
            sysctls={"kernel.hostname": "x"},
            master="no-bridge",
        )
    wrong = sorted(item.field for item in info.value.problems)
    assert wrong == ["address", "address", "mac", "master", "mtu", "name", "route", "source", "sysctl"]


def test_h_what_is_wrong_with_several_wishes_is_told_at_once(box: Sandbox) -> None:
    with fails(box, SpecError) as info:
        box.add_interfaces(
            [InterfaceSpec("nowhere"), InterfaceSpec(Bridge("b"), master="no-bridge"), InterfaceSpec("lo0")]
        )
    assert [(item.field, item.value) for item in info.value.problems] == [
        ("source", "nowhere"),
        ("master", "no-bridge"),
        ("source", "lo0"),
    ]


def test_an_unknown_keyword_names_the_nearest_right_one(box: Sandbox) -> None:
    veth()
    with fails(box, SpecError, match="did you mean 'addresses'"):
        box.add_interface("v0", adresses=["10.0.0.2/24"])  # type: ignore[call-arg]


def test_a_source_that_is_nowhere_is_told(box: Sandbox) -> None:
    with fails(box, InterfaceNotFoundError, match="nowhere.*no such link on the host") as info:
        box.add_interface("nowhere")
    assert info.value.errno == errno.ENODEV


def test_a_source_that_is_plugged_in_already_is_told_and_where(box: Sandbox) -> None:
    veth()
    box.add_interface("v0")
    with fails(box, SpecError, match="already attached as eth0"):
        box.add_interface("v0")


def test_a_source_that_is_inside_but_not_plugged_in_is_told(box: Sandbox) -> None:
    ip("link add stray type bridge", netns=box.path)
    with fails(box, SpecError, match="is inside already, but was not attached"):
        box.add_interface("stray")


@pytest.mark.parametrize("source", ["lo", "", "a/b", "x" * 128])
def test_a_source_that_no_link_can_be_is_refused(box: Sandbox, source: str) -> None:
    with fails(box, SpecError, match="source"):
        box.add_interface(source)


def test_a_master_that_is_no_bridge_is_refused(box: Sandbox) -> None:
    veth()
    veth("v1", "p1")
    box.add_interface("v1")
    with fails(box, SpecError, match="master 'v1': is not a bridge"):
        box.add_interface("v0", master="v1")


def test_a_bridge_that_nobody_plugged_in_is_no_master(box: Sandbox) -> None:
    veth()
    ip("link add br9 type bridge", netns=box.path)
    with fails(box, SpecError, match="no bridge or vrf of that source is attached"):
        box.add_interface("v0", master="br9")


def test_a_master_that_vanished_is_told(box: Sandbox) -> None:
    veth()
    box.add_interface(Bridge("b"))
    ip("link delete eth0", netns=box.path)
    with fails(box, SpecError, match="master 'b': has vanished from box"):
        box.add_interface("v0", master="b")


def test_an_mtu_too_small_for_ipv6_is_told_even_if_the_link_has_it_already(box: Sandbox) -> None:
    veth()
    ip("link set v0 mtu 1000")
    with fails(box, SpecError, match="mtu 1000: is below 1280"):
        box.add_interface("v0", addresses=["fd00::2/64"])
    box.add_interface("v0", addresses=["fd00::2/64"], mtu=1280)


def test_h_an_error_says_what_was_asked_and_what_the_kernel_answered(box: Sandbox) -> None:
    ip("link add br0 type bridge")
    with fails(box, KernelError) as info:
        box.add_interface("br0", name="wan0")
    error = info.value
    assert (error.errno, error.errno_name, error.extack) == (errno.EINVAL, "EINVAL", "The interface netns is immutable")
    assert (error.sandbox, error.link, error.operation) == ("box", "br0", "attach br0 to sandbox box")
    assert error.step is not None
    assert error.step.startswith("ip link set dev br0 netns")
    assert str(error).startswith("attach br0 to sandbox box: set link ")
    assert "EINVAL (The interface netns is immutable)" in str(error)
    assert isinstance(error, OSError)
    assert isinstance(error, NetSandboxError)


def test_h_an_error_says_what_was_undone(box: Sandbox) -> None:
    veth()
    with fails(box, KernelError) as info:
        box.add_interface("v0", addresses=["10.0.0.2/24"], sysctls={"net.ipv4.conf.IFNAME.no_such": "1"})
    assert info.value.left == ()
    assert [text for text in info.value.undone if "address delete 10.0.0.2/24 dev eth0" in text]
    assert [text for text in info.value.undone if "name v0" in text]
    assert "; undone: " in str(info.value)


def test_h_the_actual_state_is_listed_not_the_wish(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    ip("link set eth0 mtu 1234", netns=box.path)
    ip("address add 10.5.0.1/24 dev eth0", netns=box.path)
    (found,) = box.interfaces
    assert found.mtu == 1234
    assert [str(address) for address in found.addresses] == ["10.0.0.2/24", "10.5.0.1/24"]


@pytest.mark.parametrize("address", ["10.9.9.9/32", "10.0.0.3/24", "fd00::9/64", "169.254.9.9/32"])
def test_alias_addresses_come_and_go(box: Sandbox, address: str) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
    with comes_back(box.path):
        box.add_address("eth0", address)
        with fails(box, KernelError) as info:
            box.add_address("eth0", address)
        assert info.value.errno == errno.EEXIST
        box.remove_address("eth0", address)
    with fails(box, KernelError) as info:
        box.remove_address("eth0", address)
    assert info.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("promote", ["0", "1"])
def test_removing_the_first_address_of_a_network_keeps_the_others(box: Sandbox, promote: str) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24", "10.1.0.2/24"])
    Path("/proc/sys/net/ipv4/conf/all/promote_secondaries").read_text()
    box.run(Path("/proc/sys/net/ipv4/conf/all/promote_secondaries").write_text, promote)  # K16
    box.remove_address("eth0", "10.0.0.2/24")
    found = ip_json("-4 address show dev eth0", netns=box.path)[0]["addr_info"]
    assert sorted(item["local"] for item in found) == ["10.0.0.3", "10.0.0.4", "10.1.0.2"]


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.0/24", "224.0.0.1/24", "nonsense/24", "10.0.0.1/33"])
def test_an_alias_that_is_no_host_address_is_refused(box: Sandbox, address: str) -> None:
    veth()
    box.add_interface("v0")
    with fails(box, SpecError):
        box.add_address("eth0", address)


WITHOUT = """
import errno, json, netsandbox
from netsandbox import Route, Sandbox
verbs = (
    lambda: Sandbox.create("other"),
    lambda: Sandbox.open("box").close(),
    lambda: Sandbox.open("box").add_interface("v0"),
    lambda: Sandbox.open("box").add_route(Route("10.9.0.0/16", interface="lo")),
    lambda: Sandbox.host().add_interface("v0", mtu=1400).remove(),
    lambda: Sandbox.open("box").run(int),
)
said = []
for verb in verbs:
    try:
        verb()
        said.append("done")
    except netsandbox.KernelError as error:
        assert error.errno == errno.EPERM
        said.append(str(error))
print(json.dumps(said))
"""


@pytest.mark.parametrize("lacking", ["net_admin", "sys_admin", "all"])
def test_a_missing_capability_is_named_with_what_needs_it_and_nothing_is_changed(box: Sandbox, lacking: str) -> None:
    """What needs no capability works: looking at the namespace one is in does not."""
    veth()
    with comes_back(box.path):
        command = ["setpriv", f"--bounding-set=-{lacking}", f"--inh-caps=-{lacking}", sys.executable, "-W", "ignore"]
        done = subprocess.run([*command, "-c", WITHOUT], capture_output=True, text=True, check=True)
    net, system = (f"EPERM (Operation not permitted; it needs CAP_{name}_ADMIN)" for name in ("NET", "SYS"))
    enter = f"sandbox box: enter the network namespace: {system}"
    make = f"sandbox other: make a network namespace: {system}"
    host = f"attach v0 to sandbox host: set link 3: mtu 1400: {net}"
    add = f"attach v0 to sandbox box: set link 3: move to another namespace, with index 3, name eth0: {net}"
    route = f"add route 10.9.0.0/16 dev lo of sandbox box: add route to 10.9.0.0/16: {net}"
    assert [words.partition("; undone")[0] for words in json.loads(done.stdout)] == {
        "net_admin": [f"create sandbox other: set link 1: up: {net}", "done", add, route, host, "done"],
        "sys_admin": [make, enter, enter, enter, "done", enter],
        "all": [make, enter, enter, enter, host, enter],
    }[lacking]
    assert Sandbox.list() == [box.name]


def test_the_names_that_design_fixes_are_there() -> None:
    assert {"Sandbox", "Interface", "InterfaceSpec", "Statistics", "Route", "Neighbor", "Plan", "Bridge"} < set(
        netsandbox.__all__
    )
