"""attach --batch: all lines for one sandbox are one operation; results are checked with ip(8)."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import Sandbox
from netsandbox.cli import batch
from tests.kernel import lab
from tests.kernel.wire import Wire, ips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]
    Write = Callable[..., str]

pytestmark = pytest.mark.usefixtures("host")
LINES = """\
# web and db, in turns
web veth-web --type veth --set master=br0 --set host_mac=02:00:00:00:01:01 --mac 02:00:00:00:01:02 --address 10.0.0.2/24

  db br1 --bridge --name lan0 --mac=02:00:00:00:01:03\t# a comment that isn't closed
web v0 --prefix wan --mtu 1400 --address 10.9.0.2/24 '--route=10.8.0.0/16 via 10.9.0.9'
db v1 --master br1 --sysctl net.ipv4.conf.IFNAME.rp_filter="2"
"""
SLOW = """
import signal, sys
from netsandbox._run import interfaces
from netsandbox.cli import main
attach = interfaces.attach

def slow(handle, *specs, **how):
    if handle.name == "s1":
        print("under way", flush=True)
        signal.pause()
    return attach(handle, *specs, **how)

interfaces.attach = slow
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores SIGINT in background processes
main()
"""


def cables() -> None:
    lab.ip("link add br0 address 02:00:00:00:00:09 type bridge")
    for number in (0, 1):
        ends = f"index 7{number} address 02:00:00:00:00:1{number} type veth peer address 02:00:00:00:00:2{number}"
        lab.ip(f"link add v{number} {ends} name p{number}")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Create links to attach, and return a function that writes lines to a file in the working directory."""
    cables()
    monkeypatch.chdir(tmp_path)

    def put(*lines: str | bytes) -> str:
        text = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        Path("lab").write_bytes(text)
        return "attach --batch lab"

    return put


@pytest.fixture
def boxes(cli: Cli) -> Iterator[dict[str, str]]:
    """Create the sandboxes web and db, and return their paths."""
    found = {item["name"]: item["path"] for item in cli("create web db -j").json["done"]}
    yield found
    cli("destroy --all")


def judge(web: str, db: str) -> None:
    """Check that the sandboxes have what LINES ask for."""
    assert list(lab.links(web)) == ["lo", "eth0", "wan0"]
    assert lab.addresses("eth0", web) == {"10.0.0.2/24"}
    assert lab.link("veth-web")["master"] == "br0"
    assert lab.link("wan0", web)["mtu"] == 1400
    assert lab.routes(web) == {"10.8.0.0/16 via 10.9.0.9 dev wan0"}
    assert list(lab.links(db)) == ["lo", "lan0", "eth0"]
    assert lab.link("eth0", db)["master"] == "lan0"
    assert lab.sysctl("ipv4/conf/eth0/rp_filter", netns=db) == "2"


def test_batch_attaches_and_prints_each_interface(cli: Cli, write: Write, boxes: dict[str, str]) -> None:
    """`attach --batch` applies every line and prints one line for each attached interface."""
    told = cli(write(LINES))
    assert [line.split()[:4] for line in told.lines] == [
        ["web", "eth0", "source", "veth-web"],
        ["web", "wan0", "source", "v0"],
        ["db", "lan0", "source", "br1"],
        ["db", "eth0", "source", "v1"],
    ]
    assert told.err == ""
    judge(**boxes)


def test_batch_reads_stdin_with_bom_and_crlf(program: Cli, write: Write, boxes: dict[str, str]) -> None:
    """`attach --batch -` reads stdin, accepts a byte order mark and CRLF, and fails on a closed stdin."""
    write()
    program("attach", "--batch", "-", input="\ufeff" + LINES.replace("\n", "\r\n"))
    judge(**boxes)
    told = program("attach", "--batch", "-", input="web", status=2)
    assert told.err == "netsandbox: error: -:1: Missing argument 'SOURCE'\n"
    closed = [sys.executable, "-c", "import os, sys; os.close(0); os.execv(sys.argv[1], sys.argv[1:])"]
    command = [*closed, sys.executable, "-m", "netsandbox", "attach", "--batch", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "error: Cannot read -: " in done.stderr) == (2, True)


def test_batch_json_lists_done_and_failed(cli: Cli, write: Write, boxes: dict[str, str]) -> None:
    """With --json, `attach --batch` lists done sandboxes with their interfaces and failed ones with errors."""
    found = cli(write("web v0 --address 10.0.0.2/24", "gone v1", "db br1 --bridge") + " --json", status=1).json
    assert [(item["name"], item["path"]) for item in found["done"]] == list(boxes.items())
    [made] = found["done"][0]["interfaces"]
    assert (made["ifname"], made["source"], made["address"]) == (
        "eth0",
        "v0",
        lab.link("eth0", boxes["web"])["address"],
    )
    assert made["addr_info"][0]["local"] == "10.0.0.2"
    [failed] = found["failed"]
    assert (failed["sandbox"], failed["error"]["code"]) == ("gone", "sandbox-not-found")
    assert cli(write("", " # nothing") + " --json").json == {"done": [], "failed": []}


@pytest.mark.parametrize("create", [False, True])
def test_batch_is_atomic_per_sandbox(cli: Cli, write: Write, create: bool) -> None:  # noqa: FBT001
    """All lines for one sandbox are applied or rolled back together; a failing sandbox does not stop the others."""
    paths = {}
    if not create:
        paths = {item["name"]: item["path"] for item in cli("create a b c -j").json["done"]}
    with lab.comes_back(*(paths[name] for name in "ac" if paths)):
        write("a v0", "b br1 --bridge", "a br2 --bridge '--route=10.8.0.0/16 via 10.1.1.1'", "c nope", "b br3 --bridge")
        told = cli("attach --batch lab" + " --create" * create, status=1)
        cli("destroy b")
    assert [line.split()[:2] for line in told.lines] == [["b", "eth0"], ["b", "eth1"]]
    assert "ENETUNREACH" in told.err
    assert "error: attach nope to sandbox c: source 'nope': no such link on the host\n" in told.err
    assert told.err.endswith("netsandbox: 1 done, 2 failed: a, c\n")
    assert Sandbox.list() == ([] if create else ["a", "c"])
    cli("destroy --all")


def test_batch_create_makes_sandboxes_with_interfaces(cli: Cli, write: Write, tmp_path: Path) -> None:
    """`attach --batch --create` creates sandboxes with their interfaces, and fails for a name in use."""
    told = cli(write(LINES) + " --create")
    assert [line.split()[:2] for line in told.lines] == [
        ["web", "eth0"],
        ["web", "wan0"],
        ["db", "lan0"],
        ["db", "eth0"],
    ]
    judge(str(tmp_path / "netns" / "web"), str(tmp_path / "netns" / "db"))
    found = cli(write("web br7 --bridge", "new br1 --bridge") + " --create -j", status=1).json
    assert ([item["name"] for item in found["done"]], found["done"][0]["interfaces"][0]["ifname"]) == (["new"], "eth0")
    assert (found["failed"][0]["sandbox"], found["failed"][0]["error"]["code"]) == ("web", "sandbox-exists")
    cli("destroy --all")


def test_batch_lines_take_a_sandbox_name_or_path(cli: Cli, write: Write, boxes: dict[str, str]) -> None:
    """Lines may address one sandbox by its name and by its path."""
    told = cli(write("web br1 --bridge", f"{boxes['web']} v0 --master br1"))
    assert [line.split()[:2] for line in told.lines] == [["web", "eth0"], ["web", "eth1"]]
    assert lab.link("eth1", boxes["web"])["master"] == "eth0"


WRONG = {
    "web v0 --json": "usage: --json belongs to the whole command, not to a line",
    "web v0 -n": "usage: -n belongs to the whole command, not to a line",
    "web v0 --batch=lab": "usage: --batch belongs to the whole command, not to a line",
    "web v0 --create": "usage: --create belongs to the whole command, not to a line",
    "web v0 --help": "usage: --help belongs to the whole command, not to a line",
    "web v0 --nope": "usage: No such option '--nope'",
    "web v0 more": "usage: Got unexpected extra argument (more)",
    "web v0 --mtu many": "usage: Invalid value for '--mtu': 'many' is not a valid integer",
    "web v0 --type nonsense": "usage: Invalid value for '--type': 'nonsense'",
    "web v0 --mtu": "usage: Option '--mtu' requires an argument",
    "web v0 --set a=b": "usage: --set needs --type",
    "web": "usage: Missing argument 'SOURCE'",
    "--mtu=1400": "usage: Missing argument 'SANDBOX'",
    "web 'v0": "usage: No closing quotation",
    "web v0 \\": "usage: No escaped character",
    "web v0\0": r"usage: This is not text: it contains the character '\x00'",
    "web \x1b[31mv0": r"usage: This is not text: it contains the character '\x1b'",
    "web v0 '--route=10.0.0.0/8 via'": "usage: 'via' needs a value",
    "web v0 --mtu 3 --mac 1": "mac: 1 mtu: 3",
    "web '' --name all": "source:  name: all",
    "a/b v0 --address 10.0.0.0/24": "name: a/b address: 10.0.0.0/24",
    "'' v0": "name: ",
    "db v1": "",  # valid, but the next line attaches v1 to another sandbox
    "web v1": "source: v1",
    "web v#1 --name eth0#2": "",  # valid: a # inside a word does not start a comment
    "web abc --type vxlan --set a=1 --advertise 4 --wait-limit=0": "keyword: a wait_limit: 0.0 advertise: 4",
}


def said(problems: list[dict[str, Any]]) -> str:
    """Return the problems of one line as text."""
    return " ".join(
        f"{item['field']}: {item['reason'] if item['field'] == 'usage' else item['value']}" for item in problems
    )


def test_batch_reports_all_errors_by_line(cli: Cli, write: Write, boxes: dict[str, str]) -> None:
    """`attach --batch` reports every invalid line by file and line number, also with --dry-run, and changes nothing."""
    with lab.comes_back(*boxes.values()):
        told = cli(write("web br1 --bridge", *WRONG), status=2)
        error = cli("attach --batch lab -j", status=2).error
        dry = cli("attach --batch lab --dry-run", status=2)
    assert (told.out, dry) == ("", told)
    assert error["code"] == "usage"
    found = {number: said([item for item in error["problems"] if item["line"] == number]) for number in range(40)}
    for number, (line, words) in enumerate(WRONG.items(), 2):
        assert found.pop(number).startswith(words) if words else found.pop(number) == "", line
    assert not any(found.values())
    lines = told.err.splitlines()
    assert len(lines) == len(error["problems"])
    assert all(re.match(r"netsandbox: error: lab:\d+: ", line) for line in lines)
    assert "netsandbox: error: lab:20: mtu 3: is not a number from 68 to 65535" in lines
    assert {item["file"] for item in error["problems"]} == {"lab"}


def test_batch_invalid_specs_exit_with_1(cli: Cli, write: Write, boxes: dict[str, str]) -> None:
    """If every line can be parsed, invalid values exit with 1 and the code `spec`, not as a usage error."""
    with lab.comes_back(*boxes.values()):
        error = cli(write("web v0", "web v1 --mtu 3", "db x --type veth --set y=1") + " -j", status=1).error
    assert (error["code"], error["errno"]) == ("spec", None)
    assert error["problems"][0] == {
        "file": "lab",
        "line": 2,
        "field": "mtu",
        "value": 3,
        "reason": "is not a number from 68 to 65535",
    }
    assert [(item["line"], item["field"]) for item in error["problems"]] == [(2, "mtu"), (3, "keyword")]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("attach web --batch lab", "in the lines of the file"),
        ("attach --batch lab --mtu 1400", "in the lines of the file"),
        ("attach --batch lab --bridge", "in the lines of the file"),
        ("attach --batch lab --address 10.0.0.2/24", "in the lines of the file"),
        ("attach --batch nowhere", "Cannot read nowhere: No such file or directory"),
        ("attach --batch .", "Cannot read .: Is a directory"),
        ("attach web v0 --create", "--create needs --batch"),
        ("attach", "Missing argument 'SANDBOX'"),
    ],
)
def test_batch_usage_errors_change_nothing(
    cli: Cli, write: Write, boxes: dict[str, str], words: str, reason: str
) -> None:
    """Contradictory or missing arguments and unreadable files are usage errors; nothing is changed."""
    write("web v0")
    with lab.comes_back(*boxes.values()):
        error = cli(words + " -j", status=2).error
    assert (error["code"], reason in error["message"]) == ("usage", True)


def test_batch_rejects_binary_and_oversized_files(
    cli: Cli, write: Write, boxes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`attach --batch` rejects a file that is not UTF-8, a file over 16 MiB, and a line over 128 KiB."""
    with lab.comes_back(*boxes.values()):
        told = cli(write("web v0", "# \u00fc", b"web v1 --name \xff"), status=2)
        assert told.err.endswith("error: lab:3: This is not UTF-8: invalid start byte.\n")
        assert cli("attach --batch /dev/zero", status=2).err.endswith("error: /dev/zero is larger than 16 MiB.\n")
        told = cli(write("web v0 " + "a " * batch.LONGEST), status=2)
        assert told.err == "netsandbox: error: lab:1: This is longer than 128 KiB\n"
        monkeypatch.setattr(batch, "MOST", 6)
        assert "larger than" in cli(write("web v0#"), status=2).err
    cli(write("web v0"))


@pytest.mark.parametrize("create", [False, True])
def test_plan_run_in_a_shell_gives_the_same_state(
    cli: Cli,
    write: Write,
    run_netns: Path,
    create: bool,  # noqa: FBT001
) -> None:
    """The commands printed by --dry-run, run in a shell, lead to the same state as `attach --batch`."""
    command = write(LINES) + " --create" * create
    states = []
    for pasted in (True, False):
        if not create:
            cli("create web db")
        if pasted:
            with lab.comes_back():
                plan = cli(command + " --dry-run")
                assert Sandbox.list() == ([] if create else ["db", "web"])
            lab.shell(plan.out)
        else:
            again = cli(command + " --dry-run --json").json
            assert [without_chance(line) for line in again] == [without_chance(line) for line in plan.lines]
            cli(command)
        judge(*(str(run_netns / name) for name in ("web", "db")))
        states.append([without_peer(lab.snapshot(str(run_netns / name))) for name in ("web", "db")])
        for name in ("web", "db"):
            lab.ip(f"netns delete {name}") if pasted and create else cli(f"destroy {name}")
        for name in ("br0", "p0", "p1", "veth-web"):
            lab.ip(f"link delete {name}", check=False)
        cables()
    assert states[0] == states[1]
    if create:
        cli("create db")
        assert cli(command + " -n -j", status=1).error["code"] == "sandbox-exists"
        cli("destroy db")
    else:
        assert "no sandbox has this name" in cli(command + " -n", status=1).err


def without_chance(line: str) -> str:
    """Replace MAC addresses, which the kernel chooses at random."""
    return re.sub(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", line)


def without_peer(state: lab.Snapshot) -> lab.Snapshot:
    """Leave out the index of the veth peer, which differs each time."""
    for item in state["links"].values():
        item.pop("link_index", None)
    return state


@pytest.mark.parametrize("create", [False, True])
def test_batch_sends_adverts_before_exiting(program: Cli, write: Write, create: bool) -> None:  # noqa: FBT001
    """`attach --batch` sends adverts for every interface before it exits, also under a low limit of open files."""
    names = [f"s{number}" for number in range(40)]
    write(
        *(
            f"{name} {name} --type veth --set master=br0 --address 10.0.0.{number}/24"
            for number, name in enumerate(names, 1)
        )
    )
    lab.ip("link set br0 up")
    if not create:
        program("create", *names)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
    with Wire("br0") as listening:
        told = program("attach", "--batch", "lab", *["--create"] * create, preexec_fn=limit)
        assert (len(told.lines), told.err) == (40, "")
        found = listening.take(40)
    assert ips(found) == {f"10.0.0.{number}" for number in range(1, 41)}
    program("destroy", "--all")


def test_batch_warns_about_unsent_requested_adverts(cli: Cli, write: Write, boxes: dict[str, str]) -> None:
    """`attach --batch` reports dropped addresses, and requested adverts that could not be sent."""
    off = "--sysctl=net.ipv6.conf.IFNAME.disable_ipv6=1"
    told = cli(write("web v0 --address 10.0.0.2/24 --advertise 1", f"db v1 --address=fd00::2/64 {off}"))
    why = "advertise eth0: ENETDOWN (it has no carrier)"
    dropped = "db: eth0: fd00::2/64 was dropped: a sysctl of this link or a program inside removed it"
    assert told.err == f"netsandbox: {dropped}\nnetsandbox: web: eth0 was advertised 0 times: {why}\n"
    assert boxes


def test_batch_shows_a_progress_bar_on_a_terminal(write: Write) -> None:
    write(*(f"s{number} br --bridge" for number in range(10)))
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "netsandbox", "attach", "--batch", "lab", "--create"]
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, check=True, env=settings)
    os.close(theirs)
    seen = os.read(mine, 65536).decode()
    os.close(mine)
    assert "creating" in seen
    assert "10/10" in seen
    assert len(done.stdout.splitlines()) == 10
    Sandbox.destroy_many(Sandbox.list()).raise_for_failures()


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupt_reports_done_and_not_done(cli: Cli, write: Write, number: signal.Signals, create: bool) -> None:  # noqa: FBT001
    """On SIGINT or SIGTERM, `attach --batch` rolls back the current sandbox and reports which are done and not done."""
    write("s0 v0", "s1 v1", "s2 br1 --bridge")
    if not create:
        cli("create s0 s1 s2")
    command = [sys.executable, "-c", SLOW, "attach", "--batch", "lab", *["--create"] * create]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    assert running.stdout.readline() == "under way\n"
    running.send_signal(number)
    _, told = running.communicate()
    assert running.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    what = "create sandboxes" if create else "attach to sandboxes"
    assert told.rstrip() == f"netsandbox: {what} was interrupted; done: s0; not done: s1, s2"
    assert Sandbox.list() == (["s0"] if create else ["s0", "s1", "s2"])
    assert {"v0", "v1"} & set(lab.links()) == {"v1"}
    cli("destroy --all")
