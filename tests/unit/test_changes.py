"""What the kernel says as events; what it does not say is found out. The judge of what it says are kernel tests."""

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
from netsandbox.netlink.message import F_REPLACE, Message
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
    """Return what is known of it."""
    made = EventTracker("web")
    made.compare(kernel)
    return made


def say(kind: int, value: Address | RouteEntry | NeighborEntry, *, flags: int = 0) -> Message:
    return Message(kind, flags, 0, value.pack())


def say_link(kind: int, index: int, name: str, *attributes: bytes, flags: int = link.UP, family: int = 0) -> Message:
    head = struct.pack("=BxHiII", family, 1, index, flags, 0)
    return Message(kind, 0, 0, head + attrs.pack_text(3, name) + b"".join(attributes))


def short(events: list[Event]) -> list[tuple[str, str, str | None]]:
    return [(event.what, event.change, event.interface) for event in events]


def test_at_first_all_is_new_links_first(kernel: FakeKernel) -> None:
    found = EventTracker("web").compare(kernel)
    assert short(found)[:3] == [("link", "new", "lo"), ("link", "new", "v0"), ("address", "new", "v0")]
    assert set(short(found)[3:]) == {("address", "new", "v0"), ("route", "new", "v0")}
    assert {event.sandbox for event in found} == {"web"}


def test_what_was_lost_is_found_out(kernel: FakeKernel, known: EventTracker) -> None:
    assert known.compare(kernel) == []
    kernel.add_link("v1", index=8)
    send(kernel, link.change(7, mtu=1400), route.delete(route_entry("10.9.0.0/16", 7, "10.0.0.9")))
    assert short(known.compare(kernel)) == [
        ("route", "deleted", "v0"),
        ("link", "changed", "v0"),
        ("link", "new", "v1"),
    ]
    send(kernel, link.delete(7))
    found = short(known.compare(kernel))
    assert found[-1] == ("link", "deleted", "v0")  # what was on it goes before it
    assert {item[1:] for item in found} == {("deleted", "v0")}


def test_a_thing_is_new_changes_and_goes(known: EventTracker) -> None:
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


def test_a_link_whose_master_is_known_names_it(known: EventTracker) -> None:
    event = known.receive(say_link(link.NEWLINK, 9, "p0", attrs.pack_u32(10, 7)))
    assert event
    assert (event.interface, event.master, event.change) == ("p0", "v0", "new")


def test_what_nobody_asked_for_is_not_told(known: EventTracker) -> None:
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
        Message(30, 0, 0, neighbor_entry("10.0.0.7", 7).pack()),  # RTM_GETNEIGH: a program is to find out
        Message(route.NEWROUTE, 0, 0, b"\x07" + bytes(11)),
        Message(link.NEWLINK, 0, 0, b""),
        say_link(link.NEWLINK, 7, "v0", family=10),
    ):
        assert known.receive(message) is None


def test_a_replaced_route_has_changed(kernel: FakeKernel, known: EventTracker) -> None:
    old, new = route_entry("10.9.0.0/16", 7, "10.0.0.9"), route_entry("10.9.0.0/16", 7, "10.0.0.8")
    send(kernel, route.replace(new))
    event = known.receive(say(route.NEWROUTE, new, flags=F_REPLACE))
    assert event
    assert (event.change, event.value) == ("changed", Route("10.9.0.0/16", "10.0.0.8"))
    assert known.compare(kernel) == []
    assert known.receive(say(route.DELROUTE, old)) is None


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "down"])
def test_with_a_link_ipv4_routes_may_have_gone(known: EventTracker, gone: bool) -> None:  # noqa: FBT001
    known.receive(say_link(link.NEWLINK, 9, "v9", flags=0))
    assert not known.is_stale
    known.receive(say_link(link.DELLINK if gone else link.NEWLINK, 7, "v0", flags=0))
    assert known.is_stale


@pytest.mark.parametrize("source", [None, "10.5.0.1"])
def test_with_an_address_ipv4_routes_may_have_gone(kernel: FakeKernel, known: EventTracker, source: str | None) -> None:
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


def test_one_of_several_ways_of_a_route_that_goes_is_found_out(known: EventTracker) -> None:
    assert known.receive(say(route.DELROUTE, route_entry("fd09::/64", 7, "fd00::1"))) is None
    assert known.is_stale


def test_a_port_is_told_when_nothing_but_its_state_changes(known: EventTracker) -> None:
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
        say_link(link.DELLINK, 9, "p0", port(0), family=7),  # its bridge has lost it; that is told as a change as well
        say_link(link.NEWLINK, 9, "p0", family=7),
        say_link(link.NEWLINK, 7, "v0", port(3), family=7),  # no port
        say_link(link.NEWLINK, 99, "p9", port(3), family=7),
    ):
        assert known.receive(message) is None


def test_no_more_is_remembered_than_the_limit(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    known = EventTracker("web")
    known.compare(kernel)
    size = len(known._known)
    monkeypatch.setattr(tracker, "KNOWN", size)
    many = [neighbor_entry(f"10.0.0.{number}", 7) for number in range(10, 20)]
    for _ in range(2):  # what is not remembered is new each time, and goes without having come
        assert {event and event.change for event in map(known.receive, (say(28, item) for item in many))} == {"new"}
    assert {event and event.change for event in map(known.receive, (say(29, item) for item in many))} == {"deleted"}
    assert (len(known._known), known.knows_all) == (size, False)
    kernel.add_link("v1", index=8)
    assert known.compare(kernel) == []
    assert (len(known._known), known.knows_all) == (size + 1, False)
    send(kernel, link.delete(8))
    assert known.compare(kernel) != []
    assert known.knows_all


def test_a_list_that_is_too_long_is_as_good_as_none(kernel: FakeKernel, known: EventTracker) -> None:
    kernel.faults.fail(1, errno.EMSGSIZE)
    assert known.compare(kernel) == []
    assert (known.knows_all, known._known) == (False, {})
    kernel.faults.fail(1, errno.ENOMEM)
    with pytest.raises(KernelError, match="ENOMEM"):
        known.compare(kernel)


def test_the_states_of_neighbors_have_the_words_of_ip() -> None:
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
