"""Netlink attributes: type-length-value records, padded to four bytes (netlink(7), include/uapi/linux/netlink.h).

Integers are in host order unless a NLA_F_NET_BYTEORDER flag says otherwise; rtnetlink does not use it.
"""

import struct
import sys

from netsandbox.errors import ProtocolError

_HEADER = struct.Struct("=HH")  # struct nlattr: nla_len, nla_type
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
NESTED = 0x8000


def pack(kind: int, payload: bytes = b"") -> bytes:
    """Return one attribute, padded."""
    length = 4 + len(payload)
    return _HEADER.pack(length, kind) + payload + bytes(-length & 3)


def pack_u8(kind: int, value: int) -> bytes:
    """Return an attribute that holds one byte."""
    return pack(kind, value.to_bytes(1, sys.byteorder))


def pack_u32(kind: int, value: int) -> bytes:
    """Return an attribute that holds an unsigned 32-bit integer."""
    return pack(kind, value.to_bytes(4, sys.byteorder))


def pack_text(kind: int, text: str) -> bytes:
    """Return an attribute that holds a NUL-terminated string."""
    return pack(kind, to_bytes(text) + b"\0")


def nest(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds other attributes."""
    return pack(kind | NESTED, b"".join(attributes))


def walk(data: bytes, start: int = 0) -> list[tuple[int, bytes]]:
    """Return (type, payload) of each attribute in *data* from the offset *start*."""
    found = []
    unpack_header = _HEADER.unpack_from
    end = len(data)
    while start + 4 <= end:
        length, kind = unpack_header(data, start)
        stop = start + length
        if length < 4 or stop > end:
            raise ProtocolError(f"attribute of {length} bytes at offset {start} of {end}")
        found.append((kind & _TYPE_MASK, data[start + 4 : stop]))
        start = (stop + 3) & ~3
    return found


def unpack(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Return the attributes in *data* by type; the last one wins, as in the kernel."""
    found = {}  # not dict(walk()): of a long list of routes, a twentieth of the time would go into the pairs
    unpack_header = _HEADER.unpack_from
    end = len(data)
    while start + 4 <= end:
        length, kind = unpack_header(data, start)
        stop = start + length
        if length < 4 or stop > end:
            raise ProtocolError(f"attribute of {length} bytes at offset {start} of {end}")
        found[kind & _TYPE_MASK] = data[start + 4 : stop]
        start = (stop + 3) & ~3
    return found


def to_int(data: bytes, size: int = 4) -> int:
    """Return the unsigned integer of *size* bytes that *data* holds."""
    if len(data) != size:
        raise ProtocolError(f"integer of {len(data)} bytes where {size} were due")
    return int.from_bytes(data, sys.byteorder)


def to_text(data: bytes) -> str:
    """Return the string that *data* holds; bytes that are not UTF-8 survive a round trip."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the bytes of a kernel string; the inverse of to_text."""
    return text.encode("utf-8", "surrogateescape")


def mac_text(data: bytes) -> str:
    """Return a link-layer address in colon notation."""
    return data.hex(":")


def mac_bytes(text: str) -> bytes:
    """Return the bytes of a link-layer address in colon notation."""
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError as error:
        raise ProtocolError(f"link-layer address {text!r}") from error
