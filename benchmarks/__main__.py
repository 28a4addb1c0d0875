"""Compare netsandbox with its peers and with the time that the kernel itself takes, in one run.

The benchmarks work in the current network namespace, where no link but loopback may be up: scripts/bench creates one.
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

from benchmarks import born, contests, scale, ways
from benchmarks.measure import Figure, table
from netsandbox._system.kernel import LinuxKernel

FULL, QUICK = 25, 1  # rounds
CONTESTS = {
    item.__name__: item
    for item in (contests.python, contests.requests, contests.sandboxes, contests.births, contests.parts)
}


def machine() -> dict[str, str]:
    """Return the facts that the figures depend on: kernel, CPU, versions."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    found = {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "CPU": cpus[0].partition(": ")[2] if cpus else "unknown",
        "CPUs": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "ip(8)": subprocess.run(["ip", "-V"], check=True, capture_output=True, text=True).stdout.split(", ")[1].strip(),
        "CNI plugins": _debian("containernetworking-plugins") if born.PLUGINS else "not installed",
        "Mininet": _debian("mininet") if born.MININET else "not installed",
    }
    for package in ("netsandbox", "pyroute2"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _debian(package: str) -> str:
    """Return the version of a Debian package."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout or "unknown"


def measure(names: Sequence[str], rounds: int) -> list[Figure]:
    """Run the named contests."""
    found: list[Figure] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        found += CONTESTS[name](rounds)
    return found


def measure_crowds(counts: Sequence[int]) -> list[scale.Crowd]:
    """Measure many sandboxes on one bridge, for each count."""
    ways.sh("ip link set lo up")
    born.make_bridge()
    return list(scale.crowds(counts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round each: shows that it works")
    parser.add_argument("--json", metavar="FILE", help="write JSON as well; with - instead, to standard output")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=(*CONTESTS, "scale"), help="only some of the work")
    parser.add_argument(
        "--plot", metavar="DIR", type=Path, help="write plots of the cost of many sandboxes there (SVG)"
    )
    options = parser.parse_args(arguments)
    if any(link.is_up and not link.is_loopback for link in LinuxKernel.own().links()):
        parser.error("there are links here that are in use; run scripts/bench")
    gc.freeze()  # excludes imported modules from garbage collection
    facts, wanted = machine(), options.only or (*CONTESTS, "scale")
    figures = measure([name for name in CONTESTS if name in wanted], QUICK if options.quick else FULL)
    crowds = measure_crowds(scale.COUNTS[: 2 if options.quick else None]) if "scale" in wanted else []
    report = {"machine": facts, "figures": list(map(asdict, figures)), "scale": list(map(asdict, crowds))}
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
    else:
        print(", ".join(f"{key} {value}" for key, value in facts.items()))
        for rows in filter(None, (figures and table(figures), crowds and scale.table(crowds))):
            print("", rows, sep="\n")
        if options.json:
            Path(options.json).write_text(f"{text}\n", encoding="utf-8")
    for addresses in dict.fromkeys(item.addresses for item in crowds) if options.plot else ():
        options.plot.mkdir(parents=True, exist_ok=True)
        file = options.plot / f"scale-{addresses.replace(' + ', '-').lower()}.svg"
        file.write_text(scale.plot(crowds, addresses), encoding="utf-8")


if __name__ == "__main__":
    main()
