"""A second injector, independent of `faults`: a small program under strace(1), which makes a system call fail.

strace counts the calls of each thread separately: on the main thread, which sends netlink requests and mounts, exactly
one call is the n-th; on helper threads, each of which enters a namespace once, strace hits every call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from netsandbox import Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("run_netns")

CREATE = "Sandbox.create('web').close()"
ADD = """
with Sandbox.open("web") as box:
    box.add_interface(
        "v0",
        mac="02:00:00:00:00:42",
        mtu=1400,
        addresses=["10.1.0.2/24", "fd01::2/64"],
        routes=["192.168.77.0/24"],
        sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"},
        advertise=0,
    )
"""
PROGRAM = """
import sys
from netsandbox import NetSandboxError, RollbackError, Sandbox
try:
    exec(sys.argv[1])
except RollbackError:
    raise
except NetSandboxError:
    sys.exit(3)
"""


class Outcome(NamedTuple):
    """Whether a program failed with NetSandboxError, and whether strace injected a fault."""

    failed: bool
    hit: bool


def run(action: str, call: str, error: str, n: int, *options: str) -> Outcome:
    """Run *action* with strace(1), which fails the *n*-th *call* of each thread; *options* restrict the calls."""
    log = Path("/run/strace.log")
    inject = f"inject={call}:error={error}:when={n}"
    strace = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", inject, *options]
    # Without bytecode: a .pyc file that only the first run writes would change the number of calls.
    done = subprocess.run(
        [*strace, sys.executable, "-c", PROGRAM, action],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 3}, done.stderr
    outcome = Outcome(done.returncode == 3, "(INJECTED)" in log.read_text())
    log.unlink()
    return outcome


@pytest.fixture
def web() -> Iterator[str]:
    """Create a sandbox, and on the host a link with addresses, a route, a neighbor and a master."""
    lab.veth(up=True)
    lab.ip("link add br0 type bridge")
    lab.ip("link set v0 mtu 1300 master br0")
    lab.ip("address add 10.0.0.1/24 dev v0")
    lab.ip("address add fd00::1/64 dev v0 nodad")
    lab.ip("route add 10.9.0.0/16 via 10.0.0.9")
    lab.ip("neighbor add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0")
    with Sandbox.create("web") as box:
        yield box.path
        box.destroy()


def undone_or_complete(path: str, outcome: Outcome) -> None:
    """Expect the link inside exactly if the program did not fail; then detach it."""
    assert outcome.failed == ("eth0" not in lab.links(path))
    if not outcome.failed:
        assert lab.link("eth0", path)["mtu"] == 1400
        assert lab.addresses("eth0", path) == {"10.1.0.2/24", "fd01::2/64"}
        with Sandbox.open("web") as box:
            box.remove_interface("eth0")


def test_a_failed_send_is_rolled_back_or_retried(web: str) -> None:
    failed = []
    for n in range(1, 100, 3):
        with lab.comes_back(web):
            outcome = run(ADD, "sendto", "ENOMEM", n)
            undone_or_complete(web, outcome)
        if not outcome.hit:
            break
        failed.append(outcome.failed)
    assert not outcome.hit
    assert sum(failed) > 5


@pytest.mark.parametrize("n", [1, 7, 15])
def test_a_failed_receive_is_rolled_back_or_retried(web: str, n: int) -> None:
    with lab.comes_back(web):
        outcome = run(ADD, "recvmsg", "ENOBUFS", n)
        undone_or_complete(web, outcome)
    assert outcome.hit


@pytest.mark.parametrize("file", [".lock-web.json", "web.json", ".draft-web.json"])
def test_failure_to_open_a_record_changes_nothing(web: str, file: str) -> None:
    with lab.comes_back(web):
        assert run(ADD, "openat", "EMFILE", 1, "-P", f"/run/netsandbox/{file}") == Outcome(failed=True, hit=True)


def test_failure_to_enter_a_namespace_changes_nothing(web: str) -> None:
    with lab.comes_back(web):
        assert run(ADD, "setns", "EPERM", 1) == Outcome(failed=True, hit=True)


def test_a_failed_mount_leaves_no_sandbox() -> None:
    for n in range(1, 9):
        with lab.comes_back():
            outcome = run(CREATE, "mount", "ENOMEM", n)
        if not outcome.hit:
            break
        assert outcome.failed
        assert list(Path("/run/netns").glob("*")) == list(Path("/run/netsandbox").glob("[!.]*")) == []
    assert not outcome.hit
    assert n > 2
    with Sandbox.open("web") as box:
        box.destroy()
