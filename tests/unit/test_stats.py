"""Statistics: the kernel's struct as a value, and the difference of two."""

from __future__ import annotations

import struct
from dataclasses import FrozenInstanceError, astuple, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox import Statistics
from netsandbox.netlink import link
from netsandbox.stats import unpack
from tests.unit.recorded import messages

COUNTERS = st.lists(st.integers(0, 2**64 - 1), min_size=25, max_size=25)
NAMES = (
    "rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped multicast collisions "
    "rx_length_errors rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors tx_aborted_errors "
    "tx_carrier_errors tx_fifo_errors tx_heartbeat_errors tx_window_errors rx_compressed tx_compressed rx_nohandler "
    "rx_otherhost_dropped"
)


def test_fields_are_those_of_rtnl_link_stats64_in_order() -> None:
    assert [item.name for item in fields(Statistics)] == NAMES.split()


@given(COUNTERS, st.binary(max_size=24))
def test_counters_of_a_newer_kernel_are_ignored(counters: list[int], more: bytes) -> None:
    """Statistics are unpacked in order, and bytes that a newer kernel adds are ignored."""
    assert astuple(unpack(struct.pack("=25Q", *counters) + more)) == tuple(counters)


@pytest.mark.parametrize(("known", "odd"), [(24, b""), (24, b"1234567"), (1, b""), (0, b""), (0, b"1")])
def test_counters_missing_in_an_older_kernel_are_zero(known: int, odd: bytes) -> None:
    found = unpack(struct.pack(f"={known}Q", *range(1, known + 1)) + odd)
    assert astuple(found) == (*range(1, known + 1), *[0] * (25 - known))


@given(st.binary(max_size=220))
def test_random_bytes_give_valid_counters(data: bytes) -> None:
    assert all(0 <= count < 2**64 for count in astuple(unpack(data)))


def test_recorded_statistics_are_decoded() -> None:
    (found,) = map(link.unpack, messages("links", "get p0, with statistics"))
    assert unpack(found.stats).tx_bytes > unpack(found.stats).tx_packets > 0


@given(COUNTERS, COUNTERS)
def test_statistics_are_subtracted_field_by_field(now: list[int], then: list[int]) -> None:
    difference = Statistics(*now) - Statistics(*then)
    assert astuple(difference) == tuple(a - b for a, b in zip(now, then, strict=True))


def test_statistics_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        Statistics().rx_bytes = 1  # type: ignore[misc]
