"""The iterator of events: it reports the changes that ip(8) makes inside, and nothing else.

A test creates a link last and reads up to its event, so that no test has to wait for the absence of events.
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
AMPLE = 50.0  # seconds: the limit for an event that will arrive
END = "the-end"
Short = tuple[str, str, str | None]


def until(events: Events, last: Callable[[Event], bool]) -> list[Event]:
    """Return the events up to the first that *last* accepts."""
    found = []
    for event in events:
        found.append(event)
        if last(event):
            return found
    raise AssertionError(f"the iteration ended after {found}")


def heard(events: Events, path: str) -> list[Event]:
    """Return the events so far."""
    lab.ip(f"link add {END} type ifb", netns=path)
    lab.ip(f"link delete {END}", netns=path)
    found = until(events, lambda event: event.interface == END and event.what == "link" and event.change == "deleted")
    return [event for event in found if event.interface != END]


def short(found: list[Event]) -> list[Short]:
    return [(event.what, event.change, event.interface) for event in found]


@pytest.fixture
def events(box: Sandbox) -> Iterator[Events]:
    """Follow the events of a sandbox whose link has no IPv6, so that the kernel sends no event by itself."""
    lab.ip("link add br0 type bridge", netns=box.path)
    lab.sysctl("ipv6/conf/br0/disable_ipv6", "1", netns=box.path)
    lab.sysctl("ipv6/conf/default/disable_ipv6", "1", netns=box.path)
    lab.ip("address add 10.0.0.1/24 dev br0", netns=box.path)
    lab.ip("link set br0 up", netns=box.path)
    with box.events(timeout=AMPLE) as found:
        heard(found, box.path)
        yield found


def test_link_events(box: Sandbox, events: Events) -> None:
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


def test_address_events(box: Sandbox, events: Events) -> None:
    lab.ip("address add 10.1.0.1/24 brd + dev br0", netns=box.path)
    lab.ip("address delete 10.1.0.1/24 dev br0", netns=box.path)
    found = [event for event in heard(events, box.path) if event.what == "address"]
    assert short(found) == [("address", "new", "br0"), ("address", "deleted", "br0")]
    for event in found:
        assert isinstance(event.value, Address)
        assert (str(event.value.interface), str(event.value.broadcast)) == ("10.1.0.1/24", "10.1.0.255")


def test_the_end_of_dad_is_a_changed_event(box: Sandbox) -> None:
    """When the kernel clears the flag tentative of an IPv6 address, the address has a changed event."""
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


def test_route_events(box: Sandbox, events: Events) -> None:
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


def test_neighbor_and_fdb_events(box: Sandbox, events: Events) -> None:
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


def test_events_of_a_bridge_port_have_master_and_state(box: Sandbox, events: Events) -> None:
    """Events of a bridge port carry its master and its port state, until the port leaves the bridge."""
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
def test_silently_removed_ipv4_routes_are_reported(box: Sandbox, events: Events, command: str) -> None:
    """IPv4 routes that the kernel removes without a message are reported as removed."""
    lab.ip("route add 10.9.0.0/16 via 10.0.0.9", netns=box.path)
    heard(events, box.path)
    lab.ip(command, netns=box.path)
    assert lab.routes(box.path) == set()

    def is_it(event: Event) -> bool:
        return isinstance(event.value, Route) and str(event.value.to) == "10.9.0.0/16"

    assert until(events, is_it)[-1].change == "deleted"


def test_one_iterator_follows_several_sandboxes(box: Sandbox) -> None:
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


def test_the_host_sandbox_has_events(host: None) -> None:  # noqa: ARG001
    with Sandbox.host() as own, own.events(timeout=AMPLE) as events:
        lab.ip("link add ifb5 type ifb")
        assert next(events).sandbox == "host"


def test_events_follow_sandboxes_that_are_created_later(box: Sandbox) -> None:
    """Events() without arguments follows all sandboxes, including those that are created later."""
    with Sandbox.host() as own:  # the host sandbox has a record too, but no name
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


def test_a_sandbox_destroyed_by_another_process_is_released(box: Sandbox) -> None:
    """Events releases the namespace of a sandbox that another process destroys."""
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
        while "v0" in lab.links():  # until the kernel has destroyed the namespace, to which no descriptor refers
            os.sched_yield()


def test_replacing_a_sandbox_is_a_deleted_and_a_new_event(box: Sandbox) -> None:
    """Replacing a sandbox is reported as deleted and as new, and the new sandbox is followed."""
    with Events(timeout=AMPLE) as events, Sandbox.create("box", replace=True) as new:
        found = until(events, lambda event: event.change == "new" and event.what == "sandbox")
        assert ("sandbox", "deleted") in [(event.what, event.change) for event in found]
        lab.ip("link add ifb5 type ifb", netns=new.path)
        assert until(events, lambda event: event.interface == "ifb5")[-1].sandbox == "box"
        box.close()
        new.destroy()


def test_a_damaged_record_does_not_end_the_iteration(box: Sandbox) -> None:
    with Events(timeout=AMPLE) as events:
        store = box._handle.records
        good = store.read("box")
        assert good
        store.write("box", b"{}")
        assert events.wait(0.01) is None
        store.write("box", good)
        lab.ip("link add ifb5 type ifb", netns=box.path)
        assert next(events).interface == "ifb5"


def flood(path: str, number: int, verb: str = "add", first: int = 0) -> None:
    """Add or delete many addresses in one batch."""
    lines = [f"address {verb} 10.{item >> 8}.{item & 255}.1/32 dev lo" for item in range(first, first + number)]
    enter = ["nsenter", f"--net={path}", "ip", "-batch", "-"]
    subprocess.run(enter, input="\n".join(lines), text=True, check=True)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make receive buffers as small as the kernel allows."""
    monkeypatch.setattr(listener, "BUFFER", 1)


@pytest.mark.usefixtures("tiny")
def test_an_overrun_is_reported_and_resynced(box: Sandbox) -> None:
    """After a receive buffer overrun, events report overrun, the missed changes and resynced."""
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
def test_an_overrun_of_a_large_sandbox_is_not_resynced(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sandbox with more objects than the limit, an overrun is reported but not resynced."""
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
def test_an_interrupted_resync_is_repeated(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resync whose dump fails with EINTR is repeated."""
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


def test_failure_of_the_first_dump_is_reported(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Address]:
        raise KernelError(errno.ENOMEM, "list addresses")

    monkeypatch.setattr(LinuxKernel, "addresses", broken)
    with pytest.raises(KernelError, match="ENOMEM"):
        box.events()


def test_following_a_new_sandbox_is_retried(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """If following a new sandbox fails, the error is raised once, and the next call tries again."""

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


def test_close_ends_a_waiting_iteration(box: Sandbox) -> None:
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


def test_destroy_ends_a_waiting_iteration(box: Sandbox) -> None:
    found: list[Event] = []
    with box.events() as events:
        thread = threading.Thread(target=lambda: found.extend(events))
        thread.start()
        while not events._waiting:
            os.sched_yield()
        box.destroy()
        thread.join()
    assert (found[-1].what, found[-1].change) == ("sandbox", "deleted")


def test_a_closed_sandbox_has_no_events(box: Sandbox) -> None:
    box.destroy()
    with pytest.raises(SandboxClosedError):
        box.events()


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_an_invalid_timeout_is_refused(box: Sandbox, timeout: float) -> None:
    with pytest.raises(SpecError, match="timeout"):
        box.events(timeout=timeout)


def test_an_iterator_that_was_not_closed_causes_a_warning(box: Sandbox) -> None:
    events = box.events()
    with pytest.warns(ResourceWarning, match="an iterator of events was not closed"):
        del events


def test_an_iteration_can_continue_after_its_timeout(box: Sandbox) -> None:
    """An iteration ends after its timeout, and a new iteration continues with later events."""
    with box.events(timeout=0) as events:
        assert list(events) == []
        lab.ip("link add ifb5 type ifb", netns=box.path)
        assert short(list(events))[0] == ("link", "new", "ifb5")


def test_netlink_messages_of_processes_are_ignored(box: Sandbox) -> None:
    """Netlink messages that a process inside sends are ignored: only the kernel's are events."""
    with box.events(timeout=AMPLE) as events:
        [one] = events._subscriptions.values()
        port = one.listener._socket.getsockname()[0]

        def send() -> None:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sender:
                sender.sendto(b"nonsense", (port, 0))

        box.run(send)
        lab.ip("link add ifb5 type ifb", netns=box.path)
        assert next(events).interface == "ifb5"


# --- system calls that fail ---


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
def test_a_failed_system_call_leaves_no_descriptor_open(
    box: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    where: ModuleType | type,
    name: str,
    words: str,
) -> None:
    """If a system call fails, events() raises KernelError and leaves no descriptor open."""
    with monkeypatch.context() as patch:
        patch.setattr(where, name, refuse)
        with pytest.raises(KernelError, match=words):
            box.events()


def test_watching_a_missing_directory_fails(tmp_path: Any) -> None:  # noqa: ANN401
    with pytest.raises(KernelError, match=r"watch .*nowhere: ENOENT"):
        libc.watch(str(tmp_path / "nowhere"))


class Scripted:
    """A socket that receives the scripted answers."""

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
        (errno.ENOMEM, KernelError, "receive changes: ENOMEM"),
        ((b"", int(socket.MSG_TRUNC)), ProtocolError, "a message of more than 65536 bytes"),
        ((b"x", 0), ProtocolError, "message header of 1 bytes"),
    ],
)
def test_errors_of_receive_are_reported(
    answer: tuple[bytes, int] | int, error: type[NetSandboxError], words: str
) -> None:
    made = listener.Listener(())
    made.close()
    made._socket = Scripted(answer)  # type: ignore[assignment]
    with pytest.raises(error, match=words):
        made.receive()


def test_receive_is_limited_to_a_number_of_datagrams(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receive is limited to a number of datagrams; later events are read by the next receive."""
    monkeypatch.setattr(listener, "DATAGRAMS", 2)
    with box.events(timeout=AMPLE) as events:
        flood(box.path, 9)
        found = [next(events) for _ in range(9)]
    assert {(event.what, event.change) for event in found} == {("address", "new")}


def test_a_sandbox_without_its_namespace_is_not_followed(box: Sandbox) -> None:
    Sandbox.create("gone").close()
    path = f"{box.path.rpartition('/')[0]}/gone"
    subprocess.run(["umount", path], check=True)
    with Events(timeout=AMPLE) as events:
        assert list(events._subscriptions) == ["box"]
    assert any("gone" in line for line in Sandbox.prune())


def test_a_followed_sandbox_is_released_once(box: Sandbox) -> None:
    """Releasing a followed sandbox twice closes its descriptors once."""
    events = box.events()
    [one] = events._subscriptions.values()
    events.close()
    one.close()
    del events
    one.close()
    assert one.listener.fileno() == -1


def test_a_wait_may_exceed_the_limit_of_poll(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that is longer than the limit of one poll is split into several."""
    monkeypatch.setattr(watch, "_HOUR", 0.01)
    with box.events() as events:
        assert events.wait(0.05) is None


def test_an_inotify_overflow_rereads_all_records(box: Sandbox) -> None:
    """After IN_Q_OVERFLOW all records are read again."""
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
