"""Adverts: what can be asked for, whom a link is advertised to, and when the rounds are carried out."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from netsandbox import Advertise, Adverts, InterfaceSpec, KernelError, SpecError
from netsandbox._system import announce, packet
from netsandbox._system.announce import Announcer, Series
from netsandbox.adverts import NEVER, parse_advertise
from netsandbox.netlink.address import DADFAILED, NODAD, PERMANENT, TENTATIVE, Address
from netsandbox.netlink.constants import IFF_LOWER_UP, IFF_UP
from netsandbox.spec import parse_address
from netsandbox.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netsandbox._system.kernel import LinuxKernel

NAN = float("nan")
COUNT = "the count is not a number from 0 to 3"
INTERVAL = "the interval is not from 0.1 to 2 seconds"
LIMIT = 30  # seconds, for what takes none
HERE = cast("LinuxKernel", object())


def problems(value: object) -> list[tuple[str, object, str]]:
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", advertise=cast("int", value))
    return list(info.value.problems)


# --- what can be asked for ---


@pytest.mark.parametrize(
    ("value", "count", "interval"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        ((2, 0.1), 2, 0.1),
        ([1, 2], 1, 2.0),
        ({"count": 1}, 1, 1.0),
        ({"interval": 0.5}, 3, 0.5),
        ({}, 3, 1.0),
        (Advertise(1, 2), 1, 2.0),
    ],
)
def test_a_count_a_pair_a_mapping_or_a_value_is_taken(value: Any, count: int, interval: float) -> None:  # noqa: ANN401
    wish = InterfaceSpec("v0", advertise=value).advertise
    assert (wish, type(wish.interval)) == (Advertise(count, interval), float)


def test_three_times_a_second_apart_is_usual() -> None:
    assert InterfaceSpec("v0").advertise == Advertise() == Advertise(3, 1.0)
    assert NEVER.count == 0


@pytest.mark.parametrize("count", [-1, 4, True, None, "nonsense", "3", 1.0, NAN])
def test_a_count_that_is_none_is_refused(count: object) -> None:  # T30
    assert problems(count) == problems((count, 1)) == [("advertise", count, COUNT)]


@pytest.mark.parametrize("interval", [0.099, 2.001, 0, -1, True, None, "nonsense", NAN, float("inf")])
def test_an_interval_out_of_range_is_refused(interval: object) -> None:  # T30
    assert problems((3, interval)) == problems({"interval": interval}) == [("advertise", interval, INTERVAL)]


def test_both_are_told_at_once_and_with_all_else_that_is_wrong() -> None:
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", advertise=(9, 9), mtu=1)
    found = [(problem.field, problem.value) for problem in info.value.problems]
    assert found == [("mtu", 1), ("advertise", 9), ("advertise", 9)]


@pytest.mark.parametrize("value", [(), (1,), (1, 1.0, 1)])
def test_what_is_no_pair_is_refused(value: object) -> None:
    assert problems(value) == [("advertise", value, "is not a pair of count and interval")]


def test_a_mapping_of_something_else_is_refused() -> None:
    assert problems({"times": 3}) == [("advertise", {"times": 3}, "has keys besides count and interval")]
    with pytest.raises(SpecError):
        parse_advertise({1: 2})


# --- what is said of a link ---


def fake(up: int = IFF_UP | IFF_LOWER_UP, **fields: Any) -> FakeKernel:  # noqa: ANN401
    kernel = FakeKernel()
    kernel.add_link("eth0", index=7, addresses=["10.0.0.2/24", "169.254.1.1/32", "fe80::2/64"], up=True)
    kernel.edit_link(7, flags=up, **fields)
    return kernel


def test_every_address_is_advertised() -> None:  # G3
    told = announce.frames(fake(), 7)
    assert {frame[28:32].hex() for frame in told if len(frame) == 42} == {"0a000002", "a9fe0101"}
    made = "fe80000000000000000000fffe000007"  # by the kernel, when the link came up
    assert {frame[22:38].hex() for frame in told if len(frame) > 42} == {"fe80" + 11 * "00" + "000002", made}
    assert {frame[6:12].hex(":") for frame in told} == {"02:00:00:00:00:07"}


@pytest.mark.parametrize("flag", [TENTATIVE, DADFAILED])
def test_an_address_that_may_be_anothers_is_not_advertised(flag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Address(7, parse_address("fd00::2/64"), flags=NODAD | PERMANENT)
    doubtful = Address(7, parse_address("fd00::3/64"), flags=flag | PERMANENT)
    monkeypatch.setattr(FakeKernel, "addresses", lambda *_: [doubtful, mine])
    assert [frame[22:38] for frame in announce.frames(fake(), 7)] == [mine.interface.ip.packed]
    monkeypatch.setattr(FakeKernel, "addresses", lambda *_: [doubtful])
    with pytest.raises(KernelError, match=r"advertise eth0: EADDRNOTAVAIL .it has no address that is in use"):
        announce.frames(fake(), 7)


def test_of_millions_of_addresses_some_are_advertised(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Address(7, parse_address(f"10.{n >> 8}.{n & 255}.1/32")) for n in range(5000)]
    monkeypatch.setattr(FakeKernel, "addresses", lambda *_: many)
    assert len(announce.frames(fake(), 7)) == announce.FRAMES_MAX


def test_a_link_that_is_gone_or_not_on_a_wire_is_not_advertised() -> None:  # G1
    with pytest.raises(KernelError, match=r"advertise link 9: ENODEV .it is gone"):
        announce.frames(fake(), 9)
    with pytest.raises(KernelError, match=r"advertise eth0: ENETDOWN .it has no carrier"):
        announce.frames(fake(IFF_UP), 7)


@pytest.mark.parametrize(
    ("type_", "mac"), [(32, ":".join(["02"] * 20)), (65534, None), (1, None), (1, "02:00:00:00:00:00:00:01")]
)
def test_only_ethernet_is_advertised(type_: int, mac: str | None) -> None:  # G5
    with pytest.raises(KernelError, match=f"it is no Ethernet link: its link-layer address is {mac}"):
        announce.frames(fake(type=type_, mac=mac), 7)


# --- when ---


class Work:
    """Stands for carrying out rounds: remembers when there was one of which series, and fails as it is told to."""

    def __init__(self, *errors: str | None) -> None:
        self.errors = list(errors)
        self.done: list[tuple[float, Sequence[Series]]] = []
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.go_on.set()

    def __call__(self, several: Sequence[Series]) -> dict[Series, str]:
        self.begun.set()
        assert self.go_on.wait(LIMIT)
        self.done.append((time.monotonic(), several))
        error = self.errors.pop(0) if self.errors else None
        return dict.fromkeys(several, error) if error else {}


def thread(announcer: Announcer) -> threading.Thread:
    found = announcer._thread
    assert found
    return found


def test_rounds_are_carried_out_at_once_and_then_at_intervals_and_the_thread_ends() -> None:
    work = Work()
    announcer = Announcer(work)
    series = Series(HERE, 7, Advertise(3, 0.1))
    assert series.outcome == Adverts(sent=0, due=3)
    announcer.start(series)
    runner = thread(announcer)
    assert runner.name == announce.THREAD
    assert runner.daemon
    assert announcer.wait([series], 3, LIMIT)
    assert series.outcome == Adverts(sent=3, due=0)
    runner.join(LIMIT)
    assert not runner.is_alive()
    assert announcer._thread is None
    first, second, third = (at for at, _ in work.done)
    assert second - first >= 0.1
    assert third - second >= 0.1


def test_a_round_that_failed_does_not_end_the_series() -> None:  # G2
    announcer = Announcer(Work("no carrier", "no buffer"))
    series = Series(HERE, 7, Advertise(3, 0.1))
    announcer.start(series)
    assert announcer.wait([series], 1, LIMIT)
    assert announcer.wait([series], 3, LIMIT)
    assert series.outcome == Adverts(sent=1, due=0, error="no buffer")


def test_whatever_goes_wrong_the_series_goes_on() -> None:
    def broken(_: Sequence[Series]) -> dict[Series, str]:
        raise ValueError("a mistake of ours")

    announcer = Announcer(broken)
    series = Series(HERE, 7, Advertise(2, 0.1))
    announcer.start(series)
    assert announcer.wait([series], 2, LIMIT)
    assert series.outcome == Adverts(sent=0, due=0, error="a mistake of ours")


def test_one_thread_carries_out_all_series() -> None:  # G6
    work = Work()
    work.go_on.clear()
    announcer = Announcer(work)
    several = [Series(cast("LinuxKernel", object()), 7, Advertise(1)) for _ in range(announce.AT_ONCE + 9)]
    announcer.start(several[0])
    runner = thread(announcer)
    assert work.begun.wait(LIMIT)
    for series in several[1:]:
        announcer.start(series)
        assert thread(announcer) is runner
    work.go_on.set()
    assert announcer.wait(several, 1, LIMIT)
    assert [len(batch) for _, batch in work.done] == [1, announce.AT_ONCE, 8]


def test_what_is_stopped_is_not_carried_out_again_and_the_thread_ends_at_once() -> None:
    work = Work()
    announcer = Announcer(work)
    stopped, other = Series(HERE, 7, Advertise(3, 2)), Series(HERE, 8, Advertise(2, 0.1))
    announcer.start(stopped)
    announcer.start(other)
    assert announcer.wait([stopped, other], 1, LIMIT)
    runner = thread(announcer)
    announcer.stop([stopped])
    assert stopped.outcome == Adverts(sent=1, due=0)
    assert announcer.wait([other], 2, LIMIT)
    assert announcer.wait([stopped], 3, 0)
    runner.join(1)
    assert not runner.is_alive()
    assert all(stopped not in batch for _, batch in work.done[2:])


def test_stopping_waits_for_the_round_under_way() -> None:
    work = Work()
    work.go_on.clear()
    announcer = Announcer(work)
    series, other = Series(HERE, 7, Advertise()), Series(HERE, 8, Advertise())
    announcer.start(series)
    assert work.begun.wait(LIMIT)
    announcer.start(other)
    announcer.stop([other])  # waits for nothing
    stopping = threading.Thread(target=announcer.stop, args=([series],))
    stopping.start()
    assert stopping.is_alive()
    work.go_on.set()
    stopping.join(LIMIT)
    assert len(work.done) == 1
    assert series.outcome == Adverts(sent=1, due=0)


def test_a_round_may_stop_a_series_itself() -> None:
    """A Sandbox that nobody holds any more may be collected, and so closed, on any thread."""

    def collect(several: Sequence[Series]) -> dict[Series, str]:
        announcer.stop(several)
        return {}

    announcer = Announcer(collect)
    series = Series(HERE, 7, Advertise())
    announcer.start(series)
    assert announcer.wait([series], 3, LIMIT)
    assert series.outcome.due == 0


def test_the_thread_has_ended_before_the_interpreter_does() -> None:
    work = Work()
    announcer = Announcer(work)
    announcer.end()
    series = Series(HERE, 7, Advertise(3, 2))
    announcer.start(series)
    runner = thread(announcer)
    announcer.end()
    assert not runner.is_alive()
    assert series.outcome.due == 0


def test_waiting_has_a_limit() -> None:
    work = Work()
    announcer = Announcer(work)
    series = Series(HERE, 7, Advertise(2, 2))
    announcer.start(series)
    assert announcer.wait([series], 1, LIMIT)
    assert not announcer.wait([series], 2, 0)
    announcer.stop([series])


@pytest.mark.parametrize("limit", [1e12, float("inf")])
def test_waiting_may_have_any_limit(limit: float) -> None:
    announcer = Announcer(Work())
    series = Series(HERE, 7, Advertise(2, 0.1))
    announcer.start(series)
    assert announcer.wait([series], 2, limit)


def test_a_thread_that_cannot_be_started_is_told_in_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    announcer = Announcer(Work())
    series = Series(HERE, 7, Advertise())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        announcer.start(series)
    assert series.outcome == Adverts(sent=0, due=0, error="can't start new thread")
    again = Series(HERE, 7, Advertise(1))
    announcer.start(again)
    assert announcer.wait([again], 1, LIMIT)
    assert again.outcome == Adverts(sent=1, due=0)


def test_a_forked_process_begins_anew() -> None:
    work = Work()
    announcer = Announcer(work)
    later, running = Series(HERE, 7, Advertise(3, 2)), Series(HERE, 8, Advertise())
    announcer.start(later)
    assert announcer.wait([later], 1, LIMIT)
    work.begun.clear()
    work.go_on.clear()
    announcer.start(running)
    assert work.begun.wait(LIMIT)
    runner, parent = thread(announcer), announcer._changed
    announcer.forget()  # as the child does, in which the thread is not there
    assert announcer._changed is not parent
    assert (later.outcome.due, running.outcome.due) == (0, 0)
    assert announcer.wait([later, running], 3, 0)
    work.go_on.set()
    runner.join(LIMIT)
    assert announcer._thread is None


class Closable:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("start", [threading.Thread.start, no_thread])
def test_sockets_are_closed_even_where_no_thread_can_be_started(
    start: Callable[[threading.Thread], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", start)
    sockets = [Closable() for _ in range(3)]
    packet.close_all(cast("list[packet.PacketSocket]", sockets))
    assert all(item.closed.is_set() for item in sockets)
