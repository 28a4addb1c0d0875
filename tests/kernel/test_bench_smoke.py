"""The benchmarks run; the tests check no times."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
ISOLATED = ("unshare", "-nm", "sh", "-c", 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"', "sh")
BORN = {"pre-encoded datagrams", "netsandbox", "netsandbox, a call each", "ip -batch", "ip, a command each"}
CROWDS = {"pre-encoded datagrams", "netsandbox", "netsandbox, destroy_many", "ip -batch", "ip, a command each"}
PEERS = ("pyroute2", "CNI", "Mininet")  # need not be installed
COMPETITORS = {  # by task, without the peers whose package the tests do not have
    "import, time": {"bare interpreter", "netsandbox", "netsandbox.Sandbox"},
    "import, memory": {"bare interpreter", "netsandbox", "netsandbox.Sandbox"},
    "netsandbox ls --json": {"bare interpreter", "netsandbox"},
    "get one link": {"datagrams, not decoded", "netsandbox", "ip -j"},
    "list 5,000 routes": {"datagrams, not decoded", "netsandbox", "ip -j"},
    "attach a link": {
        "the kernel's own move",
        "pre-encoded datagrams",
        "netsandbox",
        "ip -batch",
        "ip, a command each",
    },
    "remove it": {"the kernel's own move", "netsandbox", "ip -batch", "ip, a command each"},
    "create, attach, destroy": {"pre-encoded datagrams", "netsandbox", "ip -batch", "ip, a command each"},
    "sandbox, born in place": BORN,
    "remove what was born": BORN,
    "destroy it, the caller": BORN,
    "tracing of a step": {"a function call", "telemetry.span"},
    "record of a sandbox": {"Store.write", "Store.write after pack"},
}


def bench(*arguments: str) -> str:
    command = (*ISOLATED, sys.executable, "-m", "benchmarks", *arguments)
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.slow
def test_every_competitor_is_measured_at_every_task() -> None:
    report = json.loads(bench("--quick", "--json", "-"))
    measured: dict[str, set[str]] = {}
    for item in report["figures"]:
        if item["n"] and not item["who"].startswith(PEERS):
            assert 0 < item["p10"] <= item["median"] <= item["p90"], item
            measured.setdefault(item["work"], set()).add(item["who"])
    assert measured == COMPETITORS
    assert {"kernel", "CPU", "CPUs", "Python", "netsandbox", "pyroute2"} <= report["machine"].keys()
    crowds = [item for item in report["scale"] if not item["skipped"]]
    assert {item["who"] for item in crowds if not item["who"].startswith(PEERS)} == CROWDS
    assert {(item["count"], item["addresses"]) for item in crowds} == set(product((1, 10), ("IPv4", "IPv4 + IPv6")))
    for item in crowds:
        assert 0 < item["median"] <= item["made"], item
        assert 0 < item["destroyed"] <= item["gone"], item


@pytest.mark.slow
def test_the_table_names_peers_that_are_not_installed(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    rows = bench("--quick", "--only", "births", "--json", str(file)).splitlines()
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    lines = [row for row in rows if row.startswith("|")][2:]
    assert len(lines) == len(figures)
    for line, item in zip(lines, figures, strict=True):
        assert item["who"] in line
        assert ("not installed" in line) == (not item["n"])


@pytest.mark.slow
def test_plots_have_a_line_for_each_competitor(tmp_path: Path) -> None:
    report = json.loads(bench("--quick", "--only", "scale", "--json", "-", "--plot", str(tmp_path)))
    ways = {item["who"] for item in report["scale"] if not item["skipped"]}
    plots = sorted(tmp_path.iterdir())
    assert [plot.name for plot in plots] == ["scale-ipv4-ipv6.svg", "scale-ipv4.svg"]
    for plot in plots:
        tree = ET.parse(plot)  # noqa: S314  our own
        assert len(tree.findall("{*}polyline")) == len(ways)
