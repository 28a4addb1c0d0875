"""doctor: checks the system, gives advice, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox.cli import doctor
from netsandbox.links import KINDS
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Result

    Cli = Callable[..., Result]


def test_usable_system_passes_and_is_unchanged(cli: Cli) -> None:
    """On a usable system no check of `doctor` fails, and `doctor` changes nothing on the host."""
    with lab.comes_back():
        told = cli("doctor --json").json
    assert told["usable"] is True
    found = {check["name"]: check for check in told["checks"]}
    assert found["kernel"]["found"] == os.uname().release
    assert {check["status"] for check in told["checks"]} <= {"ok", "warning"}
    assert all(set(check) == {"name", "status", "found", "advice"} for check in told["checks"])
    assert all(found[name]["status"] == "ok" for name in ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "ip", "IPv6"))


def test_link_kinds_are_those_that_ip_can_create(cli: Cli) -> None:
    """`doctor` reports a kind of link as available if and only if ip(8) can create one."""
    found = next(check for check in cli("doctor -j").json["checks"] if check["name"] == "kinds of link")["found"]
    told = set(found.split(" (not")[0].split())
    for kind in (kind.kind for kind in KINDS.values()):
        done = subprocess.run(["ip", "link", "add", "probe", "type", kind], capture_output=True, text=True, check=False)
        assert (kind in told) == ("Unknown device type" not in done.stderr), kind
        lab.ip("link delete probe", check=False)


def test_doctor_prints_a_table(cli: Cli) -> None:
    told = cli("doctor")
    assert told.lines[0].split() == "CHECK STATUS FOUND WHAT TO DO".split()
    assert told.err == "netsandbox: usable\n"


def test_missing_capabilities_make_it_unusable(host: None) -> None:  # noqa: ARG001
    """Without capabilities, `doctor` exits with 1, fails CAP_NET_ADMIN and CAP_SYS_ADMIN, and advises root."""
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


def look(cli: Cli, name: str, status: int = 0) -> dict[str, str]:
    checks = cli("doctor -j", status=status).json["checks"]
    found: dict[str, str] = next(check for check in checks if check["name"] == name)
    return found


def directory(cli: Cli, status: int = 0) -> dict[str, str]:
    return look(cli, "directory of namespaces", status)


def test_unsafe_pin_directories_fail(cli: Cli, tmp_path: Path) -> None:
    """`doctor` accepts a private pin directory, and fails a symlink, a file, and a world-writable directory."""
    place = tmp_path / "netns"
    assert "not there yet" in directory(cli)["found"]
    place.mkdir(0o755)
    assert directory(cli) == {
        "name": "directory of namespaces",
        "status": "ok",
        "found": f"{place}: owner 0, mode 0755, not shared",
        "advice": "other mount namespaces do not see its pins; to share them, first run: "
        f"mount --bind {place} {place} && mount --make-shared {place}",
    }
    place.chmod(0o777)
    assert "tamper" in directory(cli, status=1)["advice"]
    place.rmdir()
    place.symlink_to(tmp_path)
    assert "not a directory" in directory(cli, status=1)["found"]
    place.unlink()
    place.touch()
    assert "not a directory" in directory(cli, status=1)["found"]
    place.unlink()


def test_shared_mount_of_run_netns_is_reported(cli: Cli, run_netns: Path) -> None:
    """`doctor` reports whether /run/netns is a shared mount, as it is after `create`."""
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
def test_old_kernels_fail_or_warn(cli: Cli, monkeypatch: pytest.MonkeyPatch, release: str, status: str) -> None:
    """`doctor` fails kernels before 4.20, and warns about kernels before 5.13."""
    here = os.uname()
    monkeypatch.setattr("os.uname", lambda: os.uname_result((here[0], here[1], release, here[3], here[4])))
    told = cli("doctor -j", status=int(status == "failed")).json
    assert told["checks"][0]["status"] == status
    assert bool(told["checks"][0]["advice"]) == (status != "ok")


def test_systems_other_than_linux_fail(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    [check] = cli("doctor -j", status=1).json["checks"]
    assert (check["name"], check["status"], check["found"]) == ("Linux", "failed", "darwin")


def test_missing_proc_files_are_warnings_with_advice(host: None) -> None:  # noqa: ARG001
    """`doctor` warns about missing IPv6, /proc/sys/net and sysctl_writes_strict, gives advice, and exits with 0."""
    script = 'mount -t tmpfs tmpfs /proc/sys && mkdir -p /proc/sys/net/ipv4 && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "netsandbox", "doctor", "--json"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin" if not Path("/usr/bin/ip").exists() else os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("IPv6", "/proc/sys/net", "sysctl_writes_strict"):
        assert found[name]["status"] == "warning", name
        assert found[name]["advice"], name
    assert done.returncode == 0


def test_missing_ip_program_is_only_a_warning(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = cli("doctor -j").json["checks"]
    [check] = [check for check in checks if check["name"] == "ip"]
    assert (check["status"], check["found"]) == ("warning", "not on the PATH")


def rootless(*options: str, directory: str = "") -> tuple[int, dict[str, dict[str, str]]]:
    """Run `doctor` under unshare(1) with *options*; return its exit status and its checks by name."""
    environment = {**os.environ, "NETSANDBOX_DIR": directory, "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["unshare", *options, sys.executable, "-m", "netsandbox", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_rootless_reports_the_machine_out_of_reach(host: None) -> None:  # noqa: ARG001
    """In new user, network and mount namespaces, `doctor` reports that the machine's links are out of reach."""
    status, found = rootless("-Urnm")
    assert status == 0
    for kind in ("network", "mount"):
        assert found[f"rights over the {kind} namespace"]["status"] == "ok"
        assert (
            "the links and settings of the machine are out of reach"
            in found[f"rights over the {kind} namespace"]["found"]
        )


@pytest.mark.parametrize(("options", "kind"), [("-Urm", "network"), ("-Urn", "mount")])
def test_namespace_of_another_user_namespace_fails(host: None, options: str, kind: str) -> None:  # noqa: ARG001
    """`doctor` fails a namespace of another user namespace: the capabilities do not apply to that namespace."""
    status, found = rootless(options)
    check = found[f"rights over the {kind} namespace"]
    assert (status, found["CAP_NET_ADMIN"]["status"], check["status"]) == (1, "ok", "failed")
    assert f"unshare with -{kind[0]} as well" in check["advice"]


def test_directories_that_cannot_be_created_fail(host: None) -> None:  # noqa: ARG001
    """`doctor` fails both runtime directories if /run is read-only, and advises to mount a tmpfs."""
    script = 'mount -t tmpfs -o ro,mode=755 tmpfs /run && exec "$@"'
    _, found = rootless("-m", "sh", "-c", script, "sh")
    for name in ("namespaces", "records"):
        assert found[f"directory of {name}"]["status"] == "failed"
        assert "mount -t tmpfs -o mode=755 tmpfs /run" in found[f"directory of {name}"]["advice"]


def test_read_only_pin_directory_fails(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "netns"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=755", "tmpfs", place], check=True)
    check = directory(cli, status=1)
    subprocess.run(["umount", place], check=True)
    assert (check["status"], check["found"]) == ("failed", f"{place}: owner 0, mode 0755, cannot be written to")


def test_leftovers_are_reported_and_kept(cli: Cli, run_netns: Path) -> None:
    """`doctor` reports a record without namespace, a pin without namespace and a damaged record, and deletes none."""
    assert look(cli, "leftovers")["status"] == look(cli, "pins without a namespace")["status"] == "ok"
    cli("create web")
    (run_netns / "bare").touch(mode=0o444)
    lab.ip("netns delete web")
    words = f"web: its namespace is no longer at {run_netns}/web"
    expected = {"name": "leftovers", "status": "warning", "found": words, "advice": "netsandbox prune"}
    assert look(cli, "leftovers") == look(cli, "leftovers") == expected
    bare = look(cli, "pins without a namespace")
    assert (bare["status"], bare["found"]) == ("warning", str(run_netns / "bare"))
    assert "delete the file" in bare["advice"]
    Path("/run/netsandbox/odd.json").write_text("{")
    assert "damaged record" in look(cli, "leftovers")["found"]
    for file in ("/run/netsandbox/odd.json", f"{run_netns}/bare"):
        Path(file).unlink()
    cli("prune")


@pytest.mark.parametrize(("value", "status"), [("0", "ok"), ("1", "warning"), ("2", "ok")])
def test_strict_rp_filter_is_a_warning(cli: Cli, value: str, status: str) -> None:
    lab.sysctl("ipv4/conf/all/rp_filter", value)
    check = look(cli, "rp_filter")
    assert (check["status"], check["found"][0], bool(check["advice"])) == (status, value, status != "ok")


def test_forwarding_and_its_effects_are_reported(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` reports IP forwarding, links that ignore router advertisements because of it, and bridge filtering."""
    plain = doctor._setting
    filtered = "0"
    monkeypatch.setattr(doctor, "_setting", lambda path: filtered if path.startswith("bridge/") else plain(path))
    assert "sysctl net.ipv4.ip_forward=1" in look(cli, "forwarding")["advice"]
    lab.sysctl("ipv4/ip_forward", "1")
    assert look(cli, "forwarding") == {"name": "forwarding", "status": "ok", "found": "IPv4 forwarded", "advice": ""}
    lab.veth("v0", "p0")
    lab.sysctl("ipv6/conf/all/forwarding", "1")
    lab.sysctl("ipv6/conf/p0/accept_ra", "2")
    check = look(cli, "forwarding")
    assert (check["status"], check["found"]) == ("warning", "IPv4 and IPv6 forwarded; accept_ra 1: v0")
    assert "accept_ra=2" in check["advice"]
    filtered = "1"
    assert look(cli, "forwarding")["found"] == "IPv4 and IPv6 forwarded; bridges filtered"
