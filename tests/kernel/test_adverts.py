"""Gratuitous ARP and unsolicited Neighbor Advertisements, captured on the peer of the interface's veth.

To check that no further advert arrives, a test sends an end marker frame and reads up to it; no test waits.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Advertise,
    Adverts,
    InterfaceNotFoundError,
    InterfaceSpec,
    NameConflictError,
    Sandbox,
    SandboxClosedError,
    SpecError,
    Veth,
)
from netsandbox._system import announce, libc, packet
from tests.kernel import lab
from tests.kernel.wire import LIMIT, Wire, ips, without_other_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsandbox import Interface

pytestmark = pytest.mark.usefixtures("host")

MAC = "02:00:00:00:00:42"
ADDRESSES = ["10.0.0.2/24", "fd00::2/64"]
BOTH = {"10.0.0.2", "fd00::2"}
QUICK = (3, 0.1)
SLOW = (3, 2)


def add(box: Sandbox, advertise: object = QUICK, addresses: list[str] = ADDRESSES) -> Interface:
    without_other_addresses(box)
    return box.add_interface("v0", mac=MAC, addresses=addresses, advertise=advertise)  # type: ignore[arg-type]


# --- count and interval ---


def test_the_default_is_three_adverts_one_second_apart(box: Sandbox, wire: Wire) -> None:
    without_other_addresses(box)
    eth0 = box.add_interface("v0", mac=MAC, addresses=ADDRESSES)
    found = wire.take(6)
    assert box.wait_for_adverts()
    assert wire.rest("eth0", box.path) == []
    assert eth0.adverts == Adverts(sent=3, due=0)
    assert {item.mac for item in found} == {MAC} == {eth0.mac}
    rounds = [found[:2], found[2:4], found[4:]]
    assert [ips(items) for items in rounds] == [BOTH, BOTH, BOTH]
    times = [items[0].at for items in rounds]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times))


def test_the_interval_can_be_100_milliseconds(box: Sandbox, wire: Wire) -> None:
    add(box, {"interval": 0.1}, ["10.0.0.2/24"])
    first, second, third = wire.take(3)
    assert second.at - first.at > 0.09
    assert third.at - second.at > 0.09
    assert box.wait_for_adverts()
    assert wire.rest("eth0", box.path) == []


def test_count_0_sends_no_advert(box: Sandbox, wire: Wire) -> None:
    """With count 0 no advert is sent, and the neighbor cache of the peer is unchanged."""
    lab.ip("address add 10.0.0.1/24 dev p0")
    lab.ip("neighbor add 10.0.0.2 lladdr 02:00:00:00:00:99 dev p0 nud stale")
    eth0 = add(box, 0)
    assert box.wait_for_adverts()
    assert wire.rest("eth0", box.path) == []
    assert neighbors()["10.0.0.2"] == "02:00:00:00:00:99"
    assert eth0.adverts == Adverts(sent=0, due=0)


def test_count_1_sends_one_round(box: Sandbox, wire: Wire) -> None:
    eth0 = add(box, 1)
    assert ips(wire.take(2)) == BOTH
    assert box.wait_for_adverts()
    assert wire.rest("eth0", box.path) == []
    assert eth0.adverts == Adverts(sent=1, due=0)


def test_a_detached_interface_is_no_longer_advertised(box: Sandbox, wire: Wire) -> None:
    """Detaching an interface after the first round cancels the rounds that are due."""
    eth0 = add(box, SLOW)
    assert ips(wire.take(2)) == BOTH
    assert box.wait_for_adverts(1)
    assert eth0.adverts == Adverts(sent=1, due=2)
    eth0.remove()
    lab.adverts_end()
    lab.ip("link set v0 up")
    assert wire.rest("v0", None) == []
    assert eth0.adverts == Adverts()


def test_a_failed_detach_keeps_adverts_and_can_be_repeated(box: Sandbox, wire: Wire) -> None:
    """A detach that fails keeps the due adverts; repeated after the conflict is gone, the detach succeeds."""
    eth0 = add(box, SLOW)
    assert ips(wire.take(2)) == BOTH
    assert box.wait_for_adverts(1)
    lab.ip("link add v0 type bridge")
    for _ in range(2):
        with lab.fails(box, NameConflictError, "v0"):
            eth0.remove()
        assert eth0.adverts == Adverts(sent=1, due=2)
    lab.ip("link delete v0")
    for _ in range(2):
        eth0.remove()
        assert eth0.adverts == Adverts()
    assert set(lab.links(box.path)) == {"lo"}


def test_invalid_values_of_advertise_are_refused(box: Sandbox, wire: Wire) -> None:  # noqa: ARG001
    """An invalid count or interval is refused before anything is changed."""
    without_other_addresses(box)
    for wrong in ((3, 0.099), (3, 2.001), "nonsense", -1, 4, (1, "nonsense")):
        with lab.fails(box, SpecError, "advertise"):
            add(box, wrong)
    for wrong in (4, "nonsense"):
        with pytest.raises(SpecError, match="advertise"):
            box.advertise(how=wrong)  # type: ignore[arg-type]
    with pytest.raises(InterfaceNotFoundError, match="advertise eth9 of sandbox box: ENODEV"):
        box.advertise("eth9")


def neighbors() -> dict[str, str]:
    return {item["dst"]: item["lladdr"] for item in lab.ip_json("neighbor show dev p0") if "lladdr" in item}


def test_adverts_update_the_neighbor_cache_of_the_peer(box: Sandbox, wire: Wire) -> None:
    addresses = ["10.0.0.2/24", "fd00::2/64", "fe80::2/64"]
    for address in ("10.0.0.1/24", "fd00::1/64", "fe80::1/64"):
        lab.ip(f"address add {address} dev p0", "nodad" if ":" in address else "")
    for address in addresses:
        lab.ip(f"neighbor add {address.partition('/')[0]} lladdr 02:00:00:00:00:99 dev p0 nud stale")
    add(box, 1, addresses)
    assert len(wire.take(3)) == 3
    deadline = time.monotonic() + LIMIT
    while set(neighbors().values()) != {MAC}:
        assert time.monotonic() < deadline, neighbors()
    assert neighbors() == dict.fromkeys(["10.0.0.2", "fd00::2", "fe80::2"], MAC)


# --- faults of osl, listed in docs/from-osl.md ---


def test_g1_g2_rounds_without_a_carrier_are_skipped(box: Sandbox) -> None:
    """Without a carrier a round fails with ENETDOWN; the next round is sent once there is a carrier."""
    lab.veth()
    eth0 = add(box, SLOW)
    assert box.wait_for_adverts(1)
    told = eth0.adverts
    assert (told.sent, told.due) == (0, 2)
    assert told.error == "advertise eth0: ENETDOWN (it has no carrier)"
    lab.ip("link set p0 up")
    with Wire("p0") as again:
        assert ips(again.take(2)) == BOTH
    assert box.wait_for_adverts(2)
    assert (eth0.adverts.sent, eth0.adverts.due) == (1, 1)
    assert eth0.adverts.error == told.error


def test_g2_a_failure_to_send_does_not_end_the_series(
    box: Sandbox, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a round that the kernel refuses to send, the next round is sent."""
    with monkeypatch.context() as patch:
        patch.setattr(libc, "_LINK_ADDRESS", struct.Struct("=H2siHBB"))  # too short: the kernel refuses it
        eth0 = add(box, SLOW, ["10.0.0.2/24"])
        assert box.wait_for_adverts(1)
    error = f"send a frame out of link {eth0.index}: EINVAL (Invalid argument)"
    assert eth0.adverts == Adverts(sent=0, due=2, error=error)
    assert len(wire.take(1)) == 1


@pytest.mark.parametrize(("error", "words"), [(PermissionError(1, "x"), "CAP_NET_RAW"), (OSError(24, "x"), "EMFILE")])
def test_without_a_packet_socket_the_attach_succeeds(
    box: Sandbox, wire: Wire, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    """If no packet socket can be opened, the attach succeeds, and `adverts` reports the error."""

    def refuse(*_: object) -> None:
        raise error

    class Refusing:
        AF_PACKET, SOCK_RAW, SOCK_CLOEXEC = socket.AF_PACKET, socket.SOCK_RAW, socket.SOCK_CLOEXEC
        socket = staticmethod(refuse)

    monkeypatch.setattr(packet, "socket", Refusing)
    eth0 = add(box, QUICK)
    assert box.wait_for_adverts()
    assert (eth0.adverts.sent, eth0.adverts.due) == (0, 0)
    assert words in (eth0.adverts.error or "")
    assert wire.rest("eth0", box.path) == []


def test_g3_each_round_advertises_all_current_addresses(box: Sandbox, wire: Wire) -> None:
    """Each round advertises all addresses that the link has at that moment, with its current MAC."""
    addresses = [*ADDRESSES, "10.0.0.3/24", "169.254.7.7/32", "10.9.9.9/32", "fe80::7/64", "fd00::9/128"]
    add(box, SLOW, addresses)
    first = wire.take(len(addresses))
    assert ips(first) == {address.partition("/")[0] for address in addresses}
    box.add_address("eth0", "10.8.8.8/32")
    box.add_address("eth0", "fd00::8/128")
    box.remove_address("eth0", "10.9.9.9/32")
    box.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:43"], check=True)
    second = wire.take(len(addresses) + 1)
    assert ips(second) == ips(first) - {"10.9.9.9"} | {"10.8.8.8", "fd00::8"}
    assert {item.mac for item in second} == {"02:00:00:00:00:43"}


def test_g4_adverts_need_no_ipv6_on_loopback(box: Sandbox, wire: Wire) -> None:
    """Neighbor Advertisements are sent although IPv6 is disabled on loopback."""
    lab.sysctl("ipv6/conf/lo/disable_ipv6", "1", netns=box.path)
    add(box, 1)
    assert ips(wire.take(2)) == BOTH


@pytest.fixture
def second(wire: Wire) -> Iterator[Wire]:  # noqa: ARG001
    """Create another veth pair v1 and p1, and capture frames on p1."""
    lab.veth("v1", "p1")
    lab.ip("link set p1 up")
    with Wire("p1") as listening:
        yield listening


def test_g6_adverts_are_reported_and_sent_by_one_thread(box: Sandbox, wire: Wire, second: Wire) -> None:
    """One thread sends all series, and `adverts` reports for each interface what was sent."""
    specs = [InterfaceSpec("v0", addresses=ADDRESSES, advertise=SLOW), InterfaceSpec("v1", advertise=SLOW)]
    eth0, eth1 = box.add_interfaces(specs)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count(announce.THREAD) == 1
    assert box.wait_for_adverts(1)
    assert eth0.adverts == Adverts(sent=1, due=2)
    assert eth1.adverts == Adverts(0, 2, "advertise eth1: EADDRNOTAVAIL (it has no address that is in use)")
    assert ips(wire.take(2)) == BOTH
    assert second.rest("eth1", box.path) == []


def test_g7_adverts_need_no_multicast_route(box: Sandbox, wire: Wire) -> None:
    add(box, 1)
    assert ips(wire.take(2)) == BOTH
    box.exec(["ip", "-6", "route", "flush", "table", "local"], check=True)
    box.advertise()
    assert ips(wire.take(2)) == BOTH


def test_dropped_ipv6_addresses_are_not_advertised(box: Sandbox, wire: Wire) -> None:
    """An IPv6 address that the kernel drops because of disable_ipv6=1 is not advertised."""
    setting = {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}
    box.add_interface("v0", addresses=ADDRESSES, sysctls=setting, advertise=1)
    assert box.wait_for_adverts()
    assert [item.ip for item in wire.rest("eth0", box.path)] == ["10.0.0.2"]
    assert lab.addresses("eth0", box.path) == {"10.0.0.2/24"}


def test_a_peer_that_is_down_does_not_fail_the_attach(box: Sandbox) -> None:
    """The attach succeeds although the peer of the veth is down; no advert is sent."""
    lab.veth()
    eth0 = add(box, 1)
    assert box.wait_for_adverts()
    assert lab.addresses("eth0", box.path) == set(ADDRESSES)
    assert eth0.adverts.sent == 0


# --- start and end of a series ---


def test_create_with_interfaces_advertises_them(wire: Wire) -> None:
    spec = InterfaceSpec("v0", mac=MAC, addresses=["10.0.0.2/24"], advertise=QUICK)
    with Sandbox.create("web", interfaces=[spec]) as box:
        assert ips(wire.take(3)) == {"10.0.0.2"}
        assert box.wait_for_adverts()
        assert box.interfaces[0].adverts == Adverts(sent=3, due=0)
        box.destroy()


def test_adverts_of_a_veth_reach_other_ports_of_its_bridge(box: Sandbox, wire: Wire) -> None:
    """Adverts of a veth whose host end is a bridge port reach the other ports of the bridge."""
    lab.ip("link add br0 type bridge")
    for name in ("br0", "v0"):
        lab.ip(f"link set {name} up")
    lab.ip("link set v0 master br0")
    without_other_addresses(box)
    box.add_interface(Veth("veth-web", master="br0"), mac=MAC, addresses=ADDRESSES, advertise=SLOW)
    found: set[tuple[str, str]] = set()
    while found != {(ip, MAC) for ip in BOTH}:
        found |= {(item.ip, item.mac) for item in wire.take(1)}


def test_a_failed_attach_is_not_advertised(box: Sandbox, wire: Wire) -> None:
    with lab.fails(box, Exception, "nothing"):
        box.add_interface("v0", addresses=ADDRESSES, sysctls={"net.ipv4.conf.IFNAME.nothing": "1"}, advertise=QUICK)
    assert announce.THREAD not in [thread.name for thread in threading.enumerate()]
    lab.ip("link set v0 up")
    assert wire.rest("v0", None) == []


def test_a_plan_advertises_nothing(box: Sandbox, wire: Wire) -> None:
    assert len(box.plan_interface("v0", addresses=ADDRESSES)) > 0
    add(box, 1)
    wire.take(2)
    box.wait_for_adverts()
    assert box.plan(box.advertise).commands == ()
    assert wire.rest("eth0", box.path) == []


@contextmanager
def nothing_left() -> Iterator[None]:
    """Expect the body to leave no thread and no descriptor behind."""

    def held() -> tuple[set[str], int]:
        lab.adverts_end()
        return {thread.name for thread in threading.enumerate()}, len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = held()
    yield
    began = time.monotonic()
    assert held() == before
    assert time.monotonic() - began < LIMIT


@pytest.mark.parametrize("end", ["close", "destroy"])
def test_a13_close_and_destroy_end_the_series(wire: Wire, end: str) -> None:
    """Closing or destroying a sandbox ends its series of adverts, and leaves no thread or descriptor."""
    with nothing_left():
        box = Sandbox.create("web")
        path = box.path
        eth0 = add(box, SLOW)
        wire.take(2)
        getattr(box, end)()
    with pytest.raises(SandboxClosedError):
        _ = eth0.adverts
    with pytest.raises(SandboxClosedError):
        box.wait_for_adverts()
    if end == "close":
        assert wire.rest("eth0", path) == []
        with Sandbox.open("web") as again:
            again.destroy()


def test_closing_during_a_round_is_safe(wire: Wire) -> None:
    """Destroying and closing a sandbox while a round is due or being sent leaves no thread or descriptor."""
    with nothing_left():
        for _ in range(20):
            with Sandbox.create("web") as box:
                add(box, QUICK, ["10.0.0.2/24"])
                box.destroy()
            lab.ip("link set v0 up")
    wire.rest("v0", None)


def test_series_of_several_sandboxes_are_sent_together(box: Sandbox, wire: Wire, second: Wire) -> None:
    """One call sends the series of several sandboxes; a missing link or a closed sandbox fails alone."""
    with Sandbox.create("other") as other:
        eth0 = add(box, 0)
        eth1 = other.add_interface("v1", addresses=["10.1.0.2/24"], advertise=0)
        inside = [(box, eth0.index), (box, 999), (other, eth1.index)]
        ours, nobodys, others = (announce.Series(item._handle.box, index, Advertise(1)) for item, index in inside)
        twice = announce.Series(box._handle.box, eth0.index, Advertise(1))
        failed = announce.advertise([ours, nobodys, others, twice])
        assert failed == {nobodys: "advertise link 999: ENODEV (it is gone)"}
        assert (ips(wire.take(4)), ips(second.take(1))) == (BOTH, {"10.1.0.2"})
        box.destroy()
        assert announce.advertise([ours, others]) == {ours: "[Errno 9] Bad file descriptor"}
        assert ips(second.take(1)) == {"10.1.0.2"}
        other.destroy()


def test_garbage_collecting_a_sandbox_ends_its_adverts(wire: Wire) -> None:
    with nothing_left(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        box: Sandbox | None = Sandbox.create("web")
        assert box
        add(box, SLOW)
        wire.take(2)
        box = None
    with Sandbox.open("web") as again:
        again.destroy()


ENDS = """
import os, sys
from netsandbox import Sandbox
box = Sandbox.open("web")  # never closed
box.advertise(how=(3, 2))
if "wait" in sys.argv:
    box.wait_for_adverts(1)
"""


@pytest.mark.parametrize("when", ["now", "wait"])
def test_a_program_exits_although_adverts_are_due(wire: Wire, when: str) -> None:  # noqa: ARG001
    with Sandbox.create("web") as box:
        add(box, 0)
        command = [sys.executable, "-W", "ignore", "-c", ENDS, when]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
        assert (done.returncode, done.stderr) == (0, "")
        box.destroy()


def test_a_forked_process_has_no_adverts_due(box: Sandbox, wire: Wire) -> None:
    """A forked process sends none of the parent's adverts, can close the sandbox, and can start a new series."""
    eth0 = add(box, SLOW)
    wire.take(2)
    assert box.wait_for_adverts(1)  # the count is updated a moment after the frame is sent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a process with threads is forked
        child = os.fork()
    if not child:
        status = 1
        try:
            left = eth0.adverts.due
            box.close()
            with Sandbox.open("box") as again:
                again.advertise(how=1)
                status = 0 if left == 0 and again.wait_for_adverts() and again.interfaces[0].adverts.sent == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert eth0.adverts.due == 2
    assert ips(wire.take(2)) == BOTH
    assert wire.rest("eth0", box.path) == []


# --- Sandbox.advertise ---

AGAIN = """
from netsandbox import Sandbox
with Sandbox.open("web") as box:
    box.advertise({})
    assert box.wait_for_adverts()
    print(box.interfaces[0].adverts)
"""


def in_another_process(arguments: str = "") -> str:
    command = [sys.executable, "-c", AGAIN.format(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_process_can_advertise_again(wire: Wire) -> None:
    """Another process advertises an interface with the count and interval in its record, or with its own."""
    with Sandbox.create("web") as box:
        path = box.path
        add(box, (2, 0.1))
        wire.take(2)
    wire.rest("eth0", path)
    assert in_another_process() == "Adverts(sent=2, due=0, error=None)"
    assert {(item.ip, item.mac) for item in wire.take(4)} == {(ip, MAC) for ip in BOTH}
    assert in_another_process('"eth0", 1') == "Adverts(sent=1, due=0, error=None)"
    assert ips(wire.take(2)) == BOTH
    assert wire.rest("eth0", path) == []
    with Sandbox.open("web") as box:
        assert box.interfaces[0].adverts == Adverts()
        box.destroy()


def test_advertise_uses_the_current_mac_of_the_link(wire: Wire) -> None:
    """Sandbox.advertise sends the MAC that the link has now, which was set inside and is not in the record."""
    with Sandbox.create("web") as box:
        without_other_addresses(box)
        box.add_interface("v0", addresses=ADDRESSES, advertise=0)
        lab.ip(f"link set eth0 address {MAC}", netns=box.path)
    assert in_another_process("how=1") == "Adverts(sent=1, due=0, error=None)"
    assert {(item.ip, item.mac) for item in wire.take(2)} == {(ip, MAC) for ip in BOTH}
    with Sandbox.open("web") as box:
        box.destroy()


def test_advertise_respects_count_0_of_the_attach(box: Sandbox, wire: Wire) -> None:
    """After an attach with count 0, advertise sends adverts only if it is given a count."""
    eth0 = add(box, 0)
    box.advertise()
    assert box.wait_for_adverts()
    assert wire.rest("eth0", box.path) == []
    box.advertise(eth0, (1, 0.1))
    assert ips(wire.take(2)) == BOTH


def test_advertise_replaces_the_series_that_is_due(box: Sandbox, wire: Wire) -> None:
    eth0 = add(box, SLOW)
    wire.take(2)
    box.advertise("eth0", 1)
    assert box.wait_for_adverts()
    assert ips(wire.take(2)) == BOTH
    assert eth0.adverts == Adverts(sent=1, due=0)


def test_an_interface_of_the_host_sandbox_is_advertised(wire: Wire) -> None:
    with Sandbox.host() as box:
        v0 = box.add_interface("v0", addresses=["10.0.0.2/24"], advertise=1)
        assert ips(wire.take(1)) == {"10.0.0.2"}
        v0.remove()
