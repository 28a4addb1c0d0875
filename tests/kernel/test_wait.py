"""add_interface(..., wait="up"): the conditions that it waits for, the kernel's notifications, and the timeout.

The tests compare the state with ip(8) after the call has returned.
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
IN_VAIN = 0.2  # seconds: the limit of a wait that times out
AMPLE = 50.0  # seconds: the limit of a wait that succeeds


@pytest.fixture
def when_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that calls *act* on a thread, once the library waits for a port in *state*."""
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
    """Return the state of a bridge port, as ip(8) shows it."""
    state: str = link(name, netns)["linkinfo"]["info_slave_data"]["state"]
    return state


def forward(name: str, port: str, netns: str | None = None) -> None:
    """Make a port forward at once; the kernel refuses to change its state while it runs STP itself."""
    ip(f"link set {name} type bridge stp_state 0", netns=netns)
    bridge(f"link set dev {port} state 3", netns=netns)


def test_waiting_for_a_link_that_is_up_returns(box: Sandbox) -> None:
    veth()
    ip("link set p0 up")
    eth0 = box.add_interface("v0", wait="up", wait_limit=AMPLE, addresses=["10.0.0.2/24"])
    assert eth0.operstate == "UP"
    assert link("eth0", box.path)["operstate"] == "UP"


def test_g1_a_link_without_a_carrier_is_not_up(box: Sandbox) -> None:
    """A link that is IFF_UP but has no carrier times out, and the attach is rolled back."""
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


def test_the_wait_ends_when_the_carrier_appears(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    veth()
    when_waiting(lambda: ip("link set p0 up"))
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"
    assert "LOWER_UP" in link("eth0", box.path)["flags"]


def test_changes_of_other_links_do_not_end_the_wait(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    veth()

    def act() -> None:
        ip("link add br9 type bridge", netns=box.path)
        ip("link set p0 up")

    when_waiting(act)
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"


def test_after_an_overrun_the_link_is_read_again(
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


def test_a_link_deleted_during_the_wait_is_reported(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    veth()
    when_waiting(lambda: ip("link delete eth0", netns=box.path))
    with pytest.raises(KernelError, match=r"wait 50 s for eth0 to be up: ENODEV \(eth0 is gone\)"):
        box.add_interface("v0", wait="up", wait_limit=AMPLE)
    assert set(links(box.path)) == {"lo"}
    assert box.interfaces == ()


def test_ctrl_c_during_the_wait_rolls_back(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    veth()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with fails(box, KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(listener.Listener, "wait", interrupted)
        box.add_interface("v0", wait="up")


@pytest.fixture
def stp(host: None) -> str:  # noqa: ARG001
    """Create a bridge whose ports listen and learn for longer than any test runs before they forward."""
    ip("link add br0 type bridge stp_state 1 forward_delay 3000")
    ip("link set br0 up")
    veth()
    ip("link set p0 master br0 up")
    return "p0"


def test_a_peer_that_is_a_bridge_port_has_to_forward(box: Sandbox, stp: str, when_waiting: Callable[..., None]) -> None:
    def act() -> None:
        assert port_state(stp) == "listening"
        forward("br0", stp)

    when_waiting(act, "LISTENING")
    assert box.add_interface("v0", wait="up", wait_limit=AMPLE).operstate == "UP"
    assert port_state(stp) == "forwarding"


def test_without_wait_a_port_need_not_forward(box: Sandbox, stp: str) -> None:
    """Without wait, the attach and its adverts succeed although the peer's bridge port does not forward."""
    eth0 = box.add_interface("v0", addresses=["10.0.0.2/24"], advertise=1)
    assert box.wait_for_adverts()
    assert port_state(stp) == "listening"
    assert (eth0.adverts.sent, eth0.adverts.error) == (1, None)


def test_a_peer_that_does_not_forward_in_time_is_reported(box: Sandbox, stp: str) -> None:
    with fails(box, KernelError) as info:
        box.add_interface("v0", wait="up", wait_limit=1)
    assert info.value.errno == errno.ETIMEDOUT
    assert info.value.strerror == (
        f"its other end {stp} on the host does not forward as a port of br0: its state is LISTENING"
    )


def test_the_host_end_of_a_created_veth_has_to_forward(box: Sandbox, stp: str) -> None:
    assert port_state(stp)
    with fails(box, KernelError, match="its other end h0 on the host does not forward as a port of br0: .* LISTENING"):
        box.add_interface(Veth("h0", master="br0"), wait="up", wait_limit=1)
    ip("link set br0 type bridge stp_state 0")
    assert box.add_interface(Veth("h0", master="br0"), wait="up", wait_limit=AMPLE).operstate == "UP"
    assert port_state("h0") == "forwarding"


def test_the_peer_of_a_host_sandbox_link_has_to_forward(stp: str) -> None:
    with Sandbox.host() as host, comes_back(), pytest.raises(KernelError, match=rf"end {stp} .* LISTENING"):
        host.add_interface("v0", wait="up", wait_limit=1)


def test_the_wait_covers_the_forward_delay_of_the_bridge(box: Sandbox) -> None:
    ip("link add br0 type bridge stp_state 1 forward_delay 200")  # centiseconds: the minimum of the kernel
    ip("link set br0 up")
    veth()
    ip("link set p0 master br0 up")
    box.add_interface("v0", wait="up", wait_limit=AMPLE)
    assert port_state("p0") == "forwarding"


def test_a_bridge_port_in_the_sandbox_has_to_forward(box: Sandbox, when_waiting: Callable[..., None]) -> None:
    box.add_interface(Bridge("b"), name="br0", mac="02:00:00:00:00:0b")  # else it takes the MAC of a port
    ip("link set br0 type bridge stp_state 1 forward_delay 3000", netns=box.path)
    veth()
    ip("link set p0 up")
    # (the state of the bridge itself differs afterwards: it inherits features of the port)
    with comes_back(), pytest.raises(KernelError, match=r"eth0 does not forward as a port of br0: .* LISTENING"):
        box.add_interface("v0", master="b", wait="up", wait_limit=1)
    when_waiting(lambda: forward("br0", "eth0", box.path), "LISTENING")
    box.add_interface("v0", master="b", wait="up", wait_limit=AMPLE)
    assert port_state("eth0", box.path) == "forwarding"


def test_all_interfaces_are_attached_before_the_wait(box: Sandbox) -> None:
    veth()
    ip("link set p0 up")
    lan, port = box.add_interfaces(
        [InterfaceSpec(Bridge("b"), wait="up", wait_limit=AMPLE), InterfaceSpec("v0", master="b")]
    )
    assert (lan.operstate, port.master) == ("UP", lan.name)


def test_the_peer_may_be_in_the_same_sandbox(box: Sandbox) -> None:
    """Waiting succeeds if both ends of the veth are attached to the same sandbox."""
    veth()
    first, _ = box.add_interfaces([InterfaceSpec("v0", wait="up", wait_limit=AMPLE), InterfaceSpec("p0")])
    assert first.operstate == "UP"


def test_an_attach_with_wait_can_be_detached(box: Sandbox) -> None:
    veth()
    ip("link set p0 up")
    with comes_back(box.path):
        eth0 = box.add_interface("v0", wait="up", wait_limit=AMPLE, mtu=1400)
        eth0.remove()
    sysctl("ipv4/conf/v0/rp_filter")  # exists again, so the link is on the host
    assert [item["ifname"] for item in ip_json("link show", netns=box.path)] == ["lo"]
