"""Packet sockets, which send whole frames out of a link.

Source: packet(7), include/uapi/linux/if_packet.h.
"""

import socket
from collections.abc import Iterable

from netsandbox._system.threads import start
from netsandbox.errors import KernelError


def open_socket() -> socket.socket:
    """Return a socket in the calling thread's network namespace that receives nothing."""
    try:  # protocol 0: no frame that arrives is for it
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        needed = "Operation not permitted; it needs CAP_NET_RAW" if isinstance(error, PermissionError) else None
        raise KernelError(error.errno or 0, "open a packet socket", needed) from error


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close sockets in parallel: each waits for a grace period (docs/kernel-facts.md), and these can overlap."""
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
