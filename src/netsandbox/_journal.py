"""What the kernel cannot tell of a sandbox, as records and as bytes. Pure; `_system/store.py` keeps the bytes.

A record is JSON: dataclasses as objects that name their class, netlink values as the bytes of the message that
describes them. It names its sandbox by the identity of the namespace and the boot it belongs to.
"""

import json
from dataclasses import dataclass, fields
from typing import Any

from netsandbox import _steps
from netsandbox._outline import Plugged
from netsandbox.errors import ProtocolError
from netsandbox.netlink import address, neighbor, route
from netsandbox.netlink.message import Message

VERSION = 1
_VALUES = {"Address": address.unpack, "RouteEntry": route.unpack, "NeighborEntry": neighbor.unpack}
_CLASSES: dict[str, type] = {
    item.__name__: item
    for item in (
        _steps.CreateLink,
        _steps.DeleteLink,
        _steps.Lost,
        _steps.Move,
        _steps.Pin,
        _steps.Place,
        _steps.Port,
        _steps.Conf,
        _steps.RestoreConf,
        _steps.SetAddress,
        _steps.SetAltnames,
        _steps.SetMac,
        _steps.SetMaster,
        _steps.SetMtu,
        _steps.SetNeighbor,
        _steps.SetRoute,
        _steps.SetSysctl,
        _steps.SetUp,
        _steps.Unpin,
        Plugged,
    )
}


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
    interfaces: tuple[Plugged, ...] = ()
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


_CLASSES |= {"Record": Record, "Pending": Pending}
_FIELDS = {name: tuple(item.name for item in fields(kind)) for name, kind in _CLASSES.items()}


def pack(record: Record) -> bytes:
    """Return the bytes of a record."""
    return _encode({"version": VERSION, "record": record}).encode()


def unpack(data: bytes) -> Record:
    """Return the record that *data* holds.

    Raises:
        ProtocolError: It is no record, or one of another version.
    """
    try:
        found = json.loads(data)
        if found["version"] != VERSION:
            raise ProtocolError("a record of another version")
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
    return {"is": name, **{field: getattr(value, field) for field in _FIELDS[name]}}


_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def _unpack(value: Any) -> Any:  # noqa: ANN401  JSON
    if isinstance(value, list):
        return tuple(_unpack(item) for item in value)
    if not isinstance(value, dict):
        return value
    name = value.pop("is")
    if name in _VALUES:
        return _VALUES[name](Message(0, 0, 0, bytes.fromhex(value["bytes"])))
    known = {key: _unpack(item) for key, item in value.items()}
    if name == "Port":
        known["settings"] = bytes.fromhex(known["settings"])
    return _CLASSES[name](**known)
