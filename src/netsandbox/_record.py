"""What the kernel cannot tell of a sandbox, as records and as bytes. Pure; `_system/store.py` keeps the bytes.

A record is JSON: dataclasses as objects that name their class, netlink values as the bytes of the message that
describes them. It names its sandbox by the identity of the namespace and the boot it belongs to.

What a record says is done as root, so none is believed that may have been altered: its bytes end with their checksum,
and every field is of the type that its class says.
"""

import json
import re
from binascii import crc32
from collections.abc import Callable, Container
from dataclasses import dataclass, fields
from functools import cache
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
_Check = Callable[[Any], object]  # true or false of a value
_VALUES = {"Address": address.unpack, "RouteEntry": route.unpack, "NeighborEntry": neighbor.unpack}
_CLASSES: dict[str, type] = {
    item.__name__: item
    for item in (
        _steps.CreateLink,
        _steps.CreateVeth,
        _steps.DeleteLink,
        _steps.DeleteVeth,
        _steps.Dropped,
        _steps.HostEnd,
        _steps.Move,
        _steps.Pin,
        _steps.Place,
        _steps.Port,
        _steps.Conf,
        _steps.RestoreConf,
        _steps.SetAddress,
        _steps.SetAltnames,
        _steps.SetLink,
        _steps.SetMaster,
        _steps.SetNeighbor,
        _steps.SetRoute,
        _steps.SetSysctl,
        _steps.SetUp,
        _steps.Unpin,
        _steps.WaitUp,
        Advertise,
        Settings,
    )
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface of a sandbox: what the kernel cannot tell of it.

    Attributes:
        id: Its number, never given twice in a sandbox.
        source: Name of its link on the host, or of the link that was made.
        index: Its index in the sandbox.
        name: The name it got in the sandbox.
        kind: Kind of the link.
        born: Whether it was made in the sandbox.
        altnames: The alternative names of its link on the host.
        lower: Index on the host of the link below it, or at its other end, if that was there.
        back: The steps that take it out again, in order.
        advertise: How often its addresses are advertised; of a record that does not say it, not at all.
    """

    id: int
    source: str
    index: int
    name: str
    kind: str | None
    born: bool
    altnames: tuple[str, ...] = ()
    lower: int | None = None
    back: tuple[Step, ...] = ()
    advertise: Advertise = NEVER

    @property
    def is_bridge(self) -> bool:
        """Whether it is a bridge that was made here."""
        return self.born and self.kind == "bridge"

    @property
    def made_kind(self) -> type[Kind] | None:
        """Its kind, if it was made here."""
        return find_kind(self.kind) if self.born else None

    @property
    def home(self) -> Place | None:
        """Its place on the host; None if it was born in the sandbox, or never left the host."""
        return next((step.new for step in self.back if isinstance(step, Move)), None)

    @property
    def outer(self) -> HostEnd | None:
        """Its other end on the host, if it is a veth that was made here."""
        return next((step.made.host for step in self.back if isinstance(step, DeleteVeth)), None)

    def tie(self, link: Link) -> int | None:
        """Return the index on the host of the link that *link*, found under the index, is tied to; see `is_tied`."""
        return link.lower if self.outer else self.lower

    def holds(self, link: Link | None) -> bool:
        """Whether *link*, found under the index, looks like this one; see also `is_tied`."""
        return link is not None and link.kind == self.kind

    def is_tied(self, link: Link, lower: Link | None, siblings: Container[int]) -> bool:
        """Whether *link*, which holds, is tied to others as this one is; see docs/threat-model.md.

        Args:
            link: What is found under the index in the sandbox.
            lower: What is found on the host under the index of the link below, or at the other end.
            siblings: Indexes of all interfaces of the sandbox.
        """
        if self.outer:
            return lower is not None and self.outer.matches(lower) and lower.lower == self.index
        if self.lower is None:
            return True
        if lower and self.kind == "veth":
            return lower.lower == self.index and lower.lower_netns is not None
        if (
            link.lower_netns is None
        ):  # the other end is in the sandbox as well: if it was not plugged in, it is not ours
            return link.lower in siblings
        return self.kind == "veth" or link.lower == self.lower  # the other end of a veth got an index where it went


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a sandbox.

    Attributes:
        name: Its name, or the path that stands for it.
        path: Where its namespace is found.
        boot: The boot the record belongs to.
        netns: Device and inode of its namespace.
        host: Device and inode of the namespace its links came from.
        pinned: Whether *path* is ours, to be taken away with the sandbox.
        next_id: Number of the next interface.
        interfaces: What is plugged in, in the order it was added.
        pending: What is being done to it; if nobody holds its lock, what was interrupted.
        adopted: Whether somebody else made its namespace.
        mounts: Device and inode of the mount namespace it was last changed in, where its pin is to be seen.
    """

    name: str
    path: str
    boot: str
    netns: tuple[int, int]
    host: tuple[int, int]
    pinned: bool
    next_id: int = 1
    interfaces: tuple[Attachment, ...] = ()
    pending: "Pending | None" = None
    adopted: bool = False
    mounts: tuple[int, int] = (0, 0)

    @property
    def stays(self) -> bool:
        """Whether its namespace may outlive it."""
        return self.adopted or not self.pinned


@dataclass(frozen=True, slots=True)
class Pending:
    """An operation under way, with all that is needed to undo or to finish it.

    Attributes:
        operation: What was asked for, in words.
        steps: Its steps, in order.
        forward: Whether it is finished after a crash; otherwise it is undone.
        then: The record after that; None: there is none.
    """

    operation: str
    steps: tuple[_steps.Step, ...]
    forward: bool
    then: Record | None


_CLASSES |= {"Record": Record, "Pending": Pending, "Attachment": Attachment}
_FIELDS = {name: tuple(item.name for item in fields(kind)) for name, kind in _CLASSES.items()}
_SETTERS = {"SetMac": "mac", "SetMtu": "mtu"}  # classes of netsandbox 0.1.0, and the setting that they changed
_SET = {  # classes of netsandbox 0.1.0 with settings of their own: what they called them, and what they are called now
    "Place": {name: name for name in ("mac", "mtu", "alias", "txqlen", "group")},
    "CreateLink": {"mac": "mac", "mtu": "mtu"},
    "CreateVeth": {"mac": "mac", "mtu": "mtu"},
    "HostEnd": {"mac": "mac", "mtu": "mtu", "mark": "alias", "group": "group"},
}
_RENAMED = {"Plugged": "Attachment", "Lost": "Dropped"}  # what records of netsandbox 0.1.0 call a class
_FIELDS_RENAMED = {"former": "may_exist"}  # and a field, of any class
_PLURALS = ("CreateVeths", "DeleteVeths")  # steps of that version that stand for their steps
_DROPPED: dict[str, tuple[str, ...]] = {"SetUp": ("source", "prefix")}  # fields of that version which are not read
_STEPS = tuple(kind for kind in _CLASSES.values() if hasattr(kind, "inverse"))
_TEXT = re.compile("[^\0\ud800-\udc7f\udd00-\udfff]*")  # without NUL, and surrogates that stand for no byte (PEP 383)
_SUM = b',"sum":'
_NUMBERS, _INDEXES, _SETTINGS = range(2**32), range(2**31), range(-(2**31), 2**31)
_RANGES = {
    "index": _INDEXES,
    "lower": _INDEXES,
    "master": _INDEXES,
    "end": _INDEXES,
    "ipv4": _SETTINGS,
    "ipv6": _SETTINGS,
}


def pack(record: Record) -> bytes:
    """Return the bytes of a record."""
    return seal(_encode({"version": VERSION, "record": record}).encode())


def seal(data: bytes) -> bytes:
    """Return a JSON object with its checksum as its last item."""
    return b"%b%b%d}" % (data[:-1], _SUM, crc32(data[:-1]))


def mentions(data: bytes, netns: tuple[int, int]) -> bool:
    """Whether a record may be that of a namespace: a quick look, for those who look through many."""
    return b'"netns":[%d,%d]' % netns in data


def unpack(data: bytes) -> Record:
    """Return the record that *data* holds.

    Raises:
        ProtocolError: It is no record, one of another version, or one that was altered.
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
        raise ProtocolError("a damaged record: it is none")
    return record


def _plain(value: object) -> dict[str, object] | str:
    """Return what JSON has no notation for as something that it has."""
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
        return tuple(_unpack(item) for step in value for item in _unrolled(step))
    if not isinstance(value, dict):
        return value
    value = _upgraded(value)
    name: str = value.pop("is")
    name = _RENAMED.get(name, name)
    if name in _VALUES:
        return _VALUES[name](Message(0, 0, 0, bytes.fromhex(value["bytes"])))
    kept = {key: item for key, item in value.items() if key not in _DROPPED.get(name, ())}
    known = {_FIELDS_RENAMED.get(key, key): _unpack(item) for key, item in kept.items()}
    if name == "Port":
        known["settings"] = bytes.fromhex(known["settings"])
    for field, fits in _checks(name).items():
        if field in known and not fits(known[field]):
            raise ProtocolError(f"a damaged record: {field} of {name} is {known[field]!r:.99}")
    if name == "CreateLink":
        kind, options = find_kind(known["kind"]), known.get("options", ())
        if not kind or not kind.fits(options):
            raise ProtocolError(f"a damaged record: a link of the kind {known['kind']} with {options!r:.99}")
    return _CLASSES[name](**known)


def _unrolled(value: Any) -> list[Any]:  # noqa: ANN401  as above
    """Return the steps that a plural step of netsandbox 0.1.0 stands for; any other value alone."""
    return value["steps"] if isinstance(value, dict) and value.get("is") in _PLURALS else [value]


def _upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a record as it is written now: netsandbox 0.1.0 kept each setting of a link on its own."""
    name = value["is"]
    if name in _SETTERS:
        sides = ((side, value[side]) for side in ("old", "new"))
        settings = {side: None if old is None else {"is": "Settings", _SETTERS[name]: old} for side, old in sides}
        return value | {"is": "SetLink"} | settings
    if name not in _SET or "settings" in value:
        return value
    kept = {key: item for key, item in value.items() if key not in _SET[name]}
    found = {new: value[old] for old, new in _SET[name].items() if old in value}
    if name == "HostEnd":  # there, no mark and no group were an empty text and a zero
        found = {key: item or None for key, item in found.items()}
    return kept | {"settings": {"is": "Settings", **found}}


@cache
def _checks(name: str) -> dict[str, _Check]:
    """Return what tells whether a value is of a field's type; steps that exchange values say at their base of which."""
    kind = _CLASSES[name]
    hints = get_type_hints(kind)
    if issubclass(kind, Exchange):
        (of,) = get_args(kind.__orig_bases__[0])  # type: ignore[attr-defined]  # get_original_bases() is 3.12
        hints |= {"old": of | None, "new": of | None}
    return {field: _check(hints[field], _RANGES.get(field, _NUMBERS)) for field in _FIELDS[name]}


def _check(hint: Any, numbers: range) -> _Check:  # noqa: ANN401  as in typing
    """Return what tells whether a value is of a type: numbers in a range, and texts that can be told to the kernel."""
    plain: dict[type, _Check] = {int: numbers.__contains__, str: _TEXT.fullmatch}
    kinds: dict[type, _Check] = {}
    for item in get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,):
        if get_origin(item) is tuple:
            kinds[tuple] = _check_all(get_args(item), numbers)
        elif item is _steps.Step:
            kinds |= dict.fromkeys(_STEPS, _anything)
        else:
            kinds[item] = plain.get(item, _anything)
    return lambda value: kinds.get(type(value), _nothing)(value)


def _check_all(of: tuple[Any, ...], numbers: range) -> _Check:
    """Return what tells whether the items of a tuple are of its types."""
    if of[-1] is ...:
        each = _check(of[0], numbers)
        return lambda value: all(map(each, value))
    checks = tuple(_check(item, numbers) for item in of)
    return lambda value: (
        len(value) == len(checks) and all(check(item) for check, item in zip(checks, value, strict=True))
    )


def _anything(_: object) -> bool:
    return True


def _nothing(_: object) -> bool:
    return False
