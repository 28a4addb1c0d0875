"""IPv6 per interface, and sysctls (faults C4 to C6, C12, C13)."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import Bridge, KernelError, Sandbox, SpecError
from tests.kernel.lab import addresses, comes_back, fails, ip, ip_json, libc, link, links, sysctl, veth

if TYPE_CHECKING:
    from collections.abc import Iterator

MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
MNT_DETACH = 2


@pytest.fixture
def read_only(box: Sandbox) -> Iterator[Sandbox]:
    """Mount /proc/sys read-only, as in an unprivileged container."""
    for flags in (MS_BIND, MS_BIND | MS_REMOUNT | MS_RDONLY):
        libc("mount", b"/proc/sys", b"/proc/sys", b"none", ctypes.c_ulong(flags), None)
    yield box
    libc("umount2", b"/proc/sys", MNT_DETACH)


def test_c5_ipv6_addresses_are_usable_at_once(box: Sandbox) -> None:
    """IPv6 addresses are added without DAD."""
    veth(up=True)
    box.add_interface("v0", addresses=["fd00::2/64", "fe80::9/64", "10.0.0.2/24"])
    found = {item["local"]: item for item in link("eth0", box.path)["addr_info"]}
    assert found["fd00::2"]["nodad"]
    assert found["fe80::9"]["nodad"]
    assert "tentative" not in found["fd00::2"]


def test_c5_a_link_local_address_enables_ipv6(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fe80::9/64"])
    assert addresses("eth0", box.path) == {"10.0.0.2/24", "fe80::9/64"}


def test_dropped_ipv6_addresses_are_listed(box: Sandbox) -> None:
    """IPv6 addresses that the kernel drops because of the sysctl disable_ipv6=1 are listed in `dropped`."""
    veth(up=True)
    with comes_back(box.path):
        eth0 = box.add_interface(
            "v0",
            addresses=["10.0.0.2/24", "fd00::2/64", "fe80::9/64"],
            sysctls={"net.ipv6.conf.IFNAME.disable_ipv6": "1"},
        )
        assert addresses("eth0", box.path) == {"10.0.0.2/24"}
        assert [str(item) for item in eth0.addresses] == ["10.0.0.2/24"]
        assert [str(item) for item in eth0.dropped] == ["fd00::2/64", "fe80::9/64"]
        assert box.wait_for_adverts(1)
        assert eth0.adverts.sent >= 1
        with Sandbox.open("box") as again:
            assert [item.id for item in again.interfaces] == [item.id for item in box.interfaces] == [eth0.id]
            assert again.interfaces[0].dropped == ()
            again.remove_interface("eth0")


def test_a_link_with_ipv4_only_has_ipv6_disabled(box: Sandbox) -> None:
    """IPv6 is disabled on a link without an IPv6 address, but stays enabled on loopback."""
    veth(up=True)
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    found = link("eth0", box.path)["addr_info"]
    assert [item["family"] for item in found] == ["inet"]
    assert sysctl("ipv6/conf/eth0/disable_ipv6", netns=box.path) == "1"
    assert "::1/128" in addresses("lo", box.path)
    assert box.has_ipv6


def test_a_link_without_addresses_has_ipv6_disabled(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface("v0")
    box.add_interface(Bridge("b"))
    assert sysctl("ipv6/conf/eth0/disable_ipv6", netns=box.path) == "1"
    assert sysctl("ipv6/conf/eth1/disable_ipv6", netns=box.path) == "1"
    assert not any("inet6" in ip(f"address show dev {name}", netns=box.path) for name in ("eth0", "eth1"))


def test_ipv6_is_disabled_before_the_link_is_up(box: Sandbox) -> None:
    veth(up=True)
    commands = box.plan_interface("v0", addresses=["10.0.0.2/24"]).commands
    off = next(number for number, text in enumerate(commands) if "disable_ipv6=1" in text)
    up = next(number for number, text in enumerate(commands) if text.endswith("set dev eth0 up"))
    assert off < up


def test_a_link_may_have_ipv6_only(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface("v0", addresses=["fd00::2/64"])
    assert addresses("eth0", box.path) == {"fd00::2/64"}
    assert {"127.0.0.1/8", "::1/128"} <= addresses("lo", box.path)


def test_has_ipv6_follows_the_sysctl_all_disable_ipv6(box: Sandbox) -> None:
    assert box.has_ipv6
    sysctl("ipv6/conf/all/disable_ipv6", "1", netns=box.path)
    assert not box.has_ipv6
    assert ip_json("-6 address show", netns=box.path) == []
    sysctl("ipv6/conf/all/disable_ipv6", "0", netns=box.path)
    assert box.has_ipv6


def test_ipv4_works_where_ipv6_is_disabled(box: Sandbox) -> None:
    veth()
    sysctl("ipv6/conf/all/disable_ipv6", "1", netns=box.path)
    box.add_interface("v0", addresses=["10.0.0.2/24"], routes=["10.9.0.0/24"])
    assert addresses("eth0", box.path) == {"10.0.0.2/24"}


def test_c4_an_ipv6_address_enables_ipv6_on_its_link(box: Sandbox) -> None:
    veth()
    sysctl("ipv6/conf/all/disable_ipv6", "1", netns=box.path)
    box.add_interface("v0", addresses=["fd00::2/64"])
    assert addresses("eth0", box.path) == {"fd00::2/64"}
    assert not box.has_ipv6


def test_failure_to_disable_ipv6_fails_the_attach(read_only: Sandbox) -> None:
    veth(up=True)
    with fails(read_only, KernelError, match="disable_ipv6 to 1: EROFS") as info:
        read_only.add_interface("v0", addresses=["10.0.0.2/24"])
    assert info.value.errno == errno.EROFS


def test_c13_read_only_proc_sys_is_no_error_if_nothing_changes(read_only: Sandbox) -> None:
    """With /proc/sys read-only, an attach that needs no sysctl change succeeds."""
    veth(up=True)
    with comes_back():
        read_only.add_interface(
            "v0", addresses=["10.0.0.2/24", "fd00::2/64"], sysctls={"net.ipv4.conf.IFNAME.arp_ignore": "0"}
        )
        read_only.remove_interface("eth0")


def test_c13_a_sysctl_change_on_read_only_proc_sys_fails(read_only: Sandbox) -> None:
    """With /proc/sys read-only, a sysctl that would change fails with EROFS; an equal value is accepted."""
    veth()
    with fails(read_only, KernelError, match="arp_ignore to 1: EROFS"):
        read_only.add_interface("v0", addresses=["fd00::2/64"], sysctls={"net.ipv4.conf.IFNAME.arp_ignore": "1"})
    read_only.add_interface("v0", addresses=["fd00::2/64"])
    with fails(read_only, KernelError, match="EROFS"):
        read_only.disable_arp_for_vip("eth0")
    read_only.apply_os_tweaks({"net.ipv4.ip_forward": sysctl("ipv4/ip_forward", netns=read_only.path)})


@pytest.mark.parametrize("word", ["IFNAME", "ifname"])
@pytest.mark.parametrize("value", ["0", 1])
def test_an_interface_sysctl_is_applied(box: Sandbox, word: str, value: str | int) -> None:
    """The placeholder IFNAME or ifname of a sysctl stands for the interface; its value may be text or a number."""
    veth()
    box.add_interface("v0", sysctls={f"net.ipv4.conf.{word}.forwarding": value})
    assert sysctl("ipv4/conf/eth0/forwarding", netns=box.path) == str(value)


def test_dropped_ipv6_addresses_are_not_in_addresses(box: Sandbox) -> None:
    """An IPv6 address that the sysctl disable_ipv6=1 removes is not in `addresses`."""
    veth(up=True)
    added = box.add_interface(
        "v0", addresses=["10.0.0.2/24", "fd00::2/64"], sysctls={"net.ipv6.conf.IFNAME.disable_ipv6": "1"}
    )
    assert addresses("eth0", box.path) == {"10.0.0.2/24"}
    assert [str(address) for address in added.addresses] == ["10.0.0.2/24"]


def test_sysctls_given_as_a_list_are_applied(box: Sandbox) -> None:
    veth()
    box.add_interface(
        "v0",
        addresses=["fd00::2/64"],
        sysctls=[
            "net.ipv6.conf.IFNAME.accept_ra=0",
            "net.ipv4.conf.IFNAME.rp_filter=2",
            "net.ipv4.neigh.IFNAME.ucast_solicit=7",
        ],
    )
    assert sysctl("ipv6/conf/eth0/accept_ra", netns=box.path) == "0"
    assert sysctl("ipv4/conf/eth0/rp_filter", netns=box.path) == "2"
    assert sysctl("ipv4/neigh/eth0/ucast_solicit", netns=box.path) == "7"


def test_c6_an_equal_mac_or_mtu_is_not_written(box: Sandbox) -> None:
    veth()
    found = links()["v0"]
    assert "address" not in " ".join(box.plan_interface("v0", mac=found["address"], mtu=found["mtu"]).commands)
    box.add_interface("v0", mac=found["address"], mtu=found["mtu"])
    assert links(box.path)["eth0"]["address"] == found["address"]


NO_KEYS = [
    "kernel.ipv4.conf.IFNAME.hostname",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.eth0.forwarding",
    "net.ipv4.conf.IFNAME",
    "net.ipv4.conf.IFNAME.a.b",
    "net.ipv4.ip_forward",
    "net.IFNAME.conf.ipv4.forwarding",
    "net.ipv4.conf.IFNAME.../../../kernel/hostname",
    "net.ipv4.conf.IFNAME.x/y",
    "net.ipv4..IFNAME.forwarding",
]


def test_c12_an_invalid_sysctl_key_is_refused_first(box: Sandbox) -> None:
    """A sysctl key that is not of the form for interfaces is refused before anything is changed."""
    veth(up=True)
    with comes_back(box.path):
        for key in NO_KEYS:
            with pytest.raises(SpecError, match="sysctl"):
                box.add_interface("v0", sysctls={"net.ipv4.conf.IFNAME.forwarding": "1", key: "1"})


def test_c12_an_unknown_sysctl_rolls_back_the_attach(box: Sandbox) -> None:
    veth()
    with fails(box, KernelError, match="no_such_setting to 1: ENOENT"):
        box.add_interface("v0", sysctls=["net.ipv4.conf.IFNAME.forwarding=1", "net.ipv4.conf.IFNAME.no_such_setting=1"])


def test_c12_a_refused_sysctl_value_rolls_back_the_attach(box: Sandbox) -> None:
    veth()
    for key, value in (("net.ipv6.conf.IFNAME.addr_gen_mode", "9"), ("net.ipv4.conf.IFNAME.forwarding", "words")):
        with fails(box, KernelError, match="EINVAL"):
            box.add_interface("v0", addresses=["fd00::2/64"], sysctls={key: value})


def test_c12_sysctl_values_are_compared_without_white_space(box: Sandbox) -> None:
    box.apply_os_tweaks({"net.ipv4.ping_group_range": "0 \t 0"})
    assert sysctl("ipv4/ping_group_range", netns=box.path).split() == ["0", "0"]
    assert len(box.plan(box.apply_os_tweaks, {"net.ipv4.ping_group_range": "0 0"})) == 0


def test_c13_disable_arp_for_vip_writes_only_what_differs(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", sysctls={"net.ipv4.conf.IFNAME.arp_ignore": "1"})
    assert len(box.plan(box.disable_arp_for_vip, "eth0")) == 1
    box.disable_arp_for_vip("eth0")
    assert sysctl("ipv4/conf/eth0/arp_ignore", netns=box.path) == "1"
    assert sysctl("ipv4/conf/eth0/arp_announce", netns=box.path) == "2"
    assert len(box.plan(box.disable_arp_for_vip, "eth0")) == 0


def test_os_tweaks_apply_inside_and_skip_missing_keys(box: Sandbox) -> None:
    """apply_os_tweaks changes sysctls of the sandbox only, and skips those that the kernel lacks."""
    with comes_back():
        box.apply_os_tweaks({"net.ipv4.ip_forward": "1", "net.ipv4.no_such_setting": "1"})
    assert sysctl("ipv4/ip_forward", netns=box.path) == "1"
    assert sysctl("ipv4/ip_forward") == "0"


def test_a_failed_os_tweak_rolls_back_earlier_ones(box: Sandbox) -> None:
    with fails(box, KernelError, match="set net/ipv4/icmp_ratelimit to nonsense: EINVAL") as info:
        box.apply_os_tweaks({"net.ipv4.ip_forward": "1", "net.ipv4.icmp_ratelimit": "nonsense"})
    assert [words.rpartition(" ")[2] for words in info.value.undone] == ["net.ipv4.ip_forward=0"]
    assert sysctl("ipv4/ip_forward", netns=box.path) == "0"


@pytest.mark.parametrize("name", ["ingress", "load-balancer"])
def test_os_tweaks_of_osl_are_sysctls_of_ipvs(box: Sandbox, name: str) -> None:
    there = Path("/proc/sys/net/ipv4/vs").exists()
    tweaks = {"conn_reuse_mode=0", "expire_nodest_conn=1", "expire_quiescent_template=1"} if there else set()
    commands = box.plan(box.apply_os_tweaks, name).commands
    assert {command.rpartition("net.ipv4.vs.")[2] for command in commands} == tweaks
    box.apply_os_tweaks(name)
    assert box.plan(box.apply_os_tweaks, name).commands == ()


@pytest.mark.parametrize("tweaks", ["nonsense", {"kernel.hostname": "x"}, {"net.ipv4/../../kernel.hostname": "x"}])
def test_invalid_os_tweaks_are_refused(box: Sandbox, tweaks: str | dict[str, str]) -> None:
    with fails(box, SpecError):
        box.apply_os_tweaks(tweaks)
