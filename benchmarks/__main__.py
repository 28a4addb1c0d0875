"""netsandbox beside its peers, and beside what the kernel itself takes, in one run.

All work is done in the network namespace this runs in, where no link may be in use: scripts/bench makes one.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import contests
from benchmarks.measure import Figure, table
from netsandbox._system.kernel import LinuxKernel

FULL, QUICK = 25, 1  # rounds


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    found = {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "CPUs": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "ip(8)": subprocess.run(["ip", "-V"], check=True, capture_output=True, text=True).stdout.split(", ")[1],
    }
    for package in ("netsandbox", "pyroute2"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def measure(rounds: int) -> list[Figure]:
    """Let all compete."""
    gc.freeze()  # what is imported is nobody's litter
    found: list[Figure] = []
    for contest in (contests.python, contests.requests, contests.sandboxes, contests.parts):
        print(f"{contest.__name__} ...", file=sys.stderr)
        found += contest(rounds)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round each: shows that it works")
    parser.add_argument("--json", metavar="FILE", help="write JSON as well; with - instead, to standard output")
    options = parser.parse_args(arguments)
    if any(link.is_up and not link.is_loopback for link in LinuxKernel.own().links()):
        parser.error("there are links here that are in use; run scripts/bench")
    facts = machine()
    figures = measure(QUICK if options.quick else FULL)
    text = json.dumps({"machine": facts, "figures": [asdict(item) for item in figures]}, indent=2)
    if options.json == "-":
        print(text)
        return
    print(", ".join(f"{key} {value}" for key, value in facts.items()), table(figures), sep="\n\n")
    if options.json:
        Path(options.json).write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
