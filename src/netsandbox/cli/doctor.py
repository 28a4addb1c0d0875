"""The command that looks whether netsandbox can work here, and says what to do if not."""

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import click

from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store
from netsandbox.cli import output
from netsandbox.cli.app import Settings, json_option, pass_settings
from netsandbox.cli.requests import new_link
from netsandbox.errors import KernelError, NetSandboxError

KINDS = ("bridge", "veth", "macvlan", "ipvlan", "vlan", "vxlan", "dummy", "ifb", "bond", "vrf", "tun")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # include/uapi/linux/capability.h
_OLDEST, _GOOD = (4, 20), (5, 13)  # NETLINK_GET_STRICT_CHK; IFLA_NEW_IFINDEX when a link moves


class Check(NamedTuple):
    """What was looked at.

    Attributes:
        name: What it is.
        status: "ok"; "warning": something will not work; "failed": nothing will.
        found: What was found.
        advice: What to do, unless all is well.
    """

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


@click.command
@json_option
@pass_settings
def doctor(settings: Settings) -> int:
    """Check whether netsandbox can work here.

    Says what to do if not. Exit status: 0 it can, 1 it cannot.
    """
    checks = examine()
    usable = all(check.status != "failed" for check in checks)
    if settings.json:
        output.data({"usable": usable, "checks": [check._asdict() for check in checks]})
    else:
        output.table(("CHECK", "STATUS", "FOUND", "WHAT TO DO"), checks, prose=2)
        output.complain("usable" if usable else "error: not usable as it is; see the checks that failed")
    return 0 if usable else 1


def examine() -> list[Check]:
    """Look at everything; nothing is changed."""
    if sys.platform != "linux":
        return [Check("Linux", "failed", sys.platform, "network namespaces are a part of Linux")]
    held = _capabilities()
    return [
        _kernel(os.uname().release),
        *(_capability(name, bit, held) for name, bit in _CAPABILITIES.items()),
        _ipv6(),
        _settings(),
        *_directories(Store()),
        _strict(),
        _kinds(),
        _ip(),
    ]


def _kernel(release: str) -> Check:
    version = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if version < _OLDEST:
        return Check("kernel", "failed", release, "Linux 4.20 or newer is needed (strict netlink checking)")
    if version < _GOOD:
        return Check("kernel", "warning", release, "before Linux 5.13 links do not come back under their old index")
    return Check("kernel", "ok", release)


def _capabilities() -> int:
    """Return the effective capabilities as bits (proc(5), CapEff)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def _capability(name: str, bit: int, held: int) -> Check:
    if held >> bit & 1:
        return Check(name, "ok", "held")
    return Check(name, "failed", "not held", "run as root, or in a user namespace: unshare -Urnm")


def _ipv6() -> Check:
    if Path("/proc/sys/net/ipv6/conf").is_dir():
        return Check("IPv6", "ok", "in the kernel")
    return Check("IPv6", "warning", "not in the kernel", "IPv4 works; for IPv6 start the kernel without ipv6.disable=1")


def _settings() -> Check:
    path = "/proc/sys/net/ipv4/ip_forward"
    if os.access(path, os.W_OK):
        return Check("/proc/sys/net", "ok", "writable")
    advice = "sysctls, and switching IPv6 off, will fail; as root: mount -o remount,rw /proc/sys"
    return Check("/proc/sys/net", "warning", "read-only", advice)


def _directories(store: Store) -> Iterator[Check]:
    """Look at the runtime directories as netsandbox will when it uses them."""
    for name, path in (("namespaces", store.pins), ("records", store.records)):
        title = f"directory of {name}"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            yield Check(title, "ok", f"{path}: not there yet; it is made when it is needed")
            continue
        except OSError as error:
            yield Check(title, "failed", f"{path}: {error.strerror}", "give access to it, or set NETSANDBOX_DIR")
            continue
        words = f"{path}: owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        if not stat.S_ISDIR(found.st_mode):
            yield Check(title, "failed", f"{path}: no directory", "replace it by a directory, or set NETSANDBOX_DIR")
        elif found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
            advice = f"others could tamper with it: chown {os.geteuid()} and chmod go-w {path}, or set NETSANDBOX_DIR"
            yield Check(title, "failed", words, advice)
        elif path != store.pins or not store.is_default:
            yield Check(title, "ok", words)
        elif _is_shared(path):
            yield Check(title, "ok", f"{words}, shared")
        else:
            advice = "other mount namespaces do not see its pins yet; netsandbox and ip netns share it when they use it"
            yield Check(title, "ok", f"{words}, not shared", advice)


def _is_shared(path: str) -> bool:
    """Whether mounts below *path* reach other mount namespaces (proc(5), mountinfo)."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    found = [fields for fields in map(str.split, mounts) if fields[4] == path]
    return any(field.startswith("shared:") for fields in found for field in fields[6 : fields.index("-")])


def _strict() -> Check:
    """Look how the kernel takes writes to settings; ours begin at offset 0 and are read back, so that any will do."""
    meaning = {"-1": "-1: old", "0": "0: old, with a warning", "1": "1: strict"}
    try:
        value = Path("/proc/sys/kernel/sysctl_writes_strict").read_text(encoding="ascii").strip()
    except OSError as error:
        return Check("sysctl_writes_strict", "warning", str(error.strerror), "mount /proc")
    return Check("sysctl_writes_strict", "ok", meaning.get(value, value))


def _kinds() -> Check:
    """Look which kinds of link the kernel has, by making each in a namespace that vanishes at once."""
    try:
        kernel = LinuxKernel(namespace.create())
    except NetSandboxError as error:
        return Check("kinds of link", "warning", f"unknown: {error}", "run it with the right to make a namespace")
    try:
        there = [kind for kind in KINDS if _makes(kernel.send, kind)]
    finally:
        kernel.close()
    lacking = [kind for kind in KINDS if kind not in there]
    found = " ".join(there) + (f" (not: {' '.join(lacking)})" if lacking else "")
    if "bridge" in there:
        return Check("kinds of link", "ok", found)
    return Check("kinds of link", "warning", found, "attach --bridge will fail: load the module bridge")


def _makes(send: Callable[..., None], kind: str) -> bool:
    """Whether the kernel knows a kind of link, even if it refuses one without further settings."""
    try:
        send(new_link(kind, f"probe-{kind}"))
    except KernelError as error:
        return error.errno != errno.EOPNOTSUPP or error.extack not in {None, "Unknown device type"}
    return True


def _ip() -> Check:
    path = shutil.which("ip")
    if path:
        return Check("ip", "ok", path)
    advice = "nothing needs it but the commands of --dry-run; Debian: apt-get install iproute2"
    return Check("ip", "warning", "not on the PATH", advice)
