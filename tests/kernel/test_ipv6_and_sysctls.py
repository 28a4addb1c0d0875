"""IPv6 per interface, and settings (behaviour.md I4, I5; faults C4 to C6, C12, C13; behaviours T1, T8, T17 to T25)."""

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
    """Have /proc/sys read-only, as in an unprivileged container."""
    for flags in (MS_BIND, MS_BIND | MS_REMOUNT | MS_RDONLY):
        libc("mount", b"/proc/sys", b"/proc/sys", b"none", ctypes.c_ulong(flags), None)
    yield box
    libc("umount2", b"/proc/sys", MNT_DETACH)


def test_t1_c5_ipv6_addresses_are_usable_at_once(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface("v0", addresses=["fd00::2/64", "fe80::9/64", "10.0.0.2/24"])
    found = {item["local"]: item for item in link("eth0", box.path)["addr_info"]}
    assert found["fd00::2"]["nodad"]
    assert found["fe80::9"]["nodad"]
    assert "tentative" not in found["fd00::2"]


def test_c5_a_link_local_ipv6_address_switches_ipv6_on(box: Sandbox) -> None:
    veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fe80::9/64"])
    assert addresses("eth0", box.path) == {"10.0.0.2/24", "fe80::9/64"}


def test_t23_an_ipv6_address_that_a_setting_takes_away_is_told_as_dropped(box: Sandbox) -> None:
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


def test_t18_without_an_ipv6_address_ipv6_is_off_on_the_link_but_not_on_loopback(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface("v0", addresses=["10.0.0.2/24"])
    found = link("eth0", box.path)["addr_info"]
    assert [item["family"] for item in found] == ["inet"]
    assert sysctl("ipv6/conf/eth0/disable_ipv6", netns=box.path) == "1"
    assert "::1/128" in addresses("lo", box.path)
    assert box.has_ipv6


def test_a_link_without_addresses_has_no_ipv6_either(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface("v0")
    box.add_interface(Bridge("b"))
    assert sysctl("ipv6/conf/eth0/disable_ipv6", netns=box.path) == "1"
    assert sysctl("ipv6/conf/eth1/disable_ipv6", netns=box.path) == "1"
    assert not any("inet6" in ip(f"address show dev {name}", netns=box.path) for name in ("eth0", "eth1"))


def test_ipv6_is_off_before_the_link_is_up(box: Sandbox) -> None:
    veth(up=True)
    commands = box.plan_interface("v0", addresses=["10.0.0.2/24"]).commands
    off = next(number for number, text in enumerate(commands) if "disable_ipv6=1" in text)
    up = next(number for number, text in enumerate(commands) if text.endswith("set dev eth0 up"))
    assert off < up


def test_t24_a_link_may_have_ipv6_only(box: Sandbox) -> None:
    veth(up=True)
    box.add_interface("v0", addresses=["fd00::2/64"])
    assert addresses("eth0", box.path) == {"fd00::2/64"}
    assert {"127.0.0.1/8", "::1/128"} <= addresses("lo", box.path)


def test_t17_t22_ipv6_off_everywhere_is_seen_and_changes_with_the_setting(box: Sandbox) -> None:
    assert box.has_ipv6
    sysctl("ipv6/conf/all/disable_ipv6", "1", netns=box.path)
    assert not box.has_ipv6
    assert ip_json("-6 address show", netns=box.path) == []
    sysctl("ipv6/conf/all/disable_ipv6", "0", netns=box.path)
    assert box.has_ipv6


def test_t25_where_ipv6_is_off_a_link_works_over_ipv4(box: Sandbox) -> None:
    veth()
    sysctl("ipv6/conf/all/disable_ipv6", "1", netns=box.path)
    box.add_interface("v0", addresses=["10.0.0.2/24"], routes=["10.9.0.0/24"])
    assert addresses("eth0", box.path) == {"10.0.0.2/24"}


def test_c4_where_ipv6_is_off_an_ipv6_address_switches_it_on_for_its_link(box: Sandbox) -> None:
    veth()
    sysctl("ipv6/conf/all/disable_ipv6", "1", netns=box.path)
    box.add_interface("v0", addresses=["fd00::2/64"])
    assert addresses("eth0", box.path) == {"fd00::2/64"}
    assert not box.has_ipv6


def test_t19_when_ipv6_cannot_be_switched_off_the_add_fails(read_only: Sandbox) -> None:
    veth(up=True)
    with fails(read_only, KernelError, match="disable_ipv6 to 1: EROFS") as info:
        read_only.add_interface("v0", addresses=["10.0.0.2/24"])
    assert info.value.errno == errno.EROFS


def test_t19_c13_where_nothing_has_to_change_a_read_only_proc_is_fine(read_only: Sandbox) -> None:
    veth(up=True)
    with comes_back():
        read_only.add_interface(
            "v0", addresses=["10.0.0.2/24", "fd00::2/64"], sysctls={"net.ipv4.conf.IFNAME.arp_ignore": "0"}
        )
        read_only.remove_interface("eth0")


def test_c13_a_setting_that_would_change_on_a_read_only_proc_is_refused(read_only: Sandbox) -> None:
    veth()
    with fails(read_only, KernelError, match="arp_ignore to 1: EROFS"):
        read_only.add_interface("v0", addresses=["fd00::2/64"], sysctls={"net.ipv4.conf.IFNAME.arp_ignore": "1"})
    read_only.add_interface("v0", addresses=["fd00::2/64"])
    with fails(read_only, KernelError, match="EROFS"):
        read_only.disable_arp_for_vip("eth0")
    read_only.apply_os_tweaks({"net.ipv4.ip_forward": sysctl("ipv4/ip_forward", netns=read_only.path)})


@pytest.mark.parametrize("word", ["IFNAME", "ifname"])
@pytest.mark.parametrize("value", ["0", 1])
def test_t20_t21_a_setting_is_effective(box: Sandbox, word: str, value: str | int) -> None:
    veth()
    box.add_interface("v0", sysctls={f"net.ipv4.conf.{word}.forwarding": value})
    assert sysctl("ipv4/conf/eth0/forwarding", netns=box.path) == str(value)


def test_t23_ipv6_switched_off_by_a_setting_takes_the_address_and_is_reported(box: Sandbox) -> None:
    veth(up=True)
    added = box.add_interface(
        "v0", addresses=["10.0.0.2/24", "fd00::2/64"], sysctls={"net.ipv6.conf.IFNAME.disable_ipv6": "1"}
    )
    assert addresses("eth0", box.path) == {"10.0.0.2/24"}
    assert [str(address) for address in added.addresses] == ["10.0.0.2/24"]


def test_settings_are_made_in_order_and_stay_with_the_link(box: Sandbox) -> None:
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


def test_c6_a_mac_and_mtu_that_are_right_are_not_written(box: Sandbox) -> None:
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


def test_c12_a_key_that_is_not_of_the_form_is_refused_before_anything_is_touched(box: Sandbox) -> None:
    veth(up=True)
    with comes_back(box.path):
        for key in NO_KEYS:
            with pytest.raises(SpecError, match="sysctl"):
                box.add_interface("v0", sysctls={"net.ipv4.conf.IFNAME.forwarding": "1", key: "1"})


def test_c12_a_setting_that_the_kernel_lacks_undoes_those_before(box: Sandbox) -> None:
    veth()
    with fails(box, KernelError, match="no_such_setting to 1: ENOENT"):
        box.add_interface("v0", sysctls=["net.ipv4.conf.IFNAME.forwarding=1", "net.ipv4.conf.IFNAME.no_such_setting=1"])


def test_c12_a_value_that_the_kernel_refuses_or_changes_undoes_all(box: Sandbox) -> None:
    veth()
    for key, value in (("net.ipv6.conf.IFNAME.addr_gen_mode", "9"), ("net.ipv4.conf.IFNAME.forwarding", "words")):
        with fails(box, KernelError, match="EINVAL"):
            box.add_interface("v0", addresses=["fd00::2/64"], sysctls={key: value})


def test_c12_white_space_in_a_value_does_not_matter(box: Sandbox) -> None:
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


def test_t8_os_tweaks_are_made_in_the_sandbox_only_and_missing_ones_are_passed_over(box: Sandbox) -> None:
    with comes_back():
        box.apply_os_tweaks({"net.ipv4.ip_forward": "1", "net.ipv4.no_such_setting": "1"})
    assert sysctl("ipv4/ip_forward", netns=box.path) == "1"
    assert sysctl("ipv4/ip_forward") == "0"


def test_t8_a_tweak_that_cannot_be_made_is_an_error_and_those_before_are_undone(box: Sandbox) -> None:
    with fails(box, KernelError, match="set net/ipv4/icmp_ratelimit to nonsense: EINVAL") as info:
        box.apply_os_tweaks({"net.ipv4.ip_forward": "1", "net.ipv4.icmp_ratelimit": "nonsense"})
    assert [words.rpartition(" ")[2] for words in info.value.undone] == ["net.ipv4.ip_forward=0"]
    assert sysctl("ipv4/ip_forward", netns=box.path) == "0"


@pytest.mark.parametrize("name", ["ingress", "load-balancer"])
def test_t8_the_tweaks_of_osl_are_those_of_ipvs(box: Sandbox, name: str) -> None:
    there = Path("/proc/sys/net/ipv4/vs").exists()
    tweaks = {"conn_reuse_mode=0", "expire_nodest_conn=1", "expire_quiescent_template=1"} if there else set()
    commands = box.plan(box.apply_os_tweaks, name).commands
    assert {command.rpartition("net.ipv4.vs.")[2] for command in commands} == tweaks
    box.apply_os_tweaks(name)
    assert box.plan(box.apply_os_tweaks, name).commands == ()


@pytest.mark.parametrize("tweaks", ["nonsense", {"kernel.hostname": "x"}, {"net.ipv4/../../kernel.hostname": "x"}])
def test_t8_other_tweaks_are_refused(box: Sandbox, tweaks: str | dict[str, str]) -> None:
    with fails(box, SpecError):
        box.apply_os_tweaks(tweaks)
