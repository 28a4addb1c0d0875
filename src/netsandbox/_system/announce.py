"""Unsolicited ARP and Neighbor Advertisements, sent in the background.

What one interface is due is a `Series` of rounds. One thread carries out all series of the process, and is there only
while something is due. It works on descriptors of its own, which it closes after each round (an open socket keeps its
namespace alive, behaviour.md A13), and takes no lock of a sandbox: closing one waits for a round at most, and a process
that is forked in the middle of one finds no such lock taken for ever.

Nothing that fails here is an error of anything else: it is kept with the series, and the next round is tried all the
same (behaviour.md G2).
"""

import atexit
import errno
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from netsandbox._frames import MAC_SIZE, advert
from netsandbox._kernel import Kernel
from netsandbox._system import namespace, packet
from netsandbox._system.kernel import LinuxKernel
from netsandbox.adverts import Advertise, Adverts
from netsandbox.errors import KernelError, NetSandboxError
from netsandbox.netlink import attrs
from netsandbox.netlink.address import DADFAILED, TENTATIVE
from netsandbox.netlink.constants import ARPHRD_ETHER, IFF_LOWER_UP

THREAD = "netsandbox-adverts"
AT_ONCE = 16  # namespaces in a round, in which a packet socket is open at the same time: who stops it waits for all
FRAMES_MAX = 1000  # of a link in a round: whoever is inside may have made millions of addresses


class Series:
    """The rounds of one interface.

    Attributes:
        kernel: The namespace it is in.
        index: The index of its link there.
        interval: Seconds between two rounds, at least.
        outcome: What came of it so far.
        tried: How many rounds were tried.
    """

    def __init__(self, kernel: LinuxKernel, index: int, how: Advertise) -> None:
        self.kernel = kernel
        self.index = index
        self.interval = how.interval
        self.outcome = Adverts(due=how.count)
        self.tried = 0

    def stop(self) -> None:
        """Have nothing due any more."""
        self.outcome = replace(self.outcome, due=0)

    def note(self, error: str | None) -> None:
        """Remember that a round was tried, and what it failed with."""
        sent, due, before = self.outcome.sent, self.outcome.due, self.outcome.error
        self.tried += 1
        self.outcome = Adverts(sent + (error is None), max(due - 1, 0), error or before)


class Announcer:
    """Carries out the rounds of all series when they are due, on one thread.

    Args:
        work: Carries out a round of the series that are due; it returns for each what it failed with.
    """

    def __init__(self, work: Callable[[Sequence[Series]], dict[Series, str]]) -> None:
        self._work = work
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()  # may be entered twice: within it, a Sandbox may be collected
        self._agenda: list[tuple[float, int, Series]] = []
        self._order = itertools.count()
        self._busy: Sequence[Series] = ()
        self._thread: threading.Thread | None = None

    def start(self, series: Series) -> None:
        """Have the first round of a series carried out at once, and the others in their time."""
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
        """Have no further round of some series carried out, and wait for the one under way."""
        gone = tuple(several)
        with self._changed:
            for series in gone:
                series.stop()
            self._changed.notify_all()
            if threading.current_thread() is not self._thread:  # which may be collecting a Sandbox
                self._changed.wait_for(lambda: not any(series in self._busy for series in gone))

    def wait(self, several: Iterable[Series], rounds: int, limit: float) -> bool:
        """Wait until so many rounds of some series were tried, or as many as there are; return whether they were.

        Args:
            several: The series.
            rounds: How many rounds.
            limit: How many seconds to wait at most.
        """
        wanted = tuple(several)
        most = min(limit, threading.TIMEOUT_MAX)  # it may be infinite
        with self._changed:
            return self._changed.wait_for(
                lambda: all(series.tried >= rounds or not series.outcome.due for series in wanted), most
            )

    def forget(self) -> None:
        """Begin anew in a process that was forked: the thread is not there, and what was due is sent by the parent."""
        for series in (*self._busy, *(series for _, _, series in self._agenda)):
            series.stop()
        self._begin()

    def end(self) -> None:
        """Have nothing carried out any more, and the thread end, before the interpreter does.

        The interpreter stops such threads wherever they are, with the lock in their hands; and then it may collect a
        Sandbox, which wants to take it.
        """
        with self._changed:
            thread = self._thread
            self.stop([*self._busy, *(series for _, _, series in self._agenda)])
        if thread:
            thread.join()

    def _put(self, series: Series, after: float = 0) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + after, next(self._order), series))

    def _run(self) -> None:
        """Carry out what is due, until nothing is."""
        while batch := self._next():
            try:
                failed = self._work(batch)
            except Exception as error:  # noqa: BLE001  whatever it was, who waits must not wait for ever
                failed = dict.fromkeys(batch, str(error))
            with self._changed:
                self._busy = ()
                for series in batch:
                    series.note(failed.get(series))
                    if series.outcome.due:
                        self._put(series, series.interval)
                self._changed.notify_all()

    def _next(self) -> Sequence[Series]:
        """Wait until something is due, and return it; nothing when nothing will be, and the thread has to end."""
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
    """Carry out a round of several series, and return for each what it failed with, in words."""
    failed: dict[Series, str] = {}
    sockets: list[packet.PacketSocket] = []
    groups: dict[LinuxKernel, list[Series]] = {}
    for series in several:
        groups.setdefault(series.kernel, []).append(series)
    try:
        for kernel, group in groups.items():
            try:
                inside = LinuxKernel(kernel.duplicate())  # no socket or lock that somebody else may be using
            except (NetSandboxError, OSError) as error:
                failed |= dict.fromkeys(group, str(error))
            else:
                with closing(inside):
                    _advertise(inside, group, failed, sockets)
    finally:
        if sockets:
            packet.close_all(sockets)
    return failed


def _advertise(
    kernel: LinuxKernel, group: Iterable[Series], failed: dict[Series, str], sockets: list[packet.PacketSocket]
) -> None:
    """Carry out a round of the series of one namespace; the first that has something to say opens a socket there."""
    opened = None
    for series in group:
        try:
            told = frames(kernel, series.index)
            if opened is None:
                opened = namespace.run_in(kernel.fd, packet.PacketSocket)
                sockets.append(opened)
            for frame in told:
                opened.send(series.index, frame)
        except NetSandboxError as error:
            failed[series] = str(error)


def frames(kernel: Kernel, index: int) -> list[bytes]:
    """Return the frames that advertise the addresses of a link, as they are now.

    Raises:
        KernelError: There is nothing to be said, or nobody who would hear it.
    """
    # Of a list, as a look at a single link waits for rtnl_lock, and whoever uses the sandbox meanwhile for this.
    link = next((item for item in kernel.links() if item.index == index), None)
    if link is None:
        raise KernelError(errno.ENODEV, f"advertise link {index}", "it is gone")
    request = f"advertise {link.name}"
    mac = attrs.mac_bytes(link.mac or "")
    if link.type != ARPHRD_ETHER or len(mac) != MAC_SIZE:
        reason = f"it is no Ethernet link: its link-layer address is {link.mac}"
        raise KernelError(errno.EAFNOSUPPORT, request, reason)
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
    """The adverts of the interfaces of an open sandbox, each known by its number there."""

    def __init__(self, kernel: LinuxKernel) -> None:
        self._kernel = kernel
        self._series: dict[int, Series] = {}

    def start(self, number: int, index: int, how: Advertise) -> None:
        """Advertise an interface from now on, in the place of what it is due yet; a count of 0 sends nothing."""
        self.stop([number])
        series = self._series[number] = Series(self._kernel, index, how)
        if how.count:
            ANNOUNCER.start(series)

    def stop(self, numbers: Iterable[int]) -> None:
        """Advertise some interfaces no more, and forget what came of it."""
        gone = [self._series.pop(number) for number in numbers if number in self._series]
        if gone:
            ANNOUNCER.stop(gone)

    def stop_all(self) -> None:
        """Advertise nothing any more."""
        self.stop(tuple(self._series))

    def of(self, number: int) -> Adverts:
        """Return what came of the adverts of an interface."""
        series = self._series.get(number)
        return series.outcome if series else Adverts()

    def wait(self, rounds: int, limit: float) -> bool:
        """Wait until so many rounds of all were tried, or as many as there are; return whether they were in time."""
        return ANNOUNCER.wait(self._series.values(), rounds, limit)
