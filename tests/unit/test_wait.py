"""Waiting for a link: the conditions, and the error when the time is up. FakeKernel never really waits."""

from __future__ import annotations

import errno

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, SpecError
from netsandbox._kernel import HOST
from netsandbox._steps import WaitUp
from netsandbox.netlink import attrs
from netsandbox.netlink import link_requests as requests
from tests.unit.rig import Rig, send

STEP = WaitUp("web", 7, "eth0", 5.0)


@pytest.fixture
def rig() -> Rig:
    """Make a veth that is up, with its other end as a port on the host."""
    made = Rig()
    made.box.add_link("eth0", index=7, up=True)
    made.box.edit_link(7, lower=9, lower_netns=0)
    made.host.add_link("br0", kind="bridge", index=3, up=True)
    made.host.add_link("out", index=9, up=True)
    send(made.host, requests.modify(9, master=3))
    made.host.edit_link(9, lower=7, lower_netns=0, port=state(3))
    return made


def state(number: int) -> bytes:
    """Return the settings of a bridge port in a state (BR_STATE_*)."""
    return attrs.pack_u8(1, number)


def lack(rig: Rig, step: WaitUp = STEP) -> str:
    """Return the reason for which waiting timed out."""
    with pytest.raises(KernelError) as info:
        step.apply(rig.world)
    assert info.value.errno == errno.ETIMEDOUT
    assert info.value.request == "wait 5 s for eth0 to be up"
    return str(info.value.strerror)


def test_ready_link_is_not_waited_for(rig: Rig) -> None:
    """Waiting for a link that is ready succeeds and changes nothing."""
    before = rig.state()
    assert STEP.apply(rig.world)
    assert rig.changes(before) == {}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"carrier": False, "operstate": "LOWERLAYERDOWN"}, "eth0 has no carrier: its operstate is LOWERLAYERDOWN"),
        ({"operstate": "DORMANT"}, "eth0 is not up: its operstate is DORMANT"),
        (
            {"port_kind": "bridge", "port": state(1)},
            "eth0 does not forward as a port of a bridge: its state is LISTENING",
        ),
    ],
)
def test_timeout_error_names_what_the_link_lacks(rig: Rig, fields: dict[str, object], text: str) -> None:
    """The timeout error has the carrier, the operstate or the port state that the link lacks."""
    rig.box.edit_link(7, **fields)
    assert lack(rig) == text


@pytest.mark.parametrize("operstate", ["UP", "UNKNOWN"])
def test_operstate_unknown_counts_as_up(rig: Rig, operstate: str) -> None:
    """A link with the operstate UNKNOWN, whose driver reports none, counts as up."""
    rig.box.edit_link(7, operstate=operstate)
    assert STEP.apply(rig.world)


def test_timeout_error_names_what_the_peer_lacks(rig: Rig) -> None:
    """The timeout error has the port state of the veth peer on the host."""
    rig.host.edit_link(9, port=state(2))
    text = "its other end out on the host does not forward as a port of br0: its state is LEARNING"
    assert lack(rig) == text


def test_port_state_counts_only_for_bridge_ports(rig: Rig) -> None:
    """The port state counts only if the master is a bridge."""
    rig.host.edit_link(9, port_kind="bond", port=state(2))
    assert STEP.apply(rig.world)


@pytest.mark.parametrize(
    "fields", [{"kind": "macvlan"}, {"lower": 8}, {"lower_netns": None}], ids=["kind", "index", "namespace"]
)
def test_different_link_at_the_peer_index_is_ignored(rig: Rig, fields: dict[str, object]) -> None:
    """A host link that has the index of the peer, but is not the peer, is not waited for."""
    rig.host.edit_link(9, port=state(2), **fields)
    assert STEP.apply(rig.world)


@pytest.mark.parametrize("fields", [{"kind": "macvlan"}, {"lower": None}, {"lower": 99}, {"lower_netns": None}])
def test_link_without_peer_on_the_host_is_checked_alone(rig: Rig, fields: dict[str, object]) -> None:
    """If a link has no veth peer on the host, only the link itself is waited for."""
    rig.host.edit_link(9, port=state(2))
    rig.box.edit_link(7, **fields)
    assert STEP.apply(rig.world)


def test_peer_of_a_host_link_is_found_on_the_host() -> None:
    """If both ends of a veth are on the host, the peer is found there."""
    rig = Rig(is_host=True)
    rig.host.add_link("eth0", index=7, up=True)
    rig.host.add_link("out", index=9, up=True)
    rig.host.edit_link(7, lower=9)
    rig.host.edit_link(9, lower=7, port_kind="bridge", port=state(0))
    step = WaitUp(HOST, 7, "eth0", 5.0)
    assert "its other end out on the host does not forward" in lack(rig, step)


def test_missing_link_raises_enodev(rig: Rig) -> None:
    send(rig.box, requests.delete(7))
    with pytest.raises(KernelError, match=r"wait 5 s for eth0 to be up: ENODEV .eth0 is gone"):
        STEP.apply(rig.world)


def test_inverse_of_waiting_does_nothing(rig: Rig) -> None:
    send(rig.box, requests.delete(7))
    asked = len(rig.faults.calls)
    assert not STEP.inverse().apply(rig.world)
    assert len(rig.faults.calls) == asked


def test_wait_steps_are_the_last_of_the_plan() -> None:
    """The steps that wait come after all interfaces are attached, and are not recorded for the detach."""
    rig = Rig()
    rig.host.add_link("v0", up=True)
    rig.host.add_link("v1", up=True)
    first = InterfaceSpec(Bridge("b"), wait="up", addresses=["10.0.0.1/24"], routes=["10.7.0.0/24"])
    plan, made = rig.plan(first, InterfaceSpec("v0", wait="up", wait_limit=0.5), InterfaceSpec("v1"))
    assert [str(step) for step in plan][-2:] == [
        "# wait until eth0 is up and packets go through, for 5 s at most",
        "# wait until eth1 is up and packets go through, for 0.5 s at most",
    ]
    assert sum(isinstance(step, WaitUp) for step in plan) == 2
    assert not any(isinstance(step, WaitUp) for item in made for step in item.teardown)


def test_timeout_rolls_the_attach_back() -> None:
    rig = Rig()
    rig.host.add_link("v0", index=7, addresses=["10.0.0.1/24"])
    rig.host.add_link("out", index=9, up=True)
    rig.host.edit_link(7, lower=9, lower_netns=0)  # 0: any number will do
    rig.host.edit_link(9, lower=7, lower_netns=0, port_kind="bridge", port=state(4))
    before = rig.state()
    with pytest.raises(KernelError) as info:
        rig.add(InterfaceSpec("v0", wait="up", addresses=["10.0.0.2/24"]))
    text = "its other end out on the host does not forward as a port of a bridge: its state is BLOCKING"
    assert info.value.strerror == text
    assert info.value.step == "# wait until eth0 is up and packets go through, for 5 s at most"
    assert rig.changes(before) == {}


@pytest.mark.parametrize("wait", ["down", "", True, 1, ["up"]])
def test_invalid_wait_is_refused(wait: object) -> None:
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", wait=wait)  # type: ignore[arg-type]
    assert info.value.problems == (("wait", wait, "is neither 'up' nor None"),)


@pytest.mark.parametrize("limit", [0, -1, 3600.1, float("inf"), True, "5", None])
def test_invalid_wait_limit_is_refused(limit: object) -> None:
    """A wait_limit that is not a number of seconds above 0 and up to 3600 raises SpecError."""
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", wait="up", wait_limit=limit)  # type: ignore[arg-type]
    assert info.value.problems == (("wait_limit", limit, "is not a number of seconds above 0 and up to 3600"),)


def test_nan_as_wait_limit_is_refused() -> None:
    with pytest.raises(SpecError, match="wait_limit nan"):
        InterfaceSpec("v0", wait_limit=float("nan"))


@pytest.mark.parametrize("limit", [0.001, 1, 3600])
def test_wait_limit_is_kept_as_a_float(limit: float) -> None:
    wish = InterfaceSpec("v0", wait="up", wait_limit=limit)
    assert (wish.wait, wish.wait_limit, type(wish.wait_limit)) == ("up", limit, float)
