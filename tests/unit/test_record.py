"""Records to bytes and back; bytes that are not a valid record are refused."""

from __future__ import annotations

import collections
import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netsandbox import InterfaceSpec, Veth, _record, _steps
from netsandbox._record import Attachment, Pending, Record
from netsandbox._run.execute import finish
from netsandbox.adverts import Advertise
from netsandbox.errors import NetSandboxError, ProtocolError
from netsandbox.netlink.settings import Settings
from tests.unit.recorded import DATA
from tests.unit.rig import furnished
from tests.unit.test_execute import BRIDGE, FULL, V4_ONLY
from tests.unit.test_steps import TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsandbox._steps import Step


STEPS = tuple(step for step, _ in TEXTS)
EMPTY = Record("web", "/run/netns/web", "boot", (4, 1234), (4, 99), pinned=True)

_EMPTY: dict[str, object] = {"name": "web", "path": "/run/netns/web", "boot": "boot", "netns": [4, 1], "host": [4, 9]}
_EMPTY |= {"pinned": True}
_ITEM: dict[str, object] = {"is": "Attachment", "id": 1, "source": "a", "index": 7, "name": "v0"}
_ITEM |= {"kind": "veth", "born": False}


def _full() -> Record:
    """Return a record with interfaces of every kind, and everything pending."""
    rig = furnished()
    rig.add(BRIDGE, FULL, V4_ONLY)
    then = replace(EMPTY, next_id=4, interfaces=rig.attached)
    return replace(then, pending=Pending("attach v0 to sandbox web", STEPS, forward=False, then=then))


def _sealed(record: object) -> bytes:
    """Return the bytes of any content in place of a record, with a valid checksum."""
    return _record.seal(json.dumps({"version": _record.VERSION, "record": record}).encode())


RECORD = _full()
BYTES = _record.pack(RECORD)


@pytest.mark.parametrize("record", [EMPTY, RECORD, replace(EMPTY, pending=Pending("x", (), forward=True, then=None))])
def test_record_round_trip(record: Record) -> None:
    """A record equals itself after packing and unpacking."""
    assert _record.unpack(_record.pack(record)) == record


@pytest.mark.parametrize("step", STEPS, ids=[f"{type(step).__name__} {n}" for n, step in enumerate(STEPS)])
def test_step_round_trip(step: Step) -> None:
    """A step that is read from a record has the same value, text and inverse."""
    item = Attachment(1, "v0", 7, "eth0", "veth", created=False, teardown=(step,))
    found = _record.unpack(_record.pack(replace(EMPTY, interfaces=(item,)))).interfaces[0].teardown[0]
    assert found == step
    assert (str(found), found.inverse()) == (str(step), step.inverse())


def test_advertise_option_is_recorded() -> None:
    """A record has the option `advertise`; without it there are no adverts, and an invalid one is refused."""
    item = Attachment(1, "v0", 7, "eth0", "veth", created=False, advertise=Advertise(2, 0.5))
    data = _record.pack(replace(EMPTY, interfaces=(item,)))
    assert _record.unpack(data).interfaces == (item,)
    body = data.rpartition(b',"sum"')[0] + b"}"
    written = b',"advertise":{"is":"Advertise","count":2,"interval":0.5}'
    assert written in body
    older = _record.unpack(_record.seal(body.replace(written, b"")))
    assert older.interfaces == (replace(item, advertise=Advertise(0)),)
    for wrong in (b'"count":9,"interval":0.5', b'"count":2,"interval":NaN', b'"count":2,"interval":"0.5"'):
        with pytest.raises(ProtocolError, match="a damaged record"):
            _record.unpack(_record.seal(body.replace(b'"count":2,"interval":0.5', wrong)))


def test_every_step_can_be_recorded() -> None:
    names = [name for name in _steps.__all__ if is_dataclass(getattr(_steps, name))]
    assert set(names) <= set(_record._CLASSES)
    seen = {type(part).__name__ for step in STEPS for part in _parts(step)}
    assert set(names) <= seen


def _parts(value: object) -> list[object]:
    if not is_dataclass(value):
        return []
    return [value] + [part for item in fields(value) for part in _parts(getattr(value, item.name))]


def test_non_utf8_text_in_a_record_round_trip() -> None:
    """Text in a record that is not UTF-8 equals itself after packing and unpacking."""
    record = replace(EMPTY, interfaces=(Attachment(1, "v\udcff", 7, "eth0", None, created=True),))
    assert _record.unpack(_record.pack(record)) == record


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "a damaged record"),
        (b"{", "a damaged record"),
        (b"[]", "a damaged record"),
        (b"7", "a damaged record"),
        (b"{}", "a damaged record: 'version'"),
        (BYTES.replace(b"1234", b"1235", 1), "a damaged record: its checksum is wrong"),
        (BYTES.rpartition(b",")[0] + b"}", "a damaged record: its checksum is wrong"),
        (b"\xff", "a damaged record"),
        (b"[" * 100_000, "a damaged record"),
        (b'{"version":99,"record":{"is":"Record"}}', "a record of another version"),
        (_record.seal(b'{"version":1}'), "a damaged record: 'record'"),
        (_sealed({"is": "Record"}), "a damaged record"),
        (_sealed({"is": "Nonsense"}), "a damaged record: 'Nonsense'"),
        (_sealed({"is": "Conf", "ipv4": [], "ipv6": []}), "a damaged record: it has no Record"),
        (_sealed({"is": "Conf", "ipv4": [2**31], "ipv6": []}), "a damaged record: ipv4 of Conf is (2147483648,)"),
        (_sealed({"is": "SetMtu", "old": "9", "new": 9}), "a damaged record: mtu of Settings is '9'"),
        (_sealed({"is": "SetUp", "old": 0, "new": True}), "a damaged record: old of SetUp is 0"),
        (_sealed({"is": "Unpin", "identity": [1]}), "a damaged record: identity of Unpin is (1,)"),
        (_sealed({"is": "Unpin", "identity": 7}), "a damaged record: identity of Unpin is 7"),
        (_sealed({"is": "Attachment", "back": [{"is": "Conf"}]}), "a damaged record"),
        (_sealed({"is": "Move", "old": {"is": "Unpin"}}), "a damaged record"),
        (_sealed({"is": "CreateLink", "kind": "x", "options": []}), "a damaged record: a link of the kind x"),
        (_sealed({"is": "CreateLink", "kind": "veth", "options": []}), "a damaged record: a link of the kind veth"),
        (_sealed({"is": "CreateLink", "kind": "vlan", "options": [["id", "5"]]}), "a damaged record: a link of the"),
        (_sealed({"is": "CreateLink", "kind": "vlan", "options": [["x", 5]]}), "a damaged record: a link of the"),
        *(
            (_sealed({"is": "CreateLink", "kind": kind, "options": [option]}), "a damaged record: ")
            for kind, option in (
                ("macvlan", ["macs", ["02:00:00:00:00:0A"]]),
                ("macvlan", ["macs", "02:00:00:00:00:0a"]),
                ("vlan", ["egress_qos", [[0, 8]]]),
                ("vlan", ["egress_qos", [[0, 1], [0, 2]]]),
                ("vlan", ["egress_qos", [[0, [1]]]]),
                ("vxlan", ["source_ports", [8]]),
                ("vxlan", ["source_ports", {"is": "Advertise", "count": 1, "interval": 1}]),
            )
        ),
        (_sealed({"is": "Dropped", "step": None}), "a damaged record: step of Dropped is None"),
        (_sealed({"is": "Unpin", "path": "a\0b"}), "a damaged record: path of Unpin is 'a\\x00b'"),
        (_sealed({"is": "Unpin", "path": "\ud800"}), "a damaged record: path of Unpin is '\\ud800'"),
    ],
    ids=range(35),
)
def test_invalid_record_is_refused(data: bytes, reason: str) -> None:
    """Bytes that are not a valid record raise ProtocolError with the reason."""
    with pytest.raises(ProtocolError) as info:
        _record.unpack(data)
    assert info.value.message.startswith(reason)


@given(st.integers(0, len(BYTES) - 1))
def test_truncated_record_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError):
        _record.unpack(BYTES[:length])


@given(st.integers(0, len(BYTES)), st.binary(max_size=8), st.integers(0, 8))
def test_corrupt_record_is_refused(place: int, flaw: bytes, length: int) -> None:
    """A record in which some bytes were replaced raises ProtocolError."""
    damaged = BYTES[:place] + flaw + BYTES[place + length :]
    assume(damaged != BYTES)
    with pytest.raises(ProtocolError):
        _record.unpack(damaged)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**99), 2**99) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["is", "bytes", "a"]), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(_record._CLASSES | _record._VALUES)), st.data())
def test_random_json_is_a_record_or_is_refused(name: str, data: st.DataObject) -> None:
    """Random JSON with a valid checksum is a Record or raises ProtocolError."""
    known: dict[str, Any] = {}
    if name in _record._CLASSES:
        known = {item.name: data.draw(_JSON) for item in fields(_record._CLASSES[name])}
    with suppress(ProtocolError):
        assert isinstance(_record.unpack(_sealed({"is": name, "bytes": data.draw(_JSON)} | known)), Record)


@given(st.data(), _JSON)
def test_altered_record_can_be_executed_or_is_refused(data: st.DataObject, other: object) -> None:
    """A record with one value replaced raises ProtocolError, or its steps raise only NetSandboxError."""
    record = json.loads(BYTES)["record"]
    inner, key = data.draw(st.sampled_from(list(_places(record))))
    inner[key] = deepcopy(data.draw(st.just(other) | st.sampled_from([part[at] for part, at in _places(record)])))
    with suppress(ProtocolError):
        found = _record.unpack(_sealed(record))
        assert _record.unpack(_record.pack(found)) == found
        steps = [
            *(found.pending.steps if found.pending else ()),
            *(step for item in found.interfaces for step in item.teardown),
        ]
        rig = furnished()
        world = collections.defaultdict(lambda: rig.box, rig.world)
        for step in steps:
            with suppress(NetSandboxError):
                step.apply(world)
            with suppress(NetSandboxError):
                step.inverse().apply(world)
            assert isinstance(str(step), str)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401  JSON
    """Yield every place in a JSON value, as a container and a key."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def test_a_record_of_version_0_1_0_is_read() -> None:
    """A record in which each setting of a link was a field or a step of its own has the same commands now."""
    record = _record.unpack((DATA / "record-1.json").read_bytes())
    assert record.pending is not None
    steps = [*record.pending.steps, *(step for item in record.interfaces for step in item.teardown)]
    commands = (DATA / "record-1.txt").read_text(encoding="utf-8").splitlines()
    assert [str(step) for step in steps if " link " in str(step)] == commands
    assert record.pending.then is not None
    assert record.interfaces == record.pending.then.interfaces
    assert _record.unpack(_record.pack(record)) == record


def test_settings_of_version_0_1_0_are_read() -> None:
    """Nothing is lost, and an end on the host without mark and group leaves both to the kernel."""
    places = [
        {"is": "SetMac", "netns": "web", "index": 7, "link": "v0", "old": None, "new": "02:00:00:00:00:01"},
        {"is": "SetMtu", "netns": "web", "index": 7, "link": "v0", "old": 1500, "new": None},
        {
            "is": "Move",
            "old": {"is": "Place", "netns": "", "index": 5, "name": "a", "mac": None, "mtu": 1500},
            "new": {"is": "Place", "netns": "", "index": 5, "name": "a", "mac": "x", "mtu": 1500, "alias": ""}
            | {"txqlen": 0, "group": 0},
        },
        {
            "is": "CreateVeth",
            "netns": "web",
            "index": 7,
            "link": "v0",
            "mac": None,
            "mtu": 1400,
            "host": {"is": "HostEnd", "name": "h", "mac": "fe:00:00:00:00:01", "mtu": None, "mark": "", "group": 0},
        },
    ]
    record = _sealed({"is": "Record", **_EMPTY, "interfaces": [{**_ITEM, "back": places}]})
    at = ("web", 7, "v0")
    assert _record.unpack(record).interfaces[0].teardown == (
        _steps.SetLink(*at, None, Settings(mac="02:00:00:00:00:01")),
        _steps.SetLink(*at, Settings(mtu=1500), None),
        _steps.Move(
            _steps.Place("", 5, "a", settings=Settings(mtu=1500)),
            _steps.Place("", 5, "a", settings=Settings(mac="x", mtu=1500, alias="", txqlen=0, group=0)),
        ),
        _steps.CreateVeth(
            *at,
            settings=Settings(mtu=1400),
            host=_steps.HostEnd("h", settings=Settings(mac="fe:00:00:00:00:01")),
        ),
    )


def test_plural_steps_of_version_0_1_0_are_recovered() -> None:
    """A step of that version which deletes several veths is read as a step for each, and recovery carries them out."""
    rig = furnished()
    rig.add(InterfaceSpec(Veth("one")), InterfaceSpec(Veth("two")))
    before = {link.name for link in rig.host.links()}
    steps = [json.loads(_record._encode(step)) for item in rig.attached for step in item.teardown]
    plural = {"is": "DeleteVeths", "steps": steps, "group": 1849688064}
    pending = {"is": "Pending", "operation": "detach", "steps": [plural], "forward": True, "then": None}
    found = _record.unpack(_sealed({"is": "Record", **_EMPTY, "pending": pending})).pending
    assert found
    assert [str(step) for step in found.steps] == ["ip link delete dev one", "ip link delete dev two"]
    finish(found.steps, rig.world)
    assert before - {link.name for link in rig.host.links()} == {"one", "two"}
