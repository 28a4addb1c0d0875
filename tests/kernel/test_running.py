"""Running functions and programs inside, other processes, and threads (faults E5, E10)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netsandbox import Bridge, InterfaceSpec, Sandbox
from tests.kernel.lab import OWN, comes_back, ip, links, snapshot, veth


def names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_a_function_runs_inside_and_the_caller_stays_outside(box: Sandbox) -> None:
    veth()
    before = Path(OWN).stat().st_ino
    assert box.run(names) == {"lo"}
    assert names() == {"lo", "v0", "p0"}
    assert box.run(lambda: Path(OWN).stat().st_ino) == Path(box.path).stat().st_ino
    assert Path(OWN).stat().st_ino == before


def test_run_passes_arguments_results_and_exceptions(box: Sandbox) -> None:
    assert box.run(divmod, 7, 2) == (3, 1)
    assert box.run(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        box.run(divmod, 1, 0)


def test_a_socket_opened_inside_is_used_from_outside(box: Sandbox) -> None:
    with box.run(socket.socket) as inner, socket.socket() as outer:
        inner.bind(("127.0.0.1", 0))
        outer.bind(inner.getsockname())  # in one namespace, the port would be taken
        assert inner.getsockname() == outer.getsockname()


def test_a_function_runs_on_a_thread_that_ends(box: Sandbox) -> None:
    seen = box.run(threading.get_ident)
    assert seen != threading.get_ident()
    assert seen not in {thread.ident for thread in threading.enumerate()}


def test_sandboxes_can_be_entered_from_one_another(box: Sandbox) -> None:
    with Sandbox.temporary() as other:
        ip("link add inner type bridge", netns=other.path)
        assert box.run(lambda: other.run(names)) == {"lo", "inner"}


def test_programs_run_inside_with_the_options_of_subprocess(box: Sandbox) -> None:
    done = box.exec(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "lo"
    assert box.exec(["sh", "-c", "exit 7"]).returncode == 7
    with box.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        namespace = Path(f"/proc/{process.pid}/ns/net").stat().st_ino
        assert process.communicate(b"x")[0] == b"x"
    assert namespace == Path(box.path).stat().st_ino
    with pytest.raises(FileNotFoundError):
        box.exec(["/no/such/program"])
    with pytest.raises(subprocess.TimeoutExpired):
        box.exec(["sleep", "99"], timeout=0.01)


def test_a_program_inside_gets_no_descriptor_of_ours(box: Sandbox) -> None:
    done = box.exec(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3: the directory that ls reads


OTHER = """
import netsandbox
with netsandbox.Sandbox.open("box") as box:
    print([(item.source, item.name, str(item.addresses[0])) for item in box.interfaces])
    box.add_interface("v1", addresses=["10.1.0.2/24"])
    box.remove_interface("eth0")
"""


def test_another_process_knows_the_interfaces_and_changes_them(box: Sandbox) -> None:
    veth(up=True)
    veth("v1", "p1", up=True)
    before = snapshot()
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    done = subprocess.run([sys.executable, "-W", "error", "-c", OTHER], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('v0', 'eth0', '10.0.0.2/24')]"
    assert [(item.source, item.name) for item in box.interfaces] == [("v1", "eth1")]
    box.destroy()
    assert snapshot() == before


WORKER = """
import sys, netsandbox
for round in range(3):
    with netsandbox.Sandbox.open("box") as box:
        box.add_interface(netsandbox.Bridge(sys.argv[1])).remove()
"""


def test_concurrent_processes_do_not_interfere(box: Sandbox) -> None:
    command = [sys.executable, "-W", "error", "-c", WORKER]
    workers = [subprocess.Popen([*command, f"b{number}"], stderr=subprocess.PIPE) for number in range(3)]
    assert [worker.communicate()[1] for worker in workers] == [b""] * 3
    assert box.interfaces == ()
    assert set(links(box.path)) == {"lo"}


def test_three_threads_attach_and_detach(box: Sandbox) -> None:
    """Three threads attach and detach at once: two on sandboxes and one on the host sandbox."""
    for number in range(3):
        veth(f"v{number}", f"p{number}", up=True)
    with comes_back(box.path), Sandbox.temporary() as second, Sandbox.host() as third:

        def work(where: tuple[int, Sandbox]) -> None:
            number, sandbox = where
            for _ in range(4):
                sandbox.add_interface(f"v{number}", addresses=[f"10.{number}.0.2/24"]).remove()

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, enumerate((box, second, third))))


def test_e5_reads_during_changes_are_consistent(box: Sandbox) -> None:
    """`interfaces` read during changes shows only states before or after a change."""
    stop = threading.Event()
    seen: list[tuple[str, ...]] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(tuple(item.source for item in box.interfaces))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for _ in range(5):
            box.add_interfaces([InterfaceSpec(Bridge("a")), InterfaceSpec(Bridge("b"))])
            box.remove_interface("eth1")
            box.remove_interface("eth0")
        stop.set()
        reader.result()
    assert seen
    assert set(seen) <= {(), ("a",), ("a", "b")}


def test_one_sandbox_does_not_wait_for_another(box: Sandbox) -> None:
    """A function that runs inside one sandbox blocks changes neither of that sandbox nor of another."""
    entered, go_on = threading.Event(), threading.Event()

    def wait() -> bool:
        entered.set()
        return go_on.wait(30)

    with Sandbox.temporary() as other, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(box.run, wait)
        entered.wait(30)
        assert other.add_interface(Bridge("b")).name == "eth0"
        assert box.add_interface(Bridge("b")).name == "eth0"
        go_on.set()
        assert slow.result()


def test_closing_while_a_function_runs_inside_is_safe(box: Sandbox) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def work() -> set[str]:
        entered.set()
        go_on.wait(30)
        return names()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(box.run, work)
        entered.wait(30)
        box.destroy()
        go_on.set()
        assert running.result() == {"lo"}
    assert os.path.lexists(box.path) is False
