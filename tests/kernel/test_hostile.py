"""A process inside a sandbox cannot affect the host by changing its links: a detach follows the record."""

from __future__ import annotations

import errno

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, NameConflictError, Sandbox
from netsandbox._plan import state as _state
from netsandbox.netlink import message
from tests.kernel import lab

pytestmark = pytest.mark.usefixtures("host")


def test_names_and_alias_set_inside_stay_inside(box: Sandbox) -> None:
    """Name, alternative names, alias, queue length and group are restored to their values on the host."""
    lab.veth("v0", "p0")
    lab.ip("link property add dev v0 altname outside altname mine")
    lab.ip("link set v0 alias ours group 7 txqueuelen 123")
    with lab.comes_back():
        eth0 = box.add_interface("v0")
        for words in (
            "link property del dev eth0 altname mine",
            "link property add dev eth0 altname p0",  # the name of a link of the host
            "link property add dev eth0 altname evil",
            "link set eth0 alias evil group 99 txqueuelen 1 name lan0",
        ):
            lab.ip(words, netns=box.path)
        eth0.remove()


@pytest.mark.parametrize("limit", [1 << 16, message.LIMIT])
def test_a_flood_of_routes_inside_does_not_block_the_detach(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """With 2,000 routes added inside, the plan of the detach stays short, and the detach succeeds."""
    monkeypatch.setattr(_state, "MANY", 1000)
    monkeypatch.setattr(message, "LIMIT", limit)
    lab.veth("v0", "p0")
    with lab.comes_back():
        eth0 = box.add_interface("v0", addresses=["10.0.0.2/24"])
        flood = "".join(f"route add 10.{n // 256 + 1}.{n % 256}.0/24 dev eth0\n" for n in range(2000))
        box.exec(["ip", "-batch", "-"], input=flood.encode(), check=True)
        assert len(box.plan(eth0.remove).steps) < 20
        eth0.remove()


def test_a_dump_over_the_limit_fails_with_emsgsize(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that exceeds the limit fails with EMSGSIZE, and the sandbox remains usable."""
    for n in range(30):
        lab.ip(f"route add 10.1.{n}.0/24 dev lo", netns=box.path)
    with monkeypatch.context() as patch:
        patch.setattr(message, "LIMIT", 1024)
        with pytest.raises(KernelError, match="longer than 1024 bytes") as info:
            box.routes  # noqa: B018  reading the property fails
        assert info.value.errno == errno.EMSGSIZE
    assert len(box.routes) == 30


def test_a_failed_detach_keeps_names_set_inside(box: Sandbox) -> None:
    """A detach that is rolled back restores the alternative names set inside, not those in the record."""
    lab.veth("v0", "p0")
    lab.ip("link property add dev v0 altname outside")
    eth0 = box.add_interface("v0")
    lab.ip("link property del dev eth0 altname outside", netns=box.path)
    lab.ip("link property add dev eth0 altname inside", netns=box.path)
    lab.veth("outside", "other")
    with lab.fails(box, NameConflictError, "outside"):
        eth0.remove()
    lab.ip("link delete outside")
    eth0.remove()
    assert lab.link("v0")["altnames"] == ["outside"]


def test_an_impostor_link_is_not_moved_to_the_host(box: Sandbox) -> None:
    """A link with the name, kind and index of the attached link, but with its peer inside, stays inside."""
    lab.veth("v0", "p0")
    eth0 = box.add_interface("v0", addresses=["10.0.0.2/24"])
    lab.ip("link delete eth0", netns=box.path)
    lab.ip(f"link add eth0 index {eth0.index} type veth peer name trap", netns=box.path)
    with lab.comes_back(box.path):
        eth0.remove()
    assert box.interfaces == ()


def test_an_impostor_of_a_moved_link_stays_inside(box: Sandbox) -> None:
    """If the attached link was moved elsewhere, a link in its place stays inside: its peer differs."""
    lab.veth("v0", "p0")
    eth0 = box.add_interface("v0")
    with Sandbox.create("elsewhere") as other:
        lab.ip(f"link set eth0 netns {other.path} name moved index 77", netns=box.path, check=False)
        lab.ip(f"link set eth0 netns {other.path}", netns=box.path, check=False)
        lab.ip(f"link add eth0 index {eth0.index} type veth peer name trap", netns=box.path)
        with lab.comes_back(box.path):
            eth0.remove()
        other.destroy()


def test_both_ends_of_a_veth_in_one_sandbox_are_detached(box: Sandbox) -> None:
    """Both ends of a veth that are attached to one sandbox are returned to the host."""
    lab.veth("v0", "p0")
    with lab.comes_back():
        box.add_interface("v0")
        box.add_interface("p0")
        box.interfaces[0].remove()
        box.interfaces[0].remove()


@pytest.mark.parametrize("others", [0, 3])
def test_a_link_whose_peer_was_moved_is_detached(box: Sandbox, others: int) -> None:
    """A veth whose peer is attached to another sandbox is returned to the host, also if the peer's index changed."""
    lab.veth("v0", "p0")
    there = lab.links()["p0"]["ifindex"]
    eth0 = box.add_interface("v0")
    with Sandbox.create("elsewhere") as other:
        other.add_interfaces([InterfaceSpec(Bridge(f"b{number}")) for number in range(others)])
        assert (other.add_interface("p0").index == there) is not bool(others)
        assert [item.source for item in box.interfaces] == ["v0"]
        assert (box.missing, box.foreign) == ((), ())
        eth0.remove()
        assert "v0" in lab.links()
        other.destroy()
    assert lab.links().keys() == {"lo", "v0", "p0"}
