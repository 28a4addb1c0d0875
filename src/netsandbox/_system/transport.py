"""A netlink socket: what drives the protocol of `netlink.message`.

The kernel carries a request out inside the sending system call, and has the answer ready when that returns
(design.md, kernel fact 9): so receiving never waits, and a socket with nothing to read means that the answer is lost.
"""

import errno
import itertools
import socket
import threading
from contextlib import suppress

from netsandbox.errors import KernelError, ProtocolError
from netsandbox.netlink.message import Message, Overrun, Request, converse

SOL_NETLINK = 270
EXT_ACK, CAP_ACK, STRICT_CHECK = 11, 10, 12  # NETLINK_*; include/uapi/linux/netlink.h
# The numbers themselves: an enum's & costs more than receiving does.
DONTWAIT, TRUNC = int(socket.MSG_DONTWAIT), int(socket.MSG_TRUNC)
SIZE = 65536  # the kernel fills at most 32 KiB of a datagram of a list (net/netlink/af_netlink.c)


class Transport:
    """A socket to the routing part of the kernel, in the network namespace of the thread that makes it.

    It may be used from any thread, wherever that thread is. Requests of several threads go one after the other.
    """

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            for option in (EXT_ACK, CAP_ACK, STRICT_CHECK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        except OSError as error:
            raise KernelError(error.errno or 0, "open a netlink socket") from error
        self._sequences = itertools.count(1)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the socket, when no request is under way; from then on every request fails."""
        with self._lock:
            self._socket.close()

    def ask(self, request: Request) -> list[Message]:
        """Send *request* and return the messages that answer it.

        Raises:
            KernelError: The kernel refused, or (`answered` is False) its answer did not arrive.
            ProtocolError: A reply is malformed.
        """
        with self._lock:
            exchange = converse(request, self._sequences)
            datagram = next(exchange)
            try:
                while True:
                    if datagram is None:
                        try:
                            received = self._receive(request)
                        except Overrun as overrun:
                            datagram = exchange.throw(overrun)
                        else:
                            datagram = exchange.send(received)
                    else:
                        self._send(request, datagram)
                        datagram = next(exchange)
            except StopIteration as end:
                replies: list[Message] = end.value
                return replies
            except BaseException:
                self._drain()
                raise

    def _send(self, request: Request, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise KernelError(error.errno or 0, request.text, answered=False) from error

    def _drain(self) -> None:
        """Throw away the rest of an answer that was given up: until a list is read, another is refused (EBUSY)."""
        with suppress(OSError):  # EAGAIN: that was all
            while True:
                self._socket.recvmsg(SIZE, 0, DONTWAIT)

    def _receive(self, request: Request) -> bytes:
        """Return the next datagram from the kernel; others may send to the socket, and are not heard."""
        while True:
            try:
                data, _, flags, sender = self._socket.recvmsg(SIZE, 0, DONTWAIT)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise Overrun from error
                raise KernelError(error.errno or 0, request.text, answered=False) from error
            if sender[0] != 0:
                continue
            if flags & TRUNC:
                raise ProtocolError(f"{request.text}: an answer of more than {SIZE} bytes")
            return data
