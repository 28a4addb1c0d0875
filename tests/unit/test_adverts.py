"""Adverts: valid options, the frames of a link, and when the rounds are sent."""

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
    import socket
    from collections.abc import Callable, Sequence

    from netsandbox._system.kernel import LinuxKernel

NAN = float("nan")
COUNT = "the count is not a number from 0 to 3"
INTERVAL = "the interval is not from 0.1 to 2 seconds"
LIMIT = 30  # seconds; what is waited for takes almost no time
HERE = cast("LinuxKernel", object())


def problems(value: object) -> list[tuple[str, object, str]]:
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", advertise=cast("int", value))
    return list(info.value.problems)


# --- options ---


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
def test_advertise_accepts_count_pair_mapping_or_value(value: Any, count: int, interval: float) -> None:  # noqa: ANN401
    """The option `advertise` accepts a count, a pair, a mapping or an Advertise value."""
    wish = InterfaceSpec("v0", advertise=value).advertise
    assert (wish, type(wish.interval)) == (Advertise(count, interval), float)


def test_default_is_three_adverts_one_second_apart() -> None:
    """The default is three adverts, one second apart; NEVER has the count 0."""
    assert InterfaceSpec("v0").advertise == Advertise() == Advertise(3, 1.0)
    assert NEVER.count == 0


@pytest.mark.parametrize("count", [-1, 4, True, None, "nonsense", "3", 1.0, NAN])
def test_invalid_advert_count_is_refused(count: object) -> None:
    """A count that is not an integer from 0 to 3 raises SpecError."""
    assert problems(count) == problems((count, 1)) == [("advertise", count, COUNT)]


@pytest.mark.parametrize("interval", [0.099, 2.001, 0, -1, True, None, "nonsense", NAN, float("inf")])
def test_invalid_advert_interval_is_refused(interval: object) -> None:
    """An interval that is not a number from 0.1 to 2 seconds raises SpecError."""
    assert problems((3, interval)) == problems({"interval": interval}) == [("advertise", interval, INTERVAL)]


def test_all_advert_problems_are_reported_at_once() -> None:
    """One SpecError reports an invalid count, an invalid interval and the problems of other fields."""
    with pytest.raises(SpecError) as info:
        InterfaceSpec("v0", advertise=(9, 9), mtu=1)
    found = [(problem.field, problem.value) for problem in info.value.problems]
    assert found == [("mtu", 1), ("advertise", 9), ("advertise", 9)]


@pytest.mark.parametrize("value", [(), (1,), (1, 1.0, 1)])
def test_advertise_sequence_of_wrong_length_is_refused(value: object) -> None:
    """An `advertise` sequence that does not have exactly two items raises SpecError."""
    assert problems(value) == [("advertise", value, "is not a pair of count and interval")]


def test_advertise_mapping_with_unknown_keys_is_refused() -> None:
    """An `advertise` mapping with keys other than count and interval raises SpecError."""
    assert problems({"times": 3}) == [("advertise", {"times": 3}, "has keys besides count and interval")]
    with pytest.raises(SpecError):
        parse_advertise({1: 2})


# --- frames ---


def fake(up: int = IFF_UP | IFF_LOWER_UP, **fields: Any) -> FakeKernel:  # noqa: ANN401
    kernel = FakeKernel()
    kernel.add_link("eth0", index=7, addresses=["10.0.0.2/24", "169.254.1.1/32", "fe80::2/64"], up=True)
    kernel.edit_link(7, flags=up, **fields)
    return kernel


def test_every_address_is_advertised() -> None:
    """The frames advertise every address of the link, including the link-local one that the kernel makes."""
    told = announce.frames(fake(), 7)
    assert {frame[28:32].hex() for frame in told if len(frame) == 42} == {"0a000002", "a9fe0101"}
    made = "fe80000000000000000000fffe000007"  # the address that the kernel makes when the link comes up
    assert {frame[22:38].hex() for frame in told if len(frame) > 42} == {"fe80" + 11 * "00" + "000002", made}
    assert {frame[6:12].hex(":") for frame in told} == {"02:00:00:00:00:07"}


@pytest.mark.parametrize("flag", [TENTATIVE, DADFAILED])
def test_tentative_or_duplicate_address_is_not_advertised(flag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is tentative or that failed duplicate address detection is not advertised."""
    mine = Address(7, parse_address("fd00::2/64"), flags=NODAD | PERMANENT)
    doubtful = Address(7, parse_address("fd00::3/64"), flags=flag | PERMANENT)
    monkeypatch.setattr(FakeKernel, "addresses", lambda *_: [doubtful, mine])
    assert [frame[22:38] for frame in announce.frames(fake(), 7)] == [mine.interface.ip.packed]
    monkeypatch.setattr(FakeKernel, "addresses", lambda *_: [doubtful])
    with pytest.raises(KernelError, match=r"advertise eth0: EADDRNOTAVAIL .it has no address that is in use"):
        announce.frames(fake(), 7)


def test_number_of_advertised_addresses_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link with more than FRAMES_MAX addresses is advertised with FRAMES_MAX frames."""
    many = [Address(7, parse_address(f"10.{n >> 8}.{n & 255}.1/32")) for n in range(5000)]
    monkeypatch.setattr(FakeKernel, "addresses", lambda *_: many)
    assert len(announce.frames(fake(), 7)) == announce.FRAMES_MAX


def test_missing_link_or_no_carrier_is_not_advertised() -> None:
    """Advertising a link that does not exist or has no carrier raises KernelError."""
    with pytest.raises(KernelError, match=r"advertise link 9: ENODEV .it is gone"):
        announce.frames(fake(), 9)
    with pytest.raises(KernelError, match=r"advertise eth0: ENETDOWN .it has no carrier"):
        announce.frames(fake(IFF_UP), 7)


@pytest.mark.parametrize(
    ("type_", "mac"), [(32, ":".join(["02"] * 20)), (65534, None), (1, None), (1, "02:00:00:00:00:00:00:01")]
)
def test_only_ethernet_is_advertised(type_: int, mac: str | None) -> None:
    """Advertising a link that is not Ethernet, or has no MAC of six bytes, raises KernelError."""
    reason = f"its link-layer address is {mac}" if mac else "it has no link-layer address"
    with pytest.raises(KernelError, match=f"it is no Ethernet link: {reason}"):
        announce.frames(fake(type=type_, mac=mac), 7)


# --- rounds and their thread ---


class Work:
    """Replaces the sending of rounds: records the time and the series of each, and fails with the given errors."""

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


def test_rounds_start_at_once_and_repeat_at_the_interval() -> None:
    """The first round starts at once, the others follow at the interval, and then the thread ends."""
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


def test_failed_round_does_not_end_the_series() -> None:
    """A round that fails does not end the series, and the outcome has the error of the last failed round."""
    announcer = Announcer(Work("no carrier", "no buffer"))
    series = Series(HERE, 7, Advertise(3, 0.1))
    announcer.start(series)
    assert announcer.wait([series], 1, LIMIT)
    assert announcer.wait([series], 3, LIMIT)
    assert series.outcome == Adverts(sent=1, due=0, error="no buffer")


def test_unexpected_exception_does_not_end_the_series() -> None:
    """An unexpected exception in a round is recorded in the outcome and does not end the series."""

    def broken(_: Sequence[Series]) -> dict[Series, str]:
        raise ValueError("a mistake of ours")

    announcer = Announcer(broken)
    series = Series(HERE, 7, Advertise(2, 0.1))
    announcer.start(series)
    assert announcer.wait([series], 2, LIMIT)
    assert series.outcome == Adverts(sent=0, due=0, error="a mistake of ours")


def test_one_thread_sends_the_rounds_of_all_series() -> None:
    """One thread carries out the rounds of all series, in batches of at most AT_ONCE."""
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


def test_stopped_series_gets_no_further_rounds() -> None:
    """A stopped series gets no further rounds, and the thread ends once no other series is left."""
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


def test_stopping_waits_for_the_round_in_progress() -> None:
    """Stopping a series waits for its own round in progress, but not for a round of another series."""
    work = Work()
    work.go_on.clear()
    announcer = Announcer(work)
    series, other = Series(HERE, 7, Advertise()), Series(HERE, 8, Advertise())
    announcer.start(series)
    assert work.begun.wait(LIMIT)
    announcer.start(other)
    announcer.stop([other])  # returns at once: no round of it is in progress
    stopping = threading.Thread(target=announcer.stop, args=([series],))
    stopping.start()
    assert stopping.is_alive()
    work.go_on.set()
    stopping.join(LIMIT)
    assert len(work.done) == 1
    assert series.outcome == Adverts(sent=1, due=0)


def test_a_round_may_stop_its_own_series() -> None:
    """A round may stop its own series: a Sandbox may be garbage-collected, and so closed, on any thread."""

    def collect(several: Sequence[Series]) -> dict[Series, str]:
        announcer.stop(several)
        return {}

    announcer = Announcer(collect)
    series = Series(HERE, 7, Advertise())
    announcer.start(series)
    assert announcer.wait([series], 3, LIMIT)
    assert series.outcome.due == 0


def test_end_stops_the_thread() -> None:
    """Announcer.end(), which runs when the interpreter exits, drops all series and waits for the thread."""
    work = Work()
    announcer = Announcer(work)
    announcer.end()
    series = Series(HERE, 7, Advertise(3, 2))
    announcer.start(series)
    runner = thread(announcer)
    announcer.end()
    assert not runner.is_alive()
    assert series.outcome.due == 0


def test_wait_returns_false_after_the_limit() -> None:
    """Waiting for a round returns False when the limit has passed."""
    work = Work()
    announcer = Announcer(work)
    series = Series(HERE, 7, Advertise(2, 2))
    announcer.start(series)
    assert announcer.wait([series], 1, LIMIT)
    assert not announcer.wait([series], 2, 0)
    announcer.stop([series])


@pytest.mark.parametrize("limit", [1e12, float("inf")])
def test_wait_accepts_a_very_large_or_infinite_limit(limit: float) -> None:
    announcer = Announcer(Work())
    series = Series(HERE, 7, Advertise(2, 0.1))
    announcer.start(series)
    assert announcer.wait([series], 2, limit)


def test_failure_to_start_the_thread_is_in_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the thread cannot be started, the outcome has the error, and the next series tries again."""
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


def test_forked_child_drops_the_series_of_the_parent() -> None:
    """A forked child drops the thread, the condition and all series of its parent."""
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
    announcer.forget()  # as a forked child does, in which the thread does not exist
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
def test_sockets_are_closed_even_without_a_thread(
    start: Callable[[threading.Thread], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packet sockets are closed even if no thread can be started to close them."""
    monkeypatch.setattr(threading.Thread, "start", start)
    sockets = [Closable() for _ in range(3)]
    packet.close_all(cast("list[socket.socket]", sockets))
    assert all(item.closed.is_set() for item in sockets)
