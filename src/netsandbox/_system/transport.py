"""A netlink socket, which carries out the protocol of `netlink.message`.

The kernel executes a request inside the system call that sends it (docs/kernel-facts.md, "The kernel answers before
send returns"), so receiving never waits: if there is nothing to read, the answer is lost.
"""

import errno
import itertools
import socket
import threading
from collections.abc import Generator
from contextlib import suppress

from netsandbox._system.errors import Asking
from netsandbox.errors import ProtocolError
from netsandbox.netlink.message import Message, Overrun, Request, converse

SOL_NETLINK = 270
EXT_ACK, CAP_ACK, STRICT_CHECK = 11, 10, 12  # NETLINK_*; include/uapi/linux/netlink.h
# As int: the & of an enum costs more than receiving does.
DONTWAIT, TRUNC = int(socket.MSG_DONTWAIT), int(socket.MSG_TRUNC)
Exchange = Generator[bytes | None, bytes, list[Message]]
SIZE = 65536  # the kernel fills at most 32 KiB of a datagram of a list (net/netlink/af_netlink.c)


class Transport:
    """A rtnetlink socket in the network namespace of the thread that creates it.

    Any thread may use it, from anywhere; requests of several threads are sent one after the other.
    """

    def __init__(self) -> None:
        with Asking("open a netlink socket"):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            for option in (EXT_ACK, CAP_ACK, STRICT_CHECK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequences = itertools.count(1)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the socket once no request is in progress; every later request fails."""
        with self._lock:
            self._socket.close()

    def ask(self, request: Request) -> list[Message]:
        """Send *request* and return the messages that answer it."""
        with self._lock, Asking(request.text, answered=False):
            exchange = converse(request, self._sequences)
            try:
                datagram = next(exchange)
                while True:
                    if datagram is None:
                        datagram = self._receive(request, exchange)
                    else:
                        self._socket.send(datagram)
                        datagram = next(exchange)
            except StopIteration as end:
                replies: list[Message] = end.value
                return replies
            except BaseException:
                self._drain()
                raise

    def _receive(self, request: Request, exchange: Exchange) -> bytes | None:
        """Pass the next datagram of the kernel to *exchange*, and return what that yields."""
        while True:
            try:
                data, _, flags, sender = self._socket.recvmsg(SIZE, 0, DONTWAIT)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return exchange.throw(Overrun())
            if sender[0] != 0:  # other processes may send to the socket; ignore them
                continue
            if flags & TRUNC:
                raise ProtocolError(f"{request.text}: an answer of more than {SIZE} bytes")
            return exchange.send(data)

    def _drain(self) -> None:
        """Discard the rest of an answer: until a dump has been read, the kernel refuses another one (EBUSY)."""
        with suppress(OSError):  # EAGAIN: the socket is empty
            while True:
                self._socket.recvmsg(SIZE, 0, DONTWAIT)
