"""Make the n-th system call of a program fail, or kill the program there.

A *program* is a Python function. It runs in a forked child under a seccomp filter that stops every traced call and asks
this process, the supervisor, what to do: let the call continue, fail it with an errno, or kill the child meanwhile.
All threads ask the one supervisor, so "the n-th call" is exact for the whole process.

Only calls between the program's `arm()` and `disarm()` count. Each is one store to memory that the child shares with
the supervisor: no system call, whatever is traced. All the threads of the operation should have ended at `disarm()`.

    def program(arm: Switch, disarm: Switch) -> str:
        sandbox = prepare()
        arm()
        sandbox.operate()
        disarm()
        return sandbox.state()

    for n in range(1, faults.count(program, "sendto")["sendto"] + 1):
        outcome = faults.run(program, "sendto", n=n, fault=errno.ENOBUFS)

A call that is made to fail, or at which the child is killed, is not executed. To execute a netlink request and lose its
answer, fail the recvfrom or recvmsg after it: the kernel executes a request before sendto returns.

Sources: seccomp(2), seccomp_unotify(2), include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pickle
import platform
import select
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Literal, NoReturn

Switch = Callable[[], None]
Program = Callable[[Switch, Switch], object]
Syscalls = str | Collection[str]
End = Literal["returned", "raised", "died", "timed out"]

# Name, number on x86_64 and on aarch64, which never had the calls that an …at() call replaces:
# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_TABLE = """
    bind       49 200    clone      56 220    clone3    435 435    close       3  57    connect    42 203
    fdatasync  75  83    flock      73  32    fsync      74  82    ftruncate  77  46    ioctl      16  29
    link       86   -    linkat    265  37    mkdir      83   -    mkdirat   258  34    mount     165  40
    open        2   -    openat    257  56    pread64    17  67    pwrite64   18  68    read        0  63
    recvfrom   45 207    recvmsg    47 212    rename     82   -    renameat  264  38    renameat2 316 276
    rmdir      84   -    sendmsg    46 211    sendto     44 206    setns     308 268    socket     41 198
    umount2   166  39    unlink     87   -    unlinkat  263  35    unshare   272  97    write       1  64
"""
_WORDS = _TABLE.split()
_ARCH = ("x86_64", "aarch64").index(platform.machine())
NUMBERS = {
    name: None if number == "-" else int(number)
    for name, number in zip(_WORDS[::3], _WORDS[_ARCH + 1 :: 3], strict=True)
}
"""The system calls that can be traced, and their numbers: None for one that this architecture lacks."""

_SYS_SECCOMP, _SYS_PIDFD_GETFD = (317, 277)[_ARCH], 438
_AUDIT_ARCH = (0xC000003E, 0xC00000B7)[_ARCH]  # include/uapi/linux/audit.h
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

# include/uapi/linux/seccomp.h. WAIT_KILLABLE_RECV (Linux 5.19): without it a signal restarts a call that we have
# received already, and the call would be counted twice.
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE_RECV = 1, 1 << 3, 1 << 5
_RET_USER_NOTIF, _RET_ALLOW = 0x7FC00000, 0x7FFF0000
_FLAG_CONTINUE = 1
_NOTIF = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif: id, pid (of the thread), flags, data.nr, the rest of data
_RESPONSE = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_IOCTL_SET_FLAGS, _SYNC_WAKE_UP = 0x40082104, 1
_IOCTL_RECV, _IOCTL_SEND = 0xC0002100 | _NOTIF.size << 16, 0xC0002101 | _RESPONSE.size << 16

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, operand
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_OFFSET_NR, _OFFSET_ARCH = 0, 4  # struct seccomp_data

# The memory shared with the child: whether it is armed, and where its listener is (or minus an errno).
_ARMED = 0
_LISTENER = struct.Struct("=4xi")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a program.

    Attributes:
        calls: The armed calls of each traced name, the failed one included.
        hit: Whether there was an n-th call, and so a fault.
        end: How the program ended; "died" means a signal, or an exit without a report.
        status: Exit status of the child, or minus the signal that ended it.
        value: What the program returned.
        error: What it raised: type and text, as at the end of a traceback.
    """

    calls: dict[str, int]
    hit: bool
    end: End
    status: int
    value: object = None
    error: str = ""


def count(program: Program, syscalls: Syscalls, *, limit: float = 10) -> dict[str, int]:
    """Return how many of each of *syscalls* the program makes while armed.

    Raises:
        RuntimeError: The program did not return, or not within *limit* seconds.
    """
    outcome = _run(program, syscalls, n=0, fault=0, limit=limit)
    if outcome.end != "returned":
        raise RuntimeError(f"the program did not return: {outcome}")
    return outcome.calls


def run(program: Program, syscalls: Syscalls, *, n: int, fault: int, limit: float = 10) -> Outcome:
    """Run the program in a child, where its *n*-th armed call of any of *syscalls* fails.

    Call it from a process with one thread. Calls of processes that the program starts neither count nor fail; those
    still running when the program ends are killed.

    Args:
        program: What to run; what it returns is pickled.
        syscalls: One name or several, counted together: os.rename() is rename on x86_64, renameat on aarch64.
        n: Which call, from 1.
        fault: An errno for that call, or signal.SIGKILL to kill the child before the call happens.
        limit: Seconds after which the child is killed, so that nothing hangs.

    Raises:
        ValueError: *n* is not positive, or a name is not in NUMBERS.
        OSError: The filter could not be installed.
    """
    if n < 1:
        raise ValueError(f"calls are counted from 1, not from {n}")
    return _run(program, syscalls, n=n, fault=fault, limit=limit)


def _run(program: Program, syscalls: Syscalls, *, n: int, fault: int, limit: float) -> Outcome:
    """Implement run(); *n* = 0 injects no fault."""
    names = sorted({syscalls} if isinstance(syscalls, str) else syscalls)
    if unknown := [name for name in names if name not in NUMBERS]:
        raise ValueError(f"no system call number is known for {', '.join(unknown)}")
    traced = {number: name for name in names if (number := NUMBERS[name]) is not None}
    deadline = time.monotonic() + limit
    with ExitStack() as stack:
        shared = stack.enter_context(mmap.mmap(-1, mmap.PAGESIZE))
        # A file in memory, not a pipe: it never fills up, and no process that outlives the child holds it open.
        report = os.memfd_create("report")
        stack.callback(os.close, report)
        ours, theirs = map(stack.enter_context, socket.socketpair())
        child = os.fork()
        if child == 0:
            ours.close()
            _be_child(program, list(traced), shared, report, theirs)
        os.setpgid(child, child)  # so that processes it starts can be killed with it
        theirs.close()
        supervisor = _Supervisor(child, shared, traced, dict.fromkeys(names, 0), n, fault)
        try:
            in_time = supervisor.watch(stack, ours, deadline=deadline)
        finally:
            os.killpg(child, signal.SIGKILL)  # before waitpid: until then the PID is not reused
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        message = os.pread(report, os.fstat(report).st_size, 0)
    silent: tuple[End, object, str] = ("died" if in_time else "timed out", None, "")
    end, value, error = pickle.loads(message) if in_time and message else silent  # noqa: S301  our own child wrote it
    hit = 0 < n <= sum(supervisor.calls.values())
    return Outcome(calls=supervisor.calls, hit=hit, end=end, status=status, value=value, error=error)


@dataclass(slots=True)
class _Supervisor:
    """Counts the child's armed calls, and answers every call that stops at the filter."""

    child: int
    shared: mmap.mmap
    traced: dict[int, str]
    calls: dict[str, int]
    n: int
    fault: int

    def watch(self, stack: ExitStack, ours: socket.socket, *, deadline: float) -> bool:
        """Answer until the child has ended; return whether that was before the deadline.

        The *stack* is to be closed after the child is killed: with no listener, its calls would fail with ENOSYS.
        """
        pidfd = os.pidfd_open(self.child)
        stack.callback(os.close, pidfd)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(ours, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            for fd, event in poller.poll(left * 1000):
                if fd == pidfd:
                    return True
                if fd == ours.fileno():
                    poller.unregister(fd)
                    listener = _take_listener(pidfd, self.shared)
                    stack.callback(os.close, listener)
                    poller.register(listener, select.POLLIN)
                    ours.close()
                # Without POLLIN it is POLLHUP: the last thread under the filter has ended.
                elif not event & select.POLLIN or not self._answer(fd):
                    poller.unregister(fd)
        return False

    def _answer(self, listener: int) -> bool:
        """Answer the waiting call; return whether to continue."""
        with suppress(FileNotFoundError):  # ENOENT: the thread was killed while it waited
            notif = fcntl.ioctl(listener, _IOCTL_RECV, bytes(_NOTIF.size))
            call, thread, _, number, *_ = _NOTIF.unpack(notif)
            if not self._is_due(thread, self.traced[number]):
                response = _RESPONSE.pack(call, 0, 0, _FLAG_CONTINUE)
            elif self.fault is signal.SIGKILL:  # errno.EBADF == signal.SIGKILL
                os.kill(self.child, signal.SIGKILL)
                return False  # a thread that is being killed could still use an answer
            else:
                response = _RESPONSE.pack(call, 0, -self.fault, 0)
            fcntl.ioctl(listener, _IOCTL_SEND, response)
        return True

    def _is_due(self, thread: int, name: str) -> bool:
        """Count the call if it is armed and the child's own; return whether it is the n-th."""
        # A process that the child has started is under the filter too, but is not one of the child's threads.
        is_ours = thread == self.child or os.path.exists(f"/proc/{self.child}/task/{thread}")  # noqa: PTH110  speed
        if not (self.shared[_ARMED] and is_ours):
            return False
        self.calls[name] += 1
        return sum(self.calls.values()) == self.n


def _take_listener(pidfd: int, shared: mmap.mmap) -> int:
    """Duplicate the child's listener into this process."""
    (theirs,) = _LISTENER.unpack_from(shared)
    if theirs <= 0:
        raise OSError(-theirs, f"install the seccomp filter: {os.strerror(-theirs)}")
    listener: int = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, theirs, 0)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "take the seccomp listener from the child")
    # Both processes then alternate on one processor: 15 instead of 130 microseconds for a traced call.
    with suppress(OSError):  # only an optimization, and only since Linux 6.6
        fcntl.ioctl(listener, _IOCTL_SET_FLAGS, _SYNC_WAKE_UP)
    return listener


def _be_child(program: Program, traced: list[int], shared: mmap.mmap, report: int, theirs: socket.socket) -> NoReturn:
    """Install the filter, wait for the supervisor, run the program, report, exit."""
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no supervisor, no answers: ENOSYS for every traced call
        listener = _install_filter(traced)
        # Until the supervisor answers, no call may be traced; sending the listener would be one if sendmsg is traced.
        # So the child stores its number, and shuts down its side of the stream. The supervisor shuts down the other.
        shared[: _LISTENER.size] = _LISTENER.pack(listener)
        theirs.shutdown(socket.SHUT_WR)
        theirs.recv(1)
        os.close(listener)
        os.write(report, _run_and_tell(program, shared))
        os._exit(0)
    finally:
        os._exit(1)  # in any case, this process must not continue as a second test run


def _run_and_tell(program: Program, shared: mmap.mmap) -> bytes:
    """Run the program; pickle how it ended, its return value and its exception."""

    def arm() -> None:
        shared[_ARMED] = 1

    def disarm() -> None:
        shared[_ARMED] = 0

    try:
        value = program(arm, disarm)
        disarm()
        return pickle.dumps(("returned", value, ""))
    except BaseException as error:  # noqa: BLE001  SystemExit is an outcome like any other
        disarm()
        return pickle.dumps(("raised", None, "".join(traceback.format_exception_only(error)).rstrip()))


def _install_filter(traced: list[int]) -> int:
    """Put this thread and its future children under the filter; return the listener, or minus an errno."""
    to_allow = len(traced)  # the instructions between the first comparison and the end of them all
    code = [
        _INSTRUCTION.pack(_LOAD, 0, 0, _OFFSET_ARCH),
        _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, to_allow + 1, _AUDIT_ARCH),
        _INSTRUCTION.pack(_LOAD, 0, 0, _OFFSET_NR),
        *(_INSTRUCTION.pack(_JUMP_IF_EQUAL, to_allow - i, 0, number) for i, number in enumerate(traced)),
        _INSTRUCTION.pack(_RETURN, 0, 0, _RET_ALLOW),
        _INSTRUCTION.pack(_RETURN, 0, 0, _RET_USER_NOTIF),
    ]
    instructions = ctypes.create_string_buffer(b"".join(code))
    program = struct.pack("@HP", len(code), ctypes.addressof(instructions))  # struct sock_fprog
    flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV
    listener: int = _libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, flags, program)
    return -ctypes.get_errno() if listener < 0 else listener
