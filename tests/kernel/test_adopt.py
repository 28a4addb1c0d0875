"""Adopting namespaces, choosing the host namespace, and refusing unsafe runtime directories (faults E2, E6, E8)."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Bridge,
    KernelError,
    NetSandboxError,
    Sandbox,
    SandboxExistsError,
    SandboxNotFoundError,
    SpecError,
)
from tests.kernel.lab import addresses, comes_back, fails, inside, ip, link, links, snapshot, veth

if TYPE_CHECKING:
    from collections.abc import Iterator

TAMPERED = ["symlink", "group", "others"]
if int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]) > 1:
    TAMPERED.append("somebody")  # in a user namespace with one user, no file can belong to another user

pytestmark = pytest.mark.usefixtures("host")


@contextmanager
def process() -> Iterator[str]:
    """Run a process in a new network namespace; yield the path of that namespace."""
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield f"/proc/{holder.pid}/ns/net"


def test_a_process_namespace_is_adopted_and_released() -> None:
    """Sandbox.adopt uses the namespace of a process in place; destroy detaches its interfaces and releases it."""
    veth(up=True)
    with process() as path:
        before = snapshot()
        box = Sandbox.adopt(path)
        assert (box.name, box.path) == (path, path)
        assert "UP" in link("lo", path)["flags"]
        box.add_interface("v0", addresses=["10.0.0.2/24"])
        box.add_interface(Bridge("b"))
        assert addresses("eth0", path) == {"10.0.0.2/24"}
        box.destroy()
        assert snapshot() == before
        assert set(links(path)) == {"lo"}
        assert Sandbox.list() == []


def test_an_adopted_namespace_is_pinned_under_a_name() -> None:
    with process() as path:
        box = Sandbox.adopt(path, "ctr")
        assert Path(box.path).stat().st_ino == Path(path).stat().st_ino
        assert Sandbox.list() == ["ctr"]
        box.close()
        Sandbox.open("ctr").destroy()
        assert set(links(path)) == {"lo"}


@pytest.mark.parametrize("replaced", [False, True])
def test_links_created_in_an_adopted_namespace_are_deleted(*, replaced: bool) -> None:
    """Destroying or replacing an adopted sandbox deletes the links created in it; the process keeps its namespace."""
    with process() as path:
        with Sandbox.adopt(path, "ctr") as box:
            box.add_interface(Bridge("b"))
        assert set(links(path)) == {"lo", "eth0"}
        again = Sandbox.create("ctr", replace=True) if replaced else Sandbox.open("ctr")
        again.destroy()
        assert set(links(path)) == {"lo"}


def test_a_pinned_namespace_outlives_its_process() -> None:
    veth()
    with comes_back():
        with process() as path:
            box = Sandbox.adopt(path, "ctr")
        box.add_interface("v0")
        assert set(links(box.path)) == {"lo", "eth0"}
        box.destroy()


def test_destroy_keeps_a_namespace_of_ip_netns(run_netns: Path) -> None:
    """Destroying a sandbox that adopted a namespace of `ip netns` keeps that namespace and its name."""
    ip("netns add theirs")
    before = snapshot("/run/netns/theirs")["links"]["lo"]["flags"]
    box = Sandbox.adopt("/run/netns/theirs")
    assert box.name == "theirs"
    box.close()
    with Sandbox.open("theirs") as again:
        again.destroy()
    assert ip("netns list").split() == ["theirs"]
    assert before == ["LOOPBACK"]
    ip("netns delete theirs")
    assert list(run_netns.iterdir()) == []


def test_adopt_leaves_existing_links_alone() -> None:
    """Links that existed before adopt are not listed, keep their names, and survive destroy."""
    veth()
    with process() as path:
        ip("link add eth0 type bridge", netns=path)
        with Sandbox.adopt(path) as box:
            assert box.interfaces == ()
            assert box.add_interface("v0").name == "eth1"
            box.destroy()
        assert set(links(path)) == {"lo", "eth0"}


def test_adopting_a_namespace_twice_is_refused() -> None:
    with process() as path, Sandbox.adopt(path) as box:
        with pytest.raises(SandboxExistsError, match="it is a sandbox already"):
            Sandbox.adopt(path)
        box.destroy()


def test_a_sandbox_is_not_adopted_under_another_name(box: Sandbox) -> None:
    """A namespace that is a sandbox cannot be adopted again, by its pin or by a process inside, under any name."""
    veth()
    box.add_interface("v0")
    with box.popen(["cat"], stdin=subprocess.PIPE) as program:  # ends with its input
        inside = f"/proc/{program.pid}/ns/net"
        for path, name in ((box.path, None), (box.path, "other"), (inside, None), (inside, "other")):
            with fails(box, SandboxExistsError, match="already"):
                Sandbox.adopt(path, name)
    assert Sandbox.list() == ["box"]


def test_adopting_under_a_name_in_use_is_refused(box: Sandbox) -> None:
    with process() as path, fails(box, SandboxExistsError, match="already"):
        Sandbox.adopt(path, "box")


@pytest.mark.parametrize("path", ["/proc/self/ns/net", "/proc/thread-self/ns/net"])
def test_adopting_the_own_namespace_is_refused(path: str) -> None:
    with comes_back(), pytest.raises(SpecError, match=r"use Sandbox\.host"):
        Sandbox.adopt(path)
    assert Sandbox.list() == []


@pytest.mark.parametrize("path", ["relative/path", "", "/a\0b"])
def test_adopt_refuses_an_invalid_path(path: str) -> None:
    """Sandbox.adopt refuses a path that is relative, empty, or contains a NUL byte."""
    with pytest.raises(SpecError, match="path"):
        Sandbox.adopt(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "no namespace file"),
        ("/proc/self/ns/mnt", "another kind"),
        ("/dev/null", "no namespace file"),
        ("/proc", "no namespace"),
    ],
)
def test_e2_adopt_refuses_a_file_that_is_no_network_namespace(path: str, words: str) -> None:
    """Sandbox.adopt fails with EINVAL and says why the file is not a network namespace."""
    with pytest.raises(KernelError, match=words) as info:
        Sandbox.adopt(path, "ctr")
    assert info.value.errno == errno.EINVAL
    assert Sandbox.list() == []


def test_adopting_a_missing_path_fails_with_enoent() -> None:
    with pytest.raises(KernelError, match="ENOENT"):
        Sandbox.adopt("/proc/0/ns/net", "ctr")


def test_a_pin_with_another_namespace_is_not_used(tmp_path: Path) -> None:
    """If another namespace is mounted on a pin, the sandbox refuses to use it, and prune removes the sandbox."""
    box = Sandbox.create("web")
    subprocess.run(["umount", box.path], check=True)
    with process() as path:
        subprocess.run(["mount", "--bind", path, box.path], check=True)
        with pytest.raises(SandboxNotFoundError, match="no longer at"):
            box.add_interface(Bridge("b"))
        with pytest.raises(SandboxNotFoundError, match="another namespace is at"):
            Sandbox.open("web")
        assert set(links(path)) == {"lo"}
        subprocess.run(["umount", box.path], check=True)
    box.close()
    assert len(Sandbox.prune()) == 1
    assert list((tmp_path / "netns").glob("[!.]*")) == []


def test_e6_the_host_is_the_namespace_of_the_creating_thread() -> None:
    with process() as elsewhere:
        veth(netns=elsewhere)
        box = inside(elsewhere, lambda: Sandbox.create("web"))
        with comes_back(elsewhere):
            assert box.add_interface("v0").name == "eth0"
            box.remove_interface("eth0")
        box.destroy()


def test_e6_the_option_host_selects_another_namespace() -> None:
    """The option host selects the namespace from which create and Sandbox.host take links."""
    with process() as elsewhere:
        veth(netns=elsewhere)
        with comes_back(elsewhere), Sandbox.create("web", host=elsewhere) as box:
            box.add_interface("v0", addresses=["10.0.0.2/24"])
            box.destroy()
        with Sandbox.host(elsewhere) as theirs, comes_back(elsewhere):
            theirs.add_interface("v0", addresses=["10.0.0.2/24"])
            assert addresses("v0", elsewhere) == {"10.0.0.2/24"}
            theirs.destroy()


def test_e6_links_are_not_returned_to_the_wrong_host() -> None:
    """A sandbox opened with another host refuses to detach links that came from the original host."""
    veth()
    with process() as elsewhere, Sandbox.create("web") as box:
        box.add_interface("v0")
        with Sandbox.open("web", host=elsewhere) as strange:
            with fails(box, NetSandboxError, match="came from another namespace"):
                strange.remove_interface("eth0")
            with fails(box, NetSandboxError, match="came from another namespace"):
                strange.destroy()
        box.destroy()
        assert set(links(elsewhere)) == {"lo"}


def test_e8_the_runtime_directory_is_read_on_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NETSANDBOX_DIR is read on every call; an open sandbox keeps working after the variable changes."""
    box = Sandbox.create("one")
    monkeypatch.setenv("NETSANDBOX_DIR", str(tmp_path / "other"))
    assert Sandbox.list() == []
    other = Sandbox.create("one")
    assert other.path == str(tmp_path / "other" / "one")
    other.destroy()
    assert box.interfaces == ()
    box.destroy()


def test_e8_failure_to_make_the_runtime_directory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NETSANDBOX_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(KernelError, match="ENOTDIR"):
        Sandbox.create("web")


@pytest.mark.parametrize("what", TAMPERED)
@pytest.mark.parametrize("part", ["netns", "netns/.state"])
def test_an_unsafe_runtime_directory_is_refused(tmp_path: Path, what: str, part: str) -> None:
    """A runtime directory that is a symlink, or that other users own or may write to, is refused."""
    directory = tmp_path / part
    directory.parent.mkdir(exist_ok=True)
    if what == "symlink":
        (tmp_path / "real").mkdir()
        directory.symlink_to(tmp_path / "real")
    else:
        directory.mkdir()
        directory.chmod({"group": 0o775, "others": 0o777}.get(what, 0o755))
        if what == "somebody":
            os.chown(directory, 65534, 65534)
    for verb in (lambda: Sandbox.create("web"), Sandbox.list, Sandbox.recover):
        with comes_back(), pytest.raises(NetSandboxError, match="runtime directory"):
            verb()
    assert not list((tmp_path / "netns").glob("[!.]*"))
    if what == "symlink":
        directory.unlink()
