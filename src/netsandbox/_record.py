"""What the kernel does not know of a sandbox, as records and as bytes. Pure; `_system/store.py` stores the bytes.

A record is JSON: dataclasses as objects that name their class, netlink values as the bytes of the message that
describes them. It names its sandbox by the identity of the namespace and the boot it belongs to.

Root carries out what a record says, so a record that may have been altered is refused: its bytes end with their
checksum, and every field has the type that its class declares.
"""

import json
import re
from binascii import crc32
from collections.abc import Callable, Container
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import repeat
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from netsandbox import _steps
from netsandbox._steps import DeleteVeth, HostEnd, Move, Place, Step
from netsandbox._steps.base import Exchange
from netsandbox.adverts import NEVER, Advertise
from netsandbox.errors import ProtocolError
from netsandbox.links import Kind, find_kind
from netsandbox.netlink import address, neighbor, route
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Message
from netsandbox.netlink.settings import Settings, only

VERSION = 1
_Checks = dict[type, Callable[[Any], object]]  # validators by the class of a value; a valid one gets something true


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface of a sandbox: what the kernel does not know of it."""

    id: int  # its number, never used twice in a sandbox
    source: str  # name of its link on the host, or of the link that was created
    index: int  # its index in the sandbox
    name: str  # the name it was given in the sandbox
    kind: str | None
    created: bool  # whether netsandbox created it in the sandbox
    altnames: tuple[str, ...] = ()  # of its link on the host
    lower: int | None = None  # index of the link below it, or of its other end, if that link was on the host
    teardown: tuple[Step, ...] = ()  # the steps that detach it, in order
    advertise: Advertise = NEVER  # the default is for records without this field

    @property
    def is_bridge(self) -> bool:
        """Whether it is a bridge that netsandbox created."""
        return self.created and self.kind == "bridge"

    @property
    def made_kind(self) -> type[Kind] | None:
        """Its kind, if netsandbox created it."""
        return find_kind(self.kind) if self.created else None

    @property
    def host_place(self) -> Place | None:
        """Its place on the host; None if it was created in the sandbox, or never left the host."""
        return next((step.new for step in self.teardown if isinstance(step, Move)), None)

    @property
    def host_end(self) -> HostEnd | None:
        """Its other end on the host, if it is a veth that netsandbox created."""
        return next((step.made.host for step in self.teardown if isinstance(step, DeleteVeth)), None)

    def peer_index(self, link: Link) -> int | None:
        """Return the index on the host of the peer of *link*, found at the recorded index: other end or lower link."""
        return link.lower if self.host_end else self.lower

    def matches_kind(self, link: Link | None) -> bool:
        """Whether *link*, which has the recorded index, has the recorded kind; see also `matches_identity`."""
        return link is not None and link.kind == self.kind

    def matches_identity(self, link: Link, lower: Link | None, siblings: Container[int]) -> bool:
        """Whether *link*, which matches the kind, has the peer that was recorded; see docs/threat-model.md.

        Args:
            link: The link with the recorded index in the sandbox.
            lower: Its peer: the link on the host with the index that `peer_index` returns.
            siblings: Indexes of all interfaces of the sandbox.
        """
        if self.host_end:
            return lower is not None and self.host_end.matches(lower) and lower.lower == self.index
        if self.lower is None:
            return True
        if lower and self.kind == "veth":
            return lower.lower == self.index and lower.lower_netns is not None
        if link.lower_netns is None:  # the peer is in the sandbox as well: it is ours if it was attached
            return link.lower in siblings
        return self.kind == "veth" or link.lower == self.lower  # an end of a veth that moved may have another index


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a sandbox."""

    name: str  # or the path that stands for it
    path: str  # where its namespace is found
    boot: str  # the boot that the record belongs to
    netns: tuple[int, int]  # device and inode of its namespace
    host: tuple[int, int]  # device and inode of the namespace that its links came from
    pinned: bool  # whether netsandbox pinned it at *path*, and unpins it when it is destroyed
    next_id: int = 1  # number of the next interface
    interfaces: tuple[Attachment, ...] = ()  # in the order they were added
    pending: "Pending | None" = None  # the operation under way; if no process holds the lock, an interrupted one
    adopted: bool = False  # whether another program created its namespace
    mounts: tuple[int, int] = (0, 0)  # device and inode of the mount namespace in which its pin can be seen

    @property
    def stays(self) -> bool:
        """Whether its namespace may outlive it."""
        return self.adopted or not self.pinned


@dataclass(frozen=True, slots=True)
class Pending:
    """An operation under way, with all that is needed to roll it back or forward."""

    operation: str  # what was requested, in words
    steps: tuple[Step, ...]
    forward: bool  # whether recovery rolls it forward; otherwise it rolls it back
    then: Record | None  # the record after recovery; None: the sandbox has none


_VALUES = {"Address": address.unpack, "RouteEntry": route.unpack, "NeighborEntry": neighbor.unpack}
_PARTS = [getattr(_steps, name) for name in _steps.__all__ if is_dataclass(getattr(_steps, name))]
_STEPS = {kind for kind in _PARTS if hasattr(kind, "inverse")}
_CLASSES: dict[str, type] = {
    kind.__name__: kind for kind in (*_PARTS, Advertise, Settings, Record, Pending, Attachment)
}
_FIELDS = {name: tuple(item.name for item in fields(kind)) for name, kind in _CLASSES.items()}
# netsandbox 0.1.0: steps that set one setting; classes with settings as fields, and what those are called now; steps
# that stand for several; classes and fields with another name; fields that are not read any more.
_SETTERS = {"SetMac": "mac", "SetMtu": "mtu"}
_SET = {
    "Place": {name: name for name in ("mac", "mtu", "alias", "txqlen", "group")},
    "CreateLink": {"mac": "mac", "mtu": "mtu"},
    "CreateVeth": {"mac": "mac", "mtu": "mtu"},
    "HostEnd": {"mac": "mac", "mtu": "mtu", "mark": "alias", "group": "group"},
}
_PLURALS = {"CreateVeths", "DeleteVeths"}
_RENAMED = {"Plugged": "Attachment", "Lost": "Dropped"}
_NOW = {"born": "created", "back": "teardown", "former": "may_exist"}
_DROPPED: dict[str, tuple[str, ...]] = {"SetUp": ("source", "prefix")}
_TEXT = re.compile("[^\0\ud800-\udc7f\udd00-\udfff]*")  # without NUL, and surrogates that stand for no byte (PEP 383)
_SUM = b',"sum":'
_NUMBERS, _INDEXES, _SYSCTLS = range(2**32), range(2**31), range(-(2**31), 2**31)
_RANGES = dict.fromkeys(("index", "lower", "master", "end"), _INDEXES) | dict.fromkeys(("ipv4", "ipv6"), _SYSCTLS)


def pack(record: Record) -> bytes:
    """Return the bytes of a record."""
    return seal(_encode({"version": VERSION, "record": record}).encode())


def seal(data: bytes) -> bytes:
    """Return a JSON object with its checksum as its last item."""
    return b"%b%b%d}" % (data[:-1], _SUM, crc32(data[:-1]))


def mentions(data: bytes, netns: tuple[int, int]) -> bool:
    """Whether a record may be of a namespace, without parsing it."""
    return b'"netns":[%d,%d]' % netns in data


def unpack(data: bytes) -> Record:
    """Return the record that *data* holds.

    Raises:
        ProtocolError: It is damaged, altered, or of another version.
    """
    try:
        found = json.loads(data)
        if found["version"] != VERSION:
            raise ProtocolError("a record of another version")
        if seal(data.rpartition(_SUM)[0] + b"}") != data:
            raise ProtocolError("a damaged record: its checksum is wrong")
        record = _unpack(found["record"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"a damaged record: {error}") from error
    if not isinstance(record, Record):
        raise ProtocolError("a damaged record: it has no Record")
    return record


def _plain(value: object) -> dict[str, object] | str:
    """Return a value that JSON cannot hold as one that it can."""
    if isinstance(value, bytes):
        return value.hex()
    name = type(value).__name__
    if isinstance(value, (address.Address, route.RouteEntry, neighbor.NeighborEntry)):
        return {"is": name, "bytes": value.pack().hex()}
    if isinstance(value, Settings):
        return {"is": name, **only(value)}
    return {"is": name, **{field: getattr(value, field) for field in _FIELDS[name]}}


_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def _unpack(value: Any) -> Any:  # noqa: ANN401  JSON
    if isinstance(value, list):
        return tuple(_unpack(item) for items in value for item in _unrolled(items))
    if not isinstance(value, dict):
        return value
    value = _upgraded(value)
    name: str = value.pop("is")
    name = _RENAMED.get(name, name)
    if name in _VALUES:
        return _VALUES[name](Message(0, 0, 0, bytes.fromhex(value["bytes"])))
    known = {_NOW.get(key, key): _unpack(item) for key, item in value.items() if key not in _DROPPED.get(name, ())}
    if name == "Port":
        known["settings"] = bytes.fromhex(known["settings"])
    for field, checks in _field_checks(name).items():
        if field in known and not _fits(known[field], checks):
            raise ProtocolError(f"a damaged record: {field} of {name} is {known[field]!r:.99}")
    if name == "CreateLink":
        kind, options = find_kind(known["kind"]), known.get("options", ())
        if not kind or kind.has_host_end or not kind.fits(options):  # a veth is a CreateVeth
            raise ProtocolError(f"a damaged record: a link of the kind {known['kind']} with {options!r:.99}")
    return _CLASSES[name](**known)


def _unrolled(value: Any) -> list[Any]:  # noqa: ANN401  as above
    """Return the steps that a step of netsandbox 0.1.0 stands for; any other value alone."""
    return value["steps"] if isinstance(value, dict) and value.get("is") in _PLURALS else [value]


def _upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a record as it is written now: in netsandbox 0.1.0 each setting of a link was a field."""
    name = value["is"]
    if name in _SETTERS:
        sides = ((side, value[side]) for side in ("old", "new"))
        settings = {side: None if old is None else {"is": "Settings", _SETTERS[name]: old} for side, old in sides}
        return value | {"is": "SetLink"} | settings
    if name not in _SET or "settings" in value:
        return value
    kept = {key: item for key, item in value.items() if key not in _SET[name]}
    found = {new: value[old] for old, new in _SET[name].items() if old in value}
    if name == "HostEnd":  # an empty text and a zero meant: no mark, no group
        found = {key: item or None for key, item in found.items()}
    return kept | {"settings": {"is": "Settings", **found}}


@cache
def _field_checks(name: str) -> dict[str, _Checks]:
    """Return the validators of each field; the type of an `Exchange` is the argument of its base class."""
    kind = _CLASSES[name]
    hints = get_type_hints(kind)
    if issubclass(kind, Exchange):
        (of,) = get_args(kind.__orig_bases__[0])  # type: ignore[attr-defined]  # get_original_bases() is 3.12
        hints |= {"old": of | None, "new": of | None}
    return {field: _checks(hints[field], _RANGES.get(field, _NUMBERS)) for field in _FIELDS[name]}


def _checks(hint: Any, numbers: range) -> _Checks:  # noqa: ANN401  as in typing
    """Return the validators of a type: a number has to be in a range, and a text such as the kernel takes."""
    plain: _Checks = {int: numbers.__contains__, str: _TEXT.fullmatch}
    origin, of = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return {kind: check for item in of for kind, check in _checks(item, numbers).items()}
    if hint is Step:
        return dict.fromkeys(_STEPS, lambda _: True)
    if origin is not tuple:
        return {hint: plain.get(hint, lambda _: True)}
    each = [_checks(item, numbers) for item in of if item is not ...]
    if of[-1] is ...:
        return {tuple: lambda value: all(map(_fits, value, repeat(each[0])))}
    return {tuple: lambda value: len(value) == len(each) and all(map(_fits, value, each))}


def _fits(value: object, checks: _Checks) -> object:
    check = checks.get(type(value))
    return check and check(value)
