"""Records to bytes and back; bytes that are no record are told, whatever they are."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox import _journal, _steps
from netsandbox._journal import Pending, Record
from netsandbox._outline import Plugged
from netsandbox.errors import ProtocolError
from tests.unit.rig import furnished
from tests.unit.test_execute import BRIDGE, FULL, V4_ONLY
from tests.unit.test_steps import TEXTS

if TYPE_CHECKING:
    from netsandbox._steps import Step

STEPS = tuple(step for step, _ in TEXTS)
EMPTY = Record("web", "/run/netns/web", "boot", (4, 1234), (4, 99), pinned=True)


def _record() -> Record:
    """Return a record with interfaces of every kind, and everything pending."""
    rig = furnished()
    rig.add(BRIDGE, FULL, V4_ONLY)
    then = replace(EMPTY, next_id=4, interfaces=rig.plugged)
    return replace(then, pending=Pending("attach v0 to sandbox web", STEPS, forward=False, then=then))


RECORD = _record()
BYTES = _journal.pack(RECORD)


@pytest.mark.parametrize("record", [EMPTY, RECORD, replace(EMPTY, pending=Pending("x", (), forward=True, then=None))])
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert _journal.unpack(_journal.pack(record)) == record


@pytest.mark.parametrize("step", STEPS, ids=[f"{type(step).__name__} {n}" for n, step in enumerate(STEPS)])
def test_a_step_comes_back_with_its_inverse_and_its_words(step: Step) -> None:
    item = Plugged(1, "v0", 7, "eth0", "veth", born=False, back=(step,))
    found = _journal.unpack(_journal.pack(replace(EMPTY, interfaces=(item,)))).interfaces[0].back[0]
    assert found == step
    assert (str(found), found.inverse()) == (str(step), step.inverse())


def test_every_step_can_be_recorded() -> None:
    names = [name for name in _steps.__all__ if is_dataclass(getattr(_steps, name))]
    assert set(names) <= set(_journal._CLASSES)
    seen = {type(part).__name__ for step in STEPS for part in _parts(step)}
    assert set(names) <= seen


def _parts(value: object) -> list[object]:
    if not is_dataclass(value):
        return []
    return [value] + [part for item in fields(value) for part in _parts(getattr(value, item.name))]


def test_texts_that_are_no_utf8_survive() -> None:
    record = replace(EMPTY, interfaces=(Plugged(1, "v\udcff", 7, "eth0", None, born=True),))
    assert _journal.unpack(_journal.pack(record)) == record


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "a damaged record"),
        (b"{", "a damaged record"),
        (b"[]", "a damaged record"),
        (b"7", "a damaged record"),
        (b"{}", "a damaged record: 'version'"),
        (b"\xff", "a damaged record"),
        (b"[" * 100_000, "a damaged record"),
        (b'{"version":99,"record":{"is":"Record"}}', "a record of another version"),
        (b'{"version":1}', "a damaged record: 'record'"),
        (b'{"version":1,"record":{"is":"Record"}}', "a damaged record"),
        (b'{"version":1,"record":{"is":"Nonsense"}}', "a damaged record: 'Nonsense'"),
        (b'{"version":1,"record":{"is":"Conf","ipv4":[],"ipv6":[]}}', "a damaged record: it is none"),
    ],
    ids=range(12),
)
def test_bytes_that_are_no_record_are_told(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as info:
        _journal.unpack(data)
    assert info.value.message.startswith(reason)


@given(st.integers(0, len(BYTES) - 1))
def test_a_record_that_was_cut_short_is_told(length: int) -> None:
    with pytest.raises(ProtocolError):
        _journal.unpack(BYTES[:length])


@given(st.integers(0, len(BYTES) - 1), st.binary(max_size=8))
def test_a_record_with_a_flaw_is_a_record_or_told(place: int, flaw: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(_journal.unpack(BYTES[:place] + flaw + BYTES[place + len(flaw) :]), Record)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["is", "bytes", "a"]), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(_journal._CLASSES | _journal._VALUES)), st.data())
def test_any_json_is_a_record_or_told(name: str, data: st.DataObject) -> None:
    known: dict[str, Any] = {}
    if name in _journal._CLASSES:
        known = {item.name: data.draw(_JSON) for item in fields(_journal._CLASSES[name])}
    made = {"is": name, "bytes": data.draw(_JSON)} | known
    with suppress(ProtocolError):
        found = _journal.unpack(json.dumps({"version": _journal.VERSION, "record": made}).encode())
        assert isinstance(found, Record)
