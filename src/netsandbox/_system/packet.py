"""A packet socket: what sends whole frames out of a link.

Source: packet(7), include/uapi/linux/if_packet.h.
"""

import socket
import threading
from collections.abc import Iterable

from netsandbox._system import libc
from netsandbox.errors import KernelError


class PacketSocket:
    """A socket that sends frames and hears none, in the network namespace of the thread that makes it.

    It may be used from any thread, wherever that thread is.
    """

    def __init__(self) -> None:
        try:  # protocol 0: nothing that arrives is for it
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            needed = "Operation not permitted; it needs CAP_NET_RAW" if isinstance(error, PermissionError) else None
            raise KernelError(error.errno or 0, "open a packet socket", needed) from error

    def send(self, index: int, frame: bytes) -> None:
        """Send a whole Ethernet frame out of the link *index*, without waiting for room.

        Raises:
            KernelError: The kernel refused.
        """
        libc.send_frame(self._socket.fileno(), index, frame)

    def close(self) -> None:
        """Close it, which takes the kernel an RCU grace period of about 10 ms (packet_release in af_packet.c)."""
        self._socket.close()


def close_all(sockets: Iterable[PacketSocket]) -> None:
    """Close sockets, side by side: grace periods that begin together end together."""
    *others, last = sockets
    closing = []
    for item in others:
        thread = threading.Thread(target=item.close, name="netsandbox", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: one after the other, then
            item.close()
        else:
            closing.append(thread)
    last.close()
    for thread in closing:
        thread.join()
