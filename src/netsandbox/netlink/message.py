"""Netlink messages: requests out, replies and acknowledgements in (netlink(7), RFC 3549).

`converse` is the protocol as a generator: it yields a datagram to send, or None to receive one. `_system/transport.py`
drives it with a socket; nothing here does any input or output.
"""

import errno
import struct
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from netsandbox.errors import KernelError, ProtocolError
from netsandbox.netlink import attrs

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ERROR = struct.Struct("=i")  # struct nlmsgerr begins with a negative errno
HEADER_SIZE = _HEADER.size

NOOP, ERROR, DONE = 1, 2, 3  # NLMSG_*: below NLMSG_MIN_TYPE (16) are control messages
F_REQUEST, F_MULTI, F_ACK, F_DUMP_INTR, F_DUMP = 0x1, 0x2, 0x4, 0x10, 0x300
F_REPLACE, F_EXCL, F_CREATE, F_APPEND = 0x100, 0x200, 0x400, 0x800
_F_CAPPED, _F_ACK_TLVS = 0x100, 0x200
_MAX_ERRNO = 4095  # include/linux/err.h
_EXTACK_TEXT = 1  # NLMSGERR_ATTR_MSG

LIMIT = 1 << 26  # longest list, in bytes: some 700,000 routes; processes inside may create any number
ATTEMPTS = 5  # most readings of a list that changes meanwhile


class Message(NamedTuple):
    """One message of a datagram."""

    kind: int  # RTM_*
    flags: int  # NLM_F_*
    sequence: int  # of the request that it answers
    body: bytes  # what follows the header

    def split(self, info: struct.Struct, what: str) -> tuple[tuple[Any, ...], dict[int, bytes]]:
        """Return the fields of *info*, with which the body begins, and the attributes that follow it."""
        if len(self.body) < info.size:
            raise ProtocolError(f"{what} message of {len(self.body)} bytes")
        return info.unpack_from(self.body), attrs.unpack(self.body, info.size)


class Request(NamedTuple):
    """A request to the kernel."""

    text: str  # what is requested, in words; an error message begins with it
    kind: int  # RTM_*
    body: bytes  # what follows the header
    flags: int = 0  # NLM_F_*, besides REQUEST and ACK

    @property
    def is_dump(self) -> bool:
        """Whether the answer is a list."""
        return self.is_get and self.flags & F_DUMP == F_DUMP

    @property
    def is_get(self) -> bool:
        """Whether it changes nothing."""
        return self.kind & 3 == 2  # RTM_GET*


class Overrun(Exception):  # noqa: N818  a signal to the protocol, never seen by a user
    """The socket lost messages: its receive buffer was full (ENOBUFS)."""


def pack(request: Request, sequence: int) -> bytes:
    """Return the datagram of one request."""
    flags = request.flags | F_REQUEST
    if not request.is_get:  # of a get, the acknowledgement would be a second answer
        flags |= F_ACK
    return _HEADER.pack(HEADER_SIZE + len(request.body), request.kind, flags, sequence, 0) + request.body


def unpack(datagram: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram."""
    start, end = 0, len(datagram)
    while start < end:
        if end - start < HEADER_SIZE:
            raise ProtocolError(f"message header of {end - start} bytes where {HEADER_SIZE} were due")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, start)
        if length < HEADER_SIZE or start + length > end:
            raise ProtocolError(f"message of {length} bytes at offset {start} of {end}")
        yield Message(kind, flags, sequence, datagram[start + HEADER_SIZE : start + length])
        start += (length + 3) & ~3


def verdict(message: Message) -> tuple[int, str | None]:
    """Return the errno (0: done) and the kernel's explanation from an ERROR or DONE message."""
    body = message.body
    if len(body) < _ERROR.size:
        raise ProtocolError(f"acknowledgement of {len(body)} bytes")
    code = -_ERROR.unpack_from(body)[0]
    if not 0 <= code <= _MAX_ERRNO:
        raise ProtocolError(f"acknowledgement with the errno {code}")
    start = _ERROR.size
    if message.kind == ERROR:  # the request's header follows, and, unless capped, the request itself
        if len(body) < start + HEADER_SIZE:
            raise ProtocolError(f"acknowledgement of {len(body)} bytes")
        quoted = HEADER_SIZE if message.flags & _F_CAPPED else _HEADER.unpack_from(body, start)[0]
        start += (max(quoted, HEADER_SIZE) + 3) & ~3
    text = None
    if message.flags & _F_ACK_TLVS:
        text = attrs.unpack(body, start).get(_EXTACK_TEXT)
    return code, None if text is None else attrs.to_text(text)


def converse(request: Request, sequences: Iterator[int]) -> Generator[bytes | None, bytes, list[Message]]:
    """Return the messages that answer a request: yield a datagram to send, or None to receive one.

    An interrupted or overrun dump is requested again, ATTEMPTS times in all: half an answer is never returned.

    Raises:
        KernelError: The kernel refused, or the dump was interrupted every time (EINTR) or is too long (EMSGSIZE).
    """
    for _ in range(ATTEMPTS):
        sequence = next(sequences)
        yield pack(request, sequence)
        replies, whole = yield from _collect(request, sequence)
        if whole:
            return replies
    raise KernelError(errno.EINTR, request.text, f"the list changed under each of {ATTEMPTS} readings")


def _collect(request: Request, sequence: int) -> Generator[None, bytes, tuple[list[Message], bool]]:
    """Receive until *request* is answered; return the replies, and whether they are a consistent whole."""
    replies: list[Message] = []
    whole = True
    size = 0
    single = request.is_get and not request.is_dump
    while True:
        try:
            datagram = yield None
        except Overrun:
            whole = whole and not request.is_dump  # a lost acknowledgement shows as a socket with nothing to read
            continue
        size += len(datagram)
        if size > LIMIT:
            raise KernelError(errno.EMSGSIZE, request.text, f"the list is longer than {LIMIT} bytes")
        for message in unpack(datagram):
            kind, flags, answered, _ = message
            if answered != sequence or kind == NOOP:
                continue  # may be the late answer to an earlier request
            if flags & F_DUMP_INTR:
                whole = False
            if kind in {ERROR, DONE}:
                _raise_refusal(request, message)
                return replies, whole
            if kind != request.kind - 2:  # RTM_GET* is answered by RTM_NEW*
                raise ProtocolError(f"{request.text}: an answer of type {kind}")
            replies.append(message)
            if single:
                return replies, whole


def _raise_refusal(request: Request, message: Message) -> None:
    """Raise the error in an acknowledgement of *request*, if there is one."""
    code, extack = verdict(message)
    if code == errno.EPERM and not extack:
        extack = "Operation not permitted; it needs CAP_NET_ADMIN"
    if code:
        raise KernelError(code, request.text, extack)
