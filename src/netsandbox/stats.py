"""Interface counters as a value."""

import struct
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a link since it was created: the fields of struct rtnl_link_stats64 under the kernel's names.

    include/uapi/linux/if_link.h says what each field counts.
    """

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
    multicast: int = 0
    collisions: int = 0
    rx_length_errors: int = 0
    rx_over_errors: int = 0
    rx_crc_errors: int = 0
    rx_frame_errors: int = 0
    rx_fifo_errors: int = 0
    rx_missed_errors: int = 0
    tx_aborted_errors: int = 0
    tx_carrier_errors: int = 0
    tx_fifo_errors: int = 0
    tx_heartbeat_errors: int = 0
    tx_window_errors: int = 0
    rx_compressed: int = 0
    tx_compressed: int = 0
    rx_nohandler: int = 0
    rx_otherhost_dropped: int = 0

    def __sub__(self, earlier: "Statistics") -> "Statistics":
        """Return the differences from *earlier* counters."""
        return Statistics(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))


_COUNT = len(fields(Statistics))


def unpack(data: bytes) -> Statistics:
    """Return the counters of an IFLA_STATS64 payload; those that the kernel does not report are 0."""
    known = min(len(data) // 8, _COUNT)
    return Statistics(*struct.unpack_from(f"={known}Q", data))
