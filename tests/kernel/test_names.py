"""Names are chosen by looking at the kernel's links (faults B1 to B5, C14)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from netsandbox import Bridge, InterfaceSpec, NameConflictError, Sandbox, SpecError
from tests.kernel.lab import addresses, comes_back, fails, ip, links, needs, sysctl, veth


def plug_in(box: Sandbox, *names: str | None, prefix: str = "eth") -> list[str]:
    """Attach bridges, and return their names."""
    taken = {item.source for item in box.interfaces}
    free = (Bridge(f"b{number}") for number in range(99) if f"b{number}" not in taken)
    return [box.add_interface(next(free), prefix=prefix, name=name).name for name in names]


def test_kinds_share_the_numbers_of_a_prefix(box: Sandbox) -> None:
    veth()
    veth("v1", "p1")
    added = box.add_interfaces([InterfaceSpec("v0"), InterfaceSpec(Bridge("b")), InterfaceSpec("v1")])
    assert [item.name for item in added] == ["eth0", "eth1", "eth2"]


@pytest.mark.parametrize(
    ("used", "chosen"),
    [([], "eth0"), (["0", "1"], "eth2"), (["0", "2"], "eth1"), (["2"], "eth0"), (["-0", "x1"], "eth0")],
)
def test_the_lowest_free_number_is_chosen(box: Sandbox, used: list[str], chosen: str) -> None:
    for number in used:
        ip(f"link add eth{number} type bridge", netns=box.path)
    assert plug_in(box, None) == [chosen]


def test_b1_failures_and_removals_use_no_numbers(box: Sandbox) -> None:
    for _ in range(3):
        with pytest.raises(OSError, match="no_such"):
            box.add_interface(Bridge("b"), sysctls={"net.ipv4.conf.IFNAME.no_such": "1"})
        box.add_interface(Bridge("b")).remove()
    assert plug_in(box, None, None) == ["eth0", "eth1"]


def test_a_gap_in_the_numbers_is_filled(box: Sandbox) -> None:
    assert plug_in(box, None, None, None) == ["eth0", "eth1", "eth2"]
    box.remove_interface("eth0")
    assert plug_in(box, None) == ["eth0"]
    assert set(links(box.path)) == {"lo", "eth0", "eth1", "eth2"}


def test_b2_a_prefix_that_ends_in_a_number_does_not_collide(box: Sandbox) -> None:
    ip("link add eth10 type bridge", netns=box.path)
    assert plug_in(box, None, prefix="eth1") == ["eth11"]


def test_b3_names_of_foreign_links_are_skipped(box: Sandbox) -> None:
    ip("link add eth0 type bridge", netns=box.path)
    assert plug_in(box, None) == ["eth1"]


def test_b3_alternative_names_are_skipped(box: Sandbox) -> None:
    ip("link property add dev lo altname eth0 altname eth1", netns=box.path)
    assert plug_in(box, None) == ["eth2"]


def test_b3_a_conflict_of_an_altname_inside_is_reported(box: Sandbox) -> None:
    veth()
    ip("link property add dev v0 altname spare")
    ip("link add spare type bridge", netns=box.path)
    with fails(box, NameConflictError, match="spare.*taken by link spare"):
        box.add_interface("v0")


def test_b3_a_name_equal_to_an_own_altname_is_refused(box: Sandbox) -> None:
    """An attach is refused if the chosen name is an alternative name of the link itself."""
    veth()
    ip("link property add dev v0 altname eth0")
    with comes_back(box.path), pytest.raises(NameConflictError, match="eth0"):
        box.add_interface("v0")


def test_b4_an_invalid_name_is_refused_first(box: Sandbox) -> None:
    """An invalid name is refused before anything is changed."""
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    names = ["", "x" * 16, "é" * 8, "a/b", "a b", "a\tb", ".", "..", "all", "default", "eth%d", "a:b", "a\0b"]
    with comes_back(box.path):
        for name in names:
            with pytest.raises(SpecError) as info:
                box.add_interface("v0", name=name)
            assert [(item.field, item.value) for item in info.value.problems] == [("name", name)]


def test_b4_a_prefix_that_leaves_no_room_for_a_number_is_refused(box: Sandbox) -> None:
    veth()
    ip("link add abcdefghijklmn0 type bridge", netns=box.path)
    assert plug_in(box, None, prefix="abcdefghijklmn") == ["abcdefghijklmn1"]
    for number in range(2, 10):
        ip(f"link add abcdefghijklmn{number} type bridge", netns=box.path)
    with fails(box, SpecError, match="leaves no room"):
        box.add_interface("v0", prefix="abcdefghijklmn")


def test_b5_ten_concurrent_adds_get_ten_names(box: Sandbox) -> None:
    with ThreadPoolExecutor(10) as pool:
        added = list(pool.map(box.add_interface, [Bridge(f"b{number}") for number in range(10)]))
    assert {item.name for item in added} == {f"eth{number}" for number in range(10)}
    assert set(links(box.path)) == {"lo", *(item.name for item in added)}
    assert len({item.index for item in box.interfaces}) == 10


@pytest.mark.parametrize("kind", ["veth", "macvlan", "vxlan", "ipvlan"])
def test_a_name_is_used_verbatim(box: Sandbox, kind: str) -> None:
    veth(up=True)
    if kind == "ipvlan":
        needs(kind)
    if kind == "vxlan":
        ip("link add v1 type vxlan id 7 dev p0 dstport 4789")
    elif kind != "veth":
        ip(f"link add v1 link p0 type {kind}")
    box.add_interface("v0" if kind == "veth" else "v1", name="foobar", addresses=["10.0.0.2/24"])
    assert addresses("foobar", box.path) == {"10.0.0.2/24"}


@pytest.mark.parametrize("name", ["eth0.100", "a-b_c", "ünï", "0", "eth0@x", "x" * 15, "-f", "IFNAME"])
def test_c14_any_valid_name_works_with_every_method(box: Sandbox, name: str) -> None:
    """A name that the kernel accepts works with addresses, routes, sysctls, gateways and removal."""
    veth()
    with comes_back(box.path):
        box.add_interface(
            "v0",
            name=name,
            addresses=["10.0.0.2/24", "fd00::2/64"],
            routes=["10.9.0.0/24"],
            sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"},
        )
        assert sysctl(f"ipv4/conf/{name}/rp_filter", netns=box.path) == "2"
        box.set_gateway("10.0.0.1", interface=name)
        assert f"default via 10.0.0.1 dev {name}" in ip("route", netns=box.path)
        box.unset_gateway()
        box.disable_arp_for_vip(name)
        assert sysctl(f"ipv4/conf/{name}/arp_announce", netns=box.path) == "2"
        box.remove_interface(name)


def test_a_name_is_kept_when_the_sandbox_is_opened_again(box: Sandbox) -> None:
    veth()
    with comes_back(box.path):
        box.add_interface("v0", name="wan0")
        with Sandbox.open("box") as again:
            assert [(item.source, item.name) for item in again.interfaces] == [("v0", "wan0")]
            again.remove_interface("wan0")
        assert box.interfaces == ()


def test_a_taken_name_is_refused(box: Sandbox) -> None:
    """A taken name is refused, and the error names the link that has it."""
    veth()
    plug_in(box, None)
    with fails(box, NameConflictError, match="the name is taken by link eth0") as info:
        box.add_interface("v0", name="eth0")
    assert info.value.code == "name-conflict"


def test_a_name_given_twice_in_one_call_is_refused(box: Sandbox) -> None:
    veth()
    with fails(box, NameConflictError, match="wan0"):
        box.add_interfaces([InterfaceSpec("v0", name="wan0"), InterfaceSpec(Bridge("b"), name="wan0")])


def test_a_given_name_counts_among_the_numbers(box: Sandbox) -> None:
    """A given name such as eth1 counts when the lowest free number is chosen."""
    assert plug_in(box, "eth1", None, None) == ["eth1", "eth0", "eth2"]
    for name in ("eth0", "eth1", "eth2"):
        box.remove_interface(name)
    assert plug_in(box, None) == ["eth0"]
