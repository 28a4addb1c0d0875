"""What holds for every command: errors, help, completion, terminals, start-up."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from netsandbox.cli import main, output, wants_json
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


def test_every_command_takes_json_before_and_after_it(cli: Cli) -> None:
    for command in COMMANDS:
        if command not in {"ls", "prune", "doctor", "demo"}:
            assert cli(f"--json {command}", status=2).error["code"] == "usage"
            assert cli(f"{command} -j", status=2).error["code"] == "usage"


def test_no_command_is_help_and_an_unknown_one_is_told_apart(cli: Cli) -> None:
    assert cli("", status=2).err.startswith("Usage: netsandbox ")
    assert "Did you mean 'attach'?" in cli("atach", status=2).err
    assert cli("atach --json", status=2).error["message"] == "No such command 'atach'. Did you mean 'attach'?"
    assert cli("--json xyz", status=2).error["message"] == "No such command 'xyz'."
    assert cli("--nope -j", status=2).error["code"] == "usage"


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").out.startswith("netsandbox ")


def test_a_package_that_is_not_installed_has_no_version(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_json_is_heard_even_if_the_rest_is_nonsense(words: str, *, wanted: bool) -> None:
    assert wants_json(words.split()) is wanted


def test_names_that_are_none_are_refused(cli: Cli) -> None:
    for name in ("-x", ".", "..", "a/b", "a b", "x" * 65, ""):
        error = cli("create -j --", name, status=1).error if name else cli("create -j", name, status=1).error
        assert (error["code"], error["problems"][0]["value"]) == ("spec", name)


def test_an_interruption_is_130_and_says_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sandbox, "open", interrupt)
    assert cli("inspect web", status=130).out == ""


def test_an_error_of_the_system_is_no_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/proc")

    monkeypatch.setattr(Sandbox, "open", fail)
    assert cli("inspect web", status=1).err == "netsandbox: error: [Errno 2] No such file or directory: '/proc'\n"
    error = cli("inspect web -j", status=1).error
    assert (error["code"], error["errno"]) == ("system", "ENOENT")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["ls", "--json"]])
def test_a_full_disk_is_told(host: None, words: list[str], unbuffered: str) -> None:  # noqa: ARG001
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
def test_a_stream_that_is_closed_is_no_traceback(box: Sandbox, words: str, status: int, said: str) -> None:
    lab.veth()
    command = ["sh", "-c", f'exec "$0" -m netsandbox {words}', sys.executable]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)
    assert len(box.interfaces) == words.startswith("attach")


@pytest.mark.parametrize("words", [["ls", "--json"], ["--help"], ["doctor"], ["demo"]])
def test_a_reader_that_has_gone_is_no_traceback(host: None, words: list[str]) -> None:  # noqa: ARG001
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "netsandbox", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_without_click_it_says_what_to_install(host: None) -> None:  # noqa: ARG001
    program = "import sys; sys.modules['click'] = None; from netsandbox.cli import main; main(['ls'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "netsandbox: error: the command line needs the package click: pip install 'netsandbox[cli]'\n"


def test_a_listing_imports_nothing_that_it_does_not_show(host: None) -> None:  # noqa: ARG001
    program = """if True:
        import sys
        from netsandbox.cli import main
        try:
            main(["ls", "--json"])
        except SystemExit:
            found = {"rich", "netsandbox.cli.demo", "netsandbox.cli.doctor", "netsandbox.cli.view"} & set(sys.modules)
            print(sorted(found))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_hostile_names_cannot_steer_a_terminal(cli: Cli, box: Sandbox) -> None:
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
def test_text_is_escaped_where_it_does_not_print(words: str) -> None:
    assert output.escape(words).isprintable()
    assert (output.escape(words) == words) is words.isprintable()


def test_what_the_encoding_lacks_is_escaped(host: None) -> None:  # noqa: ARG001
    command = [sys.executable, "-m", "netsandbox", "create", "-n", "büro"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert rb"b\xfcro" in done.stdout


def on_a_terminal(*words: str, **environment: str) -> str:
    """Return what a command line shows on a terminal of 80 columns."""
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


def test_a_terminal_gets_tables_and_a_pipe_plain_text(cli: Cli, box: Sandbox) -> None:
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
def test_the_completion_script_is_printed(cli: Cli, shell: str) -> None:
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
def test_commands_sandboxes_links_and_interfaces_are_completed(box: Sandbox, words: str, offered: set[str]) -> None:
    lab.veth()
    lab.veth("v1", "p1")
    box.add_interface("v0")
    parts = words.split(" ")
    environment = {"_NETSANDBOX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    command = [sys.executable, "-m", "netsandbox"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert {line.split(",")[1] for line in done.stdout.splitlines() if line} == offered
    assert done.stderr == ""


def test_sigint_ends_a_watch_with_130(box: Sandbox) -> None:
    command = [sys.executable, "-u", "-m", "netsandbox", "stats", box.path, "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "[]\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


@pytest.mark.usefixtures("host")
def test_main_without_words_takes_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["netsandbox", "ls", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().out) == (0, "[]\n")
