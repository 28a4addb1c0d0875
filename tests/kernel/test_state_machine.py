"""Random operations with random faults: each operation is either rolled back or complete.

The machine drives one sandbox on a host with three links. A fault is a refusal of the kernel, a lost answer, or the
death of the process: from some call on every call fails, until `Sandbox.recover()`. `lab.snapshot` compares the state
with ip(8).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netsandbox import (
    Bridge,
    InterfaceSpec,
    Neighbor,
    NetSandboxError,
    RollbackError,
    Route,
    Sandbox,
    SandboxClosedError,
)
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store
from netsandbox.errors import KernelError
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS = {
    LinuxKernel: "links link addresses routes neighbors route_to send sysctl set_sysctl pin unpin".split(),
    Store: "read write delete".split(),
}
MAC = "02:00:00:00:00:42"
OPTIONS: dict[str, list[Any]] = {
    "prefix": ["eth", "wan", "a/b"],
    "name": [None, "eth1", "lo", "x" * 16],
    "mac": [None, MAC, "01:00:00:00:00:01"],
    "mtu": [None, 1400, 1200, 9],
    "addresses": [
        [],
        ["10.1.0.2/24"],
        ["10.1.0.3/24", "fd01::2/64"],
        ["10.1.0.0/24"],
        ["10.2.0.2/24", "169.254.7.7/32"],
    ],
    "master": [None, "br", "nowhere"],
    "routes": [[], ["192.168.77.0/24"], [Route("10.9.0.0/16", via="10.1.0.1")]],
    "sysctls": [{}, {"net.ipv4.conf.IFNAME.rp_filter": "2"}, {"net.ipv4.conf.IFNAME.no_such_setting": "1"}],
    "on_conflict": ["error", "ignore"],
}
SOURCES = st.sampled_from(["v0", "v1", "v0", "nowhere", "lo", Bridge("br")])
WISHES = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in OPTIONS.items()})
NAMES = st.sampled_from(["eth0", "eth1", "wan0", "nothing", "\ud800"])
ADDRESSES = st.sampled_from(["10.1.0.2/24", "10.7.0.1/24", "fd07::1/64", "x"])
ROUTES = st.sampled_from(
    [Route("10.8.0.0/16", via="10.1.0.1"), Route("10.8.0.0/16", interface="eth0"), Route("fd08::/64", via="fd01::9")]
)
NEIGHBORS = st.builds(
    Neighbor, st.sampled_from(["10.1.0.5", "fd01::5"]), st.just(MAC), st.sampled_from(["eth0", "eth1"])
)


class Killed(BaseException):
    """The process is dead and makes no further call."""


FAULTS = st.none() | st.tuples(
    st.integers(1, 40),
    st.one_of(
        st.tuples(st.sampled_from([errno.ENOMEM, errno.EPERM, errno.EBUSY]), st.sampled_from([False])),
        st.tuples(st.sampled_from([errno.ENOBUFS, errno.EINTR]), st.booleans()),  # whether it is executed
        st.tuples(st.just(None), st.booleans()),  # killed
    ),
)
Fault = tuple[int, tuple[int | None, bool]] | None


class Disturbed:
    """Wraps system calls of the library: one of them fails, or all of them from one on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.fault: tuple[int | None, bool] = (None, False)
        self.is_dead = False
        for kind, names in CALLS.items():
            for name in names:
                patch.setattr(kind, name, self._wrapped(getattr(kind, name)))

    def arm(self, fault: Fault) -> None:
        self.left, self.fault = fault or (0, (None, False))
        self.is_dead = False

    def _wrapped(self, method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if self.is_dead:
                raise Killed
            self.left -= 1
            if self.left:
                return method(*args, **kwargs)
            code, done = self.fault
            self.is_dead = code is None
            if done and method.__name__ in {"send", "set_sysctl"}:
                method(*args, **kwargs)
            if code is None:
                raise Killed
            raise KernelError(code, "a disturbed call", answered=code not in {errno.ENOBUFS, errno.EINTR})

        return call


def shows(verb: tuple[Any, ...], netns: str) -> bool | None:
    """Return whether ip(8) shows the object of an operation; None if the operation has no such object."""
    kind = verb[0].partition("_")[2]
    if kind == "address":
        return f" {verb[2]} " in lab.ip(f"address show dev {verb[1]}", netns=netns, check=False)
    if kind == "route":
        return any(line.startswith(f"{verb[1].to} ") for line in lab.routes(netns))
    if kind == "neighbor":
        return f"{verb[1].ip} dev {verb[1].interface} " in lab.ip("neighbor show", netns=netns)
    return None


class Machine(RuleBasedStateMachine):
    """One sandbox, and its invariants."""

    disturbed: Disturbed
    records: Path

    @initialize()
    def begin(self) -> None:
        lab.libc("unshare", lab.CLONE_NEWNET)
        for words in ("link set lo up", "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"):
            lab.ip(words)
        lab.ip("address add 10.5.0.1/24 dev v0")
        lab.ip("address add fd05::1/64 dev v0 nodad")
        lab.ip("route add 10.6.0.0/16 via 10.5.0.9")
        self.first = lab.snapshot()
        self.box: Sandbox | None = None
        self.closed: Sandbox | None = None

    # --- operations ---

    @rule(fault=FAULTS)
    def create(self, fault: Fault) -> None:
        def act() -> None:
            self.box = Sandbox.create("box")

        self.attempt(fault, act)

    @precondition(lambda self: self.box)
    @rule(source=SOURCES, options=WISHES, fault=FAULTS)
    def add(self, source: str | Bridge, options: dict[str, Any], fault: Fault) -> None:
        box = self.opened()
        taken = set(lab.links(box.path))
        made = self.attempt(fault, lambda: box.add_interface(source, advertise=0, **options))
        if made:
            prefix = options.get("prefix", "eth")
            lowest = next(f"{prefix}{n}" for n in range(99) if f"{prefix}{n}" not in taken)
            assert made.name == (options.get("name") or lowest)
            assert (made.source, made.index) == (getattr(source, "name", source), box.interfaces[-1].index)

    @precondition(lambda self: self.box)
    @rule(prefix=st.sampled_from(["eth", "wan"]), times=st.sampled_from([0, 0, 1]), fault=FAULTS)
    def add_several(self, prefix: str, times: int, fault: Fault) -> None:
        box = self.opened()
        specs = [
            InterfaceSpec(Bridge("br2"), prefix=prefix, advertise=0),
            InterfaceSpec("v1", prefix=prefix, master="br2", advertise=0),
        ]
        self.attempt(fault, lambda: box.add_interfaces(specs + specs[:1] * times))

    @precondition(lambda self: self.box)
    @rule(which=st.integers(0, 3), fault=FAULTS)
    def remove(self, which: int, fault: Fault) -> None:
        found = self.opened().interfaces
        if which < len(found):
            self.attempt(fault, found[which].remove, finished=lambda: self.is_gone(found[which].id))

    @precondition(lambda self: self.box)
    @rule(
        verb=st.one_of(
            st.tuples(st.just("set_gateway"), st.sampled_from(["10.1.0.1", "fd01::1", "10.99.0.1"])),
            st.tuples(st.just("set_gateway"), st.none(), NAMES),
            st.tuples(st.just("unset_gateway"), st.sampled_from([4, 6])),
            st.tuples(st.sampled_from(["add_address", "remove_address"]), NAMES, ADDRESSES),
            st.tuples(st.sampled_from(["add_route", "remove_route"]), ROUTES),
            st.tuples(st.sampled_from(["add_neighbor", "remove_neighbor"]), NEIGHBORS),
            st.tuples(st.just("disable_arp_for_vip"), NAMES),
        ),
        fault=FAULTS,
    )
    def configure(self, verb: tuple[Any, ...], fault: Fault) -> None:
        box = self.opened()

        def act() -> None:
            getattr(box, verb[0])(*verb[1:])
            assert shows(verb, box.path) in {None, verb[0].startswith("add")}

        self.attempt(fault, act, finished=lambda: verb[0] == "remove_address" and not shows(verb, self.opened().path))
        netns = self.opened().path
        gateways = {route["gateway"] for route in lab.ip_json("route show default", netns=netns) if "gateway" in route}
        assert {str(self.opened().gateway4)} - {"None"} == gateways

    @precondition(lambda self: self.box)
    @rule()
    def close_and_open(self) -> None:
        self.closed = self.opened()
        before = self.listed()
        self.closed.close()
        self.box = Sandbox.open("box")
        assert self.listed() == before

    @precondition(lambda self: self.box)
    @rule(fault=FAULTS)
    def destroy(self, fault: Fault) -> None:
        box = self.opened()
        self.attempt(fault, box.destroy, finished=lambda: not Sandbox.list())
        if not Sandbox.list():
            self.box, self.closed = None, box
            assert lab.snapshot() == self.first

    # --- invariants ---

    @invariant()
    def a_closed_sandbox_refuses_everything(self) -> None:
        if self.closed:
            with pytest.raises(SandboxClosedError):
                self.closed.add_interface("v0")
            with pytest.raises(SandboxClosedError):
                self.closed.set_gateway("10.1.0.1")

    @invariant()
    def nothing_is_left_half_done(self) -> None:
        files = [file for file in self.records.glob("*") if not file.name.startswith(".lock-")]
        assert [file.name for file in files] == ["box.json"] * bool(self.box)
        assert all('"pending":null' in file.read_text() for file in files)

    @invariant()
    def every_link_is_where_the_sandbox_says(self) -> None:
        plugged = self.box.interfaces if self.box else ()
        away = {item.source for item in plugged if item.kind == "veth"}
        assert set(lab.links()) == {"lo", "v0", "v1"} - away
        if self.box:
            assert [item["ifname"] for item in lab.ip_json("link show", netns=self.box.path)][1:] == [
                item.name for item in sorted(plugged, key=lambda item: item.index)
            ]
            assert [item.id for item in plugged] == sorted({item.id for item in plugged})
        if not away:
            assert lab.snapshot() == self.first

    # --- helpers ---

    def opened(self) -> Sandbox:
        assert self.box
        return self.box

    def is_gone(self, number: int) -> bool:
        return all(item.id != number for item in self.opened().interfaces)

    def state(self) -> list[object]:
        """Return the state of the host and of the sandbox."""
        inside = [lab.snapshot(self.box.path), self.listed()] if self.box else []
        return [lab.snapshot(), Sandbox.list(), *inside]

    def listed(self) -> list[tuple[int, str, str, int]]:
        return [(item.id, item.source, item.name, item.index) for item in self.opened().interfaces]

    def attempt(self, fault: Fault, act: Callable[[], Any], *, finished: Callable[[], bool] = lambda: False) -> Any:  # noqa: ANN401  what *act* returns
        """Call *act*; if it fails, expect a rollback, or a completed operation if it was killed during a detach."""
        before = self.state()
        self.disturbed.arm(fault)
        try:
            return act()
        except Killed:
            self.disturbed.arm(None)
            if self.box:
                self.box.close()
            Sandbox.recover()
            self.box = Sandbox.open("box") if Sandbox.list() else None
            if finished():
                return None
        except NetSandboxError as error:
            if isinstance(error, RollbackError):
                raise
        finally:
            self.disturbed.arm(None)
        assert self.state() == before
        return None

    def teardown(self) -> None:
        if self.box:
            self.box.destroy()
            assert lab.snapshot() == self.first


@pytest.mark.slow
@pytest.mark.usefixtures("host")
@pytest.mark.timeout(900)
def test_random_operations_with_faults_keep_the_invariants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "records", tmp_path / "netns/.state", raising=False)
    monkeypatch.setattr(Machine, "disturbed", Disturbed(monkeypatch), raising=False)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=12,
            deadline=None,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
