"""System calls that fail: every error is a NetSandboxError, and nothing is left half done."""

from __future__ import annotations

import errno
import os
import runpy
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import (
    InterfaceSpec,
    KernelError,
    NetSandboxError,
    ProtocolError,
    RollbackError,
    Sandbox,
    SandboxNotFoundError,
    SpecError,
    _record,
)
from netsandbox._run import transaction
from netsandbox._system import files, kernel, libc, namespace, store, sysctl, transport
from netsandbox.netlink import link_requests as requests
from tests.kernel import faults, lab

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("host")
OWN = lab.OWN


def refuse(code: int, *, like: Callable[..., Any] | None = None, when: Callable[..., bool] = lambda *_: True) -> Any:  # noqa: ANN401
    """Return a function that fails with an errno; calls for which *when* is false are passed to *like*."""

    def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        if like and not when(*arguments):
            return like(*arguments, **options)
        raise OSError(code, os.strerror(code))

    return call


def kill(act: Callable[[], object], calls: str, n: int) -> None:
    """Call *act* in a process that is killed before its *n*-th system call of the name *calls*."""

    def program(arm: faults.Switch, disarm: faults.Switch) -> None:
        arm()
        act()
        disarm()

    assert faults.run(program, calls, n=n, fault=signal.SIGKILL).end == "died"


def sent(act: Callable[[], object]) -> int:
    """Return how many netlink requests *act* sends."""

    def program(arm: faults.Switch, disarm: faults.Switch) -> None:
        arm()
        act()
        disarm()

    return faults.count(program, "sendto")["sendto"]


class Scripted:
    """A socket that receives the scripted answers."""

    def __init__(self, *answers: tuple[bytes, int, tuple[int, int]] | int) -> None:
        self.answers = list(answers)

    def send(self, data: bytes) -> int:
        return len(data)

    def recvmsg(self, *_: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        answer = self.answers.pop(0) if self.answers else errno.EAGAIN
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        data, flags, sender = answer
        return data, [], flags, sender

    def close(self) -> None:
        """Close nothing."""


def talking(*answers: tuple[bytes, int, tuple[int, int]] | int) -> transport.Transport:
    made = transport.Transport()
    made.close()
    made._socket = Scripted(*answers)  # type: ignore[assignment]
    return made


def test_an_overrun_without_an_answer_is_a_lost_answer() -> None:
    """After ENOBUFS the transport receives again; if nothing arrives, the request may have been executed."""
    with pytest.raises(KernelError, match="no answer arrived") as info:
        talking(errno.ENOBUFS).ask(requests.modify(1, up=True))
    assert info.value.errno == errno.EAGAIN
    assert not info.value.answered


def test_a_failed_send_counts_as_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed send the request may have been executed: the error has answered=False."""
    made = talking()
    monkeypatch.setattr(made._socket, "send", refuse(errno.ENOMEM), raising=False)
    with pytest.raises(KernelError, match="ENOMEM") as info:
        made.ask(requests.dump())
    assert not info.value.answered


def test_messages_of_other_processes_are_ignored() -> None:
    with pytest.raises(KernelError, match="EAGAIN"):
        talking((b"x" * 16, 0, (4242, 0))).ask(requests.dump())


def test_a_truncated_answer_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="an answer of more than"):
        talking((b"", socket.MSG_TRUNC, (0, 0))).ask(requests.dump())


def test_without_a_socket_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refuse(errno.EMFILE))
    fd = os.open(OWN, os.O_RDONLY)
    with pytest.raises(KernelError, match="open a netlink socket: EMFILE"):
        kernel.LinuxKernel(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_failed_lookup_is_not_taken_for_a_missing_link(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(box._handle.box._transport, "_socket", Scripted(errno.ENOMEM))
        with pytest.raises(KernelError, match="ENOMEM"):
            box._handle.box.link("lo")


def test_failure_to_start_a_thread_is_a_kernel_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KernelError, match="start a thread: EAGAIN"):
        namespace.run_in_new(threading.get_ident)


def test_failure_to_read_a_path_is_reported() -> None:
    for look in (namespace.pinned, files.check, lambda path: namespace.find(path, follow=True)):
        with pytest.raises(KernelError, match="ENOTDIR"):
            look("/dev/null/x")
    with pytest.raises(KernelError, match="ENOTDIR"):
        files.names("/dev/null")


def test_failure_to_make_a_directory_is_reported() -> None:
    with pytest.raises(KernelError, match="make the directory /proc/1/x: ENOENT"):
        files.make("/proc/1/x")


def test_a_failed_mount_of_a_pin_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mount(*_: object) -> None:
        raise KernelError(errno.ENOMEM, "mount")

    monkeypatch.setattr(libc, "mount", mount)
    with pytest.raises(KernelError, match="ENOMEM"):
        Sandbox.create(str(tmp_path / "pin"))
    assert not (tmp_path / "pin").exists()
    with pytest.raises(KernelError, match="mount: ENOMEM"):
        files.share(str(tmp_path))


def test_a_pin_that_cannot_be_deleted_is_mounted_again(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting a pin is retried on EBUSY, five times in all; then the namespace is mounted again."""
    tried = []

    def is_pin(path: str) -> bool:
        tried.extend([path] if path == box.path else [])
        return path == box.path

    before = box._handle.box.identity
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse(errno.EBUSY, like=os.unlink, when=is_pin))
        with pytest.raises(KernelError, match=r"delete .*: EBUSY"):
            box.destroy()
    assert len(tried) == 5
    assert namespace.pinned(box.path) == before


def test_unpinning_a_file_without_its_mount_deletes_it(tmp_path: Path) -> None:
    (tmp_path / "pin").touch(mode=0o444)
    namespace.unpin(str(tmp_path / "pin"), namespace.Identity(1, 1))
    assert not (tmp_path / "pin").exists()


def test_a_symlink_as_record_or_lock_is_not_followed(box: Sandbox, tmp_path: Path) -> None:
    kept = store.Store()
    links = [Path(kept.records, name) for name in ("other.json", ".lock-third.json")]
    for file in links:
        file.symlink_to(tmp_path / "anywhere")
    with pytest.raises(KernelError, match=r"read .*: ELOOP"):
        kept.read("other")
    with pytest.raises(KernelError, match=r"lock .*: ELOOP"), kept.locked("third"):
        pass
    for file in links:
        file.unlink()
    assert not (tmp_path / "anywhere").exists()
    assert box.interfaces == ()


def test_failure_to_write_a_record_changes_nothing(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a record cannot be written or deleted, the operation is rolled back."""
    lab.veth("v0", "p0")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse(errno.ENOSPC))
        with lab.fails(box, KernelError, "ENOSPC"):
            box.add_interface("v0")
    with monkeypatch.context() as patch:
        is_record = refuse(errno.EROFS, like=os.unlink, when=lambda path: path.endswith("/box.json"))
        patch.setattr(os, "unlink", is_record)
        with lab.fails(box, KernelError, "delete .*: EROFS"):
            box.destroy()


def test_failure_to_restore_a_record_is_noted_on_the_error(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the record cannot be restored, the first error is raised with a note, and the next operation recovers."""
    lab.veth("v0", "p0")
    times = []

    def again(*paths: str) -> bool:
        times.append(paths)
        return len(times) > 1

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse(errno.ENOSPC, like=os.rename, when=again))
        with pytest.raises(KernelError, match="ENOSPC") as info:
            box.add_interface("v0", addresses=["10.0.0.2/24"])
    assert any("its record stays pending" in note for note in info.value.__notes__)
    assert box.interfaces == ()


def test_failure_to_read_the_boot_id_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "open", refuse(errno.EACCES), raising=False)
    store.boot.cache_clear()
    with pytest.raises(KernelError, match="boot_id: EACCES"):
        store.boot()


def test_a_sysctl_with_another_value_afterwards_is_an_error(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """set_sysctl fails if the kernel stores another value; failure to enter the namespace is reported."""
    with pytest.raises(KernelError, match="the kernel made it 1"):
        box._handle.box.set_sysctl("ipv4/conf/lo/rp_filter", "01")

    def gone(*_: object) -> None:
        raise KernelError(errno.EMFILE, "enter")

    monkeypatch.setattr(sysctl, "run_in", gone)
    with pytest.raises(KernelError, match="enter: EMFILE"):
        box._handle.box.sysctl("core/somaxconn")


def test_invalid_arguments_and_platforms_are_refused(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="family 5"):
        box.unset_gateway(5)
    with pytest.raises(SpecError, match="goes into the InterfaceSpec"):
        box.add_interface(InterfaceSpec("v0"), mtu=1400)
    with pytest.raises(SpecError, match="has nothing to plan"):
        box.plan(lambda: None)
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(NetSandboxError, match="this is plan9"):
        Sandbox.create("x")


def test_the_package_can_be_run_with_python_m(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["netsandbox", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("netsandbox", run_name="__main__")
    assert end.value.code == 0


def test_recover_continues_after_a_failure(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def settle(_: object, key: str, __: object) -> tuple[None, tuple[str, ...]]:
        seen.append(key)
        if key == box.name:
            raise NetSandboxError("no way")
        return None, (f"undid {key}",)

    with Sandbox.create("zzz") as other:
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "_recover", settle)
            with pytest.raises(NetSandboxError, match="undid zzz; sandbox box: no way"):
                Sandbox.recover()
        assert seen == ["box", "zzz"]
        other.destroy()
    transaction.Records().keep("nobody", None)


def test_a_create_killed_before_its_mount_is_rolled_back() -> None:
    kill(lambda: Sandbox.create("half"), "mount", 1)
    assert Sandbox.list() == ["half"]
    assert Sandbox.recover() == ("rolled back what was interrupted: create sandbox half",)
    assert Sandbox.list() == []


def test_a_pin_is_pruned_only_in_its_own_mount_namespace(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pin without a mount is not pruned from another mount namespace, where a live sandbox looks the same."""
    kill(lambda: Sandbox.create("half"), "mount", 1)
    lab.libc("umount2", box.path.encode(), 0)
    with monkeypatch.context() as patch:
        patch.setattr(namespace, "mounts", lambda: namespace.Identity(1, 2))
        assert Sandbox.prune(dry_run=True) == ()
        with pytest.raises(NetSandboxError, match="create sandbox half was interrupted: nothing is mounted on"):
            Sandbox.prune()
        with pytest.raises(SandboxNotFoundError, match="may be in another mount namespace; if not, delete that file"):
            Sandbox.open("box")
    assert Sandbox.prune() == (
        f"box: its namespace is no longer at {box.path}",
        "rolled back what was interrupted: create sandbox half",
    )
    box.close()


def test_the_own_namespace_needs_no_capability(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to call setns, Sandbox.host works, and open fails with EPERM."""

    def setns(_: int) -> None:
        raise KernelError(errno.EPERM, "enter")

    with monkeypatch.context() as patch:
        patch.setattr(libc, "setns", setns)
        with Sandbox.host() as home:
            assert home.interfaces == ()
        with pytest.raises(KernelError, match="enter: EPERM"):
            Sandbox.open(box.name)


def test_a_killed_detach_is_rolled_forward(box: Sandbox) -> None:
    lab.veth("v0", "p0")
    box.add_interface("v0")
    calls = sent(lambda: box.plan(box.remove_interface, "eth0"))
    kill(lambda: box.remove_interface("eth0"), "sendto", calls + 2)
    assert Sandbox.recover() == ("finished what was interrupted: detach eth0 from sandbox box",)
    assert box.interfaces == ()
    assert "v0" in lab.links()


def test_recovery_needs_the_original_host(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery refuses to run from another host; commands that a failed recovery leaves are reported."""
    lab.veth("v0", "p0")
    calls = sent(lambda: box.plan_interface("v0"))
    kill(lambda: box.add_interface("v0"), "sendto", calls + 2)
    with Sandbox.create("elsewhere") as other:
        with pytest.raises(NetSandboxError, match="came from another namespace"):
            other.run(Sandbox.open, "box")
        other.destroy()

    def undo(*_: object) -> tuple[list[str], list[str], list[BaseException]]:
        return [], ["ip link"], [KernelError(errno.EPERM, "no")]

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "undo", undo)
        with pytest.raises(RollbackError, match="LEFT TO DO BY HAND: ip link"):
            Sandbox.open("box")
    assert box.interfaces == ()


def test_run_on_the_host_sandbox_needs_no_setns(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to call setns, run works on the host sandbox, and fails on another."""

    def refuse(_: int) -> None:
        raise KernelError(errno.EPERM, "enter a namespace")

    monkeypatch.setattr(libc, "setns", refuse)
    with Sandbox.host() as here:
        assert here.run(lambda: Path(namespace.OWN).readlink()) == Path(namespace.OWN).readlink()
    with pytest.raises(KernelError, match="enter a namespace: EPERM"):
        box.run(list)


@pytest.mark.parametrize("verb", ["open", "recover", "prune", "create"])
def test_a_damaged_record_is_reported_and_changes_nothing(box: Sandbox, tmp_path: Path, verb: str) -> None:
    lab.veth()
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    file = tmp_path / "netns/.state/box.json"
    whole = file.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"eth0", b"eth1"), whole.replace(b"v0", b"p0"), b""):
        file.write_bytes(damaged)
        with lab.comes_back(box.path), pytest.raises(NetSandboxError, match=f"{file}: a damaged record"):
            getattr(Sandbox, verb)(*["box"][: verb in {"open", "create"}])
    file.write_bytes(whole)


def test_prune_continues_after_a_damaged_record(run_netns: Path) -> None:
    for name in ("bad", "gone"):
        Sandbox.create(name).close()
    lab.ip("netns delete gone")
    file = Path("/run/netsandbox/bad.json")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(NetSandboxError, match=f"^gone: its namespace is no longer at .*; .*{file}: a damaged record"):
        Sandbox.prune()
    file.write_bytes(whole)
    assert Sandbox.list() == ["bad"]
    with Sandbox.open("bad") as made:
        made.destroy()
    assert not [*run_netns.iterdir()]


def test_prune_drops_records_of_dead_adopted_namespaces(run_netns: Path) -> None:
    """Sandbox.prune drops the record of an adopted namespace that is gone or of an earlier boot, but not its file."""
    for name in ("gone", "old"):
        lab.ip(f"netns add {name}")
        Sandbox.adopt(str(run_netns / name)).close()
    lab.ip("netns delete gone")
    lab.age(Path("/run/netsandbox/old.json"))
    assert [words.split(":")[0] for words in Sandbox.prune(dry_run=True)] == ["gone", "old"]
    Sandbox.prune()
    assert Sandbox.list() == []
    assert (run_netns / "old").exists()
    lab.ip("netns delete old")


def test_recovery_keeps_a_foreign_namespace_at_the_pin(run_netns: Path) -> None:
    """Recovery of an interrupted create keeps a foreign namespace that was mounted at its pin."""
    kill(lambda: Sandbox.create("half"), "mount", 3)
    file = run_netns / "half"
    if file.exists():
        file.unlink()
    lab.ip("netns add half")
    Sandbox.recover()
    assert file.exists()
    assert Sandbox.list() == []
    lab.ip("netns delete half")


def test_a_host_sandbox_without_interfaces_has_no_record() -> None:
    lab.veth("v0", "p0", up=True)
    with Sandbox.host() as home:
        home.set_gateway(None, "v0")
        home.unset_gateway()
    assert not any(Path(store.Store().records).glob("*.json"))


def test_a_pin_below_a_file_is_refused(tmp_path: Path) -> None:
    """A pin whose directory is a file is refused as the kernel refuses it, before anything is created."""
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match=r"create .*/file/pin: ENOTDIR"):
        namespace.check_pin(str(tmp_path / "file" / "pin"))


def test_recovery_leaves_another_namespace_at_the_pin_alone(box: Sandbox) -> None:
    """Recovery touches nothing in a namespace that was mounted at the pin of an interrupted sandbox meanwhile."""
    lab.veth("v0", "p0")
    record = Path(box.path).parent / ".state" / "box.json"
    plan, found = box.plan_interface("v0"), _record.unpack(record.read_bytes())
    pending = _record.Pending(plan.operation, plan.steps, forward=False, then=found)
    record.write_bytes(_record.pack(replace(found, pending=pending)))
    lab.libc("umount2", box.path.encode(), 0)
    lab.shell(f"unshare --net={box.path} ip link add eth0 type bridge")
    with lab.comes_back(box.path):
        assert Sandbox.recover() == ("rolled back what was interrupted: attach v0 to sandbox box",)
    assert Sandbox.prune() == (f"box: its namespace is no longer at {box.path}",)
    assert "eth0" in lab.links(box.path)
    box.close()
    lab.libc("umount2", box.path.encode(), 0)
    os.unlink(box.path)  # noqa: PTH108  beside umount
