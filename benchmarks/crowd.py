"""Create and destroy many sandboxes in one way, in a process of its own; see `scale`."""

import argparse
import gc
import json
import os
import statistics
import time
from functools import partial

from benchmarks import born
from benchmarks.measure import clock

EDGE = 10  # sandboxes that count as the first, and as the last
PATIENCE = 120  # seconds


def measure(way: born.Born, count: int) -> dict[str, float]:
    """Return the figures for a `scale.Crowd`."""
    numbers = range(count)
    way.prepare(range(count + 1))
    way.make(count)  # warm-up: modules are loaded here, not by the first measured sandbox
    way.destroy([count])
    wait_until_gone(way)
    gc.collect()
    before = _memory()
    times = [clock(partial(way.make, number)) for number in numbers]
    memory = (_memory() - before) / count
    begin = time.perf_counter()
    way.destroy(numbers)
    destroyed = time.perf_counter() - begin
    wait_until_gone(way)
    gone = time.perf_counter() - begin
    tenths = statistics.quantiles(times, n=10, method="inclusive") if count > 1 else times
    return {
        "median": statistics.median(times),
        "p10": tenths[0],
        "p90": tenths[-1],
        "first": statistics.median(times[:EDGE]),
        "last": statistics.median(times[-EDGE:]),
        "made": sum(times),
        "destroyed": destroyed,
        "gone": gone,
        "memory": memory,
    }


def wait_until_gone(way: born.Born) -> None:
    """Wait until the kernel has deleted all host ends; reading /proc/net/dev takes RCU, not rtnl_lock."""
    limit = time.monotonic() + PATIENCE
    while any(name.startswith(way.prefix) and name[1:].isdecimal() for name in _names()):
        assert time.monotonic() < limit, "the kernel has not deleted the host ends"
        time.sleep(0.002)  # polling without a pause would take CPU time from the kernel


def _names() -> list[str]:
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:  # noqa: PTH123  fast
        return [line.partition(":")[0].strip() for line in file]


def _memory() -> int:
    """Return the resident memory of this process in bytes (proc(5), statm)."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  as above
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure the way and count given as arguments, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=born.MANY)
    parser.add_argument("count", type=int)
    parser.add_argument("--ipv6", action="store_true")
    asked = parser.parse_args()
    gc.freeze()  # excludes imported modules from garbage collection
    print(json.dumps(measure(born.MANY[asked.who](ipv6=asked.ipv6), asked.count)))


if __name__ == "__main__":
    main()
