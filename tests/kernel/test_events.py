"""The iterator of events: what ip(8) does inside is told, and nothing else.

A test reads up to a link of its own that it makes last, so that no test waits for nothing to happen.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import (
    Event,
    Events,
    KernelError,
    Neighbor,
    NetSandboxError,
    ProtocolError,
    Route,
    Sandbox,
    SandboxClosedError,
    SpecError,
)
from netsandbox._events import iterator as _iterator
from netsandbox._events import tracker as _tracker
from netsandbox._system import libc, listener, watch
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store
from netsandbox.netlink.address import TENTATIVE, Address
from netsandbox.netlink.link import Link
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("host")
AMPLE = 50.0  # seconds: how long is waited at most for what will come
END = "the-end"
Short = tuple[str, str, str | None]


def until(events: Events, last: Callable[[Event], bool]) -> list[Event]:
    """Return the events up to the last one."""
    found = []
    for event in events:
        found.append(event)
        if last(event):
            return found
    raise AssertionError(f"the iteration ended after {found}")


def heard(events: Events, path: str) -> list[Event]:
    """Return what has happened so far."""
    lab.ip(f"link add {END} type ifb", netns=path)
    lab.ip(f"link delete {END}", netns=path)
    found = until(events, lambda event: event.interface == END and event.what == "link" and event.change == "deleted")
    return [event for event in found if event.interface != END]


def short(found: list[Event]) -> list[Short]:
    return [(event.what, event.change, event.interface) for event in found]


@pytest.fixture
def events(box: Sandbox) -> Iterator[Events]:
    """Listen to a sandbox with a link that has no IPv6, so that it says nothing by itself."""
    lab.ip("link add br0 type bridge", netns=box.path)
    lab.sysctl("ipv6/conf/br0/disable_ipv6", "1", netns=box.path)
    lab.sysctl("ipv6/conf/default/disable_ipv6", "1", netns=box.path)
    lab.ip("address add 10.0.0.1/24 dev br0", netns=box.path)
    lab.ip("link set br0 up", netns=box.path)
    with box.events(timeout=AMPLE) as found:
        heard(found, box.path)
        yield found


def test_links_come_change_and_go(box: Sandbox, events: Events) -> None:
    lab.ip("link add ifb1 type ifb", netns=box.path)
    lab.ip("link set ifb1 mtu 1400 name lan0", netns=box.path)
    lab.ip("link delete lan0", netns=box.path)
    found = heard(events, box.path)
    assert {event.sandbox for event in found} == {"box"}
    assert short(found[:1]) == [("link", "new", "ifb1")]
    assert short(found[-1:]) == [("link", "deleted", "lan0")]
    assert {item[:2] for item in short(found[1:-1])} == {("link", "changed")}
    last = found[-1].value
    assert isinstance(last, Link)
    assert (last.name, last.mtu, last.kind, last.raw) == ("lan0", 1400, "ifb", b"")


def test_addresses_come_and_go(box: Sandbox, events: Events) -> None:
    lab.ip("address add 10.1.0.1/24 brd + dev br0", netns=box.path)
    lab.ip("address delete 10.1.0.1/24 dev br0", netns=box.path)
    found = [event for event in heard(events, box.path) if event.what == "address"]
    assert short(found) == [("address", "new", "br0"), ("address", "deleted", "br0")]
    for event in found:
        assert isinstance(event.value, Address)
        assert (str(event.value.interface), str(event.value.broadcast)) == ("10.1.0.1/24", "10.1.0.255")


def test_an_ipv6_address_that_passes_detection_changes(box: Sandbox) -> None:
    lab.ip("link add br0 type bridge", netns=box.path)
    lab.ip("link add p0 type veth peer name p1", netns=box.path)
    lab.ip("link set p0 master br0 up", netns=box.path)
    lab.ip("link set p1 up", netns=box.path)
    lab.ip("link set br0 up", netns=box.path)
    with box.events(timeout=AMPLE) as events:
        lab.ip("address add fd00::1/64 dev br0", netns=box.path)

        def is_settled(event: Event) -> bool:
            value = event.value
            ours = isinstance(value, Address) and str(value.interface) == "fd00::1/64"
            return ours and isinstance(value, Address) and not value.flags & TENTATIVE

        assert until(events, is_settled)[-1].change == "changed"
    [address] = [item for item in lab.link("br0", box.path)["addr_info"] if item["local"] == "fd00::1"]
    assert "tentative" not in address


def test_routes_come_change_and_go(box: Sandbox, events: Events) -> None:
    lab.ip("route add 10.9.0.0/16 via 10.0.0.8", netns=box.path)
    lab.ip("route replace 10.9.0.0/16 via 10.0.0.9", netns=box.path)
    lab.ip("route delete 10.9.0.0/16", netns=box.path)
    lab.ip("route add blackhole 10.8.0.0/16 table 100", netns=box.path)
    found = heard(events, box.path)
    assert short(found) == [
        ("route", "new", "br0"),
        ("route", "changed", "br0"),
        ("route", "deleted", "br0"),
        ("route", "new", None),
    ]
    values = [event.value for event in found if isinstance(event.value, Route)]
    assert [str(value.via) for value in values] == ["10.0.0.8", "10.0.0.9", "10.0.0.9", "None"]
    assert (values[-1].table, values[-1].type) == (100, "blackhole")


def test_neighbors_and_forwarding_entries_come_change_and_go(box: Sandbox, events: Events) -> None:
    lab.ip("neighbor add 10.0.0.9 lladdr 02:00:00:00:00:09 dev br0", netns=box.path)
    lab.ip("neighbor replace 10.0.0.9 lladdr 02:00:00:00:00:0a dev br0", netns=box.path)
    lab.ip("neighbor delete 10.0.0.9 dev br0", netns=box.path)
    found = [event for event in heard(events, box.path) if event.what == "neighbor"]
    assert (found[0].change, found[1].change, found[-1].change) == ("new", "changed", "deleted")
    first, second = (event.value for event in found[:2])
    assert isinstance(first, Neighbor)
    assert isinstance(second, Neighbor)
    assert (str(first.ip), first.mac, first.state) == ("10.0.0.9", "02:00:00:00:00:09", "PERMANENT")
    assert second.mac == "02:00:00:00:00:0a"
    lab.bridge("fdb add 02:00:00:00:00:0b dev br0 self", netns=box.path)
    [event] = heard(events, box.path)
    assert isinstance(event.value, Neighbor)
    assert (event.what, event.value.mac, event.value.ip) == ("neighbor", "02:00:00:00:00:0b", None)


def test_a_port_that_begins_to_forward_is_told_with_its_bridge(box: Sandbox, events: Events) -> None:
    lab.ip("link add p0 type veth peer name p1", netns=box.path)
    lab.ip("link set p0 master br0", netns=box.path)
    lab.ip("link set p0 up", netns=box.path)
    lab.ip("link set p1 up", netns=box.path)

    def forwards(event: Event) -> bool:
        return isinstance(event.value, Link) and event.value.name == "p0" and event.value.port_state == "FORWARDING"

    assert until(events, forwards)[-1].master == "br0"
    judge = lab.link("p0", box.path)["linkinfo"]["info_slave_data"]["state"]
    assert judge == "forwarding"
    lab.ip("link set p0 nomaster", netns=box.path)
    last = next(event for event in reversed(heard(events, box.path)) if event.interface == "p0")
    assert isinstance(last.value, Link)
    assert (last.change, last.master, last.value.port_state) == ("changed", None, None)


@pytest.mark.parametrize(
    "command", ["link set br0 down", "link delete br0", "address delete 10.0.0.1/24 dev br0"], ids=lambda c: c[:14]
)
def test_routes_of_whose_end_the_kernel_says_nothing_are_told_all_the_same(
    box: Sandbox, events: Events, command: str
) -> None:
    lab.ip("route add 10.9.0.0/16 via 10.0.0.9", netns=box.path)
    heard(events, box.path)
    lab.ip(command, netns=box.path)
    assert lab.routes(box.path) == set()

    def is_it(event: Event) -> bool:
        return isinstance(event.value, Route) and str(event.value.to) == "10.9.0.0/16"

    assert until(events, is_it)[-1].change == "deleted"


def test_several_sandboxes_are_heard_with_one_wait(box: Sandbox) -> None:
    with Sandbox.create("other") as other, Events([box, other, box], timeout=AMPLE) as events:
        for path in (box.path, other.path):
            lab.ip("link add ifb5 type ifb", netns=path)
        found = [next(events), next(events)]
        assert {(event.sandbox, event.change, event.interface) for event in found} == {
            ("box", "new", "ifb5"),
            ("other", "new", "ifb5"),
        }
        other.destroy()
        last = until(events, lambda event: event.what == "sandbox")[-1]
        assert (last.sandbox, last.change, last.value) == ("other", "deleted", None)
        lab.ip("link delete ifb5", netns=box.path)
        until(events, lambda event: event.sandbox == "box" and event.change == "deleted")
        box.destroy()
        assert [event.change for event in events if event.what == "sandbox"] == ["deleted"]
        assert events.wait(0) is None


def test_the_host_can_be_heard(host: None) -> None:  # noqa: ARG001
    with Sandbox.host() as own, own.events(timeout=AMPLE) as events:
        lab.ip("link add ifb5 type ifb")
        assert next(events).sandbox == "host"


def test_all_sandboxes_are_heard_also_those_that_come_later(box: Sandbox) -> None:
    with Sandbox.host() as own:  # a record of the host's own, which is no sandbox of a name
        lab.ip("link add ifb5 type ifb")
        own.add_interface("ifb5")
        with Events(timeout=AMPLE) as events:
            lab.ip("link add ifb5 type ifb", netns=box.path)
            assert next(events).sandbox == "box"
            with Sandbox.create("later") as later:
                found = [next(events)]
                assert [(event.sandbox, event.what, event.change) for event in found] == [("later", "sandbox", "new")]
                lab.ip("link add ifb5 type ifb", netns=later.path)
                found = until(events, lambda event: event.interface == "ifb5")
                assert found[-1].sandbox == "later"
                later.destroy()
            assert until(events, lambda event: event.what == "sandbox")[-1].change == "deleted"
        own.remove_interface("ifb5")


def test_a_sandbox_that_another_process_destroys_is_let_go_of(box: Sandbox) -> None:
    del box
    with Events(timeout=AMPLE) as events:
        subprocess.run(
            [sys.executable, "-c", "import sys, netsandbox; netsandbox.Sandbox.create('far').close()"], check=True
        )
        assert next(events).change == "new"
        lab.ip("link add v0 type veth peer name v1")
        with Sandbox.open("far") as far:
            lab.ip(f"link set v1 netns {far.path}")
            path = far.path
        subprocess.run(
            [sys.executable, "-c", "import netsandbox; netsandbox.Sandbox.open('far').destroy()"], check=True
        )
        assert until(events, lambda event: event.what == "sandbox" and event.change == "deleted")[-1].sandbox == "far"
        assert not os.path.exists(path)  # noqa: PTH110
        while "v0" in lab.links():  # nobody holds its namespace any more: the kernel deletes it with what is in it
            os.sched_yield()


def test_a_sandbox_that_is_replaced_is_another_one(box: Sandbox) -> None:
    with Events(timeout=AMPLE) as events, Sandbox.create("box", replace=True) as new:
        found = until(events, lambda event: event.change == "new" and event.what == "sandbox")
        assert ("sandbox", "deleted") in [(event.what, event.change) for event in found]
        lab.ip("link add ifb5 type ifb", netns=new.path)
        assert until(events, lambda event: event.interface == "ifb5")[-1].sandbox == "box"
        box.close()
        new.destroy()


def test_a_damaged_record_ends_nothing(box: Sandbox) -> None:
    with Events(timeout=AMPLE) as events:
        store = box._handle._store
        good = store.read("box")
        assert good
        store.write("box", b"{}")
        assert events.wait(0.01) is None
        store.write("box", good)
        lab.ip("link add ifb5 type ifb", netns=box.path)
        assert next(events).interface == "ifb5"


def flood(path: str, number: int, verb: str = "add", first: int = 0) -> None:
    """Add or delete a number of addresses at once."""
    lines = [f"address {verb} 10.{item >> 8}.{item & 255}.1/32 dev lo" for item in range(first, first + number)]
    enter = ["nsenter", f"--net={path}", "ip", "-batch", "-"]
    subprocess.run(enter, input="\n".join(lines), text=True, check=True)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have receive buffers be as small as the kernel allows."""
    monkeypatch.setattr(listener, "BUFFER", 1)


@pytest.mark.usefixtures("tiny")
def test_an_overrun_is_told_and_made_good(box: Sandbox) -> None:
    flood(box.path, 20)
    with box.events(timeout=AMPLE) as events:
        flood(box.path, 10, "delete", 0)
        flood(box.path, 100, "add", 100)
        found = until(events, lambda event: event.change == "resynced")
        marks = [event.change for event in found if event.what == "sandbox"]
        assert marks == ["overrun", "resynced"]
        known = {f"10.0.{item}.1/32" for item in range(20)}
        for event in found:
            if isinstance(event.value, Address):
                (known.add if event.change == "new" else known.remove)(str(event.value.interface))
        assert known == lab.addresses("lo", box.path) - {"127.0.0.1/8", "::1/128"}
        lab.ip("address add 10.200.0.1/32 dev lo", netns=box.path)
        value = next(events).value
        assert isinstance(value, Address)
        assert str(value.interface) == "10.200.0.1/32"


@pytest.mark.usefixtures("tiny")
def test_of_a_sandbox_with_too_much_in_it_an_overrun_is_only_told(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tracker, "KNOWN", 30)
    with box.events(timeout=AMPLE) as events:
        flood(box.path, 100)
        found = []
        while event := events.wait(0):
            found.append(event)
        assert {event.change for event in found if event.what == "sandbox"} == {"overrun"}
        lab.ip("address delete 10.0.0.1/32 dev lo", netns=box.path)
        assert short([next(events)]) == [("address", "deleted", "lo")]
        assert len(next(iter(events._subscriptions.values())).tracker._known) <= 31


@pytest.mark.usefixtures("tiny")
def test_a_list_that_changes_under_every_reading_is_read_again_after_the_next_message(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = LinuxKernel.addresses
    failures = [KernelError(errno.EINTR, "list addresses")]

    def restless(kernel: LinuxKernel, index: int = 0) -> list[Address]:
        if failures:
            raise failures.pop()
        return addresses(kernel, index)

    monkeypatch.setattr(LinuxKernel, "addresses", restless)
    with box.events(timeout=AMPLE) as events:
        lab.ip("link add br0 type bridge", netns=box.path)
        found = until(events, lambda event: event.change == "resynced")
        assert [event.change for event in found if event.what == "sandbox"] == ["overrun", "resynced"]


def test_a_sandbox_that_cannot_be_looked_at_is_told(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Address]:
        raise KernelError(errno.ENOMEM, "list addresses")

    monkeypatch.setattr(LinuxKernel, "addresses", broken)
    with pytest.raises(KernelError, match="ENOMEM"):
        box.events()


def test_new_sandboxes_that_cannot_be_heard_are_tried_again_with_the_next(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise KernelError(errno.EMFILE, "open a netlink socket")

    with Events(timeout=AMPLE) as events:
        names = {"one", "two", "three"}
        made = [Sandbox.create(name) for name in names]
        with monkeypatch.context() as patch:
            patch.setattr(_iterator, "listen_at", full)
            with pytest.raises(KernelError, match="EMFILE"):
                next(events)
        box.destroy()
        found: set[str] = set()
        while found < names | {box.name}:
            found.add(next(events).sandbox)
        Sandbox.destroy_many(made)


def test_closing_ends_an_iteration_that_waits(box: Sandbox) -> None:
    found: list[Event] = []
    with box.events() as events:
        threads = [threading.Thread(target=lambda: found.extend(events)) for _ in range(2)]
        for thread in threads:
            thread.start()
        while events._waiting < len(threads):
            os.sched_yield()
        events.close()
        for thread in threads:
            thread.join()
        events.close()
        assert found == []
        assert list(events) == []


def test_destroying_a_sandbox_ends_an_iteration_that_waits(box: Sandbox) -> None:
    found: list[Event] = []
    with box.events() as events:
        thread = threading.Thread(target=lambda: found.extend(events))
        thread.start()
        while not events._waiting:
            os.sched_yield()
        box.destroy()
        thread.join()
    assert (found[-1].what, found[-1].change) == ("sandbox", "deleted")


def test_a_closed_sandbox_cannot_be_heard(box: Sandbox) -> None:
    box.destroy()
    with pytest.raises(SandboxClosedError):
        box.events()


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(box: Sandbox, timeout: float) -> None:
    with pytest.raises(SpecError, match="timeout"):
        box.events(timeout=timeout)


def test_an_iterator_that_was_not_closed_warns(box: Sandbox) -> None:
    events = box.events()
    with pytest.warns(ResourceWarning, match="an iterator of events was not closed"):
        del events


def test_an_iteration_ends_after_its_timeout_and_a_new_one_goes_on(box: Sandbox) -> None:
    with box.events(timeout=0) as events:
        assert list(events) == []
        lab.ip("link add ifb5 type ifb", netns=box.path)
        assert short(list(events))[0] == ("link", "new", "ifb5")


def test_messages_of_processes_inside_are_not_heard(box: Sandbox) -> None:
    with box.events(timeout=AMPLE) as events:
        [one] = events._subscriptions.values()
        port = one.listener._socket.getsockname()[0]

        def send() -> None:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sender:
                sender.sendto(b"nonsense", (port, 0))

        box.run(send)
        lab.ip("link add ifb5 type ifb", netns=box.path)
        assert next(events).interface == "ifb5"


# --- what the system refuses ---


def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("where", "name", "words"),
    [
        (socket.socket, "bind", "listen to what changes"),
        (os, "eventfd", "make an eventfd"),
        (fcntl, "ioctl", "find the namespace of a socket"),
    ],
)
def test_what_the_system_refuses_is_told_and_nothing_stays_open(
    box: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    where: ModuleType | type,
    name: str,
    words: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, refuse)
        with pytest.raises(KernelError, match=words):
            box.events()


def test_a_directory_that_cannot_be_watched_is_told(tmp_path: Any) -> None:  # noqa: ANN401
    with pytest.raises(KernelError, match=r"watch .*nowhere: ENOENT"):
        libc.watch(str(tmp_path / "nowhere"))


class Scripted:
    """A socket that receives what the test says."""

    def __init__(self, *answers: tuple[bytes, int] | int) -> None:
        self.answers = list(answers)

    def recvmsg(self, *_: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer[0], [], answer[1], (0, 0)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (errno.ENOMEM, KernelError, "hear what has changed: ENOMEM"),
        ((b"", int(socket.MSG_TRUNC)), ProtocolError, "a message of more than 65536 bytes"),
        ((b"x", 0), ProtocolError, "message header of 1 bytes"),
    ],
)
def test_what_cannot_be_heard_is_told(
    answer: tuple[bytes, int] | int, error: type[NetSandboxError], words: str
) -> None:
    made = listener.Listener(())
    made.close()
    made._socket = Scripted(answer)  # type: ignore[assignment]
    with pytest.raises(error, match=words):
        made.receive()


def test_what_is_heard_in_one_go_has_an_end(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "DATAGRAMS", 2)
    with box.events(timeout=AMPLE) as events:
        flood(box.path, 9)
        found = [next(events) for _ in range(9)]
    assert {(event.what, event.change) for event in found} == {("address", "new")}


def test_a_sandbox_whose_namespace_is_gone_is_not_heard(box: Sandbox) -> None:
    Sandbox.create("gone").close()
    path = f"{box.path.rpartition('/')[0]}/gone"
    subprocess.run(["umount", path], check=True)
    with Events(timeout=AMPLE) as events:
        assert list(events._subscriptions) == ["box"]
    assert any("gone" in line for line in Sandbox.prune())


def test_what_was_let_go_of_is_let_go_of_once(box: Sandbox) -> None:
    events = box.events()
    [one] = events._subscriptions.values()
    events.close()
    one.end()
    del events
    one.end()
    assert one.listener.fileno() == -1


def test_a_wait_may_be_longer_than_the_system_takes(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_HOUR", 0.01)
    with box.events() as events:
        assert events.wait(0.05) is None


def test_if_it_is_lost_which_records_have_changed_all_are_looked_at(box: Sandbox) -> None:
    records = watch.Records(Store())
    assert records.changed() == set()
    records.close()
    with Events(timeout=0) as events:
        far, near = os.pipe()
        assert events._records
        Sandbox.create("later").close()
        os.write(near, struct.pack("=iIII", -1, 0x4000, 0, 0))  # IN_Q_OVERFLOW
        os.dup2(far, events._records.fileno(), inheritable=False)
        events._read(events._records)
        assert set(events._subscriptions) == {box.name, "later"}
        os.close(near)
        os.close(far)
    with Sandbox.open("later") as later:
        later.destroy()
