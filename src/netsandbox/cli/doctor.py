"""The command that checks whether netsandbox can work here, and what to do if it cannot."""

import errno
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import Literal, NamedTuple

from netsandbox._system import files, namespace, probes
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.store import Store
from netsandbox.cli import console
from netsandbox.cli.app import JSON, Settings, command
from netsandbox.errors import KernelError, NetSandboxError
from netsandbox.links import KINDS
from netsandbox.netlink import link_requests
from netsandbox.sandbox import Sandbox

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # include/uapi/linux/capability.h
_FORWARDING = {"IPv4": "ipv4/ip_forward", "IPv6": "ipv6/conf/all/forwarding"}
_SHARE = "mount --bind {0} {0} && mount --make-shared {0}"
_BE_ROOT = "run as root, or in a user namespace: unshare -Urnm"
_OLDEST, _GOOD = (4, 20), (5, 13)  # NETLINK_GET_STRICT_CHK; IFLA_NEW_IFINDEX when a link moves


class Check(NamedTuple):
    """A check: "warning" means that some operations will fail, "failed" that all will; *advice* says what to do."""

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


@command(JSON)
def doctor(settings: Settings) -> int:
    """Check whether netsandbox can work here.

    Print what to do about each problem. Exit status: 0 usable, 1 not usable.
    """
    checks = examine()
    usable = all(check.status != "failed" for check in checks)
    if settings.json:
        console.data({"usable": usable, "checks": [check._asdict() for check in checks]})
    else:
        console.table(("CHECK", "STATUS", "FOUND", "WHAT TO DO"), checks, prose=2)
        console.message("usable" if usable else "error: not usable; see the checks that failed")
    return 0 if usable else 1


def examine() -> list[Check]:
    """Run all checks; they change nothing."""
    if sys.platform != "linux":
        return [Check("Linux", "failed", sys.platform, "network namespaces are a part of Linux")]
    return [
        _kernel(probes.release()),
        *_capabilities(),
        *(_owner(name, kind) for name, kind in (("network", "net"), ("mount", "mnt"))),
        _ipv6(),
        _settings(),
        *_directories(Store()),
        _leftovers(),
        _bare(Store()),
        _strict(),
        _rp_filter(),
        _forwarding(),
        _kinds(),
        _ip(),
    ]


def _kernel(release: str) -> Check:
    version = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if version < _OLDEST:
        return Check("kernel", "failed", release, "Linux 4.20 or newer is needed (strict netlink checking)")
    if version < _GOOD:
        return Check("kernel", "warning", release, "before Linux 5.13, detached links return with a new index")
    return Check("kernel", "ok", release)


def _capabilities() -> Iterator[Check]:
    """Check the effective capabilities (proc(5), CapEff)."""
    lines = files.read("/proc/self/status").splitlines()
    held = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    for name, bit in _CAPABILITIES.items():
        if held >> bit & 1:
            yield Check(name, "ok", "held")
        else:
            yield Check(name, "failed", "not held", _BE_ROOT)


def _owner(name: str, kind: str) -> Check:
    """Check whether the capabilities apply to a namespace, which may belong to another user namespace."""
    title = f"rights over the {name} namespace"
    if not probes.is_ours(kind):
        advice = f"it belongs to another user namespace: unshare with -{kind[0]} as well (unshare -Urnm)"
        return Check(title, "failed", "capabilities do not apply there", advice)
    is_root = files.read("/proc/self/uid_map").split() == ["0", "0", "4294967295"]
    words = "held" if is_root else "held, in a user namespace: the links and settings of the machine are out of reach"
    return Check(title, "ok", words)


def _ipv6() -> Check:
    if probes.exists("/proc/sys/net/ipv6/conf"):
        return Check("IPv6", "ok", "in the kernel")
    return Check("IPv6", "warning", "not in the kernel", "IPv4 works; for IPv6 start the kernel without ipv6.disable=1")


def _settings() -> Check:
    if probes.is_writable("/proc/sys/net/ipv4/ip_forward"):
        return Check("/proc/sys/net", "ok", "writable")
    advice = "setting sysctls and disabling IPv6 will fail; as root: mount -o remount,rw /proc/sys"
    return Check("/proc/sys/net", "warning", "read-only", advice)


def _directories(store: Store) -> Iterator[Check]:
    """Check the runtime directories by the rules that netsandbox applies when it uses them."""
    for name, path in (("namespaces", store.pins), ("records", store.records)):
        title = f"directory of {name}"
        try:
            found = files.look(path)
        except KernelError as error:
            yield Check(title, "failed", f"{path}: {error.strerror}", "grant access to it, or set NETSANDBOX_DIR")
            continue
        if found is None:
            yield _absent(title, path)
            continue
        words = f"{path}: owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        if not stat.S_ISDIR(found.st_mode):
            yield Check(
                title, "failed", f"{path}: not a directory", "replace it with a directory, or set NETSANDBOX_DIR"
            )
        elif found.st_uid not in {0, probes.user()} or found.st_mode & 0o022:
            advice = f"others could tamper with it: chown {probes.user()} and chmod go-w {path}, or set NETSANDBOX_DIR"
            yield Check(title, "failed", words, advice)
        elif not probes.is_writable(path):
            yield Check(title, "failed", f"{words}, cannot be written to", "remount it, or set NETSANDBOX_DIR")
        elif path != store.pins:
            yield Check(title, "ok", words)
        elif _is_shared(path):
            yield Check(title, "ok", f"{words}, shared")
        else:
            advice = "other mount namespaces do not see its pins yet; netsandbox and ip netns share it on first use"
            if not store.is_default:
                advice = f"other mount namespaces do not see its pins; to share them, first run: {_SHARE.format(path)}"
            yield Check(title, "ok", f"{words}, not shared", advice)


def _absent(title: str, path: str) -> Check:
    """Check whether a missing directory can be created."""
    above = next(parent for parent in map(str, PurePath(path).parents) if probes.exists(parent))
    if probes.is_writable(above):
        return Check(title, "ok", f"{path}: not there yet; netsandbox creates it on first use")
    advice = f"without root: mount -t tmpfs -o mode=755 tmpfs {above} (in unshare -Urnm), or set NETSANDBOX_DIR"
    return Check(title, "failed", f"{path}: not there, and {above} cannot be written to", advice)


def _leftovers() -> Check:
    """Check for leftovers of crashes and reboots."""
    title = "leftovers"
    try:
        found = Sandbox.prune(dry_run=True)
    except NetSandboxError as error:
        return Check(title, "warning", f"unknown: {error}", "correct this; then: netsandbox prune")
    if found:
        return Check(title, "warning", "; ".join(found), "netsandbox prune")
    return Check(title, "ok", "none")


def _bare(store: Store) -> Check:
    """Check for pin files on which nothing is mounted: they are dead, or in use in another mount namespace."""
    title = "pins without a namespace"
    try:
        found = [path for path in map(store.path, store.pinned()) if namespace.is_bare(path)]
    except NetSandboxError as error:
        return Check(title, "warning", f"unknown: {error}", "grant access to it, or set NETSANDBOX_DIR")
    if found:
        advice = "unless another mount namespace has it mounted, delete the file; then: netsandbox prune"
        return Check(title, "warning", " ".join(found), advice)
    return Check(title, "ok", "none")


def _is_shared(path: str) -> bool:
    """Whether mounts below *path* propagate to other mount namespaces (proc(5), mountinfo)."""
    lines = files.read("/proc/self/mountinfo").splitlines()
    around = [fields for fields in map(str.split, reversed(lines)) if PurePath(path).is_relative_to(fields[4])]
    nearest = max(around, key=lambda fields: len(fields[4]))
    return any(field.startswith("shared:") for field in nearest[6 : nearest.index("-")])


def _strict() -> Check:
    """Report how the kernel takes writes to sysctls; any way will do, as ours start at offset 0 and are read back."""
    meaning = {"-1": "-1: old", "0": "0: old, with a warning", "1": "1: strict"}
    try:
        value = files.read("/proc/sys/kernel/sysctl_writes_strict")
    except KernelError as error:
        return Check("sysctl_writes_strict", "warning", str(error.strerror), "mount /proc")
    return Check("sysctl_writes_strict", "ok", meaning.get(value, value))


def _setting(path: str) -> str:
    """Return a sysctl below /proc/sys/net, or an empty text if there is none."""
    with suppress(KernelError):
        return files.read(f"/proc/sys/net/{path}")
    return ""


def _rp_filter() -> Check:
    """Check reverse path filtering: the kernel applies the stricter of the values for all links and for one link."""
    value = _setting("ipv4/conf/all/rp_filter")
    if value != "1":
        return Check("rp_filter", "ok", value or "not there")
    advice = "on every link, also in new sandboxes, the kernel drops packets that arrive on another link than the one "
    advice += "that it would answer through; to accept them: sysctl net.ipv4.conf.all.rp_filter=2"
    return Check("rp_filter", "warning", "1: strict", advice)


def _forwarding() -> Check:
    """Check whether this host forwards packets, and the side effects of forwarding."""
    on = [name for name, path in _FORWARDING.items() if _setting(path) == "1"]
    found = f"{' and '.join(on) or 'neither IPv4 nor IPv6'} forwarded"
    if _setting("bridge/bridge-nf-call-iptables") == "1":
        advice = "iptables also filters bridged packets; to stop that: sysctl net.bridge.bridge-nf-call-iptables=0"
        return Check("forwarding", "warning", f"{found}; bridges filtered", advice)
    names = probes.link_names() if "IPv6" in on else []
    ignoring = [name for name in sorted(names) if _setting(f"ipv6/conf/{name}/accept_ra") == "1"]
    if ignoring:
        advice = "these links ignore router advertisements; to accept them: sysctl net.ipv6.conf.NAME.accept_ra=2"
        return Check("forwarding", "warning", f"{found}; accept_ra 1: {' '.join(ignoring)}", advice)
    if "IPv4" in on:
        return Check("forwarding", "ok", found)
    advice = "sandboxes reach only this host and each other; to reach more: sysctl net.ipv4.ip_forward=1"
    return Check("forwarding", "ok", found, advice)


def _kinds() -> Check:
    """Check which kinds of link the kernel has, by creating each in a temporary namespace."""
    kinds = [kind.kind for kind in KINDS.values()]
    try:
        kernel = LinuxKernel.create()
    except NetSandboxError as error:
        return Check("kinds of link", "warning", f"unknown: {error}", _BE_ROOT)
    try:
        there = [kind for kind in kinds if _makes(kernel.send, kind)]
    finally:
        kernel.close()
    missing = [kind for kind in kinds if kind not in there]
    found = " ".join(there) + (f" (not: {' '.join(missing)})" if missing else "")
    if "bridge" in there:
        return Check("kinds of link", "ok", found)
    return Check("kinds of link", "warning", found, "attach --bridge will fail; load the kernel module bridge")


def _makes(send: Callable[..., None], kind: str) -> bool:
    """Whether the kernel knows a kind of link, even if it rejects one without options."""
    try:
        send(link_requests.create(kind, f"probe-{kind}"))
    except KernelError as error:
        return error.errno != errno.EOPNOTSUPP or error.extack not in {None, "Unknown device type"}
    return True


def _ip() -> Check:
    path = probes.program("ip")
    if path:
        return Check("ip", "ok", path)
    advice = "only the commands that --dry-run prints need it; Debian: apt-get install iproute2"
    return Check("ip", "warning", "not on the PATH", advice)
