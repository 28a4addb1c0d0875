"""The fault matrix: every system call of every operation fails once, by itself, with what such a call can fail with.

For each case: in a world of its own, made anew, the operation runs with exactly one failed call (`faults`). Either it
returns and all is as after an undisturbed run; or it raises a NetSandboxError, all is as before (`state`), and the same
operation of the same object, asked for again, succeeds and gives what an undisturbed run gives. Nothing of the program
stays open or running. The size of the matrix is printed with the summary of the tests.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import Bridge, Interface, InterfaceSpec, Neighbor, NetSandboxError, RollbackError, Route, Sandbox
from tests.kernel import faults, lab, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.faults import Outcome, Program, Switch

pytestmark = [pytest.mark.usefixtures("run_netns"), pytest.mark.timeout(300), pytest.mark.matrix]

FAULTS = {
    "clone": ["EAGAIN"],
    "clone3": ["EAGAIN"],
    "fdatasync": ["EIO"],
    "flock": ["ENOLCK"],
    "fsync": ["EIO"],
    "ioctl": ["ENOMEM"],
    "link": ["ENOSPC"],
    "linkat": ["ENOSPC"],
    "mkdir": ["ENOSPC"],
    "mkdirat": ["ENOSPC"],
    "mount": ["EPERM"],
    "openat": ["EMFILE"],
    "pread64": ["EIO"],
    "pwrite64": ["EPERM"],
    "read": ["EIO"],
    "recvfrom": ["ENOMEM"],
    "recvmsg": ["ENOMEM"],
    "rename": ["ENOSPC"],
    "renameat": ["ENOSPC"],
    "renameat2": ["ENOSPC"],
    "sendmsg": ["EPERM"],
    "sendto": ["ENOBUFS"],
    "setns": ["EPERM"],
    "socket": ["EMFILE"],
    "umount2": ["EPERM"],
    "unlink": ["EROFS"],
    "unlinkat": ["EROFS"],
    "unshare": ["EPERM"],
    "write": ["ENOSPC"],
}
"""What each system call is made to fail with; what the library does not call is there to be found if it does."""

CLONE_NEWNS = 0x00020000
MAC = "02:00:00:00:00:"
WORLD = f"""
link set lo up
link add v0 index 10 address {MAC}10 type veth peer name p0 index 11 address {MAC}11
link add v1 index 12 address {MAC}12 type veth peer name p1 index 13 address {MAC}13
link add br0 index 20 address {MAC}20 type bridge
address add 10.2.0.1/24 dev br0
link set v0 mtu 1400 alias uplink txqueuelen 500 master br0
link set v0 type bridge_slave hairpin on priority 7
link property add dev v0 altname the-uplink-of-this-host
address add 10.1.0.1/24 broadcast + dev v0
address add 10.1.0.2/24 dev v0
address add 10.9.9.9 peer 10.9.9.8/32 dev v0
address add fd01::1/64 dev v0
address add fd01::2/64 dev v0 nodad
link set p0 up
link set br0 up
link set v0 up
route add 192.168.7.0/24 via 10.1.0.254 dev v0 metric 5 src 10.1.0.2
route add 192.168.8.0/24 dev v0 table 100
route add default via 10.1.0.254
route add fd77::/64 via fd01::fe dev v0
neighbor add 10.1.0.77 lladdr {MAC}77 nud permanent dev v0
neighbor add fd01::77 lladdr {MAC}78 nud permanent dev v0
"""
"""v0 has everything a link can have on the host, and is a port of br0; v1 has nothing, and is down."""

RICH = InterfaceSpec(
    "v0",
    name="wan0",
    mac=f"{MAC}a0",
    mtu=1300,
    addresses=["10.5.0.2/24", "fd05::2/64", "169.254.9.9/32", "fe80::9/64"],
    master="brx",
    routes=["192.168.2.1/32", Route("192.168.3.0/24", via="10.5.0.1", metric=7)],
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2", "net.ipv6.conf.IFNAME.hop_limit": "77"},
)
BRIDGE = InterfaceSpec(Bridge("brx"), mac=f"{MAC}b0", addresses=["10.6.0.1/24"])
PORT = InterfaceSpec("v0", master="brx")
PLAIN = InterfaceSpec("v1", addresses=["10.7.0.2/24"])
IN_PLACE = InterfaceSpec(
    "v0",
    mac=f"{MAC}a0",
    mtu=1350,
    addresses=["10.5.0.2/24", "fd05::2/64"],
    routes=["192.168.2.1/32"],
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "1"},
)
LAN = InterfaceSpec(Bridge("lan"), mac=f"{MAC}b1", addresses=["10.5.0.2/24", "10.5.0.3/24", "fd05::2/64"])


def nothing() -> None:
    """Leave the world as it is."""


def someone_elses() -> None:
    lab.ip("netns add other")


def sandbox(*specs: InterfaceSpec) -> Callable[[], None]:
    """Return how to make the sandbox *web* with interfaces in it."""

    def make() -> None:
        with Sandbox.create("web") as box:
            quiet(box.path)
            for spec in specs:
                box.add_interface(spec)

    return make


def gateway() -> None:
    sandbox(LAN)()
    with Sandbox.open("web") as box:
        box.set_gateway("10.5.0.1")


def neighbor() -> None:
    sandbox(LAN)()
    with Sandbox.open("web") as box:
        box.add_neighbor(Neighbor("10.5.0.9", f"{MAC}98", "eth0"))


def in_place() -> None:
    with Sandbox.host() as box:
        box.add_interface(IN_PLACE)


def quiet(netns: str | None = None) -> None:
    """Have the kernel give links no IPv6 addresses of its own: it does so up to a second after they are up."""
    lab.sysctl("ipv6/conf/all/accept_dad", "0", netns=netns)
    lab.sysctl("ipv6/conf/default/accept_dad", "0", netns=netns)
    lab.sysctl("ipv6/conf/default/addr_gen_mode", "1", netns=netns)


def web() -> Sandbox:
    return Sandbox.open("web")


@dataclass(frozen=True)
class Case:
    """An operation, the world it happens in, and how its sandbox is got hold of."""

    prepare: Callable[[], None]
    take: Callable[[], Sandbox | None]
    operate: Callable[[Any], object]


CASES = {
    "create": Case(nothing, lambda: None, lambda _: Sandbox.create("web")),
    "create, replacing": Case(sandbox(PLAIN), lambda: None, lambda _: Sandbox.create("web", replace=True)),
    "adopt": Case(someone_elses, lambda: None, lambda _: Sandbox.adopt("/run/netns/other", "web")),
    "adopt in place": Case(someone_elses, lambda: None, lambda _: Sandbox.adopt("/run/netns/other")),
    "add_interface": Case(sandbox(BRIDGE), web, lambda box: box.add_interface(RICH)),
    "add_interface, a bridge": Case(sandbox(), web, lambda box: box.add_interface(BRIDGE)),
    "add_interfaces": Case(sandbox(), web, lambda box: box.add_interfaces([BRIDGE, PORT, PLAIN])),
    "remove_interface": Case(sandbox(BRIDGE, RICH), web, lambda box: box.remove_interface("wan0")),
    "destroy": Case(sandbox(BRIDGE, RICH, PLAIN), web, lambda box: box.destroy()),
    "set_gateway": Case(gateway, web, lambda box: box.set_gateway("10.5.0.9")),
    "unset_gateway": Case(gateway, web, lambda box: box.unset_gateway()),
    "add_route": Case(sandbox(LAN), web, lambda box: box.add_route(Route("fd09::/64", via="fd05::9", metric=9))),
    "add_neighbor": Case(neighbor, web, lambda box: box.add_neighbor(Neighbor("10.5.0.9", f"{MAC}99", "eth0"))),
    "add_address": Case(sandbox(LAN), web, lambda box: box.add_address("eth0", "10.9.9.9/32")),
    "remove_address": Case(sandbox(LAN), web, lambda box: box.remove_address("eth0", "10.5.0.2/24")),
    "apply_os_tweaks": Case(
        sandbox(LAN),
        web,
        lambda box: box.apply_os_tweaks({"net.ipv4.conf.eth0.rp_filter": "2", "net.ipv6.conf.eth0.hop_limit": "9"}),
    ),
    "disable_arp_for_vip": Case(sandbox(LAN), web, lambda box: box.disable_arp_for_vip("eth0")),
    "add_interface on the host": Case(nothing, Sandbox.host, lambda box: box.add_interface(IN_PLACE)),
    "remove_interface on the host": Case(in_place, Sandbox.host, lambda box: box.remove_interface("v0")),
}


@dataclass
class Matrix:
    """How many failures were injected, and what they changed."""

    injected: Counter[str] = field(default_factory=Counter)
    differences: int = 0
    seconds: float = 0

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        size = f"{self.injected.total()} failures injected, {self.differences} differences"
        calls = ", ".join(f"{name} {count}" for name, count in sorted(self.injected.items()))
        terminalreporter.write_line(f"fault matrix: {size} ({calls}; {self.seconds:.0f} s)")


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    """Return the matrix, which is told of after the tests."""
    made = Matrix()
    request.config.pluginmanager.register(made)
    return made


class Worlds:
    """Makes worlds: each a host with an empty /run, as nobody has touched it before.

    Namespaces are kept and given up many at a time: the kernel takes as long for many as for one, and stalls meanwhile.
    """

    def __init__(self) -> None:
        self._kept: list[int] = []

    @contextmanager
    def fresh(self, prepare: Callable[[], None]) -> Iterator[None]:
        """Have a world, and this thread in it."""
        home = os.open(lab.OWN, os.O_RDONLY)
        lab.libc("unshare", lab.CLONE_NEWNET)
        lab.libc("mount", b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755")
        try:
            quiet()
            lab._run("ip", "-batch", "-", text=WORLD)
            lab.sysctl("ipv4/conf/v0/rp_filter", "2")
            lab.sysctl("ipv6/conf/v0/hop_limit", "99")
            lab.sysctl("ipv6/conf/v0/addr_gen_mode", "0")
            addresses = Path("/proc/thread-self/net/if_inet6")
            ready = state.until(addresses.read_text, lambda text: "fe80" in text and " 40 " not in text)
            assert "fe80" in ready  # and none is tentative
            prepare()
            yield
        finally:
            pins = map(str, Path("/run/netns").glob("*"))
            self._kept += [os.open(path, os.O_RDONLY) for path in (lab.OWN, *pins)]
            lab.libc("umount2", b"/run", 2)  # MNT_DETACH
            lab.libc("setns", home, lab.CLONE_NEWNET)
            os.close(home)
            if len(self._kept) > 50:
                self.close()

    def close(self) -> None:
        while self._kept:
            os.close(self._kept.pop())


worlds = Worlds()


@dataclass(frozen=True)
class Told:
    """What a program tells of itself: what came of the operation, and of its repetition if that failed."""

    result: object = None
    error: str = ""
    is_ours: bool = True
    state: dict[str, Any] | None = None
    again: object = None
    error_again: str = ""
    left: tuple[object, ...] = ()


def describe(result: object) -> object:
    """Return what can be compared of a result."""
    if isinstance(result, tuple):
        return [describe(item) for item in result]
    if isinstance(result, Interface):
        return [result.source, result.name, result.index, result.mac, result.mtu, result.master, result.is_up] + [
            str(item)
            for item in (*result.addresses, *result.routes)
            if "ff:fe" not in str(item)  # the kernel makes it
        ]
    return (result.name, result.path) if isinstance(result, Sandbox) else result


def program(case: Case, before: dict[str, Any]) -> Program:
    """Return what runs with a failing call, where all is as *before*, and after a failure is so again."""

    def run(arm: Switch, disarm: Switch) -> Told:
        opened, observer = state.open_files(), state.Observer()
        box = case.take()
        made: list[object] = []
        told: dict[str, Any] = {}
        arm()
        try:
            made.append(case.operate(box))
        except Exception as error:  # noqa: BLE001  which one is looked at below
            disarm()
            ours = isinstance(error, NetSandboxError) and not isinstance(error, RollbackError)
            told = {"error": repr(error) + str(error), "is_ours": ours, "state": observer.read_until(before)}
            del error
        disarm()
        if told:
            try:
                made.append(case.operate(box))
                told["again"] = describe(made[-1])
            except NetSandboxError as error:
                told["error_again"] = str(error)
        else:
            told["result"] = describe(made[-1])
        for item in (box, *made):
            if isinstance(item, Sandbox):
                item.close()
        left = state.open_files().items() - opened.items()
        return Told(**told, left=(*left, *(["a thread"] if state.threads(1) > 1 else [])))

    return run


@dataclass(frozen=True)
class Undisturbed:
    """What an operation does without faults, and the calls it makes."""

    before: dict[str, Any]
    after: dict[str, Any]
    result: object
    calls: dict[str, int]


def undisturbed(case: Case) -> Undisturbed:
    with worlds.fresh(case.prepare):
        state.settle()
        observer = state.Observer()
        before = observer.read()
        outcome = faults.run(program(case, before), FAULTS, n=10**9, fault=errno.EIO)
        assert isinstance(outcome.value, Told), outcome
        assert (outcome.value.error, outcome.value.left) == ("", ())
        state.settle()
        return Undisturbed(before, observer.read(), outcome.value.result, outcome.calls)


def judge(told: Told, after: dict[str, Any], wanted: Undisturbed) -> Iterator[str]:
    """Yield what is not as it should be."""
    if told.error:
        if not told.is_ours:
            yield f"it raised {told.error}"
        yield from (f"not undone: {item}" for item in state.differences(wanted.before, told.state))
        if told.error_again:
            yield f"the second time: {told.error_again}"
    yield from (f"not complete: {item}" for item in state.differences(wanted.after, after))
    yield from state.differences(wanted.result, told.again if told.error else told.result, "result")
    yield from (f"left: {item}" for item in told.left)


def inject(case: Case, wanted: Undisturbed, call: str, error: str, n: int) -> Iterator[str]:
    """Let one call fail in a world of its own, and yield what is not as it should be."""
    with worlds.fresh(case.prepare):
        observer = state.Observer()
        outcome: Outcome = faults.run(program(case, wanted.before), call, n=n, fault=getattr(errno, error))
        if not isinstance(outcome.value, Told):
            yield f"the program {outcome.end}: {outcome.error}"
            return
        if not outcome.hit:
            yield "there was no such call"
        yield from judge(outcome.value, observer.read_until(wanted.after), wanted)


def injected(wanted: Undisturbed, name: str, call: str, error: str, n: int) -> list[str]:
    """Do as inject() says, in a process of a pool."""
    return [
        f"{call} {n} of {wanted.calls[call]} {error}: {item}" for item in inject(CASES[name], wanted, call, error, n)
    ]


@pytest.mark.parametrize("name", CASES)
def test_one_failed_call_leaves_nothing_changed_or_nothing_undone(name: str, matrix: Matrix) -> None:
    start = time.monotonic()
    wanted = undisturbed(CASES[name])
    worlds.close()
    assert wanted.after != wanted.before
    cells = [
        (wanted, name, call, error, n)
        for call, count in wanted.calls.items()
        for error in FAULTS[call]
        for n in range(1, count + 1)
    ]
    # Each process with mounts of its own. They are forked before the pool starts threads.
    with multiprocessing.get_context("fork").Pool(2, lab.libc, ("unshare", CLONE_NEWNS)) as pool:
        found = pool.starmap(injected, cells, chunksize=4)
        pool.close()
        pool.join()
    matrix.injected.update(call for _, _, call, _, _ in cells)
    matrix.differences += sum(map(bool, found))
    matrix.seconds += time.monotonic() - start
    assert not any(found), "\n".join(item for wrong in found for item in wrong)
