"""The command that looks whether netsandbox can work here, and says what to do if not."""

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
        console.message("usable" if usable else "error: not usable as it is; see the checks that failed")
    return 0 if usable else 1


def examine() -> list[Check]:
    """Look at everything; nothing is changed."""
    if sys.platform != "linux":
        return [Check("Linux", "failed", sys.platform, "network namespaces are a part of Linux")]
    held = _capabilities()
    return [
        _kernel(probes.release()),
        *(_capability(name, bit, held) for name, bit in _CAPABILITIES.items()),
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
        return Check("kernel", "warning", release, "before Linux 5.13 links do not come back under their old index")
    return Check("kernel", "ok", release)


def _capabilities() -> int:
    """Return the effective capabilities as bits (proc(5), CapEff)."""
    lines = files.read("/proc/self/status").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def _capability(name: str, bit: int, held: int) -> Check:
    if held >> bit & 1:
        return Check(name, "ok", "held")
    return Check(name, "failed", "not held", "run as root, or in a user namespace: unshare -Urnm")


def _owner(name: str, kind: str) -> Check:
    """Look whether capabilities count in a namespace of this process, which may belong to another user namespace."""
    title = f"rights over the {name} namespace"
    if not probes.is_ours(kind):
        advice = f"it belongs to another user namespace: unshare with -{kind[0]} as well (unshare -Urnm)"
        return Check(title, "failed", "capabilities do not count there", advice)
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
    advice = "sysctls, and switching IPv6 off, will fail; as root: mount -o remount,rw /proc/sys"
    return Check("/proc/sys/net", "warning", "read-only", advice)


def _directories(store: Store) -> Iterator[Check]:
    """Look at the runtime directories as netsandbox will when it uses them."""
    for name, path in (("namespaces", store.pins), ("records", store.records)):
        title = f"directory of {name}"
        try:
            found = files.look(path)
        except KernelError as error:
            yield Check(title, "failed", f"{path}: {error.strerror}", "give access to it, or set NETSANDBOX_DIR")
            continue
        if found is None:
            yield _absent(title, path)
            continue
        words = f"{path}: owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        if not stat.S_ISDIR(found.st_mode):
            yield Check(title, "failed", f"{path}: no directory", "replace it by a directory, or set NETSANDBOX_DIR")
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
            advice = "other mount namespaces do not see its pins yet; netsandbox and ip netns share it when they use it"
            if not store.is_default:
                advice = (
                    f"other mount namespaces do not see its pins; if they should, beforehand: {_SHARE.format(path)}"
                )
            yield Check(title, "ok", f"{words}, not shared", advice)


def _absent(title: str, path: str) -> Check:
    """Look whether a directory that is not there can be made."""
    above = next(parent for parent in map(str, PurePath(path).parents) if probes.exists(parent))
    if probes.is_writable(above):
        return Check(title, "ok", f"{path}: not there yet; it is made when it is needed")
    advice = f"without root: mount -t tmpfs -o mode=755 tmpfs {above} (in unshare -Urnm), or set NETSANDBOX_DIR"
    return Check(title, "failed", f"{path}: not there, and {above} cannot be written to", advice)


def _leftovers() -> Check:
    """Look for what crashes and reboots left behind."""
    title = "leftovers"
    try:
        found = Sandbox.prune(dry_run=True)
    except NetSandboxError as error:
        return Check(title, "warning", f"unknown: {error}", "correct what it says; then: netsandbox prune")
    if found:
        return Check(title, "warning", "; ".join(found), "netsandbox prune")
    return Check(title, "ok", "none")


def _bare(store: Store) -> Check:
    """Look for files of pins on which nothing is mounted: they are dead, or mounted in another mount namespace."""
    title = "pins without a namespace"
    try:
        found = [path for path in map(store.path, store.pinned()) if namespace.is_bare(path)]
    except NetSandboxError as error:
        return Check(title, "warning", f"unknown: {error}", "give access to it, or set NETSANDBOX_DIR")
    if found:
        advice = "if no other mount namespace has it mounted, delete the file; then: netsandbox prune"
        return Check(title, "warning", " ".join(found), advice)
    return Check(title, "ok", "none")


def _is_shared(path: str) -> bool:
    """Whether mounts below *path* reach other mount namespaces (proc(5), mountinfo)."""
    lines = files.read("/proc/self/mountinfo").splitlines()
    around = [fields for fields in map(str.split, reversed(lines)) if PurePath(path).is_relative_to(fields[4])]
    nearest = max(around, key=lambda fields: len(fields[4]))
    return any(field.startswith("shared:") for field in nearest[6 : nearest.index("-")])


def _strict() -> Check:
    """Look how the kernel takes writes to settings; ours begin at offset 0 and are read back, so that any will do."""
    meaning = {"-1": "-1: old", "0": "0: old, with a warning", "1": "1: strict"}
    try:
        value = files.read("/proc/sys/kernel/sysctl_writes_strict")
    except KernelError as error:
        return Check("sysctl_writes_strict", "warning", str(error.strerror), "mount /proc")
    return Check("sysctl_writes_strict", "ok", meaning.get(value, value))


def _setting(path: str) -> str:
    """Return a setting below /proc/sys/net, as this namespace has it; nothing if there is none."""
    with suppress(KernelError):
        return files.read(f"/proc/sys/net/{path}")
    return ""


def _rp_filter() -> Check:
    """Look at reverse path filtering: of the value for all links and that for one, the stricter rules."""
    value = _setting("ipv4/conf/all/rp_filter")
    if value != "1":
        return Check("rp_filter", "ok", value or "not there")
    advice = (
        "for all links, and so in new sandboxes: packets that come in by another link than answers leave by are "
        "dropped, whatever one link's own setting is; if that is not wanted: sysctl net.ipv4.conf.all.rp_filter=2"
    )
    return Check("rp_filter", "warning", "1: strict", advice)


def _forwarding() -> Check:
    """Look whether this host passes packets on, and what else happens when it does."""
    on = [name for name, path in _FORWARDING.items() if _setting(path) == "1"]
    found = f"{' and '.join(on) or 'neither IPv4 nor IPv6'} forwarded"
    if _setting("bridge/bridge-nf-call-iptables") == "1":
        advice = "iptables filters also what only crosses a bridge: sysctl net.bridge.bridge-nf-call-iptables=0"
        return Check("forwarding", "warning", f"{found}; bridges filtered", advice)
    names = probes.link_names() if "IPv6" in on else []
    deaf = [name for name in sorted(names) if _setting(f"ipv6/conf/{name}/accept_ra") == "1"]
    if deaf:
        advice = "they hear no router advertisements; for those that need them: sysctl net.ipv6.conf.NAME.accept_ra=2"
        return Check("forwarding", "warning", f"{found}; accept_ra 1: {' '.join(deaf)}", advice)
    if "IPv4" in on:
        return Check("forwarding", "ok", found)
    advice = "sandboxes reach this host and one another; for what lies behind it: sysctl net.ipv4.ip_forward=1"
    return Check("forwarding", "ok", found, advice)


def _kinds() -> Check:
    """Look which kinds of link the kernel has, by making each in a namespace that vanishes at once."""
    kinds = [kind.kind for kind in KINDS.values()]
    try:
        kernel = LinuxKernel.create()
    except NetSandboxError as error:
        return Check("kinds of link", "warning", f"unknown: {error}", "run it with the right to make a namespace")
    try:
        there = [kind for kind in kinds if _makes(kernel.send, kind)]
    finally:
        kernel.close()
    lacking = [kind for kind in kinds if kind not in there]
    found = " ".join(there) + (f" (not: {' '.join(lacking)})" if lacking else "")
    if "bridge" in there:
        return Check("kinds of link", "ok", found)
    return Check("kinds of link", "warning", found, "attach --bridge will fail: load the module bridge")


def _makes(send: Callable[..., None], kind: str) -> bool:
    """Whether the kernel knows a kind of link, even if it refuses one without further settings."""
    try:
        send(link_requests.create(kind, f"probe-{kind}"))
    except KernelError as error:
        return error.errno != errno.EOPNOTSUPP or error.extack not in {None, "Unknown device type"}
    return True


def _ip() -> Check:
    path = probes.program("ip")
    if path:
        return Check("ip", "ok", path)
    advice = "nothing needs it but the commands of --dry-run; Debian: apt-get install iproute2"
    return Check("ip", "warning", "not on the PATH", advice)
