"""A dry run and the real command take one road: the same refusals, the same changes, and nothing done by asking.

The kind of fault: asking what would happen does something, or differs from what happens. Each row of the tables is a
host, a command that changes something, and whether netsandbox refuses it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import InterfaceSpec, NetSandboxError, Sandbox, SpecError, Veth
from netsandbox.cli.app import COMMANDS
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]

MNT_DETACH, LOOKS = 2, 1000
LINKS = """
link add v0 index 77 address 02:00:00:00:00:01 type veth peer name p0 address 02:00:00:00:00:02
link add v1 index 79 address 02:00:00:00:00:03 type veth peer name p1 address 02:00:00:00:00:04
link add br0 index 90 address 02:00:00:00:00:05 type bridge
address add 10.5.0.1/24 dev v0
link set v0 up
link set p1 up
"""
# What the sandbox "web" has in each host, as commands; "bare" has no sandbox.
HOSTS: dict[str, tuple[str, ...]] = {
    "bare": (),
    "empty": ("create web",),
    "lan": (
        "create web",
        "attach web v1 --address 10.0.0.2/24 --address fd00::2/64",
        "attach web vh --type veth --mac 02:00:00:00:00:07 --address 10.1.0.2/24",
        "gateway web 10.0.0.1",
        "route web add 10.8.0.0/16 via 10.0.0.1",
        "neighbor web add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0",
    ),
}
DONE = [
    ("bare", "create web"),
    ("bare", "create a b"),
    ("bare", "create {tmp}/own"),
    ("empty", "create web --replace"),
    ("lan", "create web --replace"),
    ("bare", "adopt {theirs} web"),
    ("bare", "adopt {theirs}"),
    ("empty", "attach web v0"),
    ("empty", "attach web v0 --name wan --mac 02:00:00:00:00:0a --mtu 1400 --address 10.0.0.2/24 --address fd00::2/64"),
    ("empty", "attach web v0 --address 10.0.0.2/24 --route 192.0.2.0/24 --sysctl net.ipv4.conf.IFNAME.rp_filter=2"),
    ("empty", "attach web vh --type veth --mac 02:00:00:00:00:07 --set master=br0 --address 10.0.0.2/24"),
    ("empty", "attach web lan --type bridge --mac 02:00:00:00:00:07 --mtu 1400"),
    ("empty", "attach web v0 --txqlen 77 --group 5 --alias it's;$HOME"),
    ("empty", "attach web vh --type veth --mac 02:00:00:00:00:07 --txqueuelen 0 --group 6 --alias x --numtxqueues 2"),
    ("empty", "attach web v0 --type macvlan --mac 02:00:00:00:00:07"),
    ("empty", "attach web 7 --type vxlan --mac 02:00:00:00:00:07"),
    ("empty", "attach --batch {batch}"),
    ("bare", "attach --batch {batch} --create"),
    ("lan", "detach web eth0"),
    ("lan", "detach web eth1 eth0"),
    ("lan", "gateway web fd00::1"),
    ("lan", "gateway web --interface eth1"),
    ("lan", "gateway web --unset"),
    ("lan", "route web add 10.9.0.0/16 via 10.0.0.1 metric 7"),
    ("lan", "route web del 10.8.0.0/16"),
    ("lan", "neighbor web add fd00::9 lladdr 02:00:00:00:00:09 dev eth0"),
    ("lan", "neighbor web del 10.0.0.9 dev eth0"),
    ("lan", "address web add eth0 10.0.0.3/24"),
    ("lan", "address web del eth0 10.0.0.2/24"),
    ("lan", "advertise web eth0 --count 1"),
    ("lan", "destroy web"),
    ("lan", "destroy --all"),
    ("lan", "prune"),
]
REFUSED = [
    ("bare", "create a/b"),
    ("bare", "create .hidden"),
    ("bare", "create /nowhere/x"),
    ("bare", "create {batch}/x"),
    ("bare", "create {frozen}/x"),
    ("bare", "create {file}"),
    ("empty", "create web"),
    ("empty", "create other web"),
    ("bare", "adopt {batch}"),
    ("bare", "adopt {batch} web"),
    ("bare", "adopt /etc/hostname"),
    ("bare", "adopt /proc/self/ns/mnt web"),
    ("bare", "adopt /proc/thread-self/ns/net"),
    ("bare", "adopt /proc/thread-self/ns/net web"),
    ("bare", "adopt /nowhere/x web"),
    ("bare", "adopt relative web"),
    ("bare", "adopt {theirs} /nowhere/x"),
    ("bare", "adopt {theirs} a/b"),
    ("empty", "adopt {theirs} web"),
    ("empty", "adopt {web}"),
    ("empty", "adopt {web} twice"),
    ("bare", "attach web v0"),
    ("empty", "attach web br0"),
    ("empty", "attach web br0 --name wan0 --address 10.0.0.2/24"),
    ("empty", "attach web lo"),
    ("empty", "attach web nosuch"),
    ("empty", "attach web v0 --mac nonsense --mtu 5 --address 10.0.0.0/24"),
    ("empty", "attach web nosuch --mac nonsense"),
    ("empty", "attach web v0 --numtxqueues 2"),
    ("empty", "attach web v0 --master nosuch"),
    ("empty", "attach web v0 --name lo"),
    ("empty", "attach web p1 --type veth"),
    ("empty", "attach web vh --type veth --set master=nosuch"),
    ("empty", "attach web nosuch --type macvlan"),
    ("empty", "attach web lan --type bridge --set priority=99999"),
    ("empty", "attach --batch {nonsense}"),
    ("lan", "attach web v0 --name eth0"),
    ("lan", "attach web v0 --address 10.0.0.3/16"),
    ("lan", "attach web v1"),
    ("bare", "detach web eth0"),
    ("lan", "detach web eth9"),
    ("lan", "detach web lo"),
    ("lan", "detach web eth0 eth9"),
    ("taken", "detach web eth0"),
    ("taken", "destroy web"),
    ("lan", "gateway web 192.0.2.1"),
    ("lan", "gateway web 10.0.0.1 --interface eth9"),
    ("lan", "gateway web nonsense"),
    ("lan", "route web add 10.8.0.0/16 via 10.0.0.1"),
    ("lan", "route web add 10.9.0.0/16 via 192.0.2.1"),
    ("lan", "route web add 10.9.0.0/16"),
    ("lan", "route web del 10.99.0.0/16"),
    ("lan", "neighbor web add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth9"),
    ("lan", "neighbor web del 10.0.0.77 dev eth0"),
    ("lan", "address web add eth0 10.0.0.2/24"),
    ("lan", "address web add eth9 10.0.0.2/24"),
    ("lan", "address web add eth0 10.0.0.0/24"),
    ("lan", "address web del eth0 10.0.0.77/24"),
    ("lan", "advertise web eth9"),
    ("lan", "advertise web eth0 --count 9"),
    ("bare", "destroy web"),
    ("empty", "destroy web nosuch"),
]


@pytest.fixture
def places(run_netns: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the files that rows name; "theirs" is a namespace that somebody else made."""
    (tmp_path / "batch").write_text("web v0 --address 10.0.0.2/24\nweb v1 --name wan\n")
    (tmp_path / "nonsense").write_text("web v0 --mtu five\nweb nosuch --mac x\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "frozen").mkdir()
    lab.libc("mount", b"tmpfs", str(tmp_path / "frozen").encode(), b"tmpfs", 1, None)  # MS_RDONLY
    names = {name: str(tmp_path / name) for name in ("batch", "nonsense", "file", "frozen")}
    yield {"tmp": str(tmp_path), "theirs": str(tmp_path / "theirs"), "web": str(run_netns / "web"), **names}
    lab.libc("umount2", str(tmp_path / "frozen").encode(), MNT_DETACH)


def furnish(cli: Cli, at: str, places: dict[str, str]) -> None:
    """Give a new host its links, its sandbox, and a namespace that somebody else made."""
    lab.ip("link set lo up")
    lab.ip_batch(*LINKS.strip().splitlines())
    for command in HOSTS["lan" if at == "taken" else at]:
        cli(command)
    if at == "taken":
        lab.ip("link add v1 type veth peer name v9")
    theirs = Path(places["theirs"])
    theirs.touch()
    subprocess.run(["unshare", f"--net={theirs}", "true"], check=True)


def leave() -> None:
    """Leave the host and all that was made there, and enter a new one."""
    for pin in pins():
        lab.libc("umount2", pin.encode(), MNT_DETACH)
        os.unlink(pin)  # noqa: PTH108  beside umount
    for directory in ("/run/netns", "/run/netsandbox"):
        with suppress(OSError):  # it is a mount point, as ip-netns(8) makes it
            lab.libc("umount2", directory.encode(), MNT_DETACH)
        shutil.rmtree(directory, ignore_errors=True)
    lab.libc("unshare", lab.CLONE_NEWNET)


def pins() -> list[str]:
    """Return where namespaces are pinned."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line.split()[4] for line in lines if " nsfs " in line]
    return [pin for pin in dict.fromkeys(found) if not pin.startswith("/proc")]


def state() -> dict[str, Any]:
    """Return the state of the host and of all pinned namespaces."""
    return {"host": lab.snapshot(), **{pin: lab.snapshot(pin) for pin in sorted(pins())}}


def settle(command: str) -> None:
    """Wait until the kernel has destroyed the namespaces that have no pin any more, and the veths in them."""
    for _ in range(LOOKS if "destroy" in command or "--replace" in command else 0):
        if "vh" not in lab.links():
            break


def files() -> dict[str, bytes]:
    """Return the files of the runtime directories."""
    found = {}
    for path in sorted([*Path("/run/netns").rglob("*"), *Path("/run/netsandbox").rglob("*")]):
        with suppress(OSError):  # a pin cannot be read
            found[str(path)] = path.read_bytes() if path.is_file() else b""
    return found


def words(command: str, places: dict[str, str]) -> str:
    return command.format(**places)


@pytest.mark.parametrize(("at", "command"), DONE, ids=lambda item: item.replace("/", "_"))
def test_printed_commands_give_the_state_of_the_real_one(
    cli: Cli, places: dict[str, str], at: str, command: str
) -> None:
    """A dry run changes nothing, and its commands, run in a second host, lead to the state that the real one does."""
    line = words(command, places)
    furnish(cli, at, places)
    before = state(), files()
    plan = cli(f"{line} --dry-run")
    assert (state(), files()) == before
    cli(line)
    settle(command)
    real = state()
    leave()
    furnish(cli, at, places)
    if not command.startswith("prune"):  # which prints what it would do in words
        lab.shell(plan.out)
    settle(command)
    assert state() == real
    leave()
    lab.ip("link set lo up")


@pytest.mark.parametrize(("at", "command"), REFUSED, ids=lambda item: item.replace("/", "_"))
def test_a_dry_run_refuses_what_the_real_one_refuses(cli: Cli, places: dict[str, str], at: str, command: str) -> None:
    """A dry run refuses with the error and exit status of the real command; neither changes anything."""
    line = words(command, places)
    furnish(cli, at, places)
    before = state()
    status = 2 if "--batch" in line else 1
    asked = cli(f"{line} --dry-run --json", status=status)
    assert state() == before
    real = cli(f"{line} --json", status=status)
    if " other " in line:  # of several, the others are created
        assert asked.error["message"] in str(real.json)
    else:
        assert asked.error == real.error
        assert state() == before
    leave()
    lab.ip("link set lo up")


def test_every_command_with_a_dry_run_has_rows(cli: Cli) -> None:
    """Each command that has --dry-run stands in the tables."""
    have = {name for name in COMMANDS if "--dry-run" in cli(f"{name} --help").out}
    rows = {command.split()[0] for _, command in [*DONE, *REFUSED]}
    assert have == rows


@pytest.mark.parametrize("place", ["0777", "link"])
def test_an_unsafe_runtime_directory_is_refused_by_both(
    cli: Cli, run_netns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A dry run refuses a runtime directory that others can write to, or that is a symbolic link."""
    del run_netns
    unsafe = tmp_path / "unsafe"
    if place == "link":
        unsafe.symlink_to(tmp_path)
    else:
        unsafe.mkdir()
        unsafe.chmod(int(place, 8))
    monkeypatch.setenv("NETSANDBOX_DIR", str(unsafe))
    assert cli("create x -n -j", status=1).error == cli("create x -j", status=1).error
    assert not (unsafe / ".state").exists()


# --- Sandbox.plan ---


def test_plan_calls_nothing(box: Sandbox, tmp_path: Path) -> None:
    """`Sandbox.plan` refuses what has nothing to plan without calling it: another's verb, exec, create, a function."""
    called: list[str] = []
    with Sandbox.create("other") as other:
        attempts: tuple[tuple[Any, ...], ...] = (
            (other.destroy,),
            (box.exec, ["touch", str(tmp_path / "ran")]),
            (box.run, called.append, "ran"),
            (box.popen, ["true"]),
            (box.close,),
            (Sandbox.create, "x"),
            (box.create, "x"),
            (Sandbox.prune,),
            (lambda: called.append("ran"),),
            (other.add_interface(Veth("vh")).remove,),
        )
        for verb, *arguments in attempts:
            with pytest.raises((SpecError, NetSandboxError)):
                box.plan(verb, *arguments)
        assert (called, (tmp_path / "ran").exists(), Sandbox.list()) == ([], False, ["box", "other"])
        assert [item.name for item in other.interfaces] == ["eth0"]
        other.destroy()


def test_a_plan_of_an_interrupted_sandbox_recovers_nothing(cli: Cli, box: Sandbox) -> None:
    """A dry run refuses an interrupted sandbox, says what recovers it, and leaves its record as it is."""
    lab.veth()
    record = Path(os.environ["NETSANDBOX_DIR"], ".state", "box.json")
    kept = interrupt(box, record)
    for command in ("attach box v1 -n", "destroy box -n", "create box -n"):
        assert "was interrupted: a dry run recovers nothing; netsandbox prune" in cli(command, status=1).err
        assert record.read_bytes() == kept
    assert cli("prune -n").out == "box: interrupted: attach v0 to sandbox box\n"
    assert record.read_bytes() == kept
    assert cli("prune").out == "rolled back what was interrupted: attach v0 to sandbox box\n"


def interrupt(box: Sandbox, record: Path) -> bytes:
    """Leave the record of a sandbox as a process that was killed while it attached v0 leaves it."""
    from dataclasses import replace  # noqa: PLC0415  for this alone

    from netsandbox import _record  # noqa: PLC0415  as above

    plan = box.plan_interface("v0")
    found = _record.unpack(record.read_bytes())
    pending = _record.Pending(plan.operation, plan.steps, forward=False, then=found)
    record.write_bytes(_record.pack(replace(found, pending=pending)))
    return record.read_bytes()


def test_a_plan_to_create_with_interfaces_creates_nothing(box: Sandbox) -> None:
    """`plan_create` with interfaces returns the commands of `create` and leaves no namespace."""
    lab.veth()
    specs = [InterfaceSpec("v0", addresses=["10.0.0.2/24"])]
    with lab.comes_back(box.path):
        plan = Sandbox.plan_create("web", interfaces=specs)
    assert plan.commands[0].endswith("/web true")
    assert any("link set dev v0 netns" in line for line in plan.commands)
    with lab.comes_back(box.path), pytest.raises(SpecError, match="replace True: cannot be planned with interfaces"):
        Sandbox.plan_create("box", replace=True, interfaces=specs)
    assert Sandbox.list() == ["box"]
