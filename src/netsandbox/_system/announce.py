"""Unsolicited ARP and Neighbor Advertisements, sent in the background.

The adverts of one interface are a `Series` of rounds. One thread carries out the rounds of all series of the process;
it ends when no round is due. It uses descriptors of its own and closes them after each round (docs/kernel-facts.md,
"A socket keeps its namespace alive"). It takes no lock of a sandbox: closing a sandbox waits for one round at most, and
a process that is forked during a round inherits no such lock.

A failure is kept in the outcome of its series, and the next round is sent nevertheless (docs/contract.md, "Adverts
never fail anything").
"""

import atexit
import errno
import heapq
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from netsandbox._frames import MAC_SIZE, advert
from netsandbox._kernel import Kernel
from netsandbox._system import libc, namespace, packet
from netsandbox._system.kernel import LinuxKernel
from netsandbox.adverts import Advertise, Adverts
from netsandbox.errors import KernelError, NetSandboxError
from netsandbox.netlink import attrs
from netsandbox.netlink.address import DADFAILED, TENTATIVE
from netsandbox.netlink.constants import ARPHRD_ETHER, IFF_LOWER_UP

THREAD = "netsandbox-adverts"
AT_ONCE = 16  # namespaces in a round; their packet sockets are open together, and `stop` waits for all of them
FRAMES_MAX = 1000  # of one link in a round: a process in a sandbox may have added millions of addresses


class Series:
    """The rounds of one interface, whose link has an *index* in the namespace *kernel*."""

    def __init__(self, kernel: LinuxKernel, index: int, how: Advertise) -> None:
        self.kernel = kernel
        self.index = index
        self.interval = how.interval  # seconds between two rounds, at least
        self.outcome = Adverts(due=how.count)
        self.tried = 0  # rounds, failed ones too

    def stop(self) -> None:
        """Cancel the remaining rounds."""
        self.outcome = replace(self.outcome, due=0)

    def note(self, error: str | None) -> None:
        """Add a round that was tried, and its error if it failed."""
        sent, due, before = self.outcome.sent, self.outcome.due, self.outcome.error
        self.tried += 1
        self.outcome = Adverts(sent + (error is None), max(due - 1, 0), error or before)


class Announcer:
    """Carries out the rounds of all series when they are due, by calling *work* on one thread."""

    def __init__(self, work: Callable[[Sequence[Series]], dict[Series, str]]) -> None:
        self._work = work
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()  # reentrant: a Sandbox may be garbage-collected, and closed, within it
        self._agenda: list[tuple[float, int, Series]] = []
        self._order = itertools.count()
        self._busy: Sequence[Series] = ()
        self._thread: threading.Thread | None = None

    def start(self, series: Series) -> None:
        """Begin the first round of a series at once."""
        with self._changed:
            self._put(series)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._thread = None
                    series.note(str(error))
                    series.stop()
            self._changed.notify_all()

    def stop(self, several: Iterable[Series]) -> None:
        """Cancel the remaining rounds of some series, and wait for the round in progress."""
        stopped = tuple(several)
        with self._changed:
            for series in stopped:
                series.stop()
            self._changed.notify_all()
            if threading.current_thread() is not self._thread:  # which may be collecting a Sandbox
                self._changed.wait_for(lambda: not any(series in self._busy for series in stopped))

    def wait(self, several: Iterable[Series], rounds: int, limit: float) -> bool:
        """Wait until some series have tried so many *rounds*, or all of theirs; return whether they have in time."""
        wanted = tuple(several)
        most = min(limit, threading.TIMEOUT_MAX)  # it may be infinite
        with self._changed:
            return self._changed.wait_for(
                lambda: all(series.tried >= rounds or not series.outcome.due for series in wanted), most
            )

    def forget(self) -> None:
        """Reset in a forked child: the thread exists in the parent only, which sends what is due."""
        for series in self._all():
            series.stop()
        self._begin()

    def end(self) -> None:
        """Stop all series and wait for the thread, before the interpreter exits.

        The interpreter stops a daemon thread anywhere, even while it holds the lock; a Sandbox that is collected after
        that would wait for the lock for ever.
        """
        with self._changed:
            thread = self._thread
            self.stop(self._all())
        if thread:
            thread.join()

    def _all(self) -> list[Series]:
        return [*self._busy, *(series for _, _, series in self._agenda)]

    def _put(self, series: Series, after: float = 0) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + after, next(self._order), series))

    def _run(self) -> None:
        """Carry out rounds until no series has any left."""
        while batch := self._next():
            try:
                failed = self._work(batch)
            except Exception as error:  # noqa: BLE001  `wait` must return, whatever the error is
                failed = dict.fromkeys(batch, str(error))
            with self._changed:
                self._busy = ()
                for series in batch:
                    series.note(failed.get(series))
                    if series.outcome.due:
                        self._put(series, series.interval)
                self._changed.notify_all()

    def _next(self) -> Sequence[Series]:
        """Wait for the next round and return its series; none: no round is left, and the thread has to end."""
        with self._changed:
            while self._agenda:
                batch: list[Series] = []
                kernels: set[LinuxKernel] = set()
                while self._agenda and len(kernels) < AT_ONCE:
                    at, _, series = self._agenda[0]
                    if series.outcome.due and at > time.monotonic():
                        break
                    heapq.heappop(self._agenda)
                    if series.outcome.due:
                        batch.append(series)
                        kernels.add(series.kernel)
                if batch:
                    self._busy = batch
                    return batch
                if self._agenda:
                    self._changed.wait(max(self._agenda[0][0] - time.monotonic(), 0))
            self._thread = None
            return ()


def advertise(several: Sequence[Series]) -> dict[Series, str]:
    """Carry out one round of several series; return the errors of those that failed."""
    failed: dict[Series, str] = {}
    sockets: list[socket.socket] = []
    groups: dict[LinuxKernel, list[Series]] = {}
    for series in several:
        groups.setdefault(series.kernel, []).append(series)
    try:
        for kernel, group in groups.items():
            try:
                with closing(LinuxKernel(kernel.duplicate())) as inside:  # shares no socket or lock with other threads
                    _advertise(inside, group, failed, sockets)
            except (NetSandboxError, OSError) as error:
                failed |= dict.fromkeys(group, str(error))
    finally:
        if sockets:
            packet.close_all(sockets)
    return failed


def _advertise(
    kernel: LinuxKernel, group: Iterable[Series], failed: dict[Series, str], sockets: list[socket.socket]
) -> None:
    """Carry out one round of the series of a namespace; the first that has frames to send opens a socket there."""
    opened = None
    for series in group:
        try:
            due = frames(kernel, series.index)
            if opened is None:
                opened = namespace.run_in(kernel.fd, packet.open_socket)
                sockets.append(opened)
            for frame in due:
                libc.send_frame(opened.fileno(), series.index, frame)
        except NetSandboxError as error:
            failed[series] = str(error)


def frames(kernel: Kernel, index: int) -> list[bytes]:
    """Return the frames that advertise the current addresses of a link."""
    # A dump: RTM_GETLINK for one link takes rtnl_lock, and would delay other threads that use this sandbox.
    link = next((item for item in kernel.links() if item.index == index), None)
    if link is None:
        raise KernelError(errno.ENODEV, f"advertise link {index}", "it is gone")
    request = f"advertise {link.name}"
    mac = attrs.mac_bytes(link.mac or "")
    if link.type != ARPHRD_ETHER or len(mac) != MAC_SIZE:
        address = f"its link-layer address is {link.mac}" if link.mac else "it has no link-layer address"
        raise KernelError(errno.EAFNOSUPPORT, request, f"it is no Ethernet link: {address}")
    if not link.flags & IFF_LOWER_UP:
        raise KernelError(errno.ENETDOWN, request, "it has no carrier")
    usable = [item.interface.ip for item in kernel.addresses(index) if not item.flags & (TENTATIVE | DADFAILED)]
    if not usable:
        raise KernelError(errno.EADDRNOTAVAIL, request, "it has no address that is in use")
    return [advert(mac, ip) for ip in usable[:FRAMES_MAX]]


ANNOUNCER = Announcer(advertise)
os.register_at_fork(after_in_child=ANNOUNCER.forget)
atexit.register(ANNOUNCER.end)


class Announcements:
    """The adverts of the interfaces of an open sandbox, by the number of the interface."""

    def __init__(self, kernel: LinuxKernel) -> None:
        self._kernel = kernel
        self._series: dict[int, Series] = {}

    def start(self, number: int, index: int, how: Advertise) -> None:
        """Replace the adverts of an interface; a count of 0 sends none."""
        self.stop([number])
        series = self._series[number] = Series(self._kernel, index, how)
        if how.count:
            ANNOUNCER.start(series)

    def stop(self, numbers: Iterable[int]) -> None:
        """Stop the adverts of some interfaces, and drop their outcome."""
        stopped = [self._series.pop(number) for number in numbers if number in self._series]
        if stopped:
            ANNOUNCER.stop(stopped)

    def stop_all(self) -> None:
        """Stop the adverts of all interfaces."""
        self.stop(tuple(self._series))

    def of(self, number: int) -> Adverts:
        """Return the outcome of the adverts of an interface."""
        series = self._series.get(number)
        return series.outcome if series else Adverts()

    def wait(self, rounds: int, limit: float) -> bool:
        """Wait until all interfaces have tried so many *rounds*, or all of theirs; return whether they have in time."""
        return ANNOUNCER.wait(self._series.values(), rounds, limit)
