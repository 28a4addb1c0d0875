"""Creating, using and destroying a thousand sandboxes, half of them with a failure, leaves nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netsandbox import Bridge, NetSandboxError, Sandbox
from tests.kernel import lab

pytestmark = pytest.mark.usefixtures("host")
CYCLES = 1000
WARM = 200  # cycles before the first measurement, to fill modules, caches and the allocator
GROWTH = 1024  # KiB of growth allowed after WARM cycles: less than 1.3 KiB for each cycle
LIMIT = 30  # seconds for the kernel to destroy the last namespaces

Failure = Callable[[Sandbox, Any], object]
FAILURES: tuple[Failure, ...] = (
    lambda box, _: box.add_interface("nowhere"),
    lambda _, __: Sandbox.create("box"),
    lambda box, source: box.add_interface(source, master="nobody"),
    lambda box, _: box.remove_interface("eth7"),
    lambda box, _: box.run(Sandbox.open, "nowhere"),
    lambda box, _: box.set_gateway("10.9.9.9"),
)
LATE_FAILURES: tuple[Failure, ...] = (  # fail late: earlier steps have to be rolled back
    lambda box, source: box.add_interface(source, routes=["10.9.0.0/16", "10.9.0.0/16"]),
    lambda box, source: box.add_interface(source, sysctls={"net.ipv4.conf.IFNAME.nothing": "1"}),
)


def cycle(number: int, every: int) -> None:
    """Create a sandbox, attach, detach and destroy; in every second cycle another operation fails instead.

    One pair of cycles in *every* attaches a link, and one pair in forty a link of the host: the kernel takes 15 to
    30 ms to delete or to move a link.
    """
    pair = number // 2
    has_link = pair % every == 0
    source = Bridge("b") if pair % 40 else "v0"
    with Sandbox.create("box") as box:
        if number % 2:
            failures = LATE_FAILURES if has_link else FAILURES
            with pytest.raises(NetSandboxError):
                failures[pair // every % len(failures)](box, source)
        elif has_link:
            box.add_interface(source, addresses=["10.0.0.2/24", "fd00::2/64"]).remove()
        else:
            box.add_address("lo", "10.0.0.2/32")
            box.remove_address("lo", "10.0.0.2/32")
        box.destroy()


def held() -> dict[str, object]:
    """Return the resources of this process and the state of the host."""
    lab.adverts_end()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "threads": (threading.active_count(), len(os.listdir("/proc/self/task"))),  # noqa: PTH208
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "files": sorted(Path(os.environ["NETSANDBOX_DIR"]).rglob("*")),
        "host": lab.snapshot(),
    }


def resident() -> int:
    """Return the resident memory of this process, in KiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def watch(every: int) -> None:
    """Expect the cycles after the first WARM ones to add no resource."""
    for number in range(WARM):
        cycle(number, every)
    before, memory = held(), resident()
    for number in range(WARM, CYCLES):
        cycle(number, every)
    grown = resident() - memory
    assert held() == before
    assert grown < GROWTH, f"{grown} KiB more"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("every", [pytest.param(20, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.matrix)])
def test_a_thousand_sandboxes_leave_nothing_behind(every: int) -> None:
    """A thousand sandboxes in a new process leave no descriptor, thread, mount, file, link, namespace or memory."""
    lab.veth("v0", "p0", up=True)
    code = f"from tests.kernel import test_leaks; test_leaks.watch({every})"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + LIMIT
    while namespaces := lab.ip("netns list-id"):  # of the peers of the host's links: the kernel removes IDs late
        assert time.monotonic() < deadline, namespaces
