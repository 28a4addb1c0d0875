"""Concurrent changes by threads and processes, on the same sandbox and on different sandboxes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import KernelError, NetSandboxError, Sandbox, SandboxExistsError
from netsandbox._system import store
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("host")
ROUNDS = 25


def at_once(*works: Callable[[], object]) -> list[BaseException]:
    """Call several functions on threads that start together; return the exceptions."""
    raised: list[BaseException] = []
    gate = threading.Barrier(len(works))

    def body(work: Callable[[], object]) -> None:
        gate.wait()
        try:
            work()
        except NetSandboxError as error:
            raised.append(error)

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_ten_parallel_adds_get_ten_names(box: Sandbox) -> None:
    """Ten concurrent adds get the names eth0 to eth9, each once."""
    for number in range(10):
        lab.veth(f"v{number}", f"p{number}")
    assert at_once(*((lambda number=number: box.add_interface(f"v{number}")) for number in range(10))) == []
    assert {item.name for item in box.interfaces} == {f"eth{number}" for number in range(10)}
    assert lab.links(box.path).keys() == {"lo", *(f"eth{number}" for number in range(10))}


def test_four_workers_attach_and_detach_at_once(box: Sandbox) -> None:
    """Four threads attach and detach at once: two on one sandbox, one on another, one on the host sandbox."""
    for name in ("a", "b", "c", "d"):
        lab.veth(f"v{name}", f"p{name}")

    def rounds(made: Sandbox, source: str, address: str) -> None:
        for _ in range(ROUNDS):
            made.add_interface(source, addresses=[address]).remove()

    with lab.comes_back(box.path), Sandbox.host() as host, Sandbox.temporary() as own:
        raised = at_once(
            lambda: rounds(box, "va", "10.1.0.1/24"),
            lambda: rounds(box, "vb", "10.2.0.1/24"),
            lambda: rounds(host, "vc", "10.3.0.1/24"),
            lambda: rounds(own, "vd", "10.4.0.1/24"),
        )
    assert raised == []


def test_of_concurrent_creates_of_one_name_one_succeeds() -> None:
    """Of four concurrent creates of one name one succeeds, and the others raise SandboxExistsError."""
    raised = at_once(*((lambda: Sandbox.create("one").close()) for _ in range(4)))
    assert [type(error) for error in raised] == [SandboxExistsError] * 3
    assert Sandbox.list() == ["one"]
    with Sandbox.open("one") as made:
        made.destroy()


def test_adds_racing_with_destroy_lose_no_link() -> None:
    """Adds that race with destroy succeed or are refused; afterwards every link is on the host."""
    for number in range(4):
        lab.veth(f"v{number}", f"p{number}")
    with lab.comes_back():
        made = Sandbox.create("race")
        others = [Sandbox.open("race") for _ in range(4)]
        raised = at_once(
            made.destroy, *((lambda n=n, other=other: other.add_interface(f"v{n}")) for n, other in enumerate(others))
        )
        for other in others:
            other.close()
    assert all("destroyed" in str(error) for error in raised)
    assert Sandbox.list() == []


def test_a_lock_timeout_names_the_process_that_holds_it(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits too long for the lock gets an error that names the process that holds it."""
    monkeypatch.setattr(store, "LOCK_LIMIT", 0.0)
    with store.Store().locked(box.name), pytest.raises(KernelError, match=f"process {os.getpid()} has held it"):
        box.unset_gateway()


def test_b5_reading_takes_no_lock(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and reading a sandbox work while another process holds its lock."""
    lab.veth()
    eth0 = box.add_interface("v0", addresses=["10.0.0.2/24"])
    monkeypatch.setattr(store, "LOCK_LIMIT", 0.0)
    with store.Store().locked(box.name), Sandbox.open(box.name) as again:
        assert [item.id for item in (*again.interfaces, *box.interfaces)] == [eth0.id] * 2
        assert eth0.statistics().rx_bytes == 0
        assert (again.missing, again.foreign, again.routes, again.neighbors, again.gateway4) == ((), (), (), (), None)
        assert Sandbox.list() == [box.name]


@pytest.mark.usefixtures("box")
def test_a_lock_file_deleted_during_the_wait_is_recreated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose lock file is deleted while it waits creates a new file; the old one would exclude no one."""
    kept, wait = store.Store(), store._flock
    path = Path(kept.file("other", ".lock-"))
    gone: list[int] = []

    def wait_and_lose(fd: int, deadline: float, limit: float) -> None:
        wait(fd, deadline, limit)
        if not gone:
            gone.append(os.fstat(fd).st_ino)
            path.unlink()

    monkeypatch.setattr(store, "_flock", wait_and_lose)
    with kept.locked("other", keep=True):
        assert path.exists()
        assert path.read_text().split() == [str(os.getpid())]
        with pytest.raises(KernelError, match="ETIMEDOUT"), store.Store().locked("other", limit=0):
            pytest.fail("two hold it")
    assert len(gone) == 1
    path.unlink()


WORKER = """
import random, sys
from netsandbox import Bridge, NetSandboxError, Sandbox
number, chance = int(sys.argv[1]), random.Random(sys.argv[2])
for operation in range(int(sys.argv[3])):
    print("next", flush=True)
    name = chance.choice(["shared", f"own{number}"])
    try:
        try:
            box = Sandbox.open(name)
        except NetSandboxError:
            box = Sandbox.create(name)
        with box:
            what = chance.random()
            if what < 0.1:
                box.destroy()
            elif what < 0.4:
                source = f"v{number}" if what < 0.2 else Bridge(f"b{number}")
                box.add_interface(source, addresses=[f"10.{number}.0.2/24"]).remove()
            else:
                box.add_address("lo", f"10.{number}.9.9/32")
                box.remove_address("lo", f"10.{number}.9.9/32")
    except NetSandboxError as error:
        print(error, file=sys.stderr)
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("processes", "operations"), [(8, 10), pytest.param(50, 20, marks=pytest.mark.matrix)])
def test_processes_killed_at_random_leave_nothing(tmp_path: Path, processes: int, operations: int) -> None:
    """Of processes that change shared and own sandboxes, half are killed; recovery leaves nothing behind.

    The time depends on other processes that change links: rtnl_lock serializes all such changes on the machine.
    """
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    for number in range(processes):
        lab.veth(f"v{number}", f"p{number}")
    chance = random.Random(7)  # noqa: S311  the kills shall be spread at random, not be secret
    with lab.comes_back():
        running = [
            subprocess.Popen(
                [sys.executable, str(script), str(number), f"seed {number}", str(operations)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for number in range(processes)
        ]
        killed = chance.sample(running, processes // 2)
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(kill_at, killed, (chance.randint(1, operations) for _ in killed)))
        for worker in running:
            worker.communicate()
            assert worker.returncode == (-signal.SIGKILL if worker in killed else 0)
        Sandbox.recover()
        for name in Sandbox.list():
            with Sandbox.open(name) as made:
                made.destroy()
    assert Sandbox.prune() == ()
    assert list(Path(store.Store().records).iterdir()) == []


def kill_at(worker: subprocess.Popen[bytes], n: int) -> None:
    """Kill a worker when it has started its n-th operation."""
    assert worker.stdout
    for _ in range(n):
        worker.stdout.readline()
    worker.kill()
