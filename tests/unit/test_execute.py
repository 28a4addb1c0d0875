"""Atomicity: every kernel call of every operation is made to fail, in every possible way."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, RollbackError, Route, Veth
from netsandbox._plan.detach import plan_detach
from netsandbox._plan.model import Draft, Plan, Target, plan_of
from netsandbox._run.execute import execute, finish, undo
from netsandbox._steps import SetNeighbor, SetRoute, SetSysctl, SetUp, Step
from tests.unit.rig import Rig, everywhere, furnished
from tests.unit.values import neighbor_entry, route_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL = InterfaceSpec(
    "v0",
    mac="02:42:ac:11:00:02",
    mtu=1450,
    addresses=["172.17.0.2/16", "fd01::2/64", "169.254.7.7/32", "fe80::7/64"],
    master="br",
    routes=["192.168.2.1/32", Route("10.8.0.0/16", via="172.17.0.1", metric=7), "fd08::/32"],
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "1", "net.ipv6.conf.IFNAME.accept_ra": "0"},
)
BRIDGE = InterfaceSpec(Bridge("br"), mac="02:42:ac:11:00:01", mtu=1400, addresses=["172.18.0.1/16"])
V4_ONLY = InterfaceSpec("v2", prefix="lan", addresses=["172.19.0.2/16"])
LIVE = InterfaceSpec(
    "first",
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "1"},
    mac="02:42:ac:11:00:03",
    addresses=["172.20.0.2/16"],
    master="br",
)
DOWN = InterfaceSpec("v4", mac="02:42:ac:11:00:04", addresses=["172.21.0.2/16"])
DOWN_IPV6 = InterfaceSpec("v4", addresses=["fd02::2/64"])
IN_PLACE = InterfaceSpec("v2", mtu=1400, addresses=["172.19.0.2/16", "fd02::2/64"], routes=["10.7.0.0/16"])

VETHS = [InterfaceSpec(Veth("one"), addresses=["172.22.0.2/16"]), InterfaceSpec(Veth("two", master="lan"))]


def _with_bridge() -> Rig:
    rig = furnished()
    rig.add(BRIDGE)
    return rig


def _full() -> Rig:
    rig = _with_bridge()
    rig.add(FULL, V4_ONLY)
    return rig


def _full_on_host() -> Rig:
    rig = furnished(is_host=True)
    rig.add(BRIDGE, IN_PLACE, LIVE, DOWN)
    return rig


def _with_veths() -> Rig:
    rig = furnished()
    rig.add(*VETHS)
    return rig


OPERATIONS: dict[str, tuple[Callable[[], Rig], Callable[[Rig], object]]] = {
    "add a link": (_with_bridge, lambda rig: rig.add(FULL)),
    "add a bridge": (furnished, lambda rig: rig.add(BRIDGE)),
    "add three": (furnished, lambda rig: rig.add(BRIDGE, FULL, V4_ONLY)),
    "add on the host": (lambda: furnished(is_host=True), lambda rig: rig.add(BRIDGE, IN_PLACE, LIVE, DOWN)),
    "add IPv6 on the host": (lambda: furnished(is_host=True), lambda rig: rig.add(DOWN_IPV6)),
    "remove a link": (_full, lambda rig: rig.remove(rig.attached[1])),
    "remove a bridge with its port": (_full, lambda rig: rig.remove(rig.attached[0])),
    "remove three": (_full, lambda rig: rig.remove()),
    "remove on the host": (_full_on_host, lambda rig: rig.remove()),
    "remove two that were born": (_with_veths, lambda rig: rig.remove()),
    "destroy": (_full, lambda rig: rig.destroy()),
}
FLAVOURS = {
    "refused": {"answered": True},
    "not carried out, and no answer": {"answered": False},
    "carried out, and no answer": {"answered": False, "carried_out": True},
}


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_failed_call_leaves_everything_or_nothing_done(operation: str, flavour: str) -> None:
    """If any kernel call fails, the operation is complete or has been rolled back entirely."""
    make, act = OPERATIONS[operation]
    finished = make()
    act(finished)
    for n in range(1, everywhere(make, act) + 1):
        rig = make()
        before = rig.state()
        rig.faults.fail(n, errno.ENOBUFS, **FLAVOURS[flavour])
        call = len(rig.faults.calls) + n - 1
        error = _failure(rig, act)
        if error is None:
            assert rig.changes(finished.state()) == {}, rig.faults.calls[call]
        else:
            assert rig.changes(before) == {}, rig.faults.calls[call]
            assert (type(error), error.errno, error.left) == (KernelError, errno.ENOBUFS, ())


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_interrupt_rolls_the_operation_back(operation: str, *, carried_out: bool) -> None:
    """A KeyboardInterrupt in any kernel call rolls the operation back."""
    make, act = OPERATIONS[operation]
    for n in range(1, everywhere(make, act) + 1):
        rig = make()
        before = rig.state()
        rig.faults.fail(n, KeyboardInterrupt(), carried_out=carried_out)
        call = len(rig.faults.calls) + n - 1
        with pytest.raises(KeyboardInterrupt):
            act(rig)
        assert rig.changes(before) == {}, rig.faults.calls[call]


@pytest.mark.parametrize("is_host", [False, True])
def test_attach_then_detach_restores_the_state(*, is_host: bool) -> None:
    """Attaching interfaces and detaching them again restores the state of the host and the sandbox."""
    rig = furnished(is_host=is_host)
    before = rig.state()
    for specs in ((BRIDGE, LIVE if is_host else FULL, V4_ONLY if not is_host else IN_PLACE, DOWN), (DOWN_IPV6,)):
        rig.add(*specs)
        assert rig.changes(before)
        rig.remove()
        assert rig.changes(before) == {}


def _failure(rig: Rig, act: Callable[[Rig], object]) -> KernelError | None:
    try:
        act(rig)
    except KernelError as error:
        return error
    return None


# --- what the exception reports ---


def _until_the_end(rig: Rig, first: int) -> None:
    """Make every kernel call fail from number *first* on."""
    for n in range(first, 200):
        rig.faults.fail(n, errno.EIO)


def _calls(rig: Rig, act: Callable[[Rig], object], words: str) -> int:
    """Execute an operation, and return the number, from 1, of its first call whose text contains *words*."""
    before = len(rig.faults.calls)
    act(rig)
    return next(n for n, call in enumerate(rig.faults.calls[before:], 1) if words in call)


def test_error_reports_the_failed_step_and_the_rollback() -> None:
    """The exception has the operation, the step that failed and the commands that undid the others."""
    rig = furnished()
    spec = InterfaceSpec("v1", addresses=["10.5.0.2/24"], routes=["10.6.0.0/16", Route("10.7.0.0/16", via="10.4.0.1")])
    with pytest.raises(KernelError) as info:
        rig.add(spec)
    error = info.value
    assert (error.sandbox, error.link, error.operation) == ("web", "v1", "attach v1 to sandbox web")
    assert error.step == "ip -n web route add 10.7.0.0/16 via 10.4.0.1 dev eth0"
    assert error.undone == (
        "ip -n web route delete 10.6.0.0/16 dev eth0 scope 253",
        "ip -n web link set dev eth0 down",
        "ip -n web address delete 10.5.0.2/24 dev eth0",
        "ip -n web link set dev eth0 netns $$ name v1",
    )
    assert error.left == ()
    assert str(error).startswith("attach v1 to sandbox web: box: add route to 10.7.0.0/16: ENETUNREACH (")
    assert "; undone: ip -n web route delete" in str(error)


def test_failed_rollback_reports_what_is_left() -> None:
    """RollbackError has the commands that are left to do, and the first failure as its cause."""
    spec = InterfaceSpec("v1", addresses=["10.5.0.2/24"])
    rig = furnished()
    _until_the_end(rig, _calls(furnished(), lambda made: made.add(spec), "set link 8: up"))
    with pytest.raises(RollbackError) as info:
        rig.add(spec)
    error = info.value
    assert error.left == (
        "ip -n web address delete 10.5.0.2/24 dev eth0",
        "ip -n web link set dev eth0 netns $$ name v1",
        "# restore per-interface sysctls of v1",
    )
    assert error.undone == ()
    assert len(error.failures) == len(error.left)
    first = error.__cause__
    assert isinstance(first, KernelError)
    assert (first.errno, error.errno, error.extack) == (errno.EIO, errno.EIO, None)
    assert str(first) == "box: set link 8: up: EIO (Input/output error)"
    assert str(error).startswith("attach v1 to sandbox web: box: set link 8: up: EIO (Input/output error); and rolling")
    assert str(error).endswith(f"; LEFT TO DO BY HAND: {', '.join(error.left)}")


def test_failed_rollback_after_an_interrupt_is_reported() -> None:
    """A rollback that fails after a KeyboardInterrupt raises RollbackError."""
    n = _calls(_with_bridge(), lambda made: made.add(FULL), "set link 7: up")
    rig = _with_bridge()
    rig.faults.fail(n, KeyboardInterrupt())
    _until_the_end(rig, n + 1)
    with pytest.raises(RollbackError, match=r"^attach v0 to sandbox web: KeyboardInterrupt\(\); and rolling back"):
        rig.add(FULL)


def test_failed_commit_rolls_back_and_names_no_step() -> None:
    """If writing the record fails, the plan is rolled back and the exception names no step."""
    rig = furnished()

    def commit() -> None:
        raise KernelError(errno.ENOSPC, "write the record")

    plan, _ = rig.plan(V4_ONLY)
    before = rig.state()
    with pytest.raises(KernelError, match="write the record: ENOSPC") as info:
        execute(plan, rig.world, commit)
    assert info.value.step is None
    assert info.value.undone
    assert rig.changes(before) == {}


def test_foreign_exception_rolls_back_and_is_reraised() -> None:
    """An exception that is not a NetSandboxError rolls the plan back and is raised unchanged."""
    rig = furnished()

    def commit() -> None:
        raise ZeroDivisionError

    before = rig.state()
    with pytest.raises(ZeroDivisionError):
        execute(rig.plan(V4_ONLY)[0], rig.world, commit)
    assert rig.changes(before) == {}


# --- idempotent plans, undo and finish ---

GONE = SetNeighbor("web", 8, "eth0", neighbor_entry("10.0.0.9", 8), None)
UP = SetUp("web", 1, "lo", old=False, new=True)


def _plan(*steps: Step, idempotent: bool) -> Plan:
    return replace(plan_of(Target("web", "web"), "do it", None, *steps), idempotent=idempotent)


def test_idempotent_plan_skips_steps_already_done() -> None:
    """An idempotent plan skips steps that are done already, and does not undo those."""
    rig = furnished()
    rig.box.add_link("eth0", index=8)
    before = rig.state()
    sysctl = SetSysctl("web", 8, "eth0", "1", "0", path="ipv4/conf/eth0/rp_filter")
    broken = SetRoute("web", 8, "eth0", None, route_entry("10.9.0.0/16", 8))
    rig.carry_out(_plan(GONE, sysctl, idempotent=True))
    with pytest.raises(KernelError) as info:
        rig.carry_out(_plan(GONE, sysctl, UP, broken, idempotent=True))
    assert info.value.undone == ("ip -n web link set dev lo down",)
    assert set(rig.changes(before)) <= {"box addresses 1"}  # what lo gets when it comes up for the first time


def test_strict_plan_fails_on_a_step_already_done() -> None:
    """A plan that is not idempotent raises KernelError for a step that is done already."""
    rig = furnished()
    rig.box.add_link("eth0", index=8)
    with pytest.raises(
        KernelError, match=r"do it: box: delete neighbor 10.0.0.9 02:00:00:00:00:99 from link 8: ENOENT"
    ):
        rig.carry_out(_plan(GONE, idempotent=False))


def test_undo_skips_the_steps_of_a_missing_link() -> None:
    """Undoing a step of a link that no longer exists does nothing and reports no failure."""
    rig = furnished()
    step = SetNeighbor("web", 8, "eth0", neighbor_entry("10.0.0.9", 8), None)
    assert undo([step], rig.world) == ([], [], [])


def test_interrupted_detach_is_finished_from_any_step() -> None:
    """An interrupted detach is rolled forward from any step."""
    made = _full()
    steps = plan_detach(made.attached, made.target, made.detach_facts(made.attached)).steps
    made.remove()
    for done in range(len(steps) + 1):
        rig = _full()
        for step in steps[:done]:
            step.apply(rig.world)
        finish(steps, rig.world)
        assert rig.changes(made.state()) == {}


def test_failed_finish_is_raised_and_can_be_repeated() -> None:
    """Rolling a detach forward raises the error of a failed call, and can be repeated."""
    rig = _full()
    steps = plan_detach(rig.attached, rig.target, rig.detach_facts(rig.attached)).steps
    rig.faults.fail(1, errno.EBUSY)
    with pytest.raises(KernelError, match="EBUSY"):
        finish(steps, rig.world)
    rig.faults.fail(1, errno.ENODEV, answered=False)
    with pytest.raises(KernelError, match="no answer arrived"):
        finish(steps, rig.world)
    finish(steps, rig.world)
    finish([SetUp("web", 77, "eth9", old=False, new=True)], rig.world)
    assert [link.name for link in rig.box.links()] == ["lo"]


@pytest.mark.parametrize("on", [True, False])
def test_spans_are_opened_around_their_steps(*, on: bool) -> None:
    """Where the program traces, executing a plan opens each span once, and undoing steps opens the span `rollback`."""
    opened: list[str] = []

    def span(name: str, _: object = None) -> AbstractContextManager[object]:
        opened.append(name)
        return nullcontext()

    rig = furnished()
    draft = Draft(rig.target)
    with draft.span("outer", {"a": "b"}):
        draft.add(UP)
        with draft.span("inner", {}):
            draft.add(UP, UP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netsandbox.telemetry.span", span)
        patch.setattr("netsandbox.telemetry.is_on", lambda: on)
        rig.carry_out(draft.plan("do it", None))
        undo([UP], rig.world)
        undo([], rig.world)
    assert opened == [*(["outer", "inner"] if on else []), "rollback"]


def _deletions(rig: Rig, act: Callable[[Rig], object]) -> list[str]:
    """Return the requests to delete links that an operation sends."""
    before = len(rig.faults.calls)
    act(rig)
    return [call.removeprefix("host: ") for call in rig.faults.calls[before:] if "delete link" in call]


def test_neighboring_veths_are_deleted_in_one_request() -> None:
    """Executing a plan deletes veths in one request unless another step is between them."""
    rig = _with_veths()
    newest = rig.host.link("two")
    assert newest
    assert _deletions(rig, lambda made: made.remove()) == [f"delete link group {0x6E000000 + newest.index}"]
    rig = furnished()
    rig.add(VETHS[0], BRIDGE, VETHS[1])
    assert len(_deletions(rig, lambda made: made.remove())) == 3


def test_failed_group_deletion_names_all_its_commands() -> None:
    """The step of the error is the command of each veth that was to be deleted."""
    rig = _with_veths()
    rig.faults.fail(_calls(_with_veths(), lambda made: made.remove(), "delete link group"), errno.ENOBUFS)
    with pytest.raises(KernelError) as info:
        rig.remove()
    assert info.value.step == "ip link delete dev two && ip link delete dev one"


def test_commit_is_inside_the_one_root_span() -> None:
    """Where all steps share a root span, that span is around the commit too, so that its failure is recorded there."""
    events: list[str] = []

    @contextmanager
    def span(name: str, _: object = None) -> Iterator[None]:
        events.append(name)
        yield
        events.append(f"end of {name}")

    rig = furnished()
    draft = Draft(rig.target)
    with draft.span("AddInterface", {}):
        draft.add(UP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netsandbox.telemetry.span", span)
        patch.setattr("netsandbox.telemetry.is_on", lambda: True)
        execute(draft.plan("do it", None), rig.world, lambda: events.append("commit"))
    assert events == ["AddInterface", "commit", "end of AddInterface"]
