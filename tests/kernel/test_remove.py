"""Taking out: back to the host, repeatable, resumable, and never half done (behaviour.md I2, faults A6, A7, A12)."""

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
    """Plug in a link that has everything a link can have, inside and outside."""
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


def test_a_link_goes_back_under_its_old_name(box: Sandbox) -> None:
    veth()
    with comes_back(box.path):
        box.add_interface("v0", name="wan0", mac="02:00:00:00:00:42", addresses=["10.0.0.2/24"]).remove()
    assert box.interfaces == ()


def test_an_interface_is_removed_by_name_or_by_itself(box: Sandbox) -> None:
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


def test_a_name_that_nothing_has_is_refused(box: Sandbox) -> None:
    with fails(box, InterfaceNotFoundError, match="eth0") as info:
        box.remove_interface("eth0")
    assert info.value.errno == errno.ENODEV


def test_a_link_that_was_not_plugged_in_is_not_removed(box: Sandbox) -> None:
    ip("link add other type bridge", netns=box.path)
    with fails(box, InterfaceNotFoundError, match="other"):
        box.remove_interface("other")


def test_an_old_snapshot_does_not_remove_the_next_one(box: Sandbox) -> None:
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


def test_an_interface_of_a_former_sandbox_of_the_same_name_is_not_taken_for_one_of_the_new(box: Sandbox) -> None:
    former = box.add_interface(Bridge("former"))
    box.destroy()
    with Sandbox.create("box") as new:
        new.add_interface(Bridge("latter"))
        new.remove_interface(former)
        assert [item.source for item in new.interfaces] == ["latter"]
        new.destroy()


@pytest.mark.parametrize("taker", ["link add v0 type bridge", "link property add dev lo altname v0"])
def test_a6_a_host_name_taken_meanwhile_is_reported_and_a_retry_completes(plugged: Sandbox, taker: str) -> None:
    ip(taker)
    with fails(plugged, NameConflictError, match="v0") as info:
        plugged.remove_interface("eth0")
    assert info.value.errno == errno.EEXIST
    ip(taker.replace("add", "delete").replace(" type bridge", "").replace("property delete", "property del"))
    plugged.remove_interface("eth0")
    assert addresses("v0") == {"10.0.0.1/24"}
    assert links()["v0"]["mtu"] == 1500


def test_a6_a_host_name_taken_after_the_look_is_reported_and_nothing_is_lost(
    plugged: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a6_an_altname_taken_on_the_host_is_reported(box: Sandbox) -> None:
    veth()
    ip("link property add dev v0 altname other-name")
    box.add_interface("v0")
    ip("link property add dev lo altname other-name")
    with fails(box, NameConflictError, match="other-name"):
        box.remove_interface("eth0")
    ip("link property del dev lo altname other-name")
    box.remove_interface("eth0")
    assert links()["v0"]["altnames"] == ["other-name"]


def test_a7_the_source_name_taken_inside_does_not_keep_a_link_from_going_back(box: Sandbox) -> None:
    veth()
    with comes_back():
        box.add_interface("v0", addresses=["10.0.0.2/24"])
        ip("link add v0 type bridge", netns=box.path)
        box.remove_interface("eth0")
    assert set(links(box.path)) == {"lo", "v0"}


def test_a12_what_was_born_inside_never_gets_to_the_host(box: Sandbox) -> None:
    with comes_back():
        box.add_interface(Bridge("b"), addresses=["10.0.0.1/24"]).remove()
        box.add_interface(Bridge("b"))
        box.destroy()


def test_a_bridge_leaves_and_its_ports_stay_plugged_in(plugged: Sandbox) -> None:
    plugged.remove_interface("br0")
    assert "master" not in links(plugged.path)["eth0"]
    assert [item.name for item in plugged.interfaces] == ["eth0"]
    assert addresses("eth0", plugged.path) == {"10.1.0.2/24", "fd01::2/64"}
    plugged.remove_interface("eth0")
    assert addresses("v0") == {"10.0.0.1/24"}


def test_an_interface_renamed_inside_still_goes_back(box: Sandbox) -> None:
    veth()
    with comes_back(box.path):
        interface = box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
        ip("link set eth0 name renamed", netns=box.path)
        assert [item.name for item in box.interfaces] == ["renamed"]
        interface.remove()


def test_a_name_swapped_inside_does_not_deceive(box: Sandbox) -> None:
    veth()
    with comes_back():
        interface = box.add_interface("v0")
        ip("link set eth0 name hidden", netns=box.path)
        ip("link add eth0 type bridge", netns=box.path)
        with pytest.raises(InterfaceNotFoundError):
            box.remove_interface("eth0")
        interface.remove()
    assert set(links(box.path)) == {"lo", "eth0"}


def test_an_interface_reconfigured_inside_comes_back_as_it_was(box: Sandbox) -> None:
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


def test_t11_a_link_deleted_inside_counts_as_removed_however_often(box: Sandbox) -> None:
    veth()
    interface = box.add_interface("v0")
    ip("link delete eth0", netns=box.path)
    assert box.interfaces == ()
    interface.remove()
    box.remove_interface(interface)
    assert set(links()) == {"lo"}
    veth()
    assert box.add_interface("v0").name == "eth0"


def test_a_link_whose_peer_was_deleted_counts_as_removed(box: Sandbox) -> None:
    veth()
    box.add_interface("v0")
    ip("link delete p0")
    box.remove_interface("eth0")
    assert box.interfaces == ()


def test_an_index_used_again_inside_is_not_taken_for_the_link(box: Sandbox) -> None:
    veth()
    interface = box.add_interface("v0")
    ip("link delete eth0", netns=box.path)
    ip(f"link add impostor index {interface.index} type bridge", netns=box.path)
    assert box.interfaces == ()
    interface.remove()
    assert "impostor" in links(box.path)


def test_a_failed_removal_leaves_everything_plugged_in(plugged: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_of_several_interfaces_all_are_removed_or_none(plugged: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_failed_removal_keeps_ipv6_and_settings_inside(plugged: Sandbox) -> None:
    ip("link add v0 type bridge")
    before = snapshot(plugged.path)
    with pytest.raises(NameConflictError):
        plugged.destroy()
    assert snapshot(plugged.path) == before
    assert sysctl("ipv6/conf/eth0/accept_ra", netns=plugged.path) == "0"
    ip("link delete v0")


def test_the_index_on_the_host_comes_back_even_if_it_was_another_inside(box: Sandbox) -> None:
    veth()
    index = link("v0")["ifindex"]
    ip(f"link add other index {index} type bridge", netns=box.path)
    with comes_back(box.path):
        interface = box.add_interface("v0")
        assert interface.index != index
        interface.remove()
    assert link("v0")["ifindex"] == index


def test_an_index_taken_on_the_host_meanwhile_does_not_keep_a_link_out(box: Sandbox) -> None:
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    interface = box.add_interface("v0")
    ip(f"link add other index {interface.index} type bridge")
    interface.remove()
    assert links()["v0"]["ifindex"] != interface.index
    assert addresses("v0") == {"10.0.0.1/24"}


def test_plugging_in_and_out_can_be_repeated(box: Sandbox) -> None:
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    with comes_back(box.path):
        for _ in range(5):
            box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"], mac="02:00:00:00:00:11").remove()


def test_links_of_two_sandboxes_go_back_each_to_its_place(box: Sandbox) -> None:
    veth(up=True)
    with comes_back(box.path), Sandbox.temporary() as other:
        box.add_interface("v0", addresses=["10.0.0.1/24"])
        other.add_interface("p0", addresses=["10.0.0.2/24"])
        assert [item.name for item in other.interfaces] == ["eth0"]
        box.remove_interface("eth0")
        other.remove_interface("eth0")


def test_a_plan_of_a_removal_changes_nothing(plugged: Sandbox) -> None:
    with comes_back(plugged.path):
        plan = plugged.plan(plugged.remove_interface, "eth0")
        assert "name v0" in str(plan)


def test_many_leave_newest_first(box: Sandbox) -> None:
    veth(up=True)
    veth("v1", "p1", up=True)
    with comes_back():
        box.add_interfaces(
            [InterfaceSpec(Bridge("b")), InterfaceSpec("v0", master="b"), InterfaceSpec("v1", master="b")]
        )
        box.destroy()
