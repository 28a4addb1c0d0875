"""The table of per-link sysctls matches the running kernel: a write to a file changes the value at its index."""

from __future__ import annotations

import errno
import os
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox._system import sysctl as sysctls
from netsandbox._system.kernel import LinuxKernel
from netsandbox._system.transport import Transport
from netsandbox.errors import KernelError
from netsandbox.netlink import conf, link
from netsandbox.netlink.link import AF_INET, AF_INET6
from tests.kernel.lab import sysctl, veth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsandbox.netlink.message import Request

IPV4 = (  # IPV4_DEVCONF_* from 1 on, include/uapi/linux/ip.h
    "forwarding mc_forwarding proxy_arp accept_redirects secure_redirects send_redirects shared_media rp_filter "
    "accept_source_route bootp_relay log_martians tag arp_filter medium_id disable_xfrm disable_policy "
    "force_igmp_version arp_announce arp_ignore promote_secondaries arp_accept arp_notify accept_local src_valid_mark "
    "proxy_arp_pvlan route_localnet igmpv2_unsolicited_report_interval igmpv3_unsolicited_report_interval "
    "ignore_routes_with_linkdown drop_unicast_in_l2_multicast drop_gratuitous_arp bc_forwarding arp_evict_nocarrier"
).split()
IPV6 = [name for name in conf._NAMES if name != "-"]
# Sysctls that RTM_GETLINK does not report, or not in a writable form; the last three are only files (Linux 6.18).
IPV6_UNTOLD = {"mtu", "mc_forwarding", "stable_secret", "ioam6_id_wide"} | {
    "ra_honor_pio_life",
    "ra_honor_pio_pflag",
    "regen_min_advance",
}


@pytest.fixture
def kernel(host: None) -> Iterator[Transport]:  # noqa: ARG001
    """Create a fresh link v0, and a netlink socket."""
    veth()
    transport = Transport()
    yield transport
    transport.close()


def told(kernel: Transport, family: int) -> tuple[int, ...]:
    """Return the sysctls of v0 that RTM_GETLINK reports."""
    return link.unpack(kernel.ask(link.get("v0"))[0]).conf(family)


def files(family: str) -> set[str]:
    """Return the names of the sysctls that this kernel has."""
    return set(os.listdir(f"/proc/sys/net/{family}/conf/v0"))  # noqa: PTH208


def change(path: str) -> int:
    """Write another valid value to a sysctl, and return the value."""
    now = int(sysctl(path))
    for value in (now + 1, now - 1, 0, 1):
        with suppress(OSError):  # out of bounds
            if int(sysctl(path, str(value))) != now:
                return int(sysctl(path))
    raise AssertionError(f"{path} cannot be changed from {now}")


def differences(before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, int]:
    """Return the values that differ, by index."""
    return {place: new for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}


def test_the_table_of_ipv6_sysctls_matches_the_kernel(kernel: Transport) -> None:
    """The kernel reports each IPv6 sysctl at its index in the table, in its unit, and it can be written back."""
    before = told(kernel, AF_INET6)
    tried = [name for name in IPV6 if name in files("ipv6")]
    assert len(tried) >= 45
    for name in tried:
        path = f"ipv6/conf/v0/{name}"
        was = sysctl(path)
        value = change(path)
        unit = 1000 if name in conf._SECONDS else 1
        after = told(kernel, AF_INET6)
        assert differences(before, after) == {conf._NAMES.index(name): value * unit}, name
        assert conf.ipv6_changes(before, after) == [(name, str(value))]
        for setting, old in conf.ipv6_changes(after, before):
            sysctl(f"ipv6/conf/v0/{setting}", old)
        assert (sysctl(path), told(kernel, AF_INET6)) == (was, before)


def test_the_table_has_every_ipv6_sysctl_of_the_kernel(kernel: Transport) -> None:
    """The table names every IPv6 sysctl of this kernel, unless the kernel is newer than the table."""
    unknown = files("ipv6") - set(IPV6) - IPV6_UNTOLD
    newer = len(told(kernel, AF_INET6)) - len(conf._NAMES)
    assert len(unknown) <= max(newer, 0), unknown


def test_addr_gen_mode_of_a_stable_secret_is_not_written(kernel: Transport) -> None:
    """Writing stable_secret changes addr_gen_mode, which is not written back."""
    before = told(kernel, AF_INET6)
    sysctl("ipv6/conf/v0/stable_secret", "2001:db8::1")
    after = told(kernel, AF_INET6)
    assert differences(before, after) == {conf._NAMES.index("addr_gen_mode"): 2}
    assert conf.ipv6_changes(before, after) == []


def test_the_table_of_ipv4_sysctls_matches_the_kernel(kernel: Transport) -> None:
    """The kernel reports each IPv4 sysctl at its index, and RTM_SETLINK sets it by its number."""
    before = told(kernel, AF_INET)
    tried = [name for name in IPV4 if name in files("ipv4") and name != "mc_forwarding"]
    assert len(tried) >= 30
    for name in tried:
        path = f"ipv4/conf/v0/{name}"
        was = sysctl(path)
        value = change(path)
        after = told(kernel, AF_INET)
        assert differences(before, after) == {IPV4.index(name): value}, name
        assert conf.ipv4_changes(before, after) == {IPV4.index(name) + 1: value}
        kernel.ask(
            link.change(link.unpack(kernel.ask(link.get("v0"))[0]).index, ipv4_conf=conf.ipv4_changes(after, before))
        )
        assert (sysctl(path), told(kernel, AF_INET)) == (was, before)


def test_mc_forwarding_cannot_be_written(kernel: Transport) -> None:
    assert IPV4.index("mc_forwarding") + 1 == conf.IPV4_MC_FORWARDING
    with pytest.raises(PermissionError):
        Path("/proc/sys/net/ipv4/conf/v0/mc_forwarding").write_text("1", encoding="utf-8")
    assert told(kernel, AF_INET)[conf.IPV4_MC_FORWARDING - 1] == 0


@pytest.mark.usefixtures("kernel")
def test_plain_ipv4_sysctls_are_set_by_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain IPv4 sysctl is set by netlink, without opening /proc/sys."""
    assert conf.PLAIN.items() <= {name: number for number, name in enumerate(IPV4, 1)}.items()
    there = LinuxKernel.own()
    with closing(there), monkeypatch.context() as patch:
        patch.setattr(sysctls, "is_here", lambda _: pytest.fail("/proc/sys was opened"))
        for name in sorted(conf.PLAIN.keys() & files("ipv4")):
            path = f"ipv4/conf/v0/{name}"
            value = str(1 - int(sysctl(path)))
            assert there.set_sysctl(path, value), name
            assert sysctl(path) == value
            assert not there.set_sysctl(path, value)
        assert not there.set_sysctl("ipv6/conf/v0/disable_ipv6", "0")


@pytest.mark.parametrize("failure", [KernelError(errno.EPERM, "set"), None], ids=["refused", "kept as it was"])
def test_a_sysctl_that_netlink_does_not_set_is_written(
    failure: KernelError | None, kernel: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If netlink refuses or ignores an IPv4 sysctl, the sysctl is written to /proc/sys."""

    def send(_: LinuxKernel, request: Request) -> None:
        asked.append(request.text)
        if failure:
            raise failure

    asked: list[str] = []
    monkeypatch.setattr(LinuxKernel, "send", send)
    with closing(LinuxKernel.own()) as there:
        assert there.set_sysctl("ipv4/conf/v0/arp_ignore", "2")
    assert asked == ["set link v0: IPv4 settings"]
    assert told(kernel, AF_INET)[conf.PLAIN["arp_ignore"] - 1] == 2


@pytest.mark.parametrize("value", ["01", "-1", "0x2", "", "4294967296", "1 2", "\u0661"])
@pytest.mark.parametrize("path", ["ipv4/conf/v0/arp_ignore", "ipv6/conf/v0/disable_ipv6"])
def test_only_plain_numbers_are_found_in_the_table(path: str, value: str) -> None:
    assert conf.find(path, value) is None


def test_sysctls_that_a_link_does_not_report() -> None:
    """Sysctls that a link does not report are not found, and a link without settings has no value for them."""
    assert conf.find("ipv4/conf/v0/forwarding", "1") is None
    assert conf.find("ipv4/ip_forward", "1") is None
    assert conf.find("ipv6/conf/v0/disable_ipv6", "1") is None
    setting = conf.find("ipv4/conf/v0/arp_ignore", "1")
    assert setting
    assert setting.value(()) is None
