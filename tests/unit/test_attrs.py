"""Netlink attributes: packing, unpacking, and random bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox.errors import ProtocolError
from netsandbox.netlink import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = st.integers(0, 0x3FFF)
LISTS = st.lists(st.tuples(KINDS, st.binary(max_size=40)))
T = TypeVar("T")


def _outcome(read: Callable[[bytes], T], data: bytes) -> T | str:
    """Return the result of reading, or the text of the ProtocolError."""
    try:
        return read(data)
    except ProtocolError as error:
        return str(error)


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (attrs.pack(1), "0400 0100"),
        (attrs.pack(1, b"\xab\xcd"), "0600 0100 abcd 0000"),
        (attrs.pack_u8(2, 255), "0500 0200 ff00 0000"),
        (attrs.pack_u32(4, 1500), "0800 0400 dc05 0000"),
        (attrs.pack_text(3, "eth0"), "0900 0300 6574 6830 0000 0000"),
        (attrs.nest(18, attrs.pack_u8(1, 7), attrs.pack(2)), "1000 1280 0500 0100 0700 0000 0400 0200"),
    ],
)
def test_attributes_are_packed_with_header_and_padding(packed: bytes, expected: str) -> None:
    """An attribute is packed with its length, its type, its payload and padding to four bytes."""
    assert packed == bytes.fromhex(expected)


@given(LISTS)
def test_pack_unpack_round_trip(items: list[tuple[int, bytes]]) -> None:
    """Packed attributes are read back unchanged, as a list by walk() and as a dict by unpack()."""
    data = b"".join(attrs.pack(kind, payload) for kind, payload in items)
    assert attrs.walk(data) == items
    assert attrs.unpack(bytes(8) + data, 8) == dict(items)


@given(KINDS, st.binary(max_size=9))
def test_flags_of_an_attribute_type_are_masked_out(kind: int, payload: bytes) -> None:
    """The flag NLA_F_NESTED is not part of the type that walk() returns."""
    assert attrs.walk(attrs.nest(kind, payload)) == [(kind, payload)]


def test_last_of_two_attributes_of_one_type_wins() -> None:
    assert attrs.unpack(attrs.pack(1, b"a") + attrs.pack(1, b"b")) == {1: b"b"}


def test_trailing_bytes_shorter_than_a_header_are_ignored() -> None:
    """Trailing bytes that are too few for an attribute header are ignored as padding."""
    assert attrs.walk(attrs.pack(5, b"four") + bytes(3)) == [(5, b"four")]


@given(st.binary(max_size=64) | LISTS.map(lambda items: b"".join(attrs.pack(*item) for item in items)[:-1]))
def test_walk_and_unpack_agree_on_random_bytes(data: bytes) -> None:
    """For random bytes, walk() and unpack() give the same attributes or the same ProtocolError."""
    pairs, found = _outcome(attrs.walk, data), _outcome(attrs.unpack, data)
    assert found == (pairs if isinstance(pairs, str) else dict(pairs))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("0300 0100", "attribute of 3 bytes at offset 0 of 4"),
        ("0000 0000", "attribute of 0 bytes at offset 0 of 4"),
        ("0400 0100 0900 0100 00", "attribute of 9 bytes at offset 4 of 9"),
    ],
)
def test_truncated_attribute_is_refused_with_its_offset(data: str, text: str) -> None:
    """A truncated attribute raises a ProtocolError that contains its offset."""
    for read in (attrs.walk, attrs.unpack):
        with pytest.raises(ProtocolError) as info:
            read(bytes.fromhex(data))
        assert str(info.value) == text


@given(st.integers(0, 2**32 - 1))
def test_u32_round_trip(number: int) -> None:
    """Any 32-bit number equals itself after packing and unpacking."""
    assert attrs.to_int(attrs.walk(attrs.pack_u32(1, number))[0][1]) == number


@pytest.mark.parametrize("size", [0, 1, 3, 5, 8])
def test_number_of_the_wrong_size_is_refused(size: int) -> None:
    """A 32-bit number that does not have four bytes raises ProtocolError."""
    with pytest.raises(ProtocolError) as info:
        attrs.to_int(bytes(size))
    assert str(info.value) == f"integer of {size} bytes where 4 were due"


@given(st.binary().filter(lambda data: b"\0" not in data))
def test_non_utf8_text_round_trip(data: bytes) -> None:
    """Text that is not UTF-8 equals itself after decoding and encoding."""
    assert attrs.to_bytes(attrs.to_text(data + b"\0")) == data


def test_text_ends_at_nul() -> None:
    assert attrs.to_text(b"eth0\0noise") == "eth0"


@given(st.binary(max_size=32))
def test_random_bytes_decode_to_text(data: bytes) -> None:
    """Random bytes decode to text without NUL, and to a number or a ProtocolError."""
    with suppress(ProtocolError):
        attrs.to_int(data)
    assert "\0" not in attrs.to_text(data)
