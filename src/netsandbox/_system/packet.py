"""Packet sockets, which send whole frames out of a link.

Source: packet(7), include/uapi/linux/if_packet.h.
"""

import socket
from collections.abc import Iterable

from netsandbox._system import libc
from netsandbox._system.threads import start
from netsandbox.errors import KernelError


class PacketSocket:
    """A socket in the calling thread's network namespace that only sends; any thread may use it, from anywhere."""

    def __init__(self) -> None:
        try:  # protocol 0: receive nothing
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            needed = "Operation not permitted; it needs CAP_NET_RAW" if isinstance(error, PermissionError) else None
            raise KernelError(error.errno or 0, "open a packet socket", needed) from error

    def send(self, index: int, frame: bytes) -> None:
        """Send a whole Ethernet frame out of the link *index*, without waiting for room."""
        libc.send_frame(self._socket.fileno(), index, frame)

    def close(self) -> None:
        """Close it (docs/kernel-facts.md, "Closing a packet socket waits for a grace period")."""
        self._socket.close()


def close_all(sockets: Iterable[PacketSocket]) -> None:
    """Close sockets in parallel: grace periods that begin together end together."""
    *others, last = sockets
    closing = []
    for item in others:
        try:
            closing.append(start(item.close, daemon=True))
        except KernelError:  # no more threads
            item.close()
    last.close()
    for wait in closing:
        wait()
