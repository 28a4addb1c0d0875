"""The fault injector itself: which call it hits, what it counts, how a run ends."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.faults import Switch

# glibc's open() calls openat, and its clone() needs a stack: these names cannot be called directly.
_CALLED_BY_NAME = sorted(
    name for name, number in faults.NUMBERS.items() if number is not None and name not in {"open", "clone", "clone3"}
)


def errno_of(call: Callable[[], object]) -> int:
    """Return the errno with which *call* failed, 0 for success."""
    try:
        call()
    except OSError as error:
        return error.errno or -1
    return 0


def write_nothing() -> int:
    return os.write(1, b"")


def open_files() -> list[str]:
    return sorted(file.name for file in Path("/proc/self/fd").iterdir())


def write_three_times(arm: Switch, disarm: Switch) -> list[int]:
    arm()
    answers = [errno_of(write_nothing) for _ in range(3)]
    disarm()
    return answers


@pytest.mark.parametrize("n", range(1, 7))
def test_only_the_nth_call_of_all_threads_fails(n: int) -> None:
    def program(arm: Switch, disarm: Switch) -> list[int]:
        ours, _theirs = socket.socketpair()
        answers: list[int] = []

        def send() -> None:
            answers.append(errno_of(lambda: ours.send(b"x")))

        arm()
        for _ in range(3):
            send()
            thread = threading.Thread(target=send)
            thread.start()
            thread.join()
        disarm()
        return answers

    outcome = faults.run(program, "sendto", n=n, fault=errno.ENOBUFS)
    assert outcome.value == [errno.ENOBUFS if i == n else 0 for i in range(1, 7)]
    assert outcome.calls == {"sendto": 6}
    assert (outcome.end, outcome.status, outcome.hit) == ("returned", 0, True)


def test_one_call_of_concurrent_threads_fails() -> None:
    def program(arm: Switch, disarm: Switch) -> int:
        barrier = threading.Barrier(4)
        answers: list[int] = []

        def write() -> None:
            barrier.wait()
            answers.extend(errno_of(write_nothing) for _ in range(25))

        threads = [threading.Thread(target=write) for _ in range(4)]
        arm()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        disarm()
        return answers.count(errno.EIO)

    outcome = faults.run(program, "write", n=57, fault=errno.EIO)
    assert (outcome.value, outcome.calls) == (1, {"write": 100})


@pytest.mark.parametrize("name", _CALLED_BY_NAME)
def test_a_system_call_number_matches_its_name(name: str) -> None:
    def program(arm: Switch, disarm: Switch) -> int:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
        arm()
        function(-1, 0, 0, 0, 1, 0)  # renameat2 without flags (its fifth argument) is renameat to glibc
        disarm()
        return ctypes.get_errno()

    outcome = faults.run(program, faults.NUMBERS, n=1, fault=errno.EL2NSYNC)  # no call fails so by itself
    assert outcome.value == errno.EL2NSYNC
    assert {name for name, calls in outcome.calls.items() if calls} == {name}


def test_a_thread_can_fail_to_start() -> None:
    def program(arm: Switch, _disarm: Switch) -> None:
        arm()
        threading.Thread(target=write_nothing).start()

    outcome = faults.run(program, {"clone", "clone3"}, n=1, fault=errno.EAGAIN)
    assert outcome.error == "RuntimeError: can't start new thread"


def test_names_are_counted_together_to_find_the_nth(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()

    def program(arm: Switch, _disarm: Switch) -> None:
        arm()
        old.rename(new)
        new.unlink()

    outcome = faults.run(program, {"rename", "renameat", "unlink", "unlinkat"}, n=2, fault=errno.EROFS)
    assert outcome.error == f"OSError: [Errno 30] Read-only file system: '{new}'"
    assert new.exists()


def test_calls_are_counted_by_name(tmp_path: Path) -> None:
    """Calls are counted by name, and a name without a call is counted as 0."""

    def program(arm: Switch, disarm: Switch) -> None:
        arm()
        file = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"1")
        os.pwrite(file, b"2", 1)
        os.write(file, b"3")
        disarm()

    assert faults.count(program, {"openat", "write", "pwrite64", "setns"}) == {
        "openat": 1,
        "pwrite64": 1,
        "setns": 0,
        "write": 2,
    }


def test_a_signal_does_not_make_a_call_count_twice() -> None:
    def program(arm: Switch, disarm: Switch) -> None:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        arm()
        for _ in range(1000):
            write_nothing()
        disarm()

    assert faults.count(program, "write") == {"write": 1000}


def test_calls_outside_arm_and_disarm_are_not_counted() -> None:
    def program(arm: Switch, disarm: Switch) -> list[int]:
        before = errno_of(write_nothing)
        inside = write_three_times(arm, disarm)
        between = errno_of(write_nothing)
        inside += write_three_times(arm, disarm)
        return [before, *inside, between, errno_of(write_nothing)]

    outcome = faults.run(program, "write", n=4, fault=errno.EIO)
    assert outcome.value == [0, 0, 0, 0, errno.EIO, 0, 0, 0, 0]
    assert outcome.calls == {"write": 6}


def test_calls_of_a_child_process_are_not_counted() -> None:
    def program(arm: Switch, disarm: Switch) -> list[int]:
        arm()
        other = os.fork()
        if other == 0:
            os._exit(any(errno_of(write_nothing) for _ in range(5)))
        status = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
        own = errno_of(write_nothing)
        disarm()
        return [status, own]

    outcome = faults.run(program, "write", n=1, fault=errno.EIO)
    assert (outcome.value, outcome.calls) == ([0, errno.EIO], {"write": 1})


def test_nothing_is_hit_beyond_the_last_call() -> None:
    outcome = faults.run(write_three_times, "write", n=4, fault=errno.EIO)
    assert (outcome.hit, outcome.calls, outcome.value) == (False, {"write": 3}, [0, 0, 0])


def test_a_kill_precedes_the_call() -> None:
    reader, writer = os.pipe()

    def program(arm: Switch, _disarm: Switch) -> None:
        arm()
        for text in (b"1", b"2", b"3"):
            os.write(writer, text)

    outcome = faults.run(program, "write", n=2, fault=signal.SIGKILL)
    os.close(writer)
    assert (outcome.end, outcome.status, outcome.hit) == ("died", -signal.SIGKILL, True)
    assert os.read(reader, 9) == b"1"
    os.close(reader)


def test_ebadf_is_not_taken_for_sigkill() -> None:
    """EBADF, which has the same number as SIGKILL, fails the call and kills no process."""
    assert errno.EBADF == signal.SIGKILL
    outcome = faults.run(write_three_times, "write", n=2, fault=errno.EBADF)
    assert (outcome.end, outcome.value) == ("returned", [0, errno.EBADF, 0])


def write_and_stay_armed(arm: Switch, _disarm: Switch) -> int:
    arm()
    return write_nothing()


def test_reporting_an_exception_is_not_counted() -> None:
    """The write that reports an exception is not counted."""
    outcome = faults.run(write_and_stay_armed, "write", n=1, fault=errno.ENOSPC)
    assert (outcome.end, outcome.error) == ("raised", "OSError: [Errno 28] No space left on device")
    assert outcome.calls == {"write": 1}


def test_reporting_a_value_is_not_counted() -> None:
    """The write that reports the return value is not counted."""
    outcome = faults.run(write_and_stay_armed, "write", n=2, fault=errno.ENOSPC)
    assert (outcome.end, outcome.value, outcome.calls) == ("returned", 0, {"write": 1})


def test_os_exit_counts_as_died() -> None:
    outcome = faults.run(lambda *_: os._exit(7), "write", n=1, fault=errno.EIO)
    assert (outcome.end, outcome.status) == ("died", 7)


def test_system_exit_counts_as_raised() -> None:
    outcome = faults.run(lambda *_: exec("raise SystemExit(3)"), "write", n=1, fault=errno.EIO)  # noqa: S102
    assert (outcome.end, outcome.error) == ("raised", "SystemExit: 3")


def wait_in_a_traced_call(arm: Switch, _disarm: Switch) -> None:
    ours, _theirs = socket.socketpair()
    arm()
    ours.recv(1)


def call_without_end(arm: Switch, _disarm: Switch) -> None:
    arm()
    while True:
        write_nothing()


@pytest.mark.parametrize("program", [wait_in_a_traced_call, call_without_end])
def test_a_program_that_hangs_is_killed(program: faults.Program) -> None:
    outcome = faults.run(program, {"recvfrom", "write"}, n=10**9, fault=errno.EIO, limit=0.1)
    assert (outcome.end, outcome.status) == ("timed out", -signal.SIGKILL)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_process_left_behind_is_killed() -> None:
    reader, writer = os.pipe()

    def program(_arm: Switch, _disarm: Switch) -> None:
        if os.fork() == 0:
            signal.pause()

    assert faults.run(program, "write", n=1, fault=errno.EIO).end == "returned"
    os.close(writer)
    assert os.read(reader, 1) == b""  # returns when the last writer has ended
    os.close(reader)


def test_a_run_leaves_no_file_open() -> None:
    before = open_files()
    faults.run(write_three_times, "write", n=2, fault=signal.SIGKILL)
    faults.run(write_three_times, "write", n=2, fault=errno.EIO)
    assert open_files() == before


def test_the_child_opens_only_its_report_and_the_stream() -> None:
    def program(_arm: Switch, _disarm: Switch) -> int:
        return len(open_files())

    before = len(open_files())
    assert faults.run(program, "write", n=1, fault=errno.EIO).value == before + 2


def test_counting_a_failing_program_raises() -> None:
    def program(_arm: Switch, _disarm: Switch) -> None:
        raise LookupError("nothing here")

    with pytest.raises(RuntimeError, match=r"^the program did not return: Outcome\(.*'LookupError: nothing here'\)$"):
        faults.count(program, "write")


def test_an_unknown_system_call_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^no system call number is known for getpid, wirte$"):
        faults.count(write_three_times, {"write", "wirte", "getpid"})


def test_n_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^calls are counted from 1, not from 0$"):
        faults.run(write_three_times, "write", n=0, fault=errno.EIO)


def test_failure_to_install_the_filter_is_reported() -> None:
    # A process can have one listener only: EBUSY, seccomp(2).
    outcome = faults.run(lambda *_: faults.count(write_three_times, "write"), "write", n=1, fault=errno.EIO)
    assert outcome.error == "OSError: [Errno 16] install the seccomp filter: Device or resource busy"
