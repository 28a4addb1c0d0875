"""Statistics equal the counters that ip(8) shows (osl omits the error counters; fault E10)."""

from __future__ import annotations

from dataclasses import fields

import pytest

from netsandbox import Interface, InterfaceNotFoundError, Sandbox, Statistics
from tests.kernel.lab import Json, ip, ip_json, veth

NAMES = {  # of struct rtnl_link_stats64 : where ``ip -s -s -j link`` has it
    "rx_packets": ("rx", "packets"),
    "tx_packets": ("tx", "packets"),
    "rx_bytes": ("rx", "bytes"),
    "tx_bytes": ("tx", "bytes"),
    "rx_errors": ("rx", "errors"),
    "tx_errors": ("tx", "errors"),
    "rx_dropped": ("rx", "dropped"),
    "tx_dropped": ("tx", "dropped"),
    "multicast": ("rx", "multicast"),
    "collisions": ("tx", "collisions"),
    "rx_length_errors": ("rx", "length_errors"),
    "rx_crc_errors": ("rx", "crc_errors"),
    "rx_frame_errors": ("rx", "frame_errors"),
    "rx_fifo_errors": ("rx", "fifo_errors"),
    "rx_over_errors": ("rx", "over_errors"),
    "tx_aborted_errors": ("tx", "aborted_errors"),
    "tx_carrier_errors": ("tx", "carrier_errors"),
    "tx_fifo_errors": ("tx", "fifo_errors"),
    "tx_heartbeat_errors": ("tx", "heartbeat_errors"),
    "tx_window_errors": ("tx", "window_errors"),
}


@pytest.fixture
def eth0(box: Sandbox) -> Interface:
    """Attach an interface with only an IPv4 address, so that it sends nothing by itself; its peer answers."""
    veth()
    ip("address add 10.0.0.1/24 dev p0")
    ip("link set p0 addrgenmode none up")
    return box.add_interface("v0", addresses=["10.0.0.2/24"], advertise=0)


def shown(box: Sandbox) -> Json:
    """Return the counters of eth0, as ip(8) shows them."""
    counters: Json = ip_json("-s -s link show dev eth0", netns=box.path)[0]["stats64"]
    return counters


def test_every_counter_equals_that_of_ip(box: Sandbox, eth0: Interface) -> None:
    ping = box.exec(["ping", "-c3", "-i0.002", "-s300", "10.0.0.1"], capture_output=True)
    assert ping.returncode == 0
    theirs, ours = shown(box), eth0.statistics()
    assert ours.rx_packets >= 3
    assert ours.tx_bytes > 900
    there = {name: keys for name, keys in NAMES.items() if keys[1] in theirs[keys[0]]}
    assert len(there) >= 18
    assert {name: getattr(ours, name) for name in there} == {name: theirs[a][b] for name, (a, b) in there.items()}


def test_statistics_can_be_subtracted(box: Sandbox, eth0: Interface) -> None:
    before = eth0.statistics()
    box.exec(["ping", "-c2", "-i0.002", "-s300", "10.0.0.1"], capture_output=True, check=True)
    counted = eth0.statistics() - before
    assert counted.tx_bytes >= 2 * 342
    assert (counted.tx_errors, counted.rx_errors) == (0, 0)


def test_drops_are_counted(box: Sandbox, eth0: Interface) -> None:
    ip("link set p0 down")
    before = eth0.statistics().tx_dropped
    box.exec(["ping", "-c1", "-W0.1", "-I", "eth0", "10.0.0.1"], capture_output=True)
    assert eth0.statistics().tx_dropped == shown(box)["tx"]["dropped"] >= before


def test_statistics_have_every_field_of_the_kernel() -> None:
    names = [field.name for field in fields(Statistics)]
    assert set(NAMES) < set(names)
    assert names[:4] == ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes"]
    assert names[-2:] == ["rx_nohandler", "rx_otherhost_dropped"]


@pytest.mark.usefixtures("eth0")
def test_e10_a_host_link_of_the_same_name_is_not_read(box: Sandbox) -> None:
    veth("eth0", "peer", up=True)
    host_index = ip_json("link show dev eth0")[0]["ifindex"]
    (interface,) = box.interfaces
    assert interface.index != host_index
    assert interface.statistics().tx_bytes == shown(box)["tx"]["bytes"]


def test_statistics_of_a_deleted_link_are_refused(box: Sandbox, eth0: Interface) -> None:
    ip("link delete eth0", netns=box.path)
    with pytest.raises(InterfaceNotFoundError, match="statistics of eth0 of sandbox box"):
        eth0.statistics()
