"""A netlink socket that receives messages about changes in a namespace.

Source: netlink(7), rtnetlink(7), include/uapi/linux/rtnetlink.h (enum rtnetlink_groups).
"""

import errno
import fcntl
import os
import select
import socket
from collections.abc import Iterable
from typing import NamedTuple

from netsandbox._system import namespace
from netsandbox._system.errors import Asking
from netsandbox._system.transport import DONTWAIT, SIZE, SOL_NETLINK, TRUNC
from netsandbox.errors import KernelError, ProtocolError
from netsandbox.netlink import link
from netsandbox.netlink.message import Message, unpack

ADD_MEMBERSHIP = 1  # NETLINK_ADD_MEMBERSHIP
LINKS, NEIGHBORS, ADDRESSES4, ROUTES4, ADDRESSES6, ROUTES6 = 1, 3, 5, 7, 9, 11  # RTNLGRP_*
EVERYTHING = (LINKS, NEIGHBORS, ADDRESSES4, ROUTES4, ADDRESSES6, ROUTES6)
BUFFER = 1 << 20  # bytes of unread messages, as in ip(8); net.core.rmem_max may allow less
DATAGRAMS = 64  # how many one call of `receive` reads, so that one listener does not keep the others waiting
_SIOCGSKNS = 0x894C  # include/uapi/linux/sockios.h


class Received(NamedTuple):
    """What a listener has received."""

    messages: list[Message]
    overran: bool  # messages were lost because the receive buffer was full (ENOBUFS)
    is_all: bool  # the socket is empty now


class Listener:
    """A socket that receives messages about changes in the network namespace of the thread that creates it.

    Any thread may use it, one at a time, from anywhere.
    """

    def __init__(self, groups: Iterable[int]) -> None:
        with Asking("listen to what changes"):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                self._socket.bind((0, 0))  # the kernel sends nothing to a socket without an address
                for group in groups:
                    self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
            except BaseException:
                self._socket.close()
                raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def namespace(self) -> int:
        """Return a new descriptor of its namespace; the caller closes it."""
        with Asking("find the namespace of a socket"):
            return fcntl.ioctl(self._socket, _SIOCGSKNS)

    def receive(self) -> Received:
        """Return the messages of the next datagrams from the kernel, without waiting."""
        messages: list[Message] = []
        overran = False
        for _ in range(DATAGRAMS):
            try:
                data, _, flags, sender = self._socket.recvmsg(SIZE, 0, DONTWAIT)
            except BlockingIOError:
                return Received(messages, overran=overran, is_all=True)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(error.errno or 0, "receive changes") from error
                overran = True
                continue
            if flags & TRUNC:
                raise ProtocolError(f"receive changes: a message of more than {SIZE} bytes")
            if sender[0] == 0:  # other processes may send to the socket; ignore them
                messages += unpack(data)
        return Received(messages, overran=overran, is_all=False)

    def wait(self, index: int, seconds: float) -> bool:
        """Wait for messages about links, for some *seconds* at most; return whether they may be about this one."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        poll.poll(max(seconds * 1000, 1))
        received = self.receive()
        return received.overran or any(link.unpack(message).index == index for message in received.messages)


def listen(fd: int, groups: Iterable[int] = EVERYTHING) -> Listener:
    """Return a listener for the namespace *fd*."""
    return namespace.run_in(fd, lambda: Listener(groups))


def listen_at(path: str, identity: tuple[int, int], *, follow: bool) -> Listener | None:
    """Return a listener for the namespace at *path*; None if it is not there, or is another one."""
    fd = namespace.find(path, follow=follow)
    if fd is None:
        return None
    try:
        return listen(fd) if namespace.identity(fd) == identity else None
    finally:
        os.close(fd)
