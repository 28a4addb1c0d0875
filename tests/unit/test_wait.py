"""Waiting for a link: what it looks at, and what it says when that does not come. The fake never waits."""

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
    """Return what was waited for in vain."""
    with pytest.raises(KernelError) as info:
        step.apply(rig.world)
    assert info.value.errno == errno.ETIMEDOUT
    assert info.value.request == "wait 5 s for eth0 to be up"
    return str(info.value.strerror)


def test_a_link_that_packets_go_through_is_not_waited_for(rig: Rig) -> None:
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
def test_it_says_what_the_link_lacks(rig: Rig, fields: dict[str, object], text: str) -> None:
    rig.box.edit_link(7, **fields)
    assert lack(rig) == text


@pytest.mark.parametrize("operstate", ["UP", "UNKNOWN"])
def test_a_driver_that_tells_no_operational_state_is_fine(rig: Rig, operstate: str) -> None:
    rig.box.edit_link(7, operstate=operstate)
    assert STEP.apply(rig.world)


def test_it_says_what_the_other_end_lacks(rig: Rig) -> None:
    rig.host.edit_link(9, port=state(2))
    text = "its other end out on the host does not forward as a port of br0: its state is LEARNING"
    assert lack(rig) == text


def test_the_port_of_another_master_than_a_bridge_has_no_state(rig: Rig) -> None:
    rig.host.edit_link(9, port_kind="bond", port=state(2))
    assert STEP.apply(rig.world)


@pytest.mark.parametrize(
    "fields", [{"kind": "macvlan"}, {"lower": 8}, {"lower_netns": None}], ids=["kind", "index", "namespace"]
)
def test_another_link_under_the_index_of_the_other_end_is_not_waited_for(rig: Rig, fields: dict[str, object]) -> None:
    rig.host.edit_link(9, port=state(2), **fields)
    assert STEP.apply(rig.world)


@pytest.mark.parametrize("fields", [{"kind": "macvlan"}, {"lower": None}, {"lower": 99}, {"lower_netns": None}])
def test_a_link_without_another_end_on_the_host_is_waited_for_alone(rig: Rig, fields: dict[str, object]) -> None:
    rig.host.edit_link(9, port=state(2))
    rig.box.edit_link(7, **fields)
    assert STEP.apply(rig.world)


def test_on_the_host_both_ends_are_in_one_namespace() -> None:
    rig = Rig(is_host=True)
    rig.host.add_link("eth0", index=7, up=True)
    rig.host.add_link("out", index=9, up=True)
    rig.host.edit_link(7, lower=9)
    rig.host.edit_link(9, lower=7, port_kind="bridge", port=state(0))
    step = WaitUp(HOST, 7, "eth0", 5.0)
    assert "its other end out on the host does not forward" in lack(rig, step)


def test_a_link_that_is_gone_is_told(rig: Rig) -> None:
    send(rig.box, requests.delete(7))
    with pytest.raises(KernelError, match=r"wait 5 s for eth0 to be up: ENODEV .eth0 is gone"):
        STEP.apply(rig.world)


def test_the_inverse_of_waiting_is_nothing(rig: Rig) -> None:
    send(rig.box, requests.delete(7))
    asked = len(rig.faults.calls)
    assert not STEP.inverse().apply(rig.world)
    assert len(rig.faults.calls) == asked


def test_waiting_comes_last_after_all_interfaces() -> None:
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
    assert not any(isinstance(step, WaitUp) for item in made for step in item.back)


def test_a_wait_in_vain_undoes_all() -> None:
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
def test_what_nobody_can_wait_for_is_refused(wait: object) -> None:
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", wait=wait)  # type: ignore[arg-type]
    assert info.value.problems == (("wait", wait, "is neither 'up' nor None"),)


@pytest.mark.parametrize("limit", [0, -1, 3600.1, float("inf"), True, "5", None])
def test_a_limit_that_makes_no_sense_is_refused(limit: object) -> None:
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", wait="up", wait_limit=limit)  # type: ignore[arg-type]
    assert info.value.problems == (("wait_limit", limit, "is not a number of seconds above 0 and up to 3600"),)


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(SpecError, match="wait_limit nan"):
        InterfaceSpec("v0", wait_limit=float("nan"))


@pytest.mark.parametrize("limit", [0.001, 1, 3600])
def test_a_limit_is_kept_as_seconds(limit: float) -> None:
    wish = InterfaceSpec("v0", wait="up", wait_limit=limit)
    assert (wish.wait, wish.wait_limit, type(wish.wait_limit)) == ("up", limit, float)
