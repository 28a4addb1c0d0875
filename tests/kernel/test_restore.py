"""A sandbox that another process opens: all interfaces are known, and none is guessed (faults F1 to F7)."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import Bridge, InterfaceNotFoundError, Neighbor, Route, Sandbox, SpecError
from tests.kernel.lab import addresses, comes_back, fails, ip, link, links, routes, snapshot, veth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from netsandbox import Interface

pytestmark = pytest.mark.usefixtures("host")

_NEW_PROCESS = """
from __future__ import annotations
import json
import sys
from typing import Any
from netsandbox import Sandbox
{look}
with Sandbox.open(sys.argv[1]) as box:
    {then}
    print(json.dumps(look(box)))
"""


def look(box: Sandbox) -> dict[str, list[Any]]:
    """Return the lasting state of a sandbox; the source of this function also runs in another process."""
    passing = {"operstate", "flags", "_owner", "_link", "_addresses", "addresses"}  # these depend on the carrier
    told: dict[str, list[Any]] = {"gateways": [str(box.gateway4), str(box.gateway6)]}
    for what in ("interfaces", "missing", "foreign", "routes", "neighbors"):
        items = getattr(box, what)
        told[what] = [
            [str(getattr(item, name)) for name in item.__match_args__ if name not in passing] for item in items
        ]
    for item in (*box.interfaces, *box.foreign):
        told[f"addresses of {item.name}"] = [str(address) for address in item.addresses if not address.is_link_local]
    return told


def elsewhere(box: Sandbox, then: str = "pass") -> dict[str, list[Any]]:
    """Open the sandbox in a new process, execute *then*, and return the state that the process sees."""
    program = _NEW_PROCESS.format(look=inspect.getsource(look), then=then)
    done = subprocess.run([sys.executable, "-c", program, box.name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


@contextmanager
def restored(box: Sandbox) -> Iterator[list[tuple[str, str]]]:
    """Expect another process to see the attached interfaces, and to detach them with their original state.

    Yields a list, which the body fills with source and name of each interface it attaches, in order.
    """
    expected: list[tuple[str, str]] = []
    with comes_back():
        yield expected
        assert named(box.interfaces) == expected
        assert set(links(box.path)) == {"lo", *(name for _, name in expected)}
        assert elsewhere(box) == look(box)
        for source, name in reversed(expected):
            left = elsewhere(box, f"box.remove_interface({name!r})")
            assert [item[0] for item in left["interfaces"]] == [key for key, _ in expected if key != source]
            expected = [item for item in expected if item[0] != source]
    assert set(links(box.path)) == {"lo"}


def named(items: tuple[Interface, ...]) -> list[tuple[str, str]]:
    return [(item.source, item.name) for item in items]


def test_f1_links_with_ipv6_only_are_known_by_their_names(box: Sandbox) -> None:
    veth("v0", "p0", up=True)
    veth("v1", "p1")
    with restored(box) as expected:
        box.add_interface("v0", addresses=["fd00::2/64"])
        box.add_interface("v1", addresses=["10.0.0.2/24"])
        expected += [("v0", "eth0"), ("v1", "eth1")]
        assert addresses("eth0", box.path) == {"fd00::2/64"}
        with Sandbox.open("box") as again:
            assert again.interfaces[0].statistics().rx_errors == 0


def test_f2_several_links_with_ipv6_only_are_distinguished(box: Sandbox) -> None:
    for number in range(3):
        veth(f"v{number}", f"p{number}")
    with restored(box) as expected:
        for number in (2, 0, 1):
            box.add_interface(f"v{number}", addresses=[f"fd0{number}::2/64"])
        expected += [("v2", "eth0"), ("v0", "eth1"), ("v1", "eth2")]
        with Sandbox.open("box") as again:
            assert {str(item.addresses[0]): item.source for item in again.interfaces} == {
                "fd02::2/64": "v2",
                "fd00::2/64": "v0",
                "fd01::2/64": "v1",
            }


def test_f3_several_vxlans_and_ports_are_distinguished(box: Sandbox) -> None:
    """Several vxlans and ports are distinguished, although none of them has an address."""
    veth("v0", "p0")
    veth("v1", "p1")
    ip("link add vx0 type vxlan id 10 dstport 4789")
    ip("link add vx1 type vxlan id 11 dstport 4789")
    with restored(box) as expected:
        box.add_interface(Bridge("br"), prefix="br")
        for source, prefix in (("vx1", "vxlan"), ("v1", "veth"), ("vx0", "vxlan"), ("v0", "veth")):
            box.add_interface(source, prefix=prefix, master="br")
        expected += [("br", "br0"), ("vx1", "vxlan0"), ("v1", "veth0"), ("vx0", "vxlan1"), ("v0", "veth1")]
        assert link("vxlan0", box.path)["linkinfo"]["info_data"]["id"] == 11
        assert {name for name, item in links(box.path).items() if item.get("master") == "br0"} == {
            "vxlan0",
            "vxlan1",
            "veth0",
            "veth1",
        }


def test_f4_a_port_listed_before_its_bridge_has_its_master(box: Sandbox) -> None:
    ip("link add v9 index 90 type veth peer name p9 index 91")
    veth("v0", "p0", up=True)
    with restored(box) as expected:
        box.add_interface("v9")
        box.add_interface(Bridge("br"))
        port = box.add_interface("v0", master="br")
        expected += [("v9", "eth0"), ("br", "eth1"), ("v0", "eth2")]
        assert list(links(box.path)).index("eth2") < list(links(box.path)).index("eth1")
        with Sandbox.open("box") as again:
            assert again.interfaces[2].master == port.master == "eth1"


def test_f5_links_with_equal_address_and_mac_are_distinguished(box: Sandbox) -> None:
    veth("v0", "p0")
    veth("v1", "p1", up=True)
    ip("link set v1 alias of-the-host")
    with restored(box) as expected:
        for source in ("v1", "v0"):
            box.add_interface(
                source, addresses=["10.0.0.2/24"], mac="02:00:00:00:00:07", mtu=1400, on_conflict="ignore"
            )
        expected += [("v1", "eth0"), ("v0", "eth1")]
        assert addresses("eth0", box.path) == addresses("eth1", box.path) == {"10.0.0.2/24"}


def test_f6_interfaces_without_a_gateway_are_known(box: Sandbox) -> None:
    veth("v0", "p0", up=True)
    veth("v1", "p1")
    with restored(box) as expected:
        box.add_interface("v0", addresses=["10.0.0.2/24"], routes=["10.8.0.0/16"])
        box.add_interface("v1")
        expected += [("v0", "eth0"), ("v1", "eth1")]
        assert elsewhere(box)["gateways"] == ["None", "None"]
        assert ip("route show default", netns=box.path) == ""


def test_f7_renamed_and_unnumbered_interfaces_are_known(box: Sandbox) -> None:
    """A renamed interface is listed with its current name and its given name; a name needs no number."""
    for number in range(3):
        veth(f"v{number}", f"p{number}")
    with restored(box) as expected:
        box.add_interface("v0", name="wan", addresses=["10.0.0.2/24"])
        box.add_interface("v1")
        box.add_interface("v2")
        ip("link set eth0 name lan-x", netns=box.path)
        ip("link set eth1 name eth0", netns=box.path)
        expected += [("v0", "wan"), ("v1", "lan-x"), ("v2", "eth0")]
        assert [item[:3] for item in elsewhere(box)["interfaces"]] == [
            ["v0", "wan", "wan"],
            ["v1", "lan-x", "eth0"],
            ["v2", "eth0", "eth1"],
        ]


def test_another_process_reads_gateways_routes_and_neighbors(box: Sandbox) -> None:
    veth("v0", "p0", up=True)
    veth("v1", "p1", up=True)
    ip("address add 192.0.2.1/24 dev v0")
    ip("route add 198.51.100.0/24 via 192.0.2.9")
    with restored(box) as expected:
        box.add_interface("v1", addresses=["10.1.0.2/24"])
        box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
        box.remove_interface("eth0")
        box.add_interface("v1", addresses=["10.1.0.2/24"])
        expected += [("v0", "eth1"), ("v1", "eth0")]
        box.set_gateway("10.0.0.1")
        box.set_gateway("fd00::1")
        box.add_route(Route("10.9.0.0/16", "10.1.0.1", metric=7))
        box.add_neighbor(Neighbor("10.0.0.9", "02:00:00:00:00:09", "eth1"))
        box.add_address("eth1", "10.9.9.9/32")
        told = elsewhere(box)
        assert told["gateways"] == ["10.0.0.1", "fd00::1"]
        assert routes(box.path) == {
            "default via 10.0.0.1 dev eth1",
            "10.9.0.0/16 via 10.1.0.1 dev eth0 metric 7",
            "default via fd00::1 dev eth1 metric 1024",
        }
        assert len(told["routes"]) == 3
        assert told["neighbors"] == [["10.0.0.9", "02:00:00:00:00:09", "eth1", "False", "PERMANENT"]]


# --- changes made inside ---


def test_foreign_and_missing_interfaces_are_listed(box: Sandbox) -> None:
    """Links created inside are listed as foreign, and interfaces deleted inside as missing."""
    for number in range(3):
        veth(f"v{number}", f"p{number}")
    kept, deleted, renamed = (box.add_interface(f"v{number}") for number in range(3))
    ip("link delete eth1", netns=box.path)
    ip("link set eth2 name eth1", netns=box.path)
    ip("link add trap type veth peer name other", netns=box.path)
    ip("address add 10.7.0.1/24 dev trap", netns=box.path)
    assert named(box.interfaces) == [("v0", "eth0"), ("v2", "eth1")]
    assert [item.given_name for item in box.interfaces] == ["eth0", "eth2"]
    assert box.interfaces[1].id == renamed.id
    (gone,) = box.missing
    assert (gone.source, gone.name, gone.given_name, gone.index, gone.id, gone.kind, gone.operstate) == (
        *("v1", "eth1", "eth1"),
        *(deleted.index, deleted.id, "veth", "NOTPRESENT"),
    )
    found = {item.name: item for item in box.foreign}
    assert set(found) == set(links(box.path)) - {"lo", "eth0", "eth1"} == {"trap", "other"}
    assert (found["trap"].source, found["trap"].given_name, found["trap"].id) == ("", "", 0)
    assert [str(item) for item in found["trap"].addresses] == ["10.7.0.1/24"]
    assert found["trap"].index == links(box.path)["trap"]["ifindex"]
    assert elsewhere(box) == look(box)
    gone.remove()
    assert box.missing == ()
    box.remove_interface("eth1")
    assert named(box.interfaces) == [("v0", kept.name)]
    assert "v2" in links()


def test_a_foreign_interface_is_not_removed(box: Sandbox) -> None:
    veth()
    box.add_interface("v0")
    ip("link add trap type veth peer name other", netns=box.path)
    before = [item for item in box.foreign if item.name == "trap"]
    for which in ("trap", "lo", before[0]):
        with fails(box, InterfaceNotFoundError, "it is foreign: netsandbox did not attach it, and leaves it alone"):
            box.remove_interface(which)
    ip("link delete trap", netns=box.path)
    ip("link set eth0 name trap", netns=box.path)
    with fails(box, InterfaceNotFoundError, "detach trap from sandbox box: ENODEV .it is foreign"):
        before[0].remove()


def test_removing_a_missing_interface_keeps_a_foreign_link(box: Sandbox) -> None:
    """Removing a missing interface by name drops its record, and keeps a foreign link of that name."""
    veth()
    box.add_interface("v0")
    ip("link delete eth0", netns=box.path)
    ip("link add eth0 index 50 type bridge", netns=box.path)
    assert named(box.missing) == [("v0", "eth0")]
    veth()
    with fails(box, SpecError, "already attached as eth0"):
        box.add_interface("v0")
    with comes_back(box.path):
        box.remove_interface("eth0")
    assert (box.missing, named(box.foreign)) == ((), [("", "eth0")])
    assert box.add_interface("v0").name == "eth1"


def test_a_given_name_on_a_foreign_link_is_refused(box: Sandbox) -> None:
    """The given name of a renamed interface is refused as long as a foreign link has that name."""
    veth()
    box.add_interface("v0")
    ip("link set eth0 name lan0", netns=box.path)
    ip("link add eth0 type bridge", netns=box.path)
    with fails(box, InterfaceNotFoundError, "foreign"):
        box.remove_interface("eth0")
    ip("link delete eth0", netns=box.path)
    box.remove_interface("eth0")  # no other link has the name now
    assert "v0" in links()


def test_an_impostor_link_is_listed_as_foreign(box: Sandbox) -> None:
    """A link with the name and index of a deleted interface is foreign; the interface is missing."""
    veth()
    eth0 = box.add_interface("v0")
    ip("link delete eth0", netns=box.path)
    ip(f"link add eth0 index {eth0.index} type veth peer name trap", netns=box.path)
    assert box.interfaces == ()
    assert [item.id for item in box.missing] == [eth0.id]
    assert {item.name for item in box.foreign} == {"eth0", "trap"}
    with comes_back(box.path):
        box.remove_interface("eth0")
    assert box.missing == ()


def test_interfaces_are_known_from_another_host(box: Sandbox, tmp_path: Path) -> None:
    """Opened with another host, the sandbox lists its interfaces, even if the peer's index is used on that host."""
    veth()
    other_end = links()["p0"]["ifindex"]
    box.add_interface("v0")
    with theirs(tmp_path / "host") as path:
        ip(f"link add x0 index {other_end} type bridge", netns=path)
        with Sandbox.open("box", host=path) as strange:
            assert (named(strange.interfaces), strange.missing, strange.foreign) == ([("v0", "eth0")], (), ())


def test_other_links_of_the_host_sandbox_are_foreign() -> None:
    veth()
    with Sandbox.host() as host:
        host.add_interface("v0")
        assert (named(host.interfaces), named(host.foreign), host.missing) == ([("v0", "v0")], [("", "p0")], ())
        with pytest.raises(InterfaceNotFoundError, match="foreign"):
            host.remove_interface("p0")
        host.remove_interface("v0")


# --- adopted namespaces ---


@contextmanager
def theirs(path: Path) -> Iterator[str]:
    """Mount a network namespace on a file, as Docker does in /run/docker/netns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    ip("link set lo up", netns=str(path))
    yield str(path)
    subprocess.run(["umount", str(path)], check=True)


def furnish(path: str) -> None:
    """Attach a link as osl does, and create a bridge with a port."""
    veth("vethdocker", "peer", up=True)
    ip(f"link set peer netns {path}")
    for words in (
        "link set peer name eth0",
        "address add 172.17.0.2/16 dev eth0",
        "link set eth0 address 02:42:ac:11:00:02 mtu 1400 up",
        "route add default via 172.17.0.1",
        "neighbor add 172.17.0.9 lladdr 02:00:00:00:00:09 dev eth0",
        "link add br0 type bridge",
        "link add d0 master br0 type veth peer name d1",
    ):
        ip(words, netns=path)


@pytest.mark.parametrize("name", [None, "ctr"])
def test_interfaces_of_osl_are_foreign_and_kept(tmp_path: Path, name: str | None) -> None:
    """Interfaces that osl attached are listed as foreign and kept, whether adopt pins the namespace or not."""
    with theirs(tmp_path / "docker" / "netns" / "1f2e3d4c5b6a") as path:
        furnish(path)
        veth()
        with comes_back(path):
            box = Sandbox.adopt(path, name)
            assert (box.interfaces, box.missing) == ((), ())
            assert {item.name for item in box.foreign} == {"eth0", "br0", "d0", "d1"}
            eth0 = next(item for item in box.foreign if item.name == "eth0")
            assert "172.17.0.2/16" in map(str, eth0.addresses)
            assert (eth0.mac, eth0.mtu, eth0.is_up, eth0.source) == ("02:42:ac:11:00:02", 1400, True, "")
            assert str(box.gateway4) == "172.17.0.1"
            assert elsewhere(box) == look(box)
            with fails(box, InterfaceNotFoundError, "foreign"):
                eth0.remove()
            with fails(box, InterfaceNotFoundError, "foreign"):
                box.remove_interface("br0")
            assert box.add_interface("v0", addresses=["10.0.0.2/24"]).name == "eth1"
            box.add_interface(Bridge("b"))
            box.remove_interface("eth1")
            box.add_interface("v0")
            box.destroy()
        assert set(links(path)) == {"lo", "eth0", "br0", "d0", "d1"}


def test_links_in_a_namespace_of_ip_netns_are_kept(run_netns: Path) -> None:
    ip("netns add ctr")
    path = str(run_netns / "ctr")
    ip("link set lo up", netns=path)
    furnish(path)
    before = snapshot(path)
    with Sandbox.adopt(path) as box:
        box.add_interface(Bridge("b"), prefix="br")
        box.close()
        with Sandbox.open("ctr") as again:
            assert named(again.interfaces) == [("b", "br1")]
            assert {item.name for item in again.foreign} == {"eth0", "br0", "d0", "d1"}
            again.destroy()
    assert snapshot(path) == before
    ip("netns delete ctr")
