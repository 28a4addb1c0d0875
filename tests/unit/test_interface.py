"""Interfaces, routes and neighbors as they are read back from the kernel."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Adverts,
    Bridge,
    Interface,
    InterfaceNotFoundError,
    InterfaceSpec,
    KernelError,
    Neighbor,
    Route,
    Statistics,
)
from netsandbox._plan.convert import list_neighbors, read_neighbor, read_neighbors, read_route, read_routes
from netsandbox.interface import read_interfaces
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink import neighbor, route
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.neighbor import PERMANENT, SELF, NeighborEntry
from netsandbox.netlink.settings import Settings
from tests.unit.rig import Rig, furnished, send
from tests.unit.values import forwarding, neighbor_entry, route_entry

if TYPE_CHECKING:
    from netsandbox.netlink.link import Link

MAC = "02:00:00:00:00:99"


@pytest.fixture
def rig() -> Rig:
    """A sandbox with the bridge br0 (source "br") and its port eth0 (source "v1")."""
    made = furnished()
    made.add(
        InterfaceSpec(Bridge("br"), prefix="br"),
        InterfaceSpec("v1", mtu=1400, master="br", addresses=["10.5.0.2/24", "fd05::2/64"], routes=["10.6.0.0/16"]),
    )
    return made


def read(rig: Rig) -> tuple[Interface, ...]:
    return read_interfaces(rig, rig.box, rig.attached)


def test_interface_has_the_values_of_the_kernel(rig: Rig) -> None:
    """An Interface has the source and the id of the record, and the values that the kernel reports."""
    bridge, port = read(rig)
    link = rig.box.link("eth0")
    assert link
    assert (bridge.source, bridge.name, bridge.is_bridge, bridge.master, bridge.kind) == (
        "br",
        "br0",
        True,
        None,
        "bridge",
    )
    assert (port.source, port.name, port.is_bridge, port.master, port.kind) == ("v1", "eth0", False, "br0", "veth")
    assert (port.index, port.mac, port.mtu, port.is_up, port.operstate) == (link.index, link.mac, 1400, True, "UP")
    assert (port.flags, port.txqlen, port.id) == (link.flags, 1000, 2)
    assert port.addresses[0] == ip_interface("10.5.0.2/24")
    assert ip_interface("fd05::2/64") in port.addresses
    assert port.routes == (Route("10.6.0.0/16"),)
    assert [item.interface for item in port.routes] == ["eth0"]


def test_interface_is_a_snapshot(rig: Rig) -> None:
    """An Interface keeps the values it was read with, and reading again gives the current ones."""
    old = read(rig)[1]
    send(rig.box, requests.modify(old.index, settings=Settings(mtu=1300), name="renamed"))
    assert (old.name, old.mtu) == ("eth0", 1400)
    assert (read(rig)[1].name, read(rig)[1].mtu) == ("renamed", 1300)


def test_missing_or_different_link_is_left_out(rig: Rig) -> None:
    """An attached interface is left out if its link is missing or of another kind."""
    _, port = read(rig)
    send(rig.box, requests.delete(port.index))
    assert [item.name for item in read(rig)] == ["br0"]
    rig.box.add_link("eth0", index=port.index, kind="dummy")
    assert [item.name for item in read(rig)] == ["br0"]


def test_a_link_that_vanishes_while_it_is_read_is_left_out(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge, port = rig.attached
    now = rig.box.links

    def vanish() -> list[Link]:
        send(rig.box, requests.delete(bridge.index))
        return now()

    with monkeypatch.context() as patch:
        patch.setattr(rig.box, "links", vanish)
        assert [item.name for item in read(rig)] == ["eth0"]
    send(rig.box, requests.delete(port.index))
    rig.faults.fail(1, errno.ENODEV)
    assert read_interfaces(rig, rig.box, [port]) == ()


def test_failure_to_read_is_raised(rig: Rig) -> None:
    """An error other than ENODEV from reading an interface is raised."""
    rig.faults.fail(2, errno.ENOBUFS)
    with pytest.raises(KernelError, match="ENOBUFS"):
        read(rig)


def test_statistics_are_read_by_index(rig: Rig) -> None:
    """Statistics are those of the link with the index: a renamed link is found, a missing one is an error."""
    _, port = read(rig)
    assert port.statistics() == Statistics()
    send(rig.box, requests.modify(port.index, name="renamed"))
    assert port.statistics() == Statistics()
    send(rig.box, requests.delete(port.index))
    with pytest.raises(InterfaceNotFoundError, match=r"read the statistics of eth0 of sandbox web: ENODEV .it is gone"):
        port.statistics()


def test_remove_finds_a_renamed_link(rig: Rig) -> None:
    """Interface.remove() detaches a link that was renamed after the snapshot."""
    _, port = read(rig)
    send(rig.box, requests.modify(port.index, name="renamed"))
    port.remove()
    assert rig.host.link("v1")
    assert [item.name for item in read(rig)] == ["br0"]


def test_renamed_interface_keeps_its_given_name(rig: Rig) -> None:
    """A renamed interface has its current name, and as given_name the name it was attached under."""
    old = read(rig)[1]
    send(rig.box, requests.modify(old.index, name="renamed"))
    assert [(item.name, item.given_name) for item in read(rig)] == [("br0", "br0"), ("renamed", "eth0")]


def test_foreign_interface_has_no_source(rig: Rig) -> None:
    """An interface that was not attached has the values of the kernel, no source, and the id 0."""
    made = rig.box.add_link("trap", addresses=["10.7.0.2/24"], up=True)
    (found,) = rig.snapshot().foreign
    assert (found.source, found.given_name, found.id, found.is_bridge) == ("", "", 0, False)
    assert (found.name, found.index, found.mac, found.is_up) == ("trap", made.index, made.mac, True)
    assert ip_interface("10.7.0.2/24") in found.addresses


def test_missing_interface_has_the_recorded_values(rig: Rig) -> None:
    """An interface whose link is missing has the values of the record and the operstate NOTPRESENT."""
    old = read(rig)[1]
    send(rig.box, requests.delete(old.index))
    rig.box.add_link("other", index=old.index, kind="dummy", addresses=["10.7.0.2/24"], up=True)
    (found,) = rig.snapshot().missing
    assert (found.source, found.name, found.given_name, found.index, found.kind, found.id) == (
        *("v1", "eth0", "eth0"),
        *(old.index, "veth", old.id),
    )
    assert (found.mac, found.mtu, found.addresses, found.is_up, found.operstate) == (None, 0, (), False, "NOTPRESENT")


def test_owner_is_not_in_repr_and_not_compared(rig: Rig) -> None:
    """The sandbox that owns an Interface is not in its repr and is not compared."""
    _, port = read(rig)
    assert "_owner" not in repr(port)
    assert port == read_interfaces(Rig(), rig.box, rig.attached)[1]


# --- routes ---


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (route_entry("10.9.0.0/16", 7), Route("10.9.0.0/16")),
        (route_entry("10.9.0.0/16", 7, metric=5), Route("10.9.0.0/16", metric=5)),
        (route_entry("10.9.0.0/16", 7, metric=1024), Route("10.9.0.0/16", metric=1024)),
        (route_entry("fd09::/32", 7, metric=1024), Route("fd09::/32")),
        (route_entry("fd09::/32", 7, metric=5), Route("fd09::/32", metric=5)),
        (route_entry("::/0", 7, "fe80::1", flags=route.ONLINK, metric=1024), Route("::/0", "fe80::1", onlink=True)),
        (route_entry("10.9.0.0/16", 7, flags=route.ONLINK), Route("10.9.0.0/16")),
        (route_entry("10.9.0.0/16", 7, source=ip_address("10.0.0.2")), Route("10.9.0.0/16", source="10.0.0.2")),
    ],
    ids=str,
)
def test_route_is_read_back_as_requested(entry: route.RouteEntry, expected: Route) -> None:
    """A route entry of the kernel is read back as the Route that requests it."""
    found = read_route(entry, {7: "eth0"})
    assert (found, found.interface) == (expected, "eth0")


def test_a_route_without_link_has_no_interface() -> None:
    assert read_route(route_entry("10.9.0.0/16", None), {7: "eth0"}).interface is None


def test_kernel_routes_and_unreachable_ones_are_left_out(rig: Rig) -> None:
    """Routes that the kernel made, that reach nothing, or that are not in the main table are left out."""
    send(rig.box, route.add(route_entry("10.8.0.0/16", None, type=7)))
    send(rig.box, route.add(route_entry("10.7.0.0/16", read(rig)[1].index, table=100)))
    names = {link.index: link.name for link in rig.box.links()}
    assert read_routes(rig.box.routes(table=route.TABLE_MAIN), names) == (Route("10.6.0.0/16"),)


def test_adverts_come_from_the_sandbox(rig: Rig) -> None:
    """The adverts of an interface come from its sandbox, and an interface that is read has no dropped addresses."""
    for item in read(rig):
        assert (item.adverts, item.dropped) == (Adverts(sent=item.id), ())


# --- neighbors ---


def test_static_neighbors_and_fdb_entries_are_read(rig: Rig) -> None:
    """Only permanent neighbors and configured forwarding entries of known links are read."""
    index = read(rig)[1].index
    for entry in (
        neighbor_entry("10.5.0.9", index),
        neighbor_entry("fd05::9", index),
        replace(neighbor_entry("10.5.0.8", index), state=2),  # NUD_REACHABLE: it was learned
        replace(neighbor_entry("10.5.0.7", index), state=neighbor.NOARP),
        replace(neighbor_entry("10.5.0.6", index), mac=None),
        forwarding(index, MAC),
        NeighborEntry(AF_BRIDGE, index, ip_address("10.5.0.9"), "02:00:00:00:00:97", PERMANENT, SELF),
        NeighborEntry(AF_BRIDGE, index, None, "33:33:00:00:00:01", PERMANENT, SELF),  # a multicast group
    ):
        send(rig.box, neighbor.replace(entry))
    names = {link.index: link.name for link in rig.box.links()}
    entries = list_neighbors(rig.box)
    assert read_neighbors(entries, names) == (
        Neighbor("10.5.0.9", MAC, "eth0"),
        Neighbor("fd05::9", MAC, "eth0"),
        Neighbor(None, MAC, "eth0", bridge=True),
        Neighbor("10.5.0.9", "02:00:00:00:00:97", "eth0", bridge=True),
    )
    assert read_neighbors(entries, {}) == ()


# --- the snapshot ---


def calls(rig: Rig) -> list[str]:
    """Return what has been asked of the sandbox since this was last called."""
    made = [call.removeprefix("box: ") for call in rig.faults.calls if call.startswith("box: ")]
    rig.faults.calls.clear()
    return made


def test_each_list_is_read_once(rig: Rig) -> None:
    """A snapshot reads each list of the kernel once; its views ask for nothing."""
    rig.box.add_link("trap", up=True)
    calls(rig)
    found = rig.snapshot(neighbors=True)
    assert sorted(calls(rig)) == ["list addresses", "list links", *["list neighbors"] * 2, "list routes"]
    assert [item.name for item in (*found.interfaces, *found.foreign)] == ["br0", "eth0", "trap"]
    assert (found.missing, found.neighbors, found.routes) == ((), (), (Route("10.6.0.0/16"),))
    assert found.interfaces == read(rig)
    assert len(calls(rig)) == 3
    assert rig.snapshot().neighbor_entries == ()


def test_an_interface_is_read_back_in_three_requests(rig: Rig) -> None:
    """Reading back takes three requests, for one interface as for several."""
    calls(rig)
    for some in (rig.attached, rig.attached[1:]):
        assert [item.id for item in read_interfaces(rig, rig.box, some)] == [item.id for item in some]
        assert calls(rig) == ["list addresses", "list routes", "list links"]
    assert read(rig)[1].routes == read_interfaces(rig, rig.box, rig.attached[1:])[0].routes


def test_a_link_without_parts_keeps_its_addresses(rig: Rig) -> None:
    """A link whose operational state is NOTPRESENT is there, with its addresses, and is not missing."""
    rig.box.edit_link(rig.attached[1].index, operstate="NOTPRESENT")
    found = rig.snapshot()
    assert found.missing == ()
    assert ip_interface("10.5.0.2/24") in found.interfaces[1].addresses


def test_routes_of_all_kinds_have_the_words_of_ip() -> None:
    """A route of another table or type is read with the names that ip-route(8) prints."""
    entry = route_entry("10.8.0.0/16", None, type=7, table=100, protocol=4, scope=0)
    found = read_route(entry, {})
    assert (found.table, found.type, found.protocol, found.scope) == (100, "unreachable", "static", "global")
    assert str(found) == "unreachable 10.8.0.0/16 table 100 proto static"
    connected = read_route(route_entry("10.0.0.0/24", 7, protocol=2, source=ip_address("10.0.0.1")), {7: "eth0"})
    assert str(connected) == "10.0.0.0/24 dev eth0 proto kernel src 10.0.0.1"
    strange = read_route(route_entry("10.0.0.0/24", 7, type=99, protocol=186, scope=7), {7: "eth0"})
    assert str(strange) == "99 10.0.0.0/24 dev eth0 proto 186 scope 7"


def test_a_neighbor_is_read_with_its_state() -> None:
    """A neighbor has the states that ip-neighbour(8) prints; what is not known of it is empty."""
    entry = replace(neighbor_entry("10.0.0.7", 7), state=0x06, mac=None)
    found = read_neighbor(entry, {})
    assert (found.state, found.mac, found.interface) == ("REACHABLE STALE", "", "")
    known = read_neighbor(neighbor_entry("10.0.0.7", 7), {7: "eth0"})
    assert known == Neighbor("10.0.0.7", known.mac, "eth0")
    assert known.state == "PERMANENT"
