"""A failed attach is rolled back completely (faults A1 to A5, A8, A11)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Bridge,
    InterfaceNotFoundError,
    InterfaceSpec,
    KernelError,
    NameConflictError,
    RollbackError,
    Sandbox,
)
from netsandbox._system.kernel import LinuxKernel
from tests.kernel.lab import addresses, comes_back, fails, ip, link, links, sysctl, veth

if TYPE_CHECKING:
    from netsandbox.netlink.link import Link
    from netsandbox.netlink.message import Request

MAC = "02:00:00:00:00:11"
BAD = {"net.ipv4.conf.IFNAME.forwarding": "1", "net.ipv4.conf.IFNAME.no_such_setting": "1"}


@pytest.fixture
def source(host: None) -> str:  # noqa: ARG001
    """Create a fully configured link on the host."""
    veth()
    ip("link add br0 type bridge")
    ip("link set br0 up")
    ip("link set v0 address 02:00:00:00:00:07 mtu 1400 txqueuelen 50 alias something master br0")
    ip("link set v0 up")
    ip("link set p0 up")
    ip("link property add dev v0 altname another-name-for-it")
    ip("address add 10.0.0.1/24 dev v0")
    ip("address add 10.0.0.3/24 dev v0")
    ip("address add fd00::1/64 dev v0 nodad")
    ip("address add fd00::3/64 dev v0 nodad")
    ip("route add 10.9.0.0/16 via 10.0.0.9 metric 5")
    ip("route add default via 10.0.0.9")
    ip("route add fd09::/64 via fd00::9")
    ip("route add 10.8.0.0/16 dev v0 table 100")
    ip("neighbor add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0")
    sysctl("ipv4/conf/v0/arp_ignore", "2")
    sysctl("ipv6/conf/v0/accept_ra", "0")
    return "v0"


@pytest.fixture
def twins(host: None) -> str:  # noqa: ARG001
    """Create two macvlans with one MAC: the kernel refuses to set both up (EADDRINUSE)."""
    veth(up=True)
    ip("link add m0 link p0 type macvlan mode bridge")
    ip(f"link set m0 address {MAC} up")
    ip(f"link add m1 link p0 address {MAC} type macvlan mode bridge")
    return "m1"


def test_a1_link_up_failure_leaves_nothing(box: Sandbox, twins: str) -> None:
    with fails(box, KernelError) as info:
        box.add_interface(twins, addresses=["10.0.0.2/24", "fd00::2/64"], mtu=1400)
    assert info.value.errno == errno.EADDRINUSE
    assert info.value.step is not None
    assert info.value.step.endswith("link set dev eth0 up")
    assert any("link set dev eth0" in command for command in info.value.undone)
    ip("link set m0 down")
    assert box.add_interface(twins, addresses=["10.0.0.2/24"]).name == "eth0"


def test_a1_route_failure_leaves_nothing(box: Sandbox, source: str) -> None:
    with fails(box, KernelError) as info:
        box.add_interface(source, addresses=["10.0.0.2/24"], routes=["10.7.0.0/24", "10.7.1.0/24", "10.7.0.0/24"])
    assert info.value.errno == errno.EEXIST
    assert box.add_interface(source, addresses=["10.0.0.2/24"], routes=["10.7.0.0/24"]).name == "eth0"


def test_a1_attach_and_detach_work_after_a_failed_attach(box: Sandbox, twins: str) -> None:
    with comes_back(box.path):
        with pytest.raises(KernelError):
            box.add_interface(twins)
        ip("link set m0 down")
        box.add_interface(twins).remove()
        ip("link set m0 up")


def test_a2_failure_after_the_move_returns_the_link(box: Sandbox) -> None:
    # A macvlan's MTU cannot exceed its parent's: the kernel checks that after it has moved the link.
    veth(up=True)
    ip("link add m0 link p0 type macvlan mode bridge")
    with fails(box, KernelError, match="EINVAL") as info:
        box.add_interface("m0", mtu=9000, mac=MAC, name="wan0")
    assert info.value.step is not None
    assert "mtu 9000" in info.value.step
    assert box.add_interface("m0", mac=MAC, name="wan0").name == "wan0"


def test_a3_a_taken_name_leaves_the_link_on_the_host(box: Sandbox, source: str) -> None:
    ip("link add wan0 type bridge", netns=box.path)
    with fails(box, NameConflictError, match="the name is taken by link wan0"):
        box.add_interface(source, name="wan0")
    ip("link delete wan0", netns=box.path)
    assert box.add_interface(source, name="wan0").name == "wan0"


@pytest.mark.parametrize("taken", ["wan0", "v0"])
def test_a3_a_name_taken_after_the_check_returns_the_link(
    box: Sandbox, source: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the name is taken after the check, the kernel answers EEXIST, and the link is on the host afterwards."""
    # If the new name is taken and the old one is free, the kernel moves the link and then answers EEXIST.
    ip(f"link add {taken} type bridge", netns=box.path)
    ip(f"link property add dev {taken} altname wan0", netns=box.path, check=False)
    seen = LinuxKernel.links

    def blind(kernel: LinuxKernel) -> list[Link]:
        return [item for item in seen(kernel) if item.name != taken]

    with fails(box, KernelError) as info, monkeypatch.context() as patch:
        patch.setattr(LinuxKernel, "links", blind)
        box.add_interface(source, name="wan0", mac="02:00:00:00:00:08", mtu=1300)
    assert info.value.errno == errno.EEXIST


def test_a4_a_failed_sysctl_leaves_no_interface_listed(box: Sandbox, source: str) -> None:
    with fails(box, KernelError, match="no_such_setting") as info:
        box.add_interface(
            source, mac=MAC, mtu=1280, addresses=["10.0.0.2/24", "fd00::2/64", "169.254.1.1/16"], sysctls=BAD
        )
    assert info.value.errno == errno.ENOENT
    assert box.interfaces == ()
    assert box.add_interface(source, addresses=["10.0.0.2/24"]).name == "eth0"


def test_a5_a_failed_sysctl_of_a_bridge_leaves_no_bridge(box: Sandbox) -> None:
    with fails(box, KernelError, match="no_such_setting"):
        box.add_interface(Bridge("br-src"), addresses=["10.0.0.1/24"], sysctls=BAD)
    assert box.add_interface(Bridge("br-src"), addresses=["10.0.0.1/24"]).name == "eth0"


def test_a5_link_up_failure_of_a_bridge_leaves_no_bridge(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "up", errno.ENOMEM, times=9)
    with fails(box, KernelError, match="ENOMEM"):
        box.add_interface(Bridge("br-src"), addresses=["10.0.0.1/24"])


def test_a8_a_failed_attach_restores_the_link(box: Sandbox, source: str) -> None:
    before = link(source)
    with comes_back(box.path), pytest.raises(KernelError):
        box.add_interface(source, mac=MAC, mtu=1300, addresses=["10.0.0.2/24"], sysctls=BAD)
    after = link(source)
    assert (after["ifindex"], after["address"], after["mtu"], after["master"]) == (
        before["ifindex"],
        "02:00:00:00:00:07",
        1400,
        "br0",
    )
    assert addresses(source) == {"10.0.0.1/24", "10.0.0.3/24", "fd00::1/64", "fd00::3/64"}
    assert sysctl("ipv4/conf/v0/arp_ignore") == "2"


def test_a8_a_failed_attach_of_several_restores_all(box: Sandbox, source: str) -> None:
    veth("v1", "p1", up=True)
    ip("address add 10.5.0.1/24 dev v1")
    wishes = [
        InterfaceSpec(Bridge("b"), addresses=["10.6.0.1/24"]),
        InterfaceSpec("v1", master="b"),
        InterfaceSpec(source, sysctls=BAD),
    ]
    with fails(box, KernelError, match="no_such_setting") as info:
        box.add_interfaces(wishes)
    assert sum("name" in command and "netns" in command for command in info.value.undone) >= 2


def test_a11_a_permanent_error_is_not_retried(box: Sandbox, twins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = _pauses(monkeypatch)
    with fails(box, KernelError, match="EADDRINUSE"):
        box.add_interface(twins)
    assert pauses == []


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EAGAIN, errno.ENOBUFS])
def test_a11_a_temporary_error_is_retried_three_times(box: Sandbox, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary error of link up is retried three times, 10 ms apart."""
    veth()
    pauses = _pauses(monkeypatch)
    _refuse(monkeypatch, "up", code, times=3)
    assert box.add_interface("v0").is_up
    assert pauses == [0.01, 0.01, 0.01]


def test_a11_after_three_retries_the_error_is_raised(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    veth()
    pauses = _pauses(monkeypatch)
    _refuse(monkeypatch, "up", errno.EBUSY, times=4)
    with fails(box, KernelError, match="EBUSY"):
        box.add_interface("v0")
    assert len(pauses) == 3


def test_a_refused_link_local_address_is_rolled_back(
    box: Sandbox, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If IPv6 is disabled between two requests, the kernel refuses the address (EACCES), and nothing is left inside."""
    # The kernel refuses the address (EACCES) if another process disables IPv6 between the two requests.
    set_sysctl = LinuxKernel.set_sysctl

    def other_way(kernel: LinuxKernel, path: str, value: str) -> bool:
        return set_sysctl(kernel, path, "1" if path.endswith("/disable_ipv6") else value)

    monkeypatch.setattr(LinuxKernel, "set_sysctl", other_way)
    with pytest.raises(KernelError, match="EACCES"):
        box.add_interface(source, addresses=["fe80::9/64"])
    assert set(links(box.path)) == {"lo"}
    assert box.interfaces == ()


def test_a_failed_rollback_reports_what_is_left(box: Sandbox, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a step of the rollback fails, RollbackError lists the command that is left, and the others are undone."""
    send = LinuxKernel.send

    def broken(kernel: LinuxKernel, request: Request) -> None:
        if "10.9.0.0/16" in request.text:
            raise KernelError(errno.ENOMEM, request.text)
        send(kernel, request)

    monkeypatch.setattr(LinuxKernel, "send", broken)
    with pytest.raises(RollbackError) as info:
        box.add_interface(source, sysctls=BAD)
    assert isinstance(info.value.__cause__, KernelError)
    assert info.value.errno == errno.ENOENT
    assert len(info.value.left) == 1
    assert "route add 10.9.0.0/16 via 10.0.0.9 dev v0" in info.value.left[0]
    assert info.value.undone
    monkeypatch.undo()
    missing = link(source)
    ip(info.value.left[0].removeprefix("ip "))
    assert missing["master"] == "br0"


def test_keyboard_interrupt_rolls_back_the_attach(box: Sandbox, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_sysctl = LinuxKernel.set_sysctl
    signals = [KeyboardInterrupt()]

    def interrupted(kernel: LinuxKernel, path: str, value: str) -> bool:
        if signals:
            raise signals.pop()
        return set_sysctl(kernel, path, value)

    with fails(box, KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(LinuxKernel, "set_sysctl", interrupted)
        box.add_interface(source, addresses=["10.0.0.2/24"])


def test_a_link_deleted_during_the_attach_is_tolerated(
    box: Sandbox, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a process deletes the link during the attach, the rollback succeeds without the link."""
    set_sysctl = LinuxKernel.set_sysctl

    def hostile(kernel: LinuxKernel, path: str, value: str) -> bool:
        if path.endswith("no_such_setting"):
            ip("link delete eth0", netns=box.path)
        return set_sysctl(kernel, path, value)

    monkeypatch.setattr(LinuxKernel, "set_sysctl", hostile)
    with pytest.raises(KernelError, match="no_such_setting"):
        box.add_interface(source, addresses=["10.0.0.2/24"], sysctls=BAD)
    assert box.interfaces == ()
    assert set(links()) == {"lo", "br0"}
    assert set(links(box.path)) == {"lo"}


def test_a_link_deleted_after_its_attach_rolls_back_all(
    box: Sandbox, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a process deletes a link right after its attach, the whole operation is rolled back."""
    read = LinuxKernel.links

    def hostile(kernel: LinuxKernel) -> list[Link]:
        if "eth1" in links(box.path):
            ip("link delete eth1", netns=box.path)
        return read(kernel)

    monkeypatch.setattr(LinuxKernel, "links", hostile)
    with fails(box, InterfaceNotFoundError, match="to sandbox box: read b back: .*deleted or moved inside.*; undone: "):
        box.add_interfaces([InterfaceSpec(source), InterfaceSpec(Bridge("b"))])


def _pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list to which later pauses are added, instead of pausing."""
    noted: list[float] = []
    monkeypatch.setattr(LinuxKernel, "pause", lambda _, seconds: noted.append(seconds))
    return noted


def _refuse(monkeypatch: pytest.MonkeyPatch, word: str, code: int, *, times: int) -> None:
    """Fail the first *times* requests that contain *word*."""
    send = LinuxKernel.send
    left = [times]

    def refusing(kernel: LinuxKernel, request: Request) -> None:
        if word in request.text.split() and left[0]:
            left[0] -= 1
            raise KernelError(code, request.text)
        send(kernel, request)

    monkeypatch.setattr(LinuxKernel, "send", refusing)
