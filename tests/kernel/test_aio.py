"""The asyncio API returns the same results as the blocking API, and a cancelled call is rolled back or completed."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import netsandbox
from netsandbox import (
    Bridge,
    InterfaceNotFoundError,
    InterfaceSpec,
    KernelError,
    Neighbor,
    RollbackError,
    Route,
    SandboxExistsError,
    aio,
)
from netsandbox._system.transport import Transport
from netsandbox.aio import Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from pathlib import Path

    from netsandbox.netlink.message import Message, Request

T = TypeVar("T")
pytestmark = pytest.mark.usefixtures("host")
WISH: dict[str, Any] = {
    "mac": "02:00:00:00:00:42",
    "addresses": ["10.0.0.2/24", "fd00::2/64"],
    "routes": ["192.168.7.0/24"],
    "sysctls": {"net.ipv4.conf.IFNAME.rp_filter": "2"},
}


@pytest.fixture(autouse=True)
def cables(host: None) -> None:  # noqa: ARG001
    """Create ten veth pairs to attach."""
    for number in range(10):
        lab.veth(f"v{number}", f"p{number}")


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[str]:
    """Create a namespace that netsandbox does not know."""
    path = tmp_path / "theirs"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
    yield str(path)
    lab.libc("umount2", str(path).encode(), 0)


class Stopping:
    """Cancels a task at the n-th netlink socket or request, on any thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.left = 0
        ask, make = Transport.ask, Transport.__init__

        def asking(transport: Transport, request: Request) -> list[Message]:
            self.count()
            return ask(transport, request)

        def making(transport: Transport) -> None:
            self.count()
            make(transport)

        monkeypatch.setattr(Transport, "ask", asking)
        monkeypatch.setattr(Transport, "__init__", making)

    def count(self) -> None:
        """Cancel the task if this is the n-th call."""
        self.left -= 1
        if self.task and self.left == 0:
            cancelled, loop = threading.Event(), self.task.get_loop()
            loop.call_soon_threadsafe(self.task.cancel)
            loop.call_soon_threadsafe(loop.call_soon, cancelled.set)  # after the task has been cancelled
            assert cancelled.wait(30)

    async def run(self, work: Coroutine[Any, Any, object], at: int = 1) -> bool:
        """Run *work* and cancel it at the n-th request; return whether it was cancelled."""
        self.left, self.task = at, asyncio.create_task(work)
        try:
            await self.task
        except asyncio.CancelledError:
            return True
        return False


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Stopping:
    return Stopping(monkeypatch)


async def awaited(work: Awaitable[T]) -> T:
    return await work


def test_aio_sandbox_has_every_public_name() -> None:
    """aio.Sandbox has every public name of Sandbox, as a coroutine where the name makes system calls."""
    public = {name for name in dir(netsandbox.Sandbox) if not name.startswith("_")}
    assert public <= set(dir(Sandbox))
    assert inspect.isasyncgenfunction(Sandbox.events)
    for name in public - {"events", "plan_create", "name", "path", "recovered"}:
        made = getattr(Sandbox, name)
        assert inspect.iscoroutinefunction(made) or inspect.signature(made).return_annotation is aio.Opening, name
    assert inspect.iscoroutinefunction(aio.Interface.remove)
    assert inspect.iscoroutinefunction(aio.Interface.statistics)


def lasting(found: Iterable[netsandbox.Interface]) -> list[tuple[object, ...]]:
    """Return the fields of interfaces that do not change by themselves."""
    return [(item.id, item.source, item.name, item.mac, item.addresses, item.routes, item.master) for item in found]


async def interfaces(box: Sandbox, other: netsandbox.Sandbox) -> None:
    eth0 = await box.add_interface("v0", **WISH)
    br0, eth1 = await box.add_interfaces([InterfaceSpec(Bridge("br0")), InterfaceSpec("v1", master="br0")])
    assert lasting(await box.interfaces()) == lasting([eth0, br0, eth1]) == lasting(other.interfaces)
    assert (await eth0.statistics()).rx_bytes == other.interfaces[0].statistics().rx_bytes
    assert (await box.has_ipv6(), await box.missing(), await box.foreign()) == (True, (), ())
    plan = await box.plan(box.remove_interface, eth1)
    assert plan.commands == other.plan(other.remove_interface, "eth2").commands != ()
    assert (await box.plan_interface("v3")).commands == other.plan_interface("v3").commands
    await network(box, other)
    await eth0.remove()
    await box.remove_interface(br0)
    await box.remove_interfaces([eth1])
    assert await box.interfaces() == ()


async def network(box: Sandbox, other: netsandbox.Sandbox) -> None:
    await box.add_address("eth0", "10.9.9.9/32")
    await box.remove_address("eth0", "10.9.9.9/32")
    await box.set_gateway("10.0.0.1")
    await box.set_gateway("fd00::1")
    await box.add_route(Route("10.7.0.0/16", via="10.0.0.1"))
    assert await box.routes() == other.routes
    assert (await box.gateway4(), await box.gateway6()) == (other.gateway4, other.gateway6)
    assert str(await box.gateway4()) == "10.0.0.1"
    await box.remove_route(Route("10.7.0.0/16"))
    await box.unset_gateway(6)
    await box.add_neighbor(Neighbor("10.0.0.5", "02:00:00:00:00:05", "eth0"))
    assert await box.neighbors() == other.neighbors != ()
    await box.remove_neighbor(Neighbor("10.0.0.5", "02:00:00:00:00:05", "eth0"))
    await box.disable_arp_for_vip("eth0")
    await box.apply_os_tweaks({"net.ipv4.ip_forward": "1"})
    assert lab.sysctl("ipv4/ip_forward", netns=box.path) == "1"
    assert await box.run(os.getpid) == os.getpid()
    assert (await box.exec(["ip", "-o", "link"], capture_output=True)).stdout.count(b"\n") == len(
        "lo eth0 eth1 eth2".split()
    )
    program = await box.popen(["true"])
    assert program.wait() == 0


def test_aio_results_equal_those_of_the_blocking_api() -> None:
    async def main() -> None:
        async with Sandbox.create("box", interfaces=[InterfaceSpec("v9")]) as box:
            assert (box.name, box.recovered, repr(box)) == ("box", (), f"<aio.Sandbox 'box' at {box.path!r}>")
            await (await box.interfaces())[0].remove()
            with netsandbox.Sandbox.open("box") as other, lab.comes_back():
                await interfaces(box, other)
            again = await Sandbox.open("box")
            await again.aclose()
            assert await Sandbox.list() == ["box"]
            assert (await Sandbox.recover(), await Sandbox.prune()) == ((), ())
            assert Sandbox.plan_create("x").commands == netsandbox.Sandbox.plan_create("x").commands
            with pytest.raises(SandboxExistsError):
                await Sandbox.create("box")
            await box.destroy()
        async with Sandbox.temporary() as box:
            assert await Sandbox.list() == [box.name]
            async with box:
                pass
        async with Sandbox.host() as host:
            assert {"v0", "p0"} <= {item.name for item in await host.foreign()}
        assert await Sandbox.list() == []

    with lab.comes_back():
        asyncio.run(main())


def test_many_sandboxes_are_created_and_destroyed() -> None:
    async def main() -> None:
        told: list[str] = []
        made = await Sandbox.create_many(
            {"a": [InterfaceSpec("v0")], "b": []}, progress=lambda name, _: told.append(name)
        )
        a, b = made
        added = await Sandbox.add_many({a: [InterfaceSpec("v1")], "b": [InterfaceSpec("v2")], "c": []})
        assert [item.name for item in added.done["a"]] == ["eth1"]
        assert [*added.failed] == ["c"]
        await added.done["a"][0].remove()
        assert told == ["a", "b"]
        gone = await Sandbox.destroy_many([a, "b"])
        assert [box.name for box in gone] == ["a", "b"]
        await b.close()
        assert (await Sandbox.destroy_many("a")).failed.keys() == {"a"}

    with lab.comes_back():
        asyncio.run(main())


def test_concurrent_adds_get_distinct_names() -> None:
    async def main() -> set[str]:
        async with Sandbox.temporary() as box:
            made = await asyncio.gather(*(box.add_interface(f"v{number}") for number in range(10)))
            return {item.name for item in made}

    with lab.comes_back():
        assert asyncio.run(main()) == {f"eth{number}" for number in range(10)}


def test_the_event_loop_runs_during_a_system_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop runs other tasks while a call waits for the kernel."""
    ask, begun, go_on = Transport.ask, threading.Event(), threading.Event()

    def waiting(transport: Transport, request: Request) -> list[Message]:
        begun.set()
        assert go_on.wait(30)
        return ask(transport, request)

    async def main() -> None:
        async with Sandbox.temporary() as box:
            with monkeypatch.context() as patch:
                patch.setattr(Transport, "ask", waiting)
                call = asyncio.create_task(box.add_interface("v0"))
                await asyncio.to_thread(begun.wait, 30)
                go_on.set()
                assert (await call).name == "eth0"

    asyncio.run(main())


def test_a_cancelled_add_is_rolled_back(stopping: Stopping) -> None:
    """add_interface that is cancelled at any netlink request is rolled back."""

    async def main() -> int:
        async with Sandbox.temporary() as box:
            n = 1
            while True:
                with lab.comes_back(box.path):
                    hit = await stopping.run(box.add_interface("v0", **WISH), n)
                    if not hit:
                        assert [item.name for item in await box.interfaces()] == ["eth0"]
                        await box.remove_interface("eth0")
                assert await box.interfaces() == ()
                if not hit:
                    return n
                n += 3

    assert asyncio.run(main()) > 9


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _: Sandbox.create("new"), id="create"),
        pytest.param(lambda _: Sandbox.create("new", interfaces=[InterfaceSpec("v0")]), id="create with interfaces"),
        pytest.param(lambda _: Sandbox.create_many({"new": [InterfaceSpec("v0")], "other": []}), id="create many"),
        pytest.param(lambda _: Sandbox.temporary(), id="temporary"),
        pytest.param(lambda _: Sandbox.open("there"), id="open"),
        pytest.param(lambda path: Sandbox.adopt(path, "new"), id="adopt"),
        pytest.param(lambda _: Sandbox.add_many({"there": [InterfaceSpec("v0")], "x": []}), id="add many"),
    ],
)
def test_a_cancelled_create_open_or_adopt_is_rolled_back(
    stopping: Stopping, theirs: str, make: Callable[[str], Awaitable[object]]
) -> None:
    """create, open, adopt, temporary and the bulk calls are rolled back when they are cancelled."""

    async def main() -> None:
        async with Sandbox.create("there") as there:
            with lab.comes_back(there.path, theirs):
                assert await stopping.run(awaited(make(theirs)))
            assert await Sandbox.list() == ["there"]
            added = Sandbox.add_many({there: [InterfaceSpec("v0")]})
            with lab.comes_back(there.path):
                assert await stopping.run(added)
            await there.destroy()

    asyncio.run(main())


def test_a_cancelled_remove_or_destroy_is_completed(stopping: Stopping) -> None:
    """add_address, remove_interface and destroy are completed when they are cancelled."""

    async def main() -> None:
        box = await Sandbox.create("box")
        await box.add_interface("v0")
        with lab.comes_back():
            assert await stopping.run(box.add_address("eth0", "10.0.0.2/24"))
            assert lab.addresses("eth0", box.path) == {"10.0.0.2/24"}
        assert await stopping.run(box.remove_interface("eth0"))
        assert await box.interfaces() == ()
        assert "v0" in lab.links()
        await box.add_interface("v0")
        assert await stopping.run(box.destroy())
        assert await Sandbox.list() == []

    with lab.comes_back():
        asyncio.run(main())


def test_cancelling_popen_or_run_raises_cancelled_error() -> None:
    """A cancelled popen raises CancelledError; a cancelled run does so after its function has returned."""

    async def cancelled(work: Coroutine[Any, Any, object], go_on: Callable[[], object] = lambda: None) -> None:
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # again, while it is waited for
        go_on()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        async with Sandbox.temporary() as box:
            await cancelled(box.popen(["sleep", "1000"]))
            go_on, ran = threading.Event(), threading.Event()

            def wait() -> None:
                assert go_on.wait(30)
                ran.set()

            await cancelled(box.run(wait), go_on.set)
            assert ran.is_set()

    asyncio.run(main())


def test_cancelled_error_has_the_failure_as_its_cause(stopping: Stopping) -> None:
    """If a cancelled call fails, its CancelledError has the failure as its cause."""

    async def main() -> None:
        async with Sandbox.temporary() as box:
            stopping.left, task = 1, asyncio.create_task(box.add_interface("nowhere"))
            stopping.task = task
            with pytest.raises(asyncio.CancelledError) as info:
                await task
            assert isinstance(info.value.__cause__, InterfaceNotFoundError)

    asyncio.run(main())


def test_a_cancelled_add_that_cannot_be_rolled_back_raises(stopping: Stopping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled add_interface that cannot be rolled back raises RollbackError."""

    def refuse(*_: object) -> None:
        raise KernelError(errno.ENOMEM, "take it out")

    async def main() -> None:
        async with Sandbox.temporary() as box:
            with monkeypatch.context() as patch:
                patch.setattr(netsandbox.Sandbox, "remove_interface", refuse)
                with pytest.raises(RollbackError, match="take it out: ENOMEM") as info:
                    await stopping.run(box.add_interface("v0"))
            assert isinstance(info.value.__cause__, KernelError)

    asyncio.run(main())


def test_a_cancelled_iteration_of_events_ends() -> None:
    """events() yields changes until its task is cancelled, and then ends with CancelledError."""

    async def follow(box: Sandbox, begun: asyncio.Event, seen: list[str]) -> None:
        async for event in box.events():
            seen.append(f"{event.what} {event.change} {event.interface}")
            begun.set()

    async def body() -> list[str]:
        async with Sandbox.temporary() as box:
            begun, seen = asyncio.Event(), list[str]()
            task = asyncio.create_task(follow(box, begun, seen))
            while not begun.is_set():  # it may not listen yet
                made = await box.add_interface("v0")
                await made.remove()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return seen

    assert any(text.startswith("link ") for text in asyncio.run(body()))


def test_events_end_after_the_timeout() -> None:
    async def body() -> list[object]:
        async with Sandbox.temporary() as box:
            return [event async for event in box.events(timeout=0.01)]

    assert asyncio.run(body()) == []
