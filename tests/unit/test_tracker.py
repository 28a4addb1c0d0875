"""Events from the kernel's notifications and from comparing dumps; tests/kernel checks the notifications."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from netsandbox import Event, KernelError, Neighbor, Route
from netsandbox._events import tracker
from netsandbox._events.tracker import EventTracker
from netsandbox.netlink import address, attrs, link, neighbor, route
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink.constants import IFF_UP
from netsandbox.netlink.message import F_REPLACE, Message
from netsandbox.netlink.settings import Settings
from netsandbox.testing import FakeKernel
from tests.unit.rig import send
from tests.unit.values import address_entry, forwarding, neighbor_entry, route_entry

if TYPE_CHECKING:
    from netsandbox.netlink.address import Address
    from netsandbox.netlink.neighbor import NeighborEntry
    from netsandbox.netlink.route import RouteEntry


@pytest.fixture
def kernel() -> FakeKernel:
    """Make a namespace with a link that has an address, and a route through it."""
    made = FakeKernel()
    made.add_link("v0", index=7, addresses=["10.0.0.1/24"], up=True)
    send(made, route.add(route_entry("10.9.0.0/16", 7, "10.0.0.9")))
    return made


@pytest.fixture
def known(kernel: FakeKernel) -> EventTracker:
    """Return a tracker that knows the state of the kernel."""
    made = EventTracker("web")
    made.compare(kernel)
    return made


def say(kind: int, value: Address | RouteEntry | NeighborEntry, *, flags: int = 0) -> Message:
    return Message(kind, flags, 0, value.pack())


def say_link(kind: int, index: int, name: str, *attributes: bytes, flags: int = IFF_UP, family: int = 0) -> Message:
    head = struct.pack("=BxHiII", family, 1, index, flags, 0)
    return Message(kind, 0, 0, head + attrs.pack_text(3, name) + b"".join(attributes))


def short(events: list[Event]) -> list[tuple[str, str, str | None]]:
    return [(event.what, event.change, event.interface) for event in events]


def test_first_comparison_reports_all_as_new_links_first(kernel: FakeKernel) -> None:
    """The first comparison reports everything as new, links before what is on them."""
    found = EventTracker("web").compare(kernel)
    assert short(found)[:3] == [("link", "new", "lo"), ("link", "new", "v0"), ("address", "new", "v0")]
    assert set(short(found)[3:]) == {("address", "new", "v0"), ("route", "new", "v0")}
    assert {event.sandbox for event in found} == {"web"}


def test_comparison_reports_changes_without_notification(kernel: FakeKernel, known: EventTracker) -> None:
    """A comparison with the kernel reports the changes of which no notification arrived."""
    assert known.compare(kernel) == []
    kernel.add_link("v1", index=8)
    send(
        kernel, requests.modify(7, settings=Settings(mtu=1400)), route.delete(route_entry("10.9.0.0/16", 7, "10.0.0.9"))
    )
    assert short(known.compare(kernel)) == [
        ("route", "deleted", "v0"),
        ("link", "changed", "v0"),
        ("link", "new", "v1"),
    ]
    send(kernel, requests.delete(7))
    found = short(known.compare(kernel))
    assert found[-1] == ("link", "deleted", "v0")  # after the events of what was on it
    assert {item[1:] for item in found} == {("deleted", "v0")}


def test_neighbor_is_reported_new_changed_and_deleted(known: EventTracker) -> None:
    """A neighbor is reported as new, changed and deleted; a repeated notification gives no event."""
    entry = neighbor_entry("10.0.0.7", 7)
    said = [
        known.receive(say(neighbor.NEWNEIGH, entry)),
        known.receive(say(neighbor.NEWNEIGH, entry)),
        known.receive(say(neighbor.NEWNEIGH, replace(entry, mac="02:00:00:00:00:07"))),
        known.receive(say(neighbor.DELNEIGH, entry)),
        known.receive(say(neighbor.DELNEIGH, entry)),
    ]
    assert [event and event.change for event in said] == ["new", None, "changed", "deleted", None]
    assert said[0] == Event("web", "neighbor", "new", "v0", Neighbor("10.0.0.7", entry.mac or "", "v0"))


def test_link_event_has_the_name_of_a_known_master(known: EventTracker) -> None:
    event = known.receive(say_link(link.NEWLINK, 9, "p0", attrs.pack_u32(10, 7)))
    assert event
    assert (event.interface, event.master, event.change) == ("p0", "v0", "new")


def test_irrelevant_notifications_give_no_event(known: EventTracker) -> None:
    """Notifications about what nobody configured, of other families, or malformed give no event."""
    local = route_entry("10.0.0.1/32", 7, table=route.TABLE_LOCAL)
    learned = route_entry("fd09::1/128", 7, flags=route.CLONED)
    groups = replace(forwarding(7), mac="33:33:00:00:00:01")
    for message in (
        say(route.NEWROUTE, local),
        say(route.NEWROUTE, learned),
        say(neighbor.NEWNEIGH, groups),
        say(neighbor.NEWNEIGH, replace(groups, mac=None)),
        say(neighbor.NEWNEIGH, replace(neighbor_entry("10.0.0.7", 7), flags=8)),  # NTF_PROXY
        say(neighbor.NEWNEIGH, replace(neighbor_entry("224.0.0.1", 7), state=neighbor.NOARP)),
        Message(30, 0, 0, neighbor_entry("10.0.0.7", 7).pack()),  # RTM_GETNEIGH: a request to resolve it
        Message(route.NEWROUTE, 0, 0, b"\x07" + bytes(11)),
        Message(link.NEWLINK, 0, 0, b""),
        say_link(link.NEWLINK, 7, "v0", family=10),
    ):
        assert known.receive(message) is None


def test_replaced_route_is_reported_as_changed(kernel: FakeKernel, known: EventTracker) -> None:
    """A route that replaces another is reported as changed, and a late RTM_DELROUTE of the other gives no event."""
    old, new = route_entry("10.9.0.0/16", 7, "10.0.0.9"), route_entry("10.9.0.0/16", 7, "10.0.0.8")
    send(kernel, route.replace(new))
    event = known.receive(say(route.NEWROUTE, new, flags=F_REPLACE))
    assert event
    assert (event.change, event.value) == ("changed", Route("10.9.0.0/16", "10.0.0.8"))
    assert known.compare(kernel) == []
    assert known.receive(say(route.DELROUTE, old)) is None


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "down"])
def test_link_down_or_deleted_makes_the_state_stale(known: EventTracker, gone: bool) -> None:  # noqa: FBT001
    """The state is stale once a link with IPv4 routes is down or deleted: the kernel removes routes silently."""
    known.receive(say_link(link.NEWLINK, 9, "v9", flags=0))
    assert not known.is_stale
    known.receive(say_link(link.DELLINK if gone else link.NEWLINK, 7, "v0", flags=0))
    assert known.is_stale


@pytest.mark.parametrize("source", [None, "10.5.0.1"])
def test_deleted_source_address_makes_the_state_stale(
    kernel: FakeKernel, known: EventTracker, source: str | None
) -> None:
    """The state is stale once the source address of an IPv4 route is deleted: the route goes silently."""
    known.receive(say(address.NEWADDR, address_entry("10.5.0.1/32", 9)))
    known.receive(say(address.NEWADDR, address_entry("fd00::1/64", 7)))
    known.receive(say(address.DELADDR, address_entry("fd00::1/64", 7)))
    entry = route_entry("10.7.0.0/16", 7, source=ip_address(source) if source else None)
    known.receive(say(route.NEWROUTE, entry))
    assert not known.is_stale
    known.receive(say(address.DELADDR, address_entry("10.5.0.1/32", 9)))
    assert known.is_stale is bool(source)
    known.compare(kernel)
    assert not known.is_stale


def test_deleted_next_hop_makes_the_state_stale(known: EventTracker) -> None:
    """The state is stale after RTM_DELROUTE of an unknown route, which may be one next hop of several."""
    assert known.receive(say(route.DELROUTE, route_entry("fd09::/64", 7, "fd00::1"))) is None
    assert known.is_stale


def test_bridge_port_state_change_is_reported(known: EventTracker) -> None:
    """A change of nothing but the bridge port state is reported as a change of the link."""

    def port(number: int) -> bytes:
        return attrs.nest(12, attrs.pack_u8(1, number))

    info = attrs.nest(18, attrs.pack_text(4, "bridge"), attrs.pack(5, attrs.pack_u8(1, 1)))
    assert known.receive(say_link(link.NEWLINK, 9, "p0", attrs.pack_u32(10, 7), info))
    event = known.receive(say_link(link.NEWLINK, 9, "p0", port(3), family=7))
    assert event
    assert isinstance(event.value, link.Link)
    assert (event.change, event.master, event.value.port_state) == ("changed", "v0", "FORWARDING")
    for message in (
        say_link(link.NEWLINK, 9, "p0", port(3), family=7),  # no change
        say_link(link.DELLINK, 9, "p0", port(0), family=7),  # released by its bridge; RTM_NEWLINK reports that, too
        say_link(link.NEWLINK, 9, "p0", family=7),
        say_link(link.NEWLINK, 7, "v0", port(3), family=7),  # not a port
        say_link(link.NEWLINK, 99, "p9", port(3), family=7),
    ):
        assert known.receive(message) is None


def test_number_of_known_entries_is_limited(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of known entries is limited; an entry over the limit is reported as new each time."""
    known = EventTracker("web")
    known.compare(kernel)
    size = len(known._known)
    monkeypatch.setattr(tracker, "KNOWN", size)
    many = [neighbor_entry(f"10.0.0.{number}", 7) for number in range(10, 20)]
    for _ in range(2):  # an entry over the limit is new each time
        assert {event and event.change for event in map(known.receive, (say(28, item) for item in many))} == {"new"}
    assert {event and event.change for event in map(known.receive, (say(29, item) for item in many))} == {"deleted"}
    assert (len(known._known), known.knows_all) == (size, False)
    kernel.add_link("v1", index=8)
    assert known.compare(kernel) == []
    assert (len(known._known), known.knows_all) == (size + 1, False)
    send(kernel, requests.delete(8))
    assert known.compare(kernel) != []
    assert known.knows_all


def test_dump_over_the_size_limit_counts_as_unknown(kernel: FakeKernel, known: EventTracker) -> None:
    """A dump over the size limit leaves the state unknown and gives no event; any other error is raised."""
    kernel.faults.fail(1, errno.EMSGSIZE)
    assert known.compare(kernel) == []
    assert (known.knows_all, known._known) == (False, {})
    kernel.faults.fail(1, errno.ENOMEM)
    with pytest.raises(KernelError, match="ENOMEM"):
        known.compare(kernel)


def test_neighbor_states_have_the_names_of_ip() -> None:
    """The states of a neighbor have the names that ip(8) prints."""
    assert replace(neighbor_entry("10.0.0.7", 7), state=0x06).states == ("REACHABLE", "STALE")


def test_events_show_routes_and_neighbors_as_the_sandbox_does(known: EventTracker) -> None:
    """What an event is about is a `Route` or `Neighbor`, as of `Sandbox.routes` and `Sandbox.neighbors`."""
    event = known.receive(say(route.NEWROUTE, route_entry("10.8.0.0/16", None, type=7, table=100)))
    assert event == Event("web", "route", "new", None, Route("10.8.0.0/16", type="unreachable", table=100))
    event = known.receive(say(route.NEWROUTE, route_entry("10.8.0.0/16", 7, protocol=4)))
    assert event
    assert isinstance(event.value, Route)
    assert (event.value.interface, event.value.protocol) == ("v0", "static")
    event = known.receive(say(neighbor.NEWNEIGH, replace(neighbor_entry("10.0.0.7", 99), state=0x20, mac=None)))
    assert event
    assert isinstance(event.value, Neighbor)
    assert (event.interface, event.value.interface, event.value.mac, event.value.state) == (None, "", "", "FAILED")
