"""Recorded netlink datagrams: tests/data/*.hex, from a little-endian machine.

Each paragraph is a datagram, described by its comment; the comment at the head of a file says how to record it.
"""

from __future__ import annotations

import struct
from pathlib import Path

from netsandbox.netlink import attrs, message
from netsandbox.netlink.message import DONE, HEADER_SIZE, Message, Request

DATA = Path(__file__).parent.parent / "data"


def datagrams(file: str, caption: str) -> list[bytes]:
    """Return the datagrams with a caption."""
    paragraphs = (DATA / f"{file}.hex").read_text(encoding="utf-8").split("\n\n")
    found = [text.partition("\n")[2] for text in paragraphs if text.startswith(f"# {caption}\n")]
    assert found, f"{file}.hex has no paragraph {caption!r}"
    return [bytes.fromhex(text) for text in found]


def messages(file: str, caption: str) -> list[Message]:
    """Return the messages of the datagrams with a caption, without NLMSG_DONE."""
    return [item for data in datagrams(file, caption) for item in message.unpack(data) if item.kind != DONE]


def sent(command: str) -> Message:
    """Return the request that an ip(8) command sends."""
    (request,) = messages("iproute2", command)
    return request


def as_sent(request: Request) -> Message:
    """Return a request of ours as a message with the sequence number 0."""
    (packed,) = message.unpack(message.pack(request, 0))
    return packed


def shape(body: bytes, start: int) -> tuple[bytes, dict[int, bytes]]:
    """Return the header of a body and its attributes as a dict, because their order does not matter."""
    return body[:start], attrs.unpack(body, start)


def reply(kind: int, body: bytes = b"", *, flags: int = 0, sequence: int = 1) -> bytes:
    """Build a datagram of one message."""
    return struct.pack("=IHHII", HEADER_SIZE + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) & 3)
