"""The contests: each function measures the competitors at one piece of work and yields the figures."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import born, crowd, raw, ways
from benchmarks.measure import Budget, Contestant, Figure, clock, compete, judge
from netsandbox import _record, telemetry
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store
from netsandbox.netlink.route import AF_INET, TABLE_MAIN

ROUTES = 5000
CALLS = 20  # in one sample, of work that takes microseconds
PYROUTE2 = ways.PYROUTE2
# with cached bytecode, as for an installed package
_ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
CLI = str(Path(sys.executable).with_name("netsandbox"))


def python(rounds: int) -> Iterator[Figure]:
    """Start Python without imports, with netsandbox, with pyroute2, and for the netsandbox command."""
    bare, name, ours, peer, cli = "bare interpreter", "netsandbox", "netsandbox.Sandbox", "pyroute2.IPRoute", "ls"
    contestants: dict[str, Contestant] = {
        bare: partial(_start, ""),
        name: partial(_start, "import netsandbox"),  # imports its submodules on first use
        ours: partial(_start, "from netsandbox import Sandbox"),
        cli: lambda: {"time": clock(partial(_output, CLI, "ls", "--json"))},
    }
    if PYROUTE2:
        contestants[peer] = partial(_start, "from pyroute2 import IPRoute")
    samples = compete(contestants, rounds)
    time, who = samples["time"], (bare, name, ours, peer)
    yield from judge("import, time", "ms", time, who, dict.fromkeys((name, ours), Budget(40, "+")))
    yield from judge("import, memory", "MiB", samples["memory"], who, dict.fromkeys((name, ours), Budget(8, "+")))
    time = {bare: time[bare], name: time[cli]}
    yield from judge("netsandbox ls --json", "ms", time, (bare, name), {name: Budget(100, "+")})


def _start(script: str) -> dict[str, float]:
    """Run a Python script; return its time and its resident memory at the end (proc(5), statm)."""
    said = []
    script = f"{script}\nprint(open('/proc/self/statm').read())"
    time = clock(lambda: said.append(_output(sys.executable, "-c", script)))
    return {"time": time, "memory": int(said[0].split()[1]) * os.sysconf("SC_PAGE_SIZE")}


def _output(*command: str) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=_ENVIRONMENT).stdout


def requests(rounds: int) -> Iterator[Figure]:
    """Get one link and a list of routes as decoded values."""
    link = "bench"
    ways.make_link(link)
    lines = "\n".join(f"route add 10.{number >> 8}.{number & 255}.0/24 dev {link}p" for number in range(ROUTES))
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    floor, kernel = raw.Socket(), LinuxKernel.own()
    one, many = raw.get_link(link), raw.dump_routes()
    bare, ours, peer, tool = "datagrams, not decoded", "netsandbox", "pyroute2", "ip -j"

    get: dict[str, Contestant] = {
        bare: _timed(lambda: floor.ask(one), CALLS),
        ours: _timed(lambda: kernel.link(link), CALLS),
        tool: _timed(lambda: json.loads(_output("ip", "-j", "link", "show", "dev", link))),
    }
    dump: dict[str, Contestant] = {
        bare: _timed(lambda: floor.dump(many)),
        ours: _timed(lambda: kernel.routes(family=AF_INET, table=TABLE_MAIN)),
        tool: _timed(lambda: json.loads(_output("ip", "-j", "-4", "route"))),
    }
    if PYROUTE2:
        host = ways.pyroute2()
        get[peer] = _timed(lambda: host.link("get", ifname=link), CALLS)
        dump[peer] = _timed(lambda: tuple(host.route("dump", family=AF_INET, table=TABLE_MAIN)))
    who = (bare, ours, peer, tool)
    yield from judge("get one link", "µs", compete(get, rounds)["time"], who, {ours: Budget(45, "")})
    samples = compete(dump, min(rounds, 10))["time"]
    yield from judge(f"list {ROUTES:,} routes", "ms", samples, who, {ours: Budget(40, "")})
    ways.sh(f"ip link delete {link}")
    kernel.close()


def _timed(function: Callable[[], object], times: int = 1) -> Contestant:
    return lambda: {"time": clock(function, times)}


def sandboxes(rounds: int) -> Iterator[Figure]:
    """Attach and detach an existing link, and do so with the creation and destruction of a sandbox."""
    found = {who: way(f"v{at}") for at, (who, way) in enumerate(ways.WAYS.items()) if PYROUTE2 or "pyroute2" not in who}
    bare = ways.Raw("v")
    move, ours = "the kernel's own move", "netsandbox"
    for way in (bare, *found.values()):
        way.create()
    samples = compete({move: partial(_move, bare), **{who: partial(_plug, way) for who, way in found.items()}}, rounds)
    for way in (bare, *found.values()):
        way.destroy()
    who = (move, *ways.WAYS)
    yield from judge("attach a link", "ms", samples["attach"], who, {ours: Budget(1.05, "x")})
    # Raw is left out: moving the link back is the same single datagram as in `move`.
    who = (move, *(name for name in ways.WAYS if ways.WAYS[name] is not ways.Raw))
    yield from judge("remove it", "ms", samples["remove"], who)
    whole = compete({who: partial(_whole, way) for who, way in found.items()}, rounds)
    yield from judge("create, attach, destroy", "ms", whole["time"], tuple(ways.WAYS))


def _move(way: ways.Raw) -> dict[str, float]:
    """Time only the move; configure the link, so that moving it back is comparable with the other ways."""
    attach = clock(way.move)
    way.configure()
    return {"attach": attach, "remove": clock(way.remove)}


def _plug(way: ways.Way) -> dict[str, float]:
    return {"attach": clock(way.attach), "remove": clock(way.remove)}


def _whole(way: ways.Way) -> dict[str, float]:
    def whole() -> None:
        way.create()
        way.attach()
        if not isinstance(way, ways.Ours):  # its destroy() returns the link to the host
            way.remove()
        way.destroy()

    return {"time": clock(whole)}


def births(rounds: int) -> Iterator[Figure]:
    """Create a sandbox with a veth that is created inside it, delete the veth, and destroy the sandbox."""
    ways.sh("ip link set lo up")
    born.make_bridge()
    found = {who: way(ipv6=True) for who, way in born.WAYS.items() if born.is_installed(way)}
    for way in found.values():
        way.prepare([0])
    samples = compete({who: partial(_birth, way) for who, way in found.items()}, rounds)
    whole = {"netsandbox": Budget(1.6, "x")}
    yield from judge("sandbox, born in place", "ms", samples["make"], tuple(born.WAYS), whole)
    who = tuple(who for who, way in born.WAYS.items() if way.can_remove)
    yield from judge("remove what was born", "ms", samples["remove"], who)
    yield from judge("destroy it, the caller", "ms", samples["destroy"], tuple(born.WAYS))
    ways.sh(f"ip link delete {born.BRIDGE}")


def _birth(way: born.Born) -> dict[str, float]:
    """Create a sandbox and delete its interface; create another one and destroy it with its interface."""
    found: dict[str, float] = {}
    if way.can_remove:
        way.make(0)
        found["remove"] = clock(lambda: way.remove(0))
        way.destroy([0])
        crowd.wait_until_gone(way)
    found["make"] = clock(lambda: way.make(0))
    found["destroy"] = clock(lambda: way.destroy([0]))
    crowd.wait_until_gone(way)
    return found


def parts(rounds: int) -> Iterator[Figure]:
    """Measure the fixed costs of every change: a tracing span without a tracer, and the record."""
    names = {"ifaceName": ways.NAME}

    def span() -> None:
        with telemetry.span("setInterfaceName", names):
            pass

    call, ours = "a function call", "telemetry.span"
    samples = compete({call: _timed(_nothing, 1000), ours: _timed(span, 1000)}, rounds)["time"]
    yield from judge("tracing of a step", "ns", samples, (call, ours), {ours: Budget(1000, "")})

    way = ways.Ours("record")
    way.create()
    way.attach()
    store, record = Store(), way.box._handle.record()
    data = _record.pack(record)
    file, both = "Store.write", "Store.write after pack"
    contestants: dict[str, Contestant] = {
        file: _timed(lambda: store.write(record.name, data), CALLS),
        both: _timed(lambda: store.write(record.name, _record.pack(record)), CALLS),
    }
    samples = compete(contestants, rounds)["time"]
    yield from judge("record of a sandbox", "µs", samples, (file, both))
    way.box.destroy()


def _nothing() -> None:
    pass
