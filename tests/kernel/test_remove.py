"""Detach: it returns a link to the host, can be repeated, and is atomic (faults A6, A7, A12)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from netsandbox import Bridge, InterfaceNotFoundError, InterfaceSpec, KernelError, NameConflictError, Sandbox
from netsandbox._system.kernel import LinuxKernel
from tests.kernel.lab import addresses, comes_back, fails, ip, link, links, snapshot, sysctl, veth

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox import Interface


@pytest.fixture
def plugged(box: Sandbox) -> Sandbox:
    """Attach a link that is fully configured, both inside and on the host."""
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    ip("route add 10.9.0.0/16 via 10.0.0.9")
    box.add_interface(Bridge("b"), prefix="br")
    box.add_interface(
        "v0",
        master="b",
        mac="02:00:00:00:00:11",
        mtu=1400,
        addresses=["10.1.0.2/24", "fd01::2/64"],
        routes=["10.7.0.0/24"],
        sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2", "net.ipv6.conf.IFNAME.accept_ra": "0"},
    )
    box.set_gateway("10.1.0.1")
    ip("neighbor add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0", netns=box.path)
    return box


def test_a_detached_link_gets_its_original_name(box: Sandbox) -> None:
    veth()
    with comes_back(box.path):
        box.add_interface("v0", name="wan0", mac="02:00:00:00:00:42", addresses=["10.0.0.2/24"]).remove()
    assert box.interfaces == ()


def test_an_interface_is_removed_by_name_or_object(box: Sandbox) -> None:
    veth()
    veth("v1", "p1")
    box.add_interface("v0")
    second = box.add_interface("v1")
    box.remove_interface("eth0")
    box.remove_interface(second)
    assert set(links()) == {"lo", "v0", "p0", "v1", "p1"}


def test_removing_again_does_nothing(box: Sandbox) -> None:
    veth()
    interface = box.add_interface("v0")
    interface.remove()
    with comes_back(box.path):
        interface.remove()
        box.remove_interface(interface)


def test_an_unknown_name_is_refused(box: Sandbox) -> None:
    with fails(box, InterfaceNotFoundError, match="eth0") as info:
        box.remove_interface("eth0")
    assert info.value.errno == errno.ENODEV


def test_a_foreign_link_is_not_removed(box: Sandbox) -> None:
    ip("link add other type bridge", netns=box.path)
    with fails(box, InterfaceNotFoundError, match="other"):
        box.remove_interface("other")


def test_an_old_interface_object_removes_no_later_interface(box: Sandbox) -> None:
    veth()
    old = box.add_interface("v0")
    old.remove()
    box.add_interface("v0")
    old.remove()
    assert [item.name for item in box.interfaces] == ["eth0"]


@pytest.mark.parametrize("verb", [Sandbox.remove_interface, Sandbox.disable_arp_for_vip])
def test_an_interface_of_another_sandbox_is_refused(box: Sandbox, verb: Callable[[Sandbox, Interface], None]) -> None:
    box.add_interface(Bridge("mine"))
    with Sandbox.create("other") as other:
        theirs = other.add_interface(Bridge("theirs"))
        with fails(box, InterfaceNotFoundError, match="use eth0 of sandbox box: .*it belongs to sandbox other"):
            verb(box, theirs)
        other.destroy()


def test_an_interface_of_a_destroyed_sandbox_is_ignored(box: Sandbox) -> None:
    """An interface of a destroyed sandbox does not match one of a new sandbox with the same name."""
    former = box.add_interface(Bridge("former"))
    box.destroy()
    with Sandbox.create("box") as new:
        new.add_interface(Bridge("latter"))
        new.remove_interface(former)
        assert [item.source for item in new.interfaces] == ["latter"]
        new.destroy()


@pytest.mark.parametrize("taker", ["link add v0 type bridge", "link property add dev lo altname v0"])
def test_a6_a_taken_host_name_fails_the_detach(plugged: Sandbox, taker: str) -> None:
    """If the original name is taken on the host, the detach fails and is rolled back; a retry succeeds."""
    ip(taker)
    with fails(plugged, NameConflictError, match="v0") as info:
        plugged.remove_interface("eth0")
    assert info.value.errno == errno.EEXIST
    ip(taker.replace("add", "delete").replace(" type bridge", "").replace("property delete", "property del"))
    plugged.remove_interface("eth0")
    assert addresses("v0") == {"10.0.0.1/24"}
    assert links()["v0"]["mtu"] == 1500


def test_a6_a_host_name_taken_after_the_check_rolls_back(plugged: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the original name is taken after the check, the kernel's EEXIST rolls the detach back; a retry succeeds."""
    ip("link add v0 type bridge")
    look = LinuxKernel.link

    def blind(kernel: LinuxKernel, key: int | str, *, stats: bool = False) -> object:
        return None if key == "v0" else look(kernel, key, stats=stats)

    with fails(plugged, KernelError, match="EEXIST"), monkeypatch.context() as patch:
        patch.setattr(LinuxKernel, "link", blind)
        plugged.remove_interface("eth0")
    ip("link delete v0")
    plugged.remove_interface("eth0")
    assert addresses("v0") == {"10.0.0.1/24"}


def test_a6_a_taken_altname_on_the_host_fails_the_detach(box: Sandbox) -> None:
    veth()
    ip("link property add dev v0 altname other-name")
    box.add_interface("v0")
    ip("link property add dev lo altname other-name")
    with fails(box, NameConflictError, match="other-name"):
        box.remove_interface("eth0")
    ip("link property del dev lo altname other-name")
    box.remove_interface("eth0")
    assert links()["v0"]["altnames"] == ["other-name"]


def test_a7_a_source_name_taken_inside_is_no_conflict(box: Sandbox) -> None:
    """A link inside that has the source name does not prevent the detach."""
    veth()
    with comes_back():
        box.add_interface("v0", addresses=["10.0.0.2/24"])
        ip("link add v0 type bridge", netns=box.path)
        box.remove_interface("eth0")
    assert set(links(box.path)) == {"lo", "v0"}


def test_a12_a_link_created_inside_never_reaches_the_host(box: Sandbox) -> None:
    with comes_back():
        box.add_interface(Bridge("b"), addresses=["10.0.0.1/24"]).remove()
        box.add_interface(Bridge("b"))
        box.destroy()


def test_removing_a_bridge_keeps_its_ports_attached(plugged: Sandbox) -> None:
    plugged.remove_interface("br0")
    assert "master" not in links(plugged.path)["eth0"]
    assert [item.name for item in plugged.interfaces] == ["eth0"]
    assert addresses("eth0", plugged.path) == {"10.1.0.2/24", "fd01::2/64"}
    plugged.remove_interface("eth0")
    assert addresses("v0") == {"10.0.0.1/24"}


def test_an_interface_renamed_inside_can_be_detached(box: Sandbox) -> None:
    veth()
    with comes_back(box.path):
        interface = box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
        ip("link set eth0 name renamed", netns=box.path)
        assert [item.name for item in box.interfaces] == ["renamed"]
        interface.remove()


def test_a_name_swapped_inside_is_not_confused(box: Sandbox) -> None:
    """If a foreign link takes the name of a renamed interface, the name is refused; the Interface object detaches."""
    veth()
    with comes_back():
        interface = box.add_interface("v0")
        ip("link set eth0 name hidden", netns=box.path)
        ip("link add eth0 type bridge", netns=box.path)
        with pytest.raises(InterfaceNotFoundError):
            box.remove_interface("eth0")
        interface.remove()
    assert set(links(box.path)) == {"lo", "eth0"}


def test_changes_made_inside_are_reverted_on_detach(box: Sandbox) -> None:
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    with comes_back():
        interface = box.add_interface("v0", addresses=["10.1.0.2/24"])
        for change in (
            "link set eth0 address 02:00:00:00:00:66 mtu 999 down",
            "address add 10.66.0.1/24 dev eth0",
        ):
            ip(change, netns=box.path)
        interface.remove()


def test_removing_a_link_deleted_inside_succeeds(box: Sandbox) -> None:
    """Removing an interface whose link was deleted inside succeeds, also twice, and its source can be reused."""
    veth()
    interface = box.add_interface("v0")
    ip("link delete eth0", netns=box.path)
    assert box.interfaces == ()
    interface.remove()
    box.remove_interface(interface)
    assert set(links()) == {"lo"}
    veth()
    assert box.add_interface("v0").name == "eth0"


def test_removing_a_link_whose_peer_was_deleted_succeeds(box: Sandbox) -> None:
    veth()
    box.add_interface("v0")
    ip("link delete p0")
    box.remove_interface("eth0")
    assert box.interfaces == ()


def test_a_reused_index_is_not_confused(box: Sandbox) -> None:
    """A foreign link that has the index of a deleted interface is not listed, nor removed."""
    veth()
    interface = box.add_interface("v0")
    ip("link delete eth0", netns=box.path)
    ip(f"link add impostor index {interface.index} type bridge", netns=box.path)
    assert box.interfaces == ()
    interface.remove()
    assert "impostor" in links(box.path)


def test_a_failed_detach_is_rolled_back(plugged: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    send = LinuxKernel.send

    def refusing(kernel: LinuxKernel, request: object) -> None:
        if "10.9.0.0/16" in str(request):
            raise KernelError(errno.ENOMEM, "refused for the test")
        send(kernel, request)  # type: ignore[arg-type]

    with fails(plugged, KernelError, match="ENOMEM") as info, monkeypatch.context() as patch:
        patch.setattr(LinuxKernel, "send", refusing)
        plugged.remove_interface("eth0")
    assert info.value.undone
    plugged.remove_interface("eth0")
    assert addresses("v0") == {"10.0.0.1/24"}


def test_remove_interfaces_is_atomic(plugged: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    veth("v1", "p1", up=True)
    last = plugged.add_interface("v1", addresses=["10.2.0.2/24"])
    send = LinuxKernel.send

    def refusing(kernel: LinuxKernel, request: object) -> None:
        if "name v0" in str(request):  # the second to leave: the newest goes first
            raise KernelError(errno.ENOMEM, "refused for the test")
        send(kernel, request)  # type: ignore[arg-type]

    with fails(plugged, KernelError, match="ENOMEM") as info, monkeypatch.context() as patch:
        patch.setattr(LinuxKernel, "send", refusing)
        plugged.remove_interfaces(["eth0", last])
    assert info.value.operation == "detach eth0, eth1 from sandbox box"
    with fails(plugged, InterfaceNotFoundError, match="eth9"):
        plugged.remove_interfaces([last, "eth9"])
    plugged.remove_interfaces(["eth1", "eth0", last])
    assert ([item.source for item in plugged.interfaces], addresses("v0")) == (["b"], {"10.0.0.1/24"})
    assert {"v0", "v1"} < set(links())


def test_a_failed_destroy_keeps_ipv6_and_sysctls_inside(plugged: Sandbox) -> None:
    ip("link add v0 type bridge")
    before = snapshot(plugged.path)
    with pytest.raises(NameConflictError):
        plugged.destroy()
    assert snapshot(plugged.path) == before
    assert sysctl("ipv6/conf/eth0/accept_ra", netns=plugged.path) == "0"
    ip("link delete v0")


def test_the_original_index_is_restored(box: Sandbox) -> None:
    """A detached link gets its original index on the host, even if its index inside was another."""
    veth()
    index = link("v0")["ifindex"]
    ip(f"link add other index {index} type bridge", netns=box.path)
    with comes_back(box.path):
        interface = box.add_interface("v0")
        assert interface.index != index
        interface.remove()
    assert link("v0")["ifindex"] == index


def test_a_taken_index_on_the_host_is_no_conflict(box: Sandbox) -> None:
    """If the original index is taken on the host, the detach succeeds with another index."""
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    interface = box.add_interface("v0")
    ip(f"link add other index {interface.index} type bridge")
    interface.remove()
    assert links()["v0"]["ifindex"] != interface.index
    assert addresses("v0") == {"10.0.0.1/24"}


def test_attach_and_detach_can_be_repeated(box: Sandbox) -> None:
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    with comes_back(box.path):
        for _ in range(5):
            box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"], mac="02:00:00:00:00:11").remove()


def test_two_sandboxes_can_attach_both_ends_of_a_veth(box: Sandbox) -> None:
    veth(up=True)
    with comes_back(box.path), Sandbox.temporary() as other:
        box.add_interface("v0", addresses=["10.0.0.1/24"])
        other.add_interface("p0", addresses=["10.0.0.2/24"])
        assert [item.name for item in other.interfaces] == ["eth0"]
        box.remove_interface("eth0")
        other.remove_interface("eth0")


def test_planning_a_detach_changes_nothing(plugged: Sandbox) -> None:
    with comes_back(plugged.path):
        plan = plugged.plan(plugged.remove_interface, "eth0")
        assert "name v0" in str(plan)


def test_destroy_detaches_a_bridge_and_its_ports(box: Sandbox) -> None:
    veth(up=True)
    veth("v1", "p1", up=True)
    with comes_back():
        box.add_interfaces(
            [InterfaceSpec(Bridge("b")), InterfaceSpec("v0", master="b"), InterfaceSpec("v1", master="b")]
        )
        box.destroy()
