"""After a thousand sandboxes that were made, used and destroyed, half of which failed on the way, all is as it was."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import Bridge, NetSandboxError, Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("host")
CYCLES = 1000
MOVED = 20  # of so many cycles, two have a link of the host: to move it costs 15 to 30 ms (design.md, kernel fact 1)
WARM = 200  # after so many, what is kept on purpose is there: modules, caches, memory of the allocator
GROWTH = 1024  # KiB that may come after that: less than 1.3 KiB for each cycle
LIMIT = 30  # seconds for the kernel to let go of the last namespaces

FAILURES: tuple[Callable[[Sandbox, Any], object], ...] = (
    lambda box, _: box.add_interface("nowhere"),
    lambda _, __: Sandbox.create("box"),
    lambda box, source: box.add_interface(source, master="nobody"),
    lambda box, source: box.add_interface(source, routes=["10.9.0.0/16", "10.9.0.0/16"]),
    lambda box, source: box.add_interface(source, sysctls={"net.ipv4.conf.IFNAME.nothing": "1"}),
    lambda box, _: box.remove_interface("eth7"),
    lambda box, _: box.run(Sandbox.open, "nowhere"),
    lambda box, _: box.set_gateway("10.9.9.9"),
)


def cycle(number: int) -> None:
    """Make a sandbox, attach, detach and destroy; in every second cycle something else fails before."""
    source = "v0" if number % MOVED < 2 else Bridge("b")
    with Sandbox.create("box") as box:
        if number % 2:
            with pytest.raises(NetSandboxError):
                FAILURES[number // 2 % len(FAILURES)](box, source)
        else:
            box.add_interface(source, addresses=["10.0.0.2/24", "fd00::2/64"]).remove()
        box.destroy()


def held() -> dict[str, object]:
    """Return what this process, and the host, have."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "threads": (threading.active_count(), len(os.listdir("/proc/self/task"))),  # noqa: PTH208
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "files": sorted(Path(os.environ["NETSANDBOX_DIR"]).rglob("*")),
        "host": lab.snapshot(),
    }


def resident() -> int:
    """Return how much memory this process has, in KiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_a_thousand_sandboxes_leave_nothing_behind() -> None:
    """No descriptor, thread, mount, file, link or namespace, and no memory."""
    lab.veth("v0", "p0", up=True)
    for number in range(WARM):
        cycle(number)
    before, memory = held(), resident()
    for number in range(WARM, CYCLES):
        cycle(number)
    grown = resident() - memory
    assert held() == before
    print("GROWN", grown)
    assert grown < GROWTH
    deadline = time.monotonic() + LIMIT
    while namespaces := lab.ip("netns list-id"):  # those that the host has links to, or had: the kernel takes its time
        assert time.monotonic() < deadline, namespaces
