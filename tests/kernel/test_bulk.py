"""Bulk calls: each sandbox is changed atomically, and a failing sandbox does not stop the others."""

from __future__ import annotations

import os
import resource
import subprocess
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Bridge,
    InterfaceSpec,
    NameConflictError,
    NetSandboxError,
    Sandbox,
    SandboxExistsError,
    SandboxNotFoundError,
    SourceNotFoundError,
    SpecError,
    Veth,
)
from netsandbox._steps import SetUp
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsandbox._kernel import World


pytestmark = pytest.mark.usefixtures("host")
LATE = InterfaceSpec("v1", sysctls={"net.ipv4.conf.IFNAME.nothing": "1"})  # fails after steps that are rolled back


@pytest.fixture(autouse=True)
def cables(host: None) -> None:  # noqa: ARG001
    """Create two veth pairs to attach."""
    lab.veth("v0", "p0", up=True)
    lab.veth("v1", "p1", up=True)


@pytest.fixture
def three(host: None) -> Iterator[list[str]]:  # noqa: ARG001
    """Create three sandboxes, and destroy those that still exist after the test."""
    names = ["a", "b", "c"]
    for box in Sandbox.create_many(names):
        box.close()
    yield names
    Sandbox.destroy_many(Sandbox.list()).raise_for_failures()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_create_many_attaches_the_interfaces_of_each() -> None:
    with lab.comes_back():
        wishes = {"a": [InterfaceSpec("v0", addresses=["10.0.0.2/24"]), InterfaceSpec(Bridge("br"))], "b": [], "c": ()}
        made = Sandbox.create_many(wishes)
        assert ([*made.done], made.failed, made.ok) == (["a", "b", "c"], {}, True)
        assert lab.addresses("eth0", made.done["a"].path) == {"10.0.0.2/24"}
        assert set(lab.links(made.done["a"].path)) == {"lo", "eth0", "eth1"}
        assert [item.source for item in made.done["a"].interfaces] == ["v0", "br"]
        assert "UP" in lab.link("lo", made.done["c"].path)["flags"]
        destroyed = Sandbox.destroy_many(made)
        assert [box.name for box in destroyed] == ["a", "b", "c"]
    assert Sandbox.list() == []


def test_create_many_rolls_back_only_the_failing_ones() -> None:
    """create_many rolls back each sandbox that fails, creates the others, and reports progress for all."""
    with lab.comes_back():
        told: list[tuple[str, NetSandboxError | None]] = []
        wishes = {"a": [InterfaceSpec("v0")], "b": [InterfaceSpec("nowhere")], "c": [InterfaceSpec(Bridge("br")), LATE]}
        made = Sandbox.create_many(wishes | {"d": []}, progress=lambda *what: told.append(what))
        assert ([*made.done], Sandbox.list()) == (["a", "d"], ["a", "d"])
        assert isinstance(made.failed["b"], SourceNotFoundError)
        assert made.failed["c"].undone
        assert (made.failed["c"].operation, made.failed["c"].sandbox) == ("create sandbox c", "c")
        assert told == [("a", None), ("b", made.failed["b"]), ("c", made.failed["c"]), ("d", None)]
        again = Sandbox.create_many(["d", "e"])
        assert isinstance(again.failed["d"], SandboxExistsError)
        Sandbox.destroy_many((*made, *again))


def test_create_with_interfaces_is_atomic() -> None:
    """Sandbox.create with interfaces either creates the sandbox with all of them or is rolled back."""
    with lab.comes_back():
        with pytest.raises(NetSandboxError, match="nothing") as info:
            Sandbox.create("web", interfaces=[InterfaceSpec("v0"), LATE])
        assert any("v0" in line for line in info.value.undone)
        assert Sandbox.list() == []
        with Sandbox.create("web", interfaces=[InterfaceSpec("v0", name="wan0")]) as box:
            assert [item.name for item in box.interfaces] == ["wan0"]
            assert box.add_interface("v1").id > box.interfaces[0].id
            box.destroy()
    with pytest.raises(SpecError, match="class InterfaceSpec"):
        Sandbox.create("web", interfaces=["v0"])  # type: ignore[list-item]


def test_replace_can_attach_a_link_of_the_old_sandbox() -> None:
    """create_many with replace=True can attach a link that the old sandbox held."""
    with lab.comes_back():
        for _ in range(2):
            made = Sandbox.create_many({"a": [InterfaceSpec("v0")]}, replace=True)
            made.raise_for_failures()
            assert "eth0" in lab.links(made.done["a"].path)
            made.done["a"].close()
        failed = Sandbox.create_many({"a": [InterfaceSpec("nowhere")]}, replace=True)
        assert isinstance(failed.failed["a"], SourceNotFoundError)
        assert Sandbox.list() == []
        Sandbox.create("a").close()
        Sandbox.create_many(["a"], replace=True).done["a"].destroy()


def test_create_many_checks_all_specs_first() -> None:
    """create_many refuses invalid specs, duplicate names and an invalid host before it changes anything."""
    one = InterfaceSpec("v0")
    with lab.comes_back():
        with pytest.raises(SpecError) as info:
            Sandbox.create_many({"a": [one], "b": [one], "no name": [], "d": [7]})
        assert [problem.field for problem in info.value.problems] == ["source", "name", "spec"]
        with pytest.raises(SpecError, match="'a': is given twice"):
            Sandbox.create_many(["a", "b", "a"])
        with pytest.raises(SpecError, match="host 'x': is not an absolute path"):
            Sandbox.create_many("a", host="x")
    assert Sandbox.list() == []


def test_the_last_sandbox_closes_the_shared_host() -> None:
    """Sandboxes of one create_many share the descriptors of the host, which the last of them closes."""
    before = descriptors()
    boxes = list(Sandbox.create_many([f"s{number}" for number in range(20)]))
    assert descriptors() - before == 2 * len(boxes) + 2
    first, *others = boxes
    first.close()
    first.close()
    assert [box.add_interface(source).name for source, box in zip(["v0", "v1"], others, strict=False)] == ["eth0"] * 2
    Sandbox.destroy_many(others).raise_for_failures()
    assert descriptors() == before
    Sandbox.destroy_many("s0").raise_for_failures()


def test_an_interrupt_notes_what_was_created() -> None:
    """KeyboardInterrupt between two sandboxes carries a note that lists which were created and which were not."""
    before = descriptors()

    def interrupt(name: str, _: object) -> None:
        if name == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as info:
        Sandbox.create_many(["a", "b", "c"], progress=interrupt)
    assert info.value.__notes__ == ["create sandboxes was interrupted; done: a, b; not done: c"]
    assert Sandbox.list() == ["a", "b"]
    assert descriptors() == before
    Sandbox.destroy_many(["a", "b"])


def test_an_interrupt_rolls_back_the_current_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt while a sandbox is created rolls back that sandbox and keeps the earlier ones."""
    before = descriptors()
    bring_up = SetUp.apply

    def interrupted(step: SetUp, world: World) -> bool:
        if step.new and (step.netns.rpartition("/")[2], step.link) == ("b", "eth0"):
            raise KeyboardInterrupt
        return bring_up(step, world)

    with lab.comes_back(), monkeypatch.context() as patch:
        patch.setattr(SetUp, "apply", interrupted)
        with pytest.raises(KeyboardInterrupt) as info:
            Sandbox.create_many({"a": [InterfaceSpec("v0")], "b": [InterfaceSpec("v1")]})
        assert info.value.__notes__ == ["create sandboxes was interrupted; done: a; not done: b"]
        assert (Sandbox.list(), "v1" in lab.links()) == (["a"], True)
        Sandbox.destroy_many(["a"]).raise_for_failures()
    assert descriptors() == before


def test_add_many_attaches_to_each_sandbox(three: list[str]) -> None:
    """add_many attaches interfaces to each sandbox, and reports the sandboxes that fail."""
    with Sandbox.open("a") as a, lab.comes_back(a.path):
        added = Sandbox.add_many({a: [InterfaceSpec("v0"), InterfaceSpec(Bridge("x"))], "b": [LATE], "c": [], "d": []})
        assert ([*added.done], [item.name for item in added.done["a"]]) == (["a", "c"], ["eth0", "eth1"])
        assert set(lab.links(a.path)) == {"lo", "eth0", "eth1"}
        assert "v1" in lab.links()
        assert isinstance(added.failed["d"], SandboxNotFoundError)
        a.remove_interfaces(added.done["a"])
    with Sandbox.open("b") as b:
        with pytest.raises(SpecError, match="'b': is given twice"):
            Sandbox.add_many({b: [], "b": []})
        assert Sandbox.add_many({"b": InterfaceSpec("v0")}).done["b"][0].source == "v0"  # type: ignore[dict-item]
        assert "eth0" in lab.links(b.path)
    assert Sandbox.list() == three


@pytest.mark.parametrize("wait", [False, True])
def test_destroy_many_deletes_the_host_ends_of_veths(monkeypatch: pytest.MonkeyPatch, *, wait: bool) -> None:
    """destroy_many deletes the host ends of veths, also while a program runs inside or descriptors are scarce."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY if wait else 36, 0))
    before, names = descriptors(), [f"s{number}" for number in range(12)]
    with lab.comes_back():
        made = Sandbox.create_many({name: [InterfaceSpec(Veth(f"host-{name}"))] for name in names})
        made.raise_for_failures()
        program = made.done["s3"].popen(["cat"], stdin=subprocess.PIPE)
        given = [made.done[name] if name < "s2" else name for name in names]  # open ones, and some by name
        Sandbox.destroy_many(given, wait=wait).raise_for_failures()
        for box in made:
            box.close()
        if wait:
            assert not {name for name in lab.links() if name.startswith("host-")}
        while any(name.startswith("host-") for name in lab.links()):  # until the kernel has deleted the others
            pass
        program.communicate()
    assert descriptors() == before


def test_destroy_many_continues_after_a_failure(three: list[str]) -> None:
    """destroy_many destroys the other sandboxes when one fails, and reports the failures."""
    Sandbox.add_many({"b": [InterfaceSpec("v0")]}).raise_for_failures()
    lab.ip("link add v0 type bridge")
    gone = Sandbox.destroy_many([*three, "nobody"])
    assert [*gone.done] == ["a", "c"]
    assert isinstance(gone.failed["b"], NameConflictError)
    assert isinstance(gone.failed["nobody"], SandboxNotFoundError)
    with pytest.raises(NetSandboxError, match="2 done, 2 failed: b, nobody: "):
        gone.raise_for_failures()
    assert Sandbox.list() == ["b"]
    lab.ip("link delete v0")
