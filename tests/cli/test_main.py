"""Behavior of every command: errors, help, completion, terminals, start-up."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from netsandbox.cli import console, main, wants_json
from netsandbox.cli.app import COMMANDS
from netsandbox.sandbox import Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]


def test_help_names_every_command(cli: Cli) -> None:
    said = cli("--help").out
    assert {line.split()[0] for line in said.split("Commands:")[1].splitlines() if line} == set(COMMANDS)
    assert "..." not in said.split("Commands:")[1]
    for command in COMMANDS:
        assert cli(f"{command} -h").out.startswith(f"Usage: netsandbox {command} ")


def test_json_is_accepted_before_and_after_a_command(cli: Cli) -> None:
    for command in COMMANDS:
        if command not in {"ls", "prune", "doctor", "demo"}:
            assert cli(f"--json {command}", status=2).error["code"] == "usage"
            assert cli(f"{command} -j", status=2).error["code"] == "usage"


def test_missing_and_unknown_commands_are_usage_errors(cli: Cli) -> None:
    """Without a command netsandbox prints its usage; for an unknown command it suggests a similar one."""
    assert cli("", status=2).err.startswith("Usage: netsandbox ")
    assert "Did you mean 'attach'?" in cli("atach", status=2).err
    assert cli("atach --json", status=2).error["message"] == "No such command 'atach'. Did you mean 'attach'?"
    assert cli("--json xyz", status=2).error["message"] == "No such command 'xyz'."
    assert cli("--nope -j", status=2).error["code"] == "usage"


def test_version_is_printed(cli: Cli) -> None:
    assert cli("--version").out.startswith("netsandbox ")


def test_version_of_an_uninstalled_package(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """--version prints "not installed" if the package has no metadata."""
    monkeypatch.setattr("sys.path", [path for path in sys.path if "site-packages" not in path])
    assert cli("--version").out == "netsandbox (not installed)\n"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ls --json", True),
        ("--json ls", True),
        ("create -nj web", True),
        ("create web", False),
        ("exec -j web ls", True),
        ("exec web ls -j", False),
        ("exec web -j", False),
        ("create -- --json", False),
        ("attach web --jsonish", False),
    ],
)
def test_json_option_is_found_before_parsing(words: str, *, wanted: bool) -> None:
    """`wants_json` finds --json and -j before parsing, but not among the arguments of a program or after --."""
    assert wants_json(words.split()) is wanted


def test_invalid_sandbox_names_are_rejected(cli: Cli) -> None:
    for name in ("-x", ".", "..", "a/b", "a b", "x" * 65, ""):
        error = cli("create -j --", name, status=1).error if name else cli("create -j", name, status=1).error
        assert (error["code"], error["problems"][0]["value"]) == ("spec", name)


def test_keyboard_interrupt_exits_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """On KeyboardInterrupt a command exits with 130 and prints nothing to stdout."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sandbox, "open", interrupt)
    assert cli("inspect web", status=130).out == ""


def test_os_errors_are_reported_without_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/proc")

    monkeypatch.setattr(Sandbox, "open", fail)
    assert cli("inspect web", status=1).err == "netsandbox: error: [Errno 2] No such file or directory: '/proc'\n"
    error = cli("inspect web -j", status=1).error
    assert (error["code"], error["errno"]) == ("system", "ENOENT")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["ls", "--json"]])
def test_full_disk_is_reported(host: None, words: list[str], unbuffered: str) -> None:  # noqa: ARG001
    """If stdout is on a full disk, a command exits with 1 and reports ENOSPC in one line."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "netsandbox", *words]
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr == "netsandbox: error: [Errno 28] No space left on device\n"


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("ls --json >&-", 1, "netsandbox: error: [Errno 9] Bad file descriptor\n"),
        ("--help >&-", 1, "netsandbox: error: [Errno 9] Bad file descriptor\n"),
        ("address box add lo 10.9.9.9/32 <&- >&-", 0, ""),
        ("inspect nowhere <&- >&- 2>&-", 1, ""),
        ("attach box v0 --advertise 1 2>&-", 0, ""),
    ],
)
def test_closed_streams_cause_no_traceback(box: Sandbox, words: str, status: int, said: str) -> None:
    """A closed stdin, stdout or stderr causes no traceback; a command that has to print to a closed stdout fails."""
    lab.veth()
    command = ["sh", "-c", f'exec "$0" -m netsandbox {words}', sys.executable]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)
    assert len(box.interfaces) == words.startswith("attach")


@pytest.mark.parametrize("words", [["ls", "--json"], ["--help"], ["doctor"], ["demo"]])
def test_closed_pipe_causes_no_traceback(host: None, words: list[str]) -> None:  # noqa: ARG001
    """If the reader has closed the pipe, a command exits with 1 without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "netsandbox", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_missing_click_is_reported_with_the_fix(host: None) -> None:  # noqa: ARG001
    """Without the package click, netsandbox exits with 1 and prints what to install."""
    program = "import sys; sys.modules['click'] = None; from netsandbox.cli import main; main(['ls'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "netsandbox: error: the command line needs the package click: pip install 'netsandbox[cli]'\n"


def test_ls_json_imports_no_unneeded_modules(host: None) -> None:  # noqa: ARG001
    """`ls --json` imports neither rich nor the modules of demo, doctor and the tables."""
    program = """if True:
        import sys
        from netsandbox.cli import main
        try:
            main(["ls", "--json"])
        except SystemExit:
            heavy = {"rich", "netsandbox.cli.demo", "netsandbox.cli.doctor", "netsandbox.cli.render_json"}
            print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_control_characters_in_names_are_escaped(cli: Cli, box: Sandbox) -> None:
    """Control characters in an interface's name are escaped in tables, plans and errors, and kept in JSON."""
    name = "e\x1b[31mvil"
    lab._run("ip", "link", "add", name, "type", "bridge", netns=box.path)
    lab._run("ip", "link", "set", name, "up", netns=box.path)
    lab._run("ip", "address", "add", "10.0.0.2/24", "dev", name, netns=box.path)
    box.set_gateway("10.0.0.1")
    shown = cli("route box").out
    assert "\x1b" not in shown
    assert r"e\x1b[31mvil" in shown
    assert cli("route box -j").json[0]["dev"] == name
    plan = cli("gateway box --unset -n").out
    assert "\x1b" not in plan
    subprocess.run(["bash", "-e"], input=plan, check=True, text=True, capture_output=True)
    assert lab.routes(box.path) == set()
    assert r"e\x1b[31mvil" in cli("detach box", name, status=1).err


@pytest.mark.parametrize("words", ["plain words", "a\x1bb", "\udcff", "a\x00b", "ü", "tab\there"])
def test_unprintable_text_is_escaped(words: str) -> None:
    assert console.escape(words).isprintable()
    assert (console.escape(words) == words) is words.isprintable()


def test_unencodable_characters_are_escaped(host: None) -> None:  # noqa: ARG001
    command = [sys.executable, "-m", "netsandbox", "create", "-n", "büro"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert rb"b\xfcro" in done.stdout


def on_a_terminal(*words: str, **environment: str) -> str:
    """Return the output of a command line on a terminal of 80 columns."""
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "netsandbox", *words]
    kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    settings = {**kept, "TERM": "xterm", "COLUMNS": "80", **environment}
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False, env=settings)
    os.close(theirs)
    shown = os.read(mine, 65536).decode()
    os.close(mine)
    assert done.returncode == 0
    return shown


def test_tables_are_styled_only_on_a_terminal(cli: Cli, box: Sandbox) -> None:
    """Tables are styled on a terminal without NO_COLOR; a pipe gets the same words as plain text."""
    lab.veth("a-long-name-9", "p0")
    box.add_interface("a-long-name-9", name="[bold]x", mac="02:00:00:00:00:02", addresses=["10.0.0.2/24"])
    shown = on_a_terminal("inspect", "box")
    assert "\x1b[1m" in shown
    assert "02:00:00:00:00:02" in shown
    assert "[bold]x" in shown
    assert {"STATUS", "FOUND", "DO", "CAP_NET_ADMIN"} <= set(on_a_terminal("doctor", NO_COLOR="1").split())
    plain = on_a_terminal("inspect", "box", NO_COLOR="1")
    assert "\x1b" not in plain
    assert plain.split() == cli("inspect box").out.split()


# --- completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(cli: Cli, shell: str) -> None:
    script = cli(f"completion {shell}").out
    assert f"_NETSANDBOX_COMPLETE={shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, check=True, text=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("netsandbox at", {"attach"}),
        ("netsandbox inspect ", {"box"}),
        ("netsandbox attach box v", {"v1"}),
        ("netsandbox detach box ", {"eth0"}),
        ("netsandbox gateway box --dev ", {"eth0"}),
        ("netsandbox attach box v --type macv", {"macvlan"}),
        ("netsandbox attach box v --type veth --set host_", {"host_mac=", "host_mtu="}),
        ("netsandbox attach box --bridge --set st", {"stp="}),
        ("netsandbox attach box v --set m", set()),
        ("netsandbox detach nope ", set()),
        ("netsandbox detach box --d", {"--dry-run"}),
    ],
)
def test_completion_offers_names_and_options(box: Sandbox, words: str, offered: set[str]) -> None:
    """Completion offers commands, sandboxes, links, interfaces, kinds of link, settings and options."""
    lab.veth()
    lab.veth("v1", "p1")
    box.add_interface("v0")
    parts = words.split(" ")
    environment = {"_NETSANDBOX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    command = [sys.executable, "-m", "netsandbox"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert {line.split(",")[1] for line in done.stdout.splitlines() if line} == offered
    assert done.stderr == ""


def test_sigint_ends_stats_watch_with_130(box: Sandbox) -> None:
    command = [sys.executable, "-u", "-m", "netsandbox", "stats", box.path, "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "[]\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


@pytest.mark.usefixtures("host")
def test_main_without_arguments_uses_sys_argv(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["netsandbox", "ls", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().out) == (0, "[]\n")
