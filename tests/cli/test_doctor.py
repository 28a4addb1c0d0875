"""doctor: looks, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox.cli import doctor
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]


def test_here_all_is_well_and_nothing_is_changed(cli: Cli) -> None:
    with lab.comes_back():
        told = cli("doctor --json").json
    assert told["usable"] is True
    found = {check["name"]: check for check in told["checks"]}
    assert found["kernel"]["found"] == os.uname().release
    assert {check["status"] for check in told["checks"]} <= {"ok", "warning"}
    assert all(set(check) == {"name", "status", "found", "advice"} for check in told["checks"])
    assert all(found[name]["status"] == "ok" for name in ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "ip", "IPv6"))


def test_the_kinds_of_link_are_those_that_ip_can_make(cli: Cli) -> None:
    found = next(check for check in cli("doctor -j").json["checks"] if check["name"] == "kinds of link")["found"]
    told = set(found.split(" (not")[0].split())
    for kind in doctor.KINDS:
        done = subprocess.run(["ip", "link", "add", "probe", "type", kind], capture_output=True, text=True, check=False)
        assert (kind in told) == ("Unknown device type" not in done.stderr), kind
        lab.ip("link delete probe", check=False)


def test_people_get_a_table(cli: Cli) -> None:
    told = cli("doctor")
    assert told.lines[0].split() == "CHECK STATUS FOUND WHAT TO DO".split()
    assert told.err == "netsandbox: usable\n"


def test_without_privileges_it_is_not_usable_and_says_why(host: None) -> None:  # noqa: ARG001
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "netsandbox", "doctor"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    found = {check["name"]: check for check in told["checks"]}
    assert told["usable"] is False
    assert found["CAP_NET_ADMIN"]["status"] == found["CAP_SYS_ADMIN"]["status"] == "failed"
    assert "root" in found["CAP_SYS_ADMIN"]["advice"]
    assert found["kinds of link"]["found"].startswith("unknown: make a network namespace: EPERM")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not usable" in done.stderr


def directory(cli: Cli, status: int = 0) -> dict[str, str]:
    checks = cli("doctor -j", status=status).json["checks"]
    found: dict[str, str] = next(check for check in checks if check["name"] == "directory of namespaces")
    return found


def test_a_runtime_directory_that_others_can_write_to_is_refused(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "netns"
    assert "not there yet" in directory(cli)["found"]
    place.mkdir(0o755)
    assert directory(cli) == {
        "name": "directory of namespaces",
        "status": "ok",
        "found": f"{place}: owner 0, mode 0755",
        "advice": "",
    }
    place.chmod(0o777)
    assert "tamper" in directory(cli, status=1)["advice"]
    place.rmdir()
    place.symlink_to(tmp_path)
    assert "no directory" in directory(cli, status=1)["found"]
    place.unlink()
    place.touch()
    assert "no directory" in directory(cli, status=1)["found"]
    place.unlink()


def test_it_says_whether_the_default_directory_is_shared(cli: Cli, run_netns: Path) -> None:
    run_netns.mkdir()
    assert directory(cli)["found"].endswith(", not shared")
    cli("create web")
    assert directory(cli)["found"] == "/run/netns: owner 0, mode 0755, shared"
    cli("destroy web")


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("4.19.0-27-amd64", "failed"),
        ("4.20.0", "warning"),
        ("5.12.1", "warning"),
        ("5.13.0", "ok"),
        ("6.1.0-rc1", "ok"),
    ],
)
def test_old_kernels_are_told(cli: Cli, monkeypatch: pytest.MonkeyPatch, release: str, status: str) -> None:
    here = os.uname()
    monkeypatch.setattr("os.uname", lambda: os.uname_result((here[0], here[1], release, here[3], here[4])))
    told = cli("doctor -j", status=int(status == "failed")).json
    assert told["checks"][0]["status"] == status
    assert bool(told["checks"][0]["advice"]) == (status != "ok")


def test_another_system_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    [check] = cli("doctor -j", status=1).json["checks"]
    assert (check["name"], check["status"], check["found"]) == ("Linux", "failed", "darwin")


def test_what_is_missing_is_told_with_what_to_do(host: None) -> None:  # noqa: ARG001
    script = 'mount -t tmpfs tmpfs /proc/sys && mkdir -p /proc/sys/net/ipv4 && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "netsandbox", "doctor", "--json"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin" if not Path("/usr/bin/ip").exists() else os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("IPv6", "/proc/sys/net", "sysctl_writes_strict"):
        assert found[name]["status"] == "warning", name
        assert found[name]["advice"], name
    assert done.returncode == 0


def test_ip_is_not_needed(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = cli("doctor -j").json["checks"]
    [check] = [check for check in checks if check["name"] == "ip"]
    assert (check["status"], check["found"]) == ("warning", "not on the PATH")
