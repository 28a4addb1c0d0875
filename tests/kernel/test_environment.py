"""Scarce resources and missing rights: each has its own error, and a failed call changes nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, NetSandboxError, Sandbox
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("host")


@contextmanager
def descriptors(most: int) -> Iterator[None]:
    """Limit the descriptors of the process to numbers below *most*."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def told(verb: Callable[[], object]) -> str:
    """Return the text of the NetSandboxError that *verb* raises, or an empty text."""
    try:
        verb()
    except NetSandboxError as error:
        return str(error)
    return ""


def test_without_descriptors_an_operation_is_rolled_back(box: Sandbox) -> None:
    """An operation that runs out of descriptors fails with EMFILE and is rolled back, at any limit."""
    lab.veth("v0", "p0", up=True)
    settings = {"net.ipv4.conf.IFNAME.rp_filter": "2"}
    spec = InterfaceSpec("v0", addresses=["10.0.0.2/24", "fd00::2/64"], sysctls=settings, advertise=0)
    verbs: dict[str, Callable[[], object]] = {
        "create": lambda: Sandbox.create("other").destroy(),
        "open": lambda: Sandbox.open("box").close(),
        "attach": lambda: box.add_interface(spec).remove(),  # no adverts: no other thread opens descriptors
        "recover": Sandbox.recover,
    }
    for name, verb in verbs.items():
        verb()  # so that all modules are imported
        failures = 0
        with lab.comes_back(box.path):
            for most in range(3, 100):
                with descriptors(most):
                    said = told(verb)
                if not said:
                    break
                assert "EMFILE (Too many open files)" in said, name
                failures += 1
        assert 0 < failures < 97, name
        assert Sandbox.list() == ["box"]
        assert box.interfaces == ()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of a few pages as the runtime directory."""
    place = tmp_path / "netns"
    place.mkdir()
    lab.ip("link add v0 type veth peer name p0")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=16k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)
    assert "v0" in lab.links()


def fill(place: Path) -> Path:
    """Fill up the file system of a directory."""
    file = place / ".filled"
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012, SIM117
        with file.open("wb", buffering=0) as full:
            while True:
                full.write(bytes(4096))
    return file


def test_a_full_runtime_directory_changes_nothing(small: Path) -> None:
    """On a full runtime directory, each change fails with ENOSPC and changes nothing."""
    with Sandbox.create("box") as box:
        box.add_interface(Bridge("b"))
        filler = fill(small)
        with lab.comes_back(box.path), pytest.raises(KernelError, match=r"lock .*other.json: ENOSPC \(No space left"):
            Sandbox.create("other")
        verbs: tuple[Callable[[], object], ...] = (
            lambda: box.add_interface("v0", addresses=["10.0.0.2/24"]),
            lambda: box.remove_interface("eth0"),
            box.destroy,
        )
        for verb in verbs:
            with lab.fails(box, KernelError, r"box.json: ENOSPC"):
                verb()
        assert [item.name for item in box.interfaces] == ["eth0"]
        filler.unlink()
        box.add_interface("v0", addresses=["10.0.0.2/24"])
        box.destroy()
    assert Sandbox.list() == []
    assert [words.partition(": ")[0] for words in Sandbox.prune()] == [f"{small}/.state/.lock-other.json"]


ROOTLESS = """
import subprocess
from netsandbox import Bridge, InterfaceSpec, Neighbor, Route, Sandbox
subprocess.run("ip link add v0 type veth peer name p0", shell=True, check=True)
before = subprocess.check_output(["ip", "-brief", "address"])
with Sandbox.create("web") as box:
    box.add_interfaces([
        InterfaceSpec(Bridge("b"), addresses=["10.0.0.1/24", "fd00::1/64"]),
        InterfaceSpec("v0", name="wan0", master="b", mtu=1400, sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"}),
    ])
    box.set_gateway("10.0.0.254")
    box.add_route(Route("10.9.0.0/16", via="10.0.0.253"))
    box.add_neighbor(Neighbor("10.0.0.9", "02:00:00:00:00:09", "eth0"))
    print(*(item.name for item in box.interfaces), box.gateway4, box.exec(["true"]).returncode)
with Sandbox.host() as host:
    host.add_interface("p0", addresses=["10.5.0.1/24"]).remove()
subprocess.run("ip netns exec web ip link set wan0 name wan9", shell=True, check=True)
with Sandbox.open("web") as box:
    box.destroy()
assert subprocess.check_output(["ip", "-brief", "address"]) == before
print(Sandbox.list(), Sandbox.prune())
"""


def test_rootless_in_own_namespaces_everything_works() -> None:
    """In user, network and mount namespaces of its own, a program needs no rights on the machine."""
    script = 'mount -t tmpfs -o mode=755 tmpfs /run && unset NETSANDBOX_DIR && exec "$@"'
    command = ["unshare", "-Urnm", "sh", "-c", script, "sh", sys.executable, "-W", "error", "-c", ROOTLESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "eth0 wan0 10.0.0.254 0\n[] ()\n")


DETACHED = """
from netsandbox import Bridge, InterfaceSpec, KernelError, Sandbox, Veth
with Sandbox.host() as here:
    print(len(here.interfaces), here.gateway4)
with Sandbox.create("outside") as outside:
    for words in ("br0 type bridge", "v0 type veth peer name p0"):
        outside.exec(["ip", "link", "add", *words.split()], check=True)
    before = outside.exec(["ip", "-brief", "link"], capture_output=True).stdout
    with Sandbox.create("web", host=outside.path) as box:
        box.add_interfaces([InterfaceSpec("v0", addresses=["10.0.0.2/24"]), InterfaceSpec(Veth("h0", master="br0"))])
        print(*(item.source for item in box.interfaces))
        box.destroy(wait=True)
    assert outside.exec(["ip", "-brief", "link"], capture_output=True).stdout == before
    outside.destroy()
with Sandbox.create("web") as box:
    box.add_interface(Bridge("b"), addresses=["10.0.0.1/24"])
    try:
        box.add_interface(Veth("h0"))
    except KernelError as error:
        print(error.errno_name, error.extack)
    box.destroy()
print(Sandbox.list(), Sandbox.prune())
"""


def test_rootless_the_host_may_be_another_namespace() -> None:
    """With the option host, a program works without rights over its own network namespace, as under rootlesskit."""
    before = lab.snapshot()
    script = 'mount -t tmpfs -o mode=755 tmpfs /run && unset NETSANDBOX_DIR && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", sys.executable, "-W", "error", "-c", DETACHED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = "0 None\nv0 h0\nEPERM Operation not permitted; it needs CAP_NET_ADMIN\n[] ()\n"
    assert (done.stderr, done.stdout) == ("", expected)
    assert lab.snapshot() == before
