"""A netlink socket that hears what changes in a namespace.

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
from netsandbox._system.transport import DONTWAIT, SIZE, SOL_NETLINK, TRUNC
from netsandbox.errors import KernelError, ProtocolError
from netsandbox.netlink import link
from netsandbox.netlink.message import Message, unpack

ADD_MEMBERSHIP = 1  # NETLINK_ADD_MEMBERSHIP
LINKS, NEIGHBORS, ADDRESSES4, ROUTES4, ADDRESSES6, ROUTES6 = 1, 3, 5, 7, 9, 11  # RTNLGRP_*
EVERYTHING = (LINKS, NEIGHBORS, ADDRESSES4, ROUTES4, ADDRESSES6, ROUTES6)
BUFFER = 1 << 20  # bytes of messages that may wait to be read, as ip(8) has it; net.core.rmem_max may say less
DATAGRAMS = 64  # how many are read in one go: then it is another listener's turn
_SIOCGSKNS = 0x894C  # include/uapi/linux/sockios.h


class Received(NamedTuple):
    """What a listener heard.

    Attributes:
        messages: What the kernel said.
        overran: Whether messages were lost meanwhile, as the receive buffer was full (ENOBUFS).
        is_all: Whether there was no more to be read.
    """

    messages: list[Message]
    overran: bool
    is_all: bool


class Listener:
    """A socket that hears what changes in the network namespace of the thread that makes it.

    It may be used from any thread, by one at a time, wherever that thread is.
    """

    def __init__(self, groups: Iterable[int]) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                self._socket.bind((0, 0))  # one without an address of its own hears nothing from the kernel itself
                for group in groups:
                    self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
            except BaseException:
                self._socket.close()
                raise
        except OSError as error:
            raise KernelError(error.errno or 0, "listen to what changes") from error

    def fileno(self) -> int:
        """Return the descriptor of the socket; -1 after `close`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def namespace(self) -> int:
        """Return a descriptor of the namespace it hears of, for the caller to close."""
        try:
            return fcntl.ioctl(self._socket, _SIOCGSKNS)
        except OSError as error:
            raise KernelError(error.errno or 0, "find the namespace of a socket") from error

    def receive(self) -> Received:
        """Return what the next datagrams from the kernel say, without waiting.

        Raises:
            ProtocolError: A message is malformed.
        """
        messages: list[Message] = []
        overran = False
        for _ in range(DATAGRAMS):
            try:
                data, _, flags, sender = self._socket.recvmsg(SIZE, 0, DONTWAIT)
            except BlockingIOError:
                return Received(messages, overran=overran, is_all=True)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(error.errno or 0, "hear what has changed") from error
                overran = True
                continue
            if flags & TRUNC:
                raise ProtocolError(f"hear what has changed: a message of more than {SIZE} bytes")
            if sender[0] == 0:  # others may send to the socket, and are not heard
                messages += unpack(data)
        return Received(messages, overran=overran, is_all=False)

    def hears_of(self, index: int, seconds: float) -> bool:
        """Wait for messages about links, for some *seconds* at most; return whether they may be about this one."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        poll.poll(max(seconds * 1000, 1))
        received = self.receive()
        return received.overran or any(link.unpack(message).index == index for message in received.messages)


def listen(fd: int, groups: Iterable[int] = EVERYTHING) -> Listener:
    """Return a socket that hears what changes in the namespace *fd*."""
    return namespace.run_in(fd, lambda: Listener(groups))


def listen_at(path: str, identity: tuple[int, int], *, follow: bool) -> Listener | None:
    """Return a socket that hears what changes in the namespace at *path*; None if it is not there."""
    fd = namespace.find(path, follow=follow)
    if fd is None:
        return None
    try:
        return listen(fd) if namespace.identity(fd) == identity else None
    finally:
        os.close(fd)
