"""add_interface(..., wait="up"): what it waits for, that it is told by the kernel, and what becomes of a wait in vain.

The judge is ip(8), asked when the call has returned.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, Sandbox, Veth
from netsandbox._system import listener
from netsandbox._system.kernel import LinuxKernel
from tests.kernel.lab import bridge, comes_back, fails, ip, ip_json, link, links, sysctl, veth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netsandbox.netlink.link import Link

pytestmark = pytest.mark.usefixtures("host")
IN_VAIN = 0.2  # seconds: how long is waited for what does not come
AMPLE = 50.0  # seconds: how long is waited at most for what does


@pytest.fixture
def when_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Do something, on a thread of its own, as soon as a look has shown that a port of a *state* is waited for."""
    wait, threads = LinuxKernel.wait_link, []

    def plan(act: Callable[[], object], state: str | None = None) -> None:
        looked = threading.Event()

        def waiting(
            kernel: LinuxKernel, index: int, ready: Callable[[Link], bool], seconds: float
        ) -> tuple[Link | None, float]:
            def look(found: Link) -> bool:
                done = ready(found)
                if not done and found.port_state == state:
                    looked.set()
                return done

            return wait(kernel, index, look, seconds)

        def body() -> None:
            assert looked.wait(AMPLE)
            act()

        monkeypatch.setattr(LinuxKernel, "wait_link", waiting)
        threads.append(threading.Thread(target=body))
        threads[0].start()

    yield plan
    for thread in threads:
        thread.join()


def port_state(name: str, netns: str | None = None) -> str:
    """Return the state of a bridge port, as ip(8) has it."""
    state: str = link(name, netns)["linkinfo"]["info_slave_data"]["state"]
    return state


def forward(name: str, port: str, netns: str | None = None) -> None:
    """Have a port forward at once: the kernel lets nobody set its state as long as it runs the protocol itself."""
    ip(f"link set {name} type bridge stp_state 0", netns=netns)
    bridge(f"link set dev {port} state 3", netns=netns)


def test_what_is_up_already_is_not_waited_for(box: Sandbox) -> None:
    veth()
    ip("link set p0 up")
    eth0 = box.add_interface("v0", wait="up", wait_limit=AMPLE, addresses=["10.0.0.2/24"])
    assert eth0.operstate == "UP"
    assert link("eth0", box.path)["operstate"] == "UP"


def test_g1_a_link_that_is_up_but_has_no_carrier_is_not_ready(box: Sandbox) -> None:
    """IFF_UP is what was asked for; nobody is at the other end (behaviour.md G1)."""
    veth()
    assert box.add_interface("v0", addresses=["10.0.0.2/24"]).is_up
    assert {"UP", "NO-CARRIER"} <= set(link("eth0", box.path)["flags"])
    box.remove_interface("eth0")
    with fails(box, KernelError) as info:
        box.add_interface("v0", addresses=["10.0.0.2/24"], routes=["10.7.0.0/24"], wait="up", wait_limit=IN_VAIN)
    assert info.value.errno == errno.ETIMEDOUT
    assert info.value.answered
    assert info.value.step == "# wait until eth0 is up and packets go through, for 0.2 s at most"
    assert str(info.value).startswith(
        "attach v0 to sandbox box: wait 0.2 s for eth0 to be up: ETIMEDOUT (eth0 has no carrier: its operstate is "
    )
    assert not any("wait" in command for command in info.value.undone)


def test_a_carrier_that_comes_later_is_waited_for(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    veth()
    when_waiting(lambda: ip("link set p0 up"))
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"
    assert "LOWER_UP" in link("eth0", box.path)["flags"]


def test_what_happens_to_other_links_meanwhile_is_passed_over(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    veth()

    def act() -> None:
        ip("link add br9 type bridge", netns=box.path)
        ip("link set p0 up")

    when_waiting(act)
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"


def test_a_receive_buffer_that_overran_means_to_look_again(
    box: Sandbox, when_waiting: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    veth()
    receive = listener.Listener.receive

    def lossy(self: listener.Listener) -> object:
        receive(self)
        return listener.Received([], overran=True, is_all=True)

    monkeypatch.setattr(listener.Listener, "receive", lossy)
    when_waiting(lambda: ip("link set p0 up"))
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"


def test_a_link_that_vanishes_meanwhile_is_told(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    veth()
    when_waiting(lambda: ip("link delete eth0", netns=box.path))
    with pytest.raises(KernelError, match=r"wait 50 s for eth0 to be up: ENODEV \(eth0 is gone\)"):
        box.add_interface("v0", wait="up", wait_limit=AMPLE)
    assert set(links(box.path)) == {"lo"}
    assert box.interfaces == ()


def test_ctrl_c_in_a_wait_undoes_all(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    veth()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with fails(box, KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(listener.Listener, "hears_of", interrupted)
        box.add_interface("v0", wait="up")


@pytest.fixture
def stp(host: None) -> str:  # noqa: ARG001
    """Make a bridge whose ports listen and learn before they forward, longer than any test takes."""
    ip("link add br0 type bridge stp_state 1 forward_delay 3000")
    ip("link set br0 up")
    veth()
    ip("link set p0 master br0 up")
    return "p0"


def test_the_port_that_the_other_end_is_has_to_forward(
    box: Sandbox, stp: str, when_waiting: Callable[..., None]
) -> None:
    def act() -> None:
        assert port_state(stp) == "listening"
        forward("br0", stp)

    when_waiting(act, "LISTENING")
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"
    assert port_state(stp) == "forwarding"


def test_without_a_wait_a_port_that_does_not_forward_makes_nothing_fail(box: Sandbox, stp: str) -> None:
    eth0 = box.add_interface("v0", addresses=["10.0.0.2/24"], advertise=1)
    assert box.wait_for_adverts()
    assert port_state(stp) == "listening"
    assert (eth0.adverts.sent, eth0.adverts.error) == (1, None)


def test_a_port_that_does_not_forward_in_time_is_told(box: Sandbox, stp: str) -> None:
    with fails(box, KernelError) as info:
        box.add_interface("v0", wait="up", wait_limit=1)
    assert info.value.errno == errno.ETIMEDOUT
    assert info.value.strerror == (
        f"its other end {stp} on the host does not forward as a port of br0: its state is LISTENING"
    )


def test_the_other_end_of_a_veth_that_is_made_has_to_forward_too(box: Sandbox, stp: str) -> None:
    assert port_state(stp)
    with fails(box, KernelError, match="its other end h0 on the host does not forward as a port of br0: .* LISTENING"):
        box.add_interface(Veth("h0", master="br0"), wait="up", wait_limit=1)
    ip("link set br0 type bridge stp_state 0")
    assert box.add_interface(Veth("h0", master="br0"), wait="up", wait_limit=AMPLE).operstate == "UP"
    assert port_state("h0") == "forwarding"


def test_the_other_end_of_a_link_of_the_host_counts_too(stp: str) -> None:
    with Sandbox.host() as host, comes_back(), pytest.raises(KernelError, match=rf"end {stp} .* LISTENING"):
        host.add_interface("v0", wait="up", wait_limit=1)


def test_the_kernels_own_delay_is_waited_for(box: Sandbox) -> None:
    ip("link add br0 type bridge stp_state 1 forward_delay 200")  # hundredths of a second: the least it takes
    ip("link set br0 up")
    veth()
    ip("link set p0 master br0 up")
    box.add_interface("v0", wait="up", wait_limit=AMPLE)
    assert port_state("p0") == "forwarding"


def test_a_port_in_the_sandbox_has_to_forward_itself(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    box.add_interface(Bridge("b"), name="br0", mac="02:00:00:00:00:0b")  # else it takes that of a port
    ip("link set br0 type bridge stp_state 1 forward_delay 3000", netns=box.path)
    veth()
    ip("link set p0 up")
    # (the bridge itself is not as it was before: it takes over what the port can do)
    with comes_back(), pytest.raises(KernelError, match=r"eth0 does not forward as a port of br0: .* LISTENING"):
        box.add_interface("v0", master="b", wait="up", wait_limit=1)
    when_waiting(lambda: forward("br0", "eth0", box.path), "LISTENING")
    box.add_interface("v0", master="b", wait="up", wait_limit=AMPLE)
    assert port_state("eth0", box.path) == "forwarding"


def test_all_are_plugged_in_before_one_is_waited_for(box: Sandbox) -> None:
    veth()
    ip("link set p0 up")
    lan, port = box.add_interfaces(
        [InterfaceSpec(Bridge("b"), wait="up", wait_limit=AMPLE), InterfaceSpec("v0", master="b")]
    )
    assert (lan.operstate, port.master) == ("UP", lan.name)


def test_two_ends_in_one_sandbox_have_none_on_the_host(box: Sandbox) -> None:
    veth()
    first, _ = box.add_interfaces([InterfaceSpec("v0", wait="up", wait_limit=AMPLE), InterfaceSpec("p0")])
    assert first.operstate == "UP"


def test_waiting_leaves_no_trace_in_the_way_back(box: Sandbox) -> None:
    veth()
    ip("link set p0 up")
    with comes_back(box.path):
        eth0 = box.add_interface("v0", wait="up", wait_limit=AMPLE, mtu=1400)
        eth0.remove()
    sysctl("ipv4/conf/v0/rp_filter")  # is there again
    assert [item["ifname"] for item in ip_json("link show", netns=box.path)] == ["lo"]
