"""Helpers of the kernel tests: `ip -j` as the oracle, links to attach, and snapshots of the state of a namespace.

Each helper acts in the namespace of the calling thread (the fixture `host` gives each test a fresh one), or in the
namespace at the path *netns*.
"""

from __future__ import annotations

import ctypes
import difflib
import json
import os
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from netsandbox import _record
from netsandbox._system import announce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netsandbox import Sandbox

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
Json = dict[str, Any]
Snapshot = dict[str, Any]

CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"
KINDS_A_KERNEL_MAY_LACK = frozenset({"bond", "dummy", "ipvlan", "netem", "vlan", "vrf"})
NO_KIND = "this kernel has no links of the kind "

_libc = ctypes.CDLL(None, use_errno=True)
# Keys of `ip -j -d` that the kernel changes by itself: carrier, queues, DAD, spanning tree, namespace IDs.
_PASSING = frozenset(
    "operstate qdisc state tentative link_netnsid root_path_cost root_id root_port bridge_id tso_max_size".split()
)
_PASSING_BEGIN = ("designated_", "topology_change", "config_pending")
_PASSING_END = ("_timer", "_age")
_EVERYTHING = """link show
address show
route show table all
neighbor show nud permanent
neighbor show proxy
rule show
"""


def libc(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0 unless it fails."""
    if getattr(_libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def ip(*words: str, netns: str | None = None, check: bool = True) -> str:
    """Return the output of the command ip with *words*, each of which may hold several arguments."""
    return _run("ip", *" ".join(words).split(), netns=netns, check=check)


def ip_batch(*lines: str) -> None:
    """Execute several ip commands in one batch."""
    _run("ip", "-batch", "-", text="\n".join(lines))


def ip_json(*words: str, netns: str | None = None) -> list[Json]:
    """Return the parsed output of ``ip -j -d``."""
    return [item for item in json.loads(ip("-j -d", *words, netns=netns) or "[]") if item]


def bridge(*words: str, netns: str | None = None) -> str:
    """Return the output of the command bridge."""
    return _run("bridge", *" ".join(words).split(), netns=netns)


def _run(*command: str, netns: str | None = None, text: str | None = None, check: bool = True) -> str:
    enter = ("nsenter", f"--net={netns}") if netns else ()
    done = subprocess.run([*enter, *command], input=text, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def shell(script: str) -> None:
    """Run the commands of a plan in a shell."""
    _run("sh", "-e", text=script)


def veth(name: str = "v0", peer: str = "p0", *, up: bool = False, netns: str | None = None) -> None:
    """Create a veth pair; with *up*, set both ends up."""
    ip(f"link add {name} type veth peer name {peer}", netns=netns)
    for end in (name, peer) if up else ():
        ip(f"link set {end} up", netns=netns)


def needs(kind: str) -> None:
    """Skip the test if this kernel lacks the *kind* of link."""
    probe = "tc qdisc add dev lo root netem" if kind == "netem" else f"ip link add probe type {kind}"
    done = subprocess.run(probe.split(), capture_output=True, text=True, check=False)
    if "Unknown device type" in done.stderr or "qdisc kind is unknown" in done.stderr:
        pytest.skip(NO_KIND + kind)
    ip("link delete probe", check=False)


def is_allowed(reason: str) -> bool:
    """Return whether a test may be skipped for *reason*."""
    return any(reason.endswith(NO_KIND + kind) for kind in KINDS_A_KERNEL_MAY_LACK)


def inside(netns: str | None, function: Callable[[], T]) -> T:
    """Call *function* on a thread inside a namespace."""
    if netns is None:
        return function()
    results: list[T] = []

    def body() -> None:
        fd = os.open(netns, os.O_RDONLY)
        libc("setns", fd, CLONE_NEWNET)
        os.close(fd)
        results.append(function())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return results[0]


def adverts_end() -> None:
    """Wait until the thread that sends adverts has ended; it ends once no advert is due."""
    for thread in threading.enumerate():
        if thread.name == announce.THREAD:
            thread.join()


def sysctl(key: str, value: str | None = None, *, netns: str | None = None) -> str:
    """Return the sysctl at *key*, a path below /proc/sys/net, after writing *value* if one is given."""
    file = Path("/proc/sys/net", key)

    def body() -> str:
        if value is not None:
            file.write_text(value)
        return file.read_text().strip()

    return inside(netns, body)


def links(netns: str | None = None) -> dict[str, Json]:
    """Return the links of a namespace by name, as ip(8) shows them."""
    return {item["ifname"]: item for item in ip_json("link show", netns=netns)}


def link(name: str, netns: str | None = None) -> Json:
    """Return one link with its addresses, as ip(8) shows it."""
    return ip_json(f"address show dev {name}", netns=netns)[0]


def addresses(name: str, netns: str | None = None) -> set[str]:
    """Return the addresses of a link, except the link-local address that the kernel derives from the MAC."""
    found = link(name, netns)
    return {f"{item['local']}/{item['prefixlen']}" for item in found["addr_info"] if not _is_made(item, found)}


def routes(netns: str | None = None, what: str = "") -> set[str]:
    """Return the lines of `ip route` for the main tables, without the routes that the kernel adds itself."""
    both = ip("-4 route show", what, netns=netns) + ip("-6 route show", what, netns=netns)
    lines = (line.replace(" linkdown", "").replace(" pref medium", "") for line in both.splitlines())
    return {line.strip() for line in lines if "proto kernel" not in line}


def snapshot(netns: str | None = None) -> Snapshot:
    """Return the state of a namespace, without what the kernel changes by itself: counters, timers, carrier, DAD."""
    said = _run("ip", "-j", "-d", "-batch", "-", netns=netns, text=_EVERYTHING).splitlines()
    shown, addressed, routed, neighbors, proxies, rules = (json.loads(line) for line in said)
    forwards = any(item.get("linkinfo", {}).get("info_kind") in {"bridge", "vxlan"} for item in shown)
    fdb = json.loads(bridge("-j fdb show", netns=netns)) if forwards else []
    names = [item["ifname"] for item in shown]
    listed = {item["ifname"]: [_settled(a) for a in item["addr_info"] if not _is_made(a, item)] for item in addressed}
    return {
        "links": {item["ifname"]: _settled(item) for item in shown},
        "addresses": listed,
        "routes": sorted(json.dumps(_settled(item)) for item in routed if not _follows(item)),
        "neighbors": sorted(json.dumps(item) for item in neighbors + proxies),
        "fdb": sorted(json.dumps(item) for item in fdb if item["state"] and not int(item["mac"][:2], 16) & 1),
        "rules": rules,
        "sysctls": inside(netns, lambda: {name: dict(_settings(name)) for name in (*names, "all", "default")}),
    }


@contextmanager
def fails(box: Sandbox, error: type[E], match: str | None = None) -> Iterator[pytest.ExceptionInfo[E]]:
    """Expect the body to raise *error* and to leave the host and the sandbox unchanged."""
    interfaces = [(item.id, item.source, item.name, item.index) for item in box.interfaces]
    with comes_back(box.path), pytest.raises(error, match=match) as info:
        yield info
    assert [(item.id, item.source, item.name, item.index) for item in box.interfaces] == interfaces


@contextmanager
def comes_back(*netns: str) -> Iterator[None]:
    """Expect the body to leave the host and the namespaces *netns* in the state they had before."""
    before = [snapshot(item) for item in (None, *netns)]
    yield
    after = [snapshot(item) for item in (None, *netns)]
    assert after == before, _difference(before, after)


def age(record: Path) -> None:
    """Rewrite a record as if an earlier boot had written it."""
    found = _record.unpack(record.read_bytes())
    record.write_bytes(_record.pack(replace(found, boot="an earlier one")))


def _difference(before: object, after: object) -> str:
    """Return a unified diff of two snapshots."""
    old, new = (json.dumps(item, indent=1).splitlines() for item in (before, after))
    return "\n".join(difflib.unified_diff(old, new, "before", "after", n=9, lineterm=""))


def _settled(item: Any) -> Any:  # noqa: ANN401  any JSON
    """Return *item* without the values that the kernel changes by itself."""
    if isinstance(item, list):
        gone = {"LOWER_UP", "NO-CARRIER", "M-DOWN", "linkdown", "dead"}
        return [_settled(part) for part in item if not isinstance(part, str) or part not in gone]
    if not isinstance(item, dict):
        return item
    return {
        key: _settled(value)
        for key, value in item.items()
        if not (key in _PASSING or key.startswith(_PASSING_BEGIN) or key.endswith(_PASSING_END))
    }


def _is_made(address: Json, of: Json) -> bool:
    """Return whether the kernel derived this link-local address from the MAC; it does so asynchronously."""
    if address["family"] != "inet6" or address["scope"] != "link" or of.get("link_type") != "ether":
        return False
    mac = bytes.fromhex(of["address"].replace(":", ""))
    made = IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])
    return bool(IPv6Address(address["local"]) == made)


def _follows(route: Json) -> bool:
    """Return whether the kernel adds the route by itself with IPv6 or with an IPv6 address."""
    where = route["dst"]
    by_kernel = route.get("protocol") == "kernel" and ":" in where
    return by_kernel and (route.get("table") == "local" or where.startswith(("fe80:", "ff00:")))


def _settings(name: str) -> Iterator[tuple[str, str]]:
    for family in ("ipv4", "ipv6"):
        directory = Path("/proc/sys/net", family, "conf", name)
        for file in directory.iterdir() if directory.is_dir() else ():
            yield f"{family}.{file.name}", _setting(file)


def _setting(path: Path) -> str:
    """Return a sysctl; os.read is faster than a file object, and a snapshot reads hundreds."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 4096).decode().strip()
    except OSError as error:  # EIO: stable_secret has not been set
        return str(error.errno)
    finally:
        os.close(fd)
