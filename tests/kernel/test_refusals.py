"""Invalid input is refused before any change, all problems at once; errors name request and answer (gaps H)."""

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


def test_h_all_problems_of_a_spec_are_reported_at_once(box: Sandbox) -> None:
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


def test_h_problems_of_several_specs_are_reported_at_once(box: Sandbox) -> None:
    with fails(box, SpecError) as info:
        box.add_interfaces(
            [InterfaceSpec("nowhere"), InterfaceSpec(Bridge("b"), master="no-bridge"), InterfaceSpec("lo0")]
        )
    assert [(item.field, item.value) for item in info.value.problems] == [
        ("source", "nowhere"),
        ("master", "no-bridge"),
        ("source", "lo0"),
    ]


def test_the_error_of_an_unknown_keyword_names_a_similar_one(box: Sandbox) -> None:
    veth()
    with fails(box, SpecError, match="did you mean 'addresses'"):
        box.add_interface("v0", adresses=["10.0.0.2/24"])  # type: ignore[call-arg]


def test_a_missing_source_is_refused(box: Sandbox) -> None:
    with fails(box, InterfaceNotFoundError, match="nowhere.*no such link on the host") as info:
        box.add_interface("nowhere")
    assert info.value.errno == errno.ENODEV


def test_a_source_that_is_attached_already_is_refused(box: Sandbox) -> None:
    """A source that is attached already is refused, and the error names its interface."""
    veth()
    box.add_interface("v0")
    with fails(box, SpecError, match="already attached as eth0"):
        box.add_interface("v0")


def test_a_foreign_link_inside_is_refused_as_a_source(box: Sandbox) -> None:
    ip("link add stray type bridge", netns=box.path)
    with fails(box, SpecError, match="is inside already, but was not attached"):
        box.add_interface("stray")


@pytest.mark.parametrize("source", ["lo", "", "a/b", "x" * 128])
def test_an_invalid_source_is_refused(box: Sandbox, source: str) -> None:
    with fails(box, SpecError, match="source"):
        box.add_interface(source)


def test_a_master_that_is_no_bridge_is_refused(box: Sandbox) -> None:
    veth()
    veth("v1", "p1")
    box.add_interface("v1")
    with fails(box, SpecError, match="master 'v1': is not a bridge"):
        box.add_interface("v0", master="v1")


def test_a_foreign_bridge_is_refused_as_a_master(box: Sandbox) -> None:
    veth()
    ip("link add br9 type bridge", netns=box.path)
    with fails(box, SpecError, match="no bridge or vrf of that source is attached"):
        box.add_interface("v0", master="br9")


def test_a_master_that_was_deleted_is_refused(box: Sandbox) -> None:
    veth()
    box.add_interface(Bridge("b"))
    ip("link delete eth0", netns=box.path)
    with fails(box, SpecError, match="master 'b': has vanished from box"):
        box.add_interface("v0", master="b")


def test_an_mtu_below_1280_is_refused_with_ipv6(box: Sandbox) -> None:
    """An MTU below 1280 is refused with an IPv6 address, even if the link has that MTU already."""
    veth()
    ip("link set v0 mtu 1000")
    with fails(box, SpecError, match="mtu 1000: is below 1280"):
        box.add_interface("v0", addresses=["fd00::2/64"])
    box.add_interface("v0", addresses=["fd00::2/64"], mtu=1280)


def test_h_an_error_has_the_request_and_the_kernels_answer(box: Sandbox) -> None:
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


def test_h_an_error_lists_what_was_rolled_back(box: Sandbox) -> None:
    veth()
    with fails(box, KernelError) as info:
        box.add_interface("v0", addresses=["10.0.0.2/24"], sysctls={"net.ipv4.conf.IFNAME.no_such": "1"})
    assert info.value.left == ()
    assert [text for text in info.value.undone if "address delete 10.0.0.2/24 dev eth0" in text]
    assert [text for text in info.value.undone if "name v0" in text]
    assert "; undone: " in str(info.value)


def test_h_interfaces_show_the_actual_state_not_the_spec(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    ip("link set eth0 mtu 1234", netns=box.path)
    ip("address add 10.5.0.1/24 dev eth0", netns=box.path)
    (found,) = box.interfaces
    assert found.mtu == 1234
    assert [str(address) for address in found.addresses] == ["10.0.0.2/24", "10.5.0.1/24"]


@pytest.mark.parametrize("address", ["10.9.9.9/32", "10.0.0.3/24", "fd00::9/64", "169.254.9.9/32"])
def test_addresses_are_added_and_removed(box: Sandbox, address: str) -> None:
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
def test_removing_a_primary_address_keeps_the_others(box: Sandbox, promote: str) -> None:
    """Removing the primary address of a network keeps the secondary ones, whatever promote_secondaries is."""
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24", "10.1.0.2/24"])
    Path("/proc/sys/net/ipv4/conf/all/promote_secondaries").read_text()
    box.run(Path("/proc/sys/net/ipv4/conf/all/promote_secondaries").write_text, promote)
    box.remove_address("eth0", "10.0.0.2/24")
    found = ip_json("-4 address show dev eth0", netns=box.path)[0]["addr_info"]
    assert sorted(item["local"] for item in found) == ["10.0.0.3", "10.0.0.4", "10.1.0.2"]


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.0/24", "224.0.0.1/24", "nonsense/24", "10.0.0.1/33"])
def test_add_address_refuses_an_invalid_address(box: Sandbox, address: str) -> None:
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
def test_a_missing_capability_is_named(box: Sandbox, lacking: str) -> None:
    """Without CAP_NET_ADMIN or CAP_SYS_ADMIN a call fails, names the capability, and changes nothing."""
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


def test_the_main_classes_are_public() -> None:
    assert {"Sandbox", "Interface", "InterfaceSpec", "Statistics", "Route", "Neighbor", "Plan", "Bridge"} < set(
        netsandbox.__all__
    )
