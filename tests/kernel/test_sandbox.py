"""Creating, opening, closing and destroying sandboxes (faults A13, A14, E1 to E4, E7)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Bridge,
    InterfaceSpec,
    NameConflictError,
    Neighbor,
    NetSandboxError,
    Route,
    Sandbox,
    SandboxClosedError,
    SandboxExistsError,
    SandboxNotFoundError,
    SpecError,
)
from netsandbox._run.handle import Handle
from tests.kernel.lab import addresses, comes_back, fails, ip, link, links, snapshot, veth

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox._record import Record


pytestmark = pytest.mark.usefixtures("host")


def test_a_new_sandbox_has_only_loopback() -> None:
    with Sandbox.temporary() as box:
        assert set(links(box.path)) == {"lo"}
        assert "UP" in link("lo", box.path)["flags"]
        assert addresses("lo", box.path) == {"127.0.0.1/8", "::1/128"}
        assert box.interfaces == ()
        assert box.exec(["ping", "-c1", "-W5", "127.0.0.1"], capture_output=True).returncode == 0


def test_a_sandbox_is_pinned_in_the_runtime_directory(tmp_path: Path) -> None:
    """A sandbox is pinned under its name in the runtime directory, and destroy removes the pin at once."""
    box = Sandbox.create("web")
    assert (box.name, box.path) == ("web", str(tmp_path / "netns" / "web"))
    assert Sandbox.list() == ["web"]
    assert f" {box.path} " in Path("/proc/self/mountinfo").read_text()
    box.destroy()
    assert Sandbox.list() == []
    assert not Path(box.path).exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_mode_of_a_pin_does_not_depend_on_the_umask(run_netns: Path, umask: int) -> None:
    """A pin has the mode 0444 of a mounted namespace, like a pin of `ip netns`, whatever the umask."""
    before = os.umask(umask)
    try:
        box = Sandbox.create("web")
        ip("netns add other")
    finally:
        os.umask(before)
    with box:
        assert [Path(run_netns, name).stat().st_mode & 0o7777 for name in ("web", "other")] == [0o444, 0o444]
        assert set(links(box.path)) == {"lo"}
        ip("netns delete other")
        box.destroy()


def test_directories_are_created_with_mode_0755(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parents of the runtime directory are created with mode 0755, whatever the umask."""
    monkeypatch.setenv("NETSANDBOX_DIR", str(tmp_path / "a/b/c"))
    before = os.umask(0)
    try:
        with Sandbox.create("web") as box:
            box.destroy()
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/c")] == [0o755] * 3


def test_an_absolute_path_is_a_name(tmp_path: Path) -> None:
    path = str(tmp_path / "elsewhere")
    with Sandbox.create(path) as box:
        assert (box.name, box.path) == (path, path)
        assert Sandbox.list() == [path]
        with Sandbox.open(path) as again:
            assert again.interfaces == ()
            again.destroy()
    assert not Path(path).exists()


def test_the_default_runtime_directory_is_that_of_ip_netns(run_netns: Path) -> None:
    veth()
    box = Sandbox.create("web")
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    assert box.path == str(run_netns / "web")
    assert "web" in ip("netns list").split()
    assert "10.0.0.2/24" in ip("-n web address show dev eth0")
    assert str(box.plan_interface(Bridge("b"))).startswith("ip -n web ")
    box.destroy()
    assert ip("netns list") == ""


def test_namespaces_of_ip_netns_are_left_alone(run_netns: Path) -> None:
    """A namespace of `ip netns` is listed only on request, and can be neither created, replaced nor opened."""
    ip("netns add theirs")
    box = Sandbox.create("ours")
    assert Sandbox.list() == ["ours"]
    assert Sandbox.list(all=True) == ["ours", "theirs"]
    with pytest.raises(SandboxExistsError, match="netsandbox did not pin it there"):
        Sandbox.create("theirs")
    with pytest.raises(SandboxExistsError):
        Sandbox.create("theirs", replace=True)
    with pytest.raises(SandboxNotFoundError, match="adopt"):
        Sandbox.open("theirs")
    box.destroy()
    ip("netns delete theirs")
    assert list(run_netns.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "a\nb", "a\0b", "-a", "x" * 65, "é" * 33, 7, None, b"a", ".hidden"]
)
def test_e7_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="name"):
        Sandbox.create(name)
    assert Sandbox.list() == []


@pytest.mark.parametrize("name", ["x" * 64, "web-1", "a.b", "ünï", "a%2Fb", "a:b", "host"])
def test_e7_a_valid_name_is_used_verbatim(name: str) -> None:
    with Sandbox.create(name) as box:
        assert box.name == name
        assert Sandbox.list() == [name]
        Sandbox.open(name).destroy()


def test_e7_names_with_a_common_prefix_do_not_collide() -> None:
    first, second = Sandbox.create("a" * 63 + "1"), Sandbox.create("a" * 63 + "2")
    assert len(Sandbox.list()) == 2
    first.destroy()
    assert second.interfaces == ()
    second.destroy()


def test_e3_a_name_in_use_is_refused(box: Sandbox) -> None:
    with fails(box, SandboxExistsError, match="a sandbox of this name exists") as info:
        Sandbox.create("box")
    assert info.value.code == "sandbox-exists"


def test_e3_replace_returns_links_and_creates_a_new_one() -> None:
    """Sandbox.create with replace=True returns the links of the old sandbox to the host and creates a new namespace."""
    veth(up=True)
    ip("address add 10.0.0.1/24 dev v0")
    before = snapshot()
    with Sandbox.create("web") as old:
        old.add_interface("v0", addresses=["10.1.0.2/24"])
        old.add_interface(Bridge("b"))
        inode = Path(old.path).stat().st_ino
        with Sandbox.create("web", replace=True) as new:
            assert snapshot() == before
            assert Path(new.path).stat().st_ino != inode
            assert new.interfaces == ()
            with pytest.raises(SandboxNotFoundError):
                old.add_interface("v0")
            with pytest.raises(SandboxNotFoundError):
                old.destroy()
            assert new.add_interface("v0").name == "eth0"
            new.destroy()
    assert snapshot() == before


def test_e3_replace_without_an_old_sandbox_creates_one() -> None:
    Sandbox.create("web", replace=True).destroy()


def test_e3_a_failed_replace_keeps_the_old_sandbox(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    ip("link add v0 type bridge")
    with fails(box, NameConflictError, match="v0"):
        Sandbox.create("box", replace=True)
    ip("link delete v0")


@pytest.mark.parametrize("what", ["file", "directory", "link", "dangling link", "other namespace"])
def test_e1_an_existing_file_is_not_touched(tmp_path: Path, what: str) -> None:
    """Sandbox.create refuses a name whose file exists already, of whatever type, and keeps the file."""
    path = tmp_path / "netns" / "web"
    path.parent.mkdir()
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    else:
        path.symlink_to(
            tmp_path if what == "link" else "/proc/self/ns/uts" if what == "other namespace" else "/nowhere"
        )
    with pytest.raises(NetSandboxError):
        Sandbox.create("web")
    with pytest.raises(NetSandboxError):
        Sandbox.create("web", replace=True)
    assert path.is_symlink() or path.exists()
    assert Sandbox.list() == []
    path.rmdir() if what == "directory" else path.unlink()


def test_e1_a_failed_create_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NetSandboxError, match="ENOENT"):
        Sandbox.create(str(tmp_path / "no" / "such" / "place"))
    assert Sandbox.list() == []


def test_e2_a_pin_without_its_mount_is_reported() -> None:
    """A pin that was unmounted is neither opened nor replaced, and prune removes it."""
    box = Sandbox.create("web")
    path = Path(box.path)
    ip("link show", netns=box.path)
    box.close()
    subprocess.run(["umount", path], check=True)
    with pytest.raises(SandboxNotFoundError, match="no longer at"):
        Sandbox.open("web")
    with pytest.raises(SandboxExistsError):
        Sandbox.create("web")
    assert len(Sandbox.prune()) == 1
    assert not path.exists()


def test_e4_a_pin_in_another_mount_namespace_is_removed(run_netns: Path) -> None:
    """Sandbox.destroy removes a pin that another mount namespace still has mounted, and the name can be reused."""
    box = Sandbox.create("web")
    holder = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    box.destroy()
    assert list(run_netns.iterdir()) == []
    holder.communicate(b"\n")
    Sandbox.create("web").destroy()


def test_a13_destroy_returns_only_links_of_the_host() -> None:
    veth(up=True)
    veth("v1", "p1")
    ip("address add 10.0.0.1/24 dev v0")
    ip("link set v1 address 02:00:00:00:00:07")
    with comes_back():
        box = Sandbox.create("web")
        box.add_interfaces([InterfaceSpec(Bridge("b")), InterfaceSpec("v0", master="b", mac="02:00:00:00:00:11")])
        box.add_interface("v1", addresses=["10.5.0.1/24"], routes=["10.6.0.0/24"])
        ip("link add stray type bridge", netns=box.path)
        ip("link set eth1 name eth7", netns=box.path)
        box.destroy()


def test_a13_destroy_is_rolled_back_when_a_name_is_taken(box: Sandbox) -> None:
    veth()
    veth("v1", "p1")
    box.add_interfaces([InterfaceSpec("v0", addresses=["10.0.0.2/24"]), InterfaceSpec("v1")])
    ip("link add v0 type bridge")
    with fails(box, NameConflictError, match="v0"):
        box.destroy()
    assert [item.name for item in box.interfaces] == ["eth0", "eth1"]
    ip("link delete v0")
    box.destroy()
    assert {"v0", "v1"} < set(links())


def test_a_temporary_sandbox_is_destroyed_after_an_error() -> None:
    veth()
    with comes_back(), pytest.raises(ZeroDivisionError), Sandbox.temporary() as box:
        box.run(divmod, box.add_interface("v0").index, 0)
    assert Sandbox.list() == []


def test_the_with_statement_closes_but_keeps_the_sandbox() -> None:
    veth()
    with Sandbox.create("web") as box:
        box.add_interface("v0")
    with pytest.raises(SandboxClosedError):
        _ = box.interfaces
    box.close()
    with Sandbox.open("web") as again:
        assert [item.source for item in again.interfaces] == ["v0"]
        again.destroy()


def test_a_sandbox_that_was_not_closed_causes_a_warning() -> None:
    box = Sandbox.create("web")
    with pytest.warns(ResourceWarning, match="sandbox web was not closed"):
        del box
    Sandbox.open("web").destroy()


NEIGHBOR = Neighbor("10.0.0.9", "02:00:00:00:00:01", "eth0")
VERBS: dict[str, Callable[[Sandbox], object]] = {
    "add_interface": lambda box: box.add_interface("eth0"),
    "add_interfaces": lambda box: box.add_interfaces([InterfaceSpec("eth0")]),
    "plan_interface": lambda box: box.plan_interface("eth0"),
    "remove_interface": lambda box: box.remove_interface("eth0"),
    "interfaces": lambda box: box.interfaces,
    "set_gateway": lambda box: box.set_gateway("10.0.0.1"),
    "unset_gateway": lambda box: box.unset_gateway(),
    "gateway4": lambda box: box.gateway4,
    "gateway6": lambda box: box.gateway6,
    "add_route": lambda box: box.add_route(Route("10.7.0.0/16", interface="eth0")),
    "remove_route": lambda box: box.remove_route(Route("10.0.0.0/24")),
    "routes": lambda box: box.routes,
    "add_address": lambda box: box.add_address("eth0", "10.9.9.9/32"),
    "remove_address": lambda box: box.remove_address("eth0", "10.0.0.1/24"),
    "add_neighbor": lambda box: box.add_neighbor(NEIGHBOR),
    "remove_neighbor": lambda box: box.remove_neighbor(NEIGHBOR),
    "neighbors": lambda box: box.neighbors,
    "has_ipv6": lambda box: box.has_ipv6,
    "disable_arp_for_vip": lambda box: box.disable_arp_for_vip("eth0"),
    "apply_os_tweaks": lambda box: box.apply_os_tweaks({"net.ipv4.ip_forward": "1"}),
    "run": lambda box: box.run(os.getpid),
    "popen": lambda box: box.popen(["true"]),
    "exec": lambda box: box.exec(["true"]),
    "destroy": lambda box: box.destroy(),
}


@pytest.mark.parametrize("way", ["close", "destroy"])
def test_a14_a_closed_sandbox_refuses_every_method(way: str) -> None:
    """After close or destroy every method raises SandboxClosedError, and the host is unchanged."""
    veth("eth0", "peer", up=True)  # the link that a method would change if it acted on the host
    ip("address add 10.0.0.1/24 dev eth0")
    veth()
    box = Sandbox.create("web")
    interface = box.add_interface("v0")
    getattr(box, way)()
    verbs = dict(VERBS)
    verbs["remove"] = lambda _: interface.remove()
    verbs["statistics"] = lambda _: interface.statistics()
    with comes_back():
        for name, verb in verbs.items():
            with pytest.raises(SandboxClosedError, match="sandbox web is closed"):
                pytest.fail(f"{name} returned {verb(box)!r}")
    assert (box.name, "closed" in repr(box)) == ("web", True)
    if way == "close":
        Sandbox.open("web").destroy()


@pytest.mark.parametrize("what", ["interfaces", "missing", "foreign"])
def test_a14_closing_during_a_read_raises_closed_error(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    record = Handle.record

    def closing(self: Handle) -> Record:
        found = record(self)
        self.close()
        return found

    box = Sandbox.create("web")
    with monkeypatch.context() as patch:
        patch.setattr(Handle, "record", closing)
        with pytest.raises(SandboxClosedError, match="sandbox web is closed"):
            getattr(box, what)
    Sandbox.destroy_many(["web"])


def test_a14_a_reused_descriptor_number_is_not_used(tmp_path: Path) -> None:
    box = Sandbox.create("web")
    box.destroy()
    with (tmp_path / "other").open("w"), Sandbox.temporary() as other:
        with pytest.raises(SandboxClosedError):
            box.run(os.getpid)
        assert other.interfaces == ()


def test_opening_a_missing_sandbox_is_refused() -> None:
    for name in ("nowhere", "/nowhere/at/all"):
        with pytest.raises(SandboxNotFoundError, match="no sandbox has this name"):
            Sandbox.open(name)
    with pytest.raises(SpecError):
        Sandbox.open("a/b")


def test_two_interfaces_have_statistics(box: Sandbox) -> None:
    veth()
    veth("v1", "p1")
    box.add_interface("v0")
    box.add_interface("v1")
    assert {item.name: item.statistics().tx_errors for item in box.interfaces} == {"eth0": 0, "eth1": 0}


def test_a_destroyed_sandbox_is_noticed_by_other_objects(box: Sandbox) -> None:
    with Sandbox.open("box") as other:
        box.destroy()
        with pytest.raises(SandboxNotFoundError, match="destroyed"):
            _ = other.interfaces
        with pytest.raises(SandboxNotFoundError):
            other.add_interface(Bridge("b"))
