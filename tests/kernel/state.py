"""All that a call may not change when it fails: the host, its sandboxes, their files and mounts, read in milliseconds.

`lab.snapshot` without what it leaves out and without what it costs: the fault matrix reads a state thousands of times.
It can be this strict because its worlds have no duplicate address detection, and because it waits for carriers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_QUESTIONS = "address show\nroute show table all\nneighbor show nud permanent\n"
_PINS, _RECORDS = Path("/run/netns"), Path("/run/netsandbox")
# What the kernel does not give back: the queue a link gets when it is first up, the size a bridge takes from a port.
_ONE_WAY = {"qdisc", "tso_max_size"}
# In a record: when an address was made and changed (struct ifa_cacheinfo), and the timers of a bridge port.
_SINCE = re.compile(r"(?<=14000600.{16}).{16}|(?<=0c001[567]00).{16}")
T = TypeVar("T")


class Observer:
    """Reads states; it numbers the namespaces as they turn up, so that states of several worlds can be compared."""

    def __init__(self) -> None:
        self._numbers = {Path(lab.OWN).stat().st_ino: 1}
        self._pins()

    def read(self) -> dict[str, Any]:
        """Return the state of the host, which is where the calling thread is, and of all sandboxes in /run/netns."""
        pins = self._pins()
        files = {
            "pins": {pin.name: inode or "a file" for pin, inode in pins.items()},
            "records": dict(_records()),
            "mounts": list(_mounts()),
        }
        text = re.sub(r"\b\d{10}\b", lambda inode: str(self._numbers.get(int(inode[0]), inode[0])), json.dumps(files))
        inside = {pin.name: lab.inside(str(pin), _network) for pin, inode in pins.items() if inode}
        return {"host": _network(), **inside, **json.loads(text)}

    def _pins(self) -> dict[Path, int]:
        """Return the inodes of the namespaces in /run/netns, 0 for other files; number those that are new."""
        pins = sorted(_PINS.iterdir()) if _PINS.exists() else []
        found = {pin: pin.stat().st_ino if pin.stat().st_dev != _PINS.stat().st_dev else 0 for pin in pins}
        for inode in filter(None, found.values()):
            self._numbers.setdefault(inode, len(self._numbers) + 1)
        return found

    def read_until(self, wanted: dict[str, Any], limit: float = 2) -> dict[str, Any]:
        """Return the state when it is the one that is *wanted*, or, after *limit* seconds, the one there is then."""
        return until(self.read, lambda state: state == wanted, limit=limit)


def settle() -> None:
    """Wait until no carrier of the host and of its sandboxes is about to change."""
    for pin in (None, *_PINS.glob("*")):
        netns = None if pin is None else str(pin)

        def read(netns: str | None = netns) -> list[dict[str, Any]]:
            return lab.ip_json("link show", netns=netns)

        links = until(read, lambda links: all(map(_is_settled, links)))
        assert all(map(_is_settled, links)), links


def open_files() -> dict[str, str]:
    """Return what this process has open, by descriptor."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):  # noqa: PTH208  strings are wanted
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  fast
        except FileNotFoundError:  # the one with which the directory is read
            continue
    return found


def threads(expected: int) -> int:
    """Count the threads of this process, when they are as many as *expected* or after two seconds.

    One that was joined is done with its work, but may be on its way out yet.
    """
    return until(lambda: len(os.listdir("/proc/self/task")), lambda count: count == expected)  # noqa: PTH208


def differences(old: object, new: object, where: str = "") -> Iterator[str]:
    """Yield in what two states differ, each by its path."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{where}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}/{number}")
    elif isinstance(old, list) and isinstance(new, list):
        gone, come = [item for item in old if item not in new], [item for item in new if item not in old]
        yield f"{where}: lost {gone}, got {come}"
    else:
        yield f"{where}: {old} became {new}"


def until(read: Callable[[], T], is_it: Callable[[T], bool], *, limit: float = 2) -> T:
    """Return what is read when it is as wanted, or, after *limit* seconds, what is read then."""
    end = time.monotonic() + limit
    while not is_it(found := read()) and time.monotonic() < end:
        pass
    return found


def _is_settled(link: dict[str, Any]) -> bool:
    flags: list[str] = link["flags"]
    state: str = link["operstate"]
    if "UP" not in flags:
        return state == "DOWN"
    return state in ({"UP", "UNKNOWN"} if "LOWER_UP" in flags else {"DOWN", "LOWERLAYERDOWN"})


def _network() -> dict[str, Any]:
    """Return the state of the namespace of this thread."""
    command = ["ip", "-d", "-j", "-batch", "-"]
    done = subprocess.run(command, input=_QUESTIONS, capture_output=True, check=True, text=True)
    links, routes, neighbors = (lab._settled(json.loads(line)) for line in done.stdout.splitlines())
    return {
        "links": {link["ifname"]: {key: link[key] for key in link.keys() - _ONE_WAY} for link in links},
        "routes": sorted(routes, key=json.dumps),
        "neighbors": sorted(neighbors, key=json.dumps),
        "settings": dict(_settings()),
    }


def _settings() -> Iterator[tuple[str, str]]:
    """Yield the settings of all links, with plain system calls: there are many."""
    for directory in ("/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"):
        for link in os.listdir(directory):  # noqa: PTH208
            for name in os.listdir(f"{directory}/{link}"):  # noqa: PTH208
                path = f"{directory}/{link}/{name}"
                try:
                    fd = os.open(path, os.O_RDONLY)
                except PermissionError:  # it can only be written: a trigger, not a setting
                    continue
                try:
                    yield path, os.read(fd, 4096).decode()
                except OSError as error:  # a secret that is not set (EIO)
                    yield path, str(error)
                finally:
                    os.close(fd)


def _records() -> Iterator[tuple[str, Any]]:
    """Yield the files of the runtime directory, but for locks: one that stays is used again."""
    for file in sorted(_RECORDS.iterdir()) if _RECORDS.exists() else ():
        if not file.name.startswith(".lock-"):
            yield file.name, _in_order(json.loads(_SINCE.sub("", file.read_text())))


def _in_order(value: Any) -> Any:  # noqa: ANN401  any JSON
    """Put steps about neighbours in order, which the kernel lists in none."""
    if isinstance(value, dict):
        # Whether an address had passed detection when the way home was recorded is chance; taking out shows that way.
        return {key: _in_order(item) for key, item in value.items() if key != "back"}
    if not isinstance(value, list):
        return value
    return sorted(map(_in_order, value), key=lambda item: json.dumps(item) if "SetNeighbor" in str(item) else "")


def _mounts() -> Iterator[str]:
    """Yield the mounts below /run/netns: root, place, options and whether they are shared."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _, _, _, root, place, options, *rest = line.split()
        if place.startswith(f"{_PINS}/"):
            yield f"{root} {place} {options} {'shared' in ' '.join(rest)}"
