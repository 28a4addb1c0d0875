"""Links that are created in the sandbox: each kind is compared with ip(8), and a detach leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netsandbox import (
    Bridge,
    Dummy,
    Ifb,
    InterfaceSpec,
    Ipvlan,
    KernelError,
    Kind,
    Macvlan,
    NameConflictError,
    Sandbox,
    SpecError,
    Tap,
    Veth,
    Vlan,
    Vrf,
    Vxlan,
    links,
)
from netsandbox._run.transaction import Records
from netsandbox._steps import Move, SetLink, delete_links
from netsandbox._system import namespace, tap
from netsandbox._system.kernel import LinuxKernel
from netsandbox.netlink import attrs
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsandbox._record import Record
    from netsandbox.netlink.message import Request

pytestmark = pytest.mark.usefixtures("host")
MAC = "02:00:00:00:00:42"


def details(name: str, netns: str | None = None) -> lab.Json:
    """Return a link with the options of its kind, as ip(8) shows it."""
    (found,) = lab.ip_json(f"-d link show dev {name}", netns=netns)
    return found


def gone(name: str) -> None:
    """Wait until the kernel has deleted a link with its namespace."""
    with Sandbox.host() as host:
        for _ in range(1000):
            if name not in lab.links():
                return
            host._handle.host.pause(0.01)
    pytest.fail(f"{name} is still there")


def test_a_veth_has_one_end_inside_and_one_on_its_bridge(box: Sandbox) -> None:
    """A created veth has one end inside; its other end is a port of a host bridge, without IPv6, with an alias."""
    lab.ip("link add br0 type bridge")
    lab.ip("link set br0 up")
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web", master="br0"), mac=MAC, mtu=1400, addresses=["10.0.0.2/24"])
        assert (made.source, made.name, made.kind, made.mac, made.mtu) == ("veth-web", "eth0", "veth", MAC, 1400)
        inside, outside = details("eth0", box.path), details("veth-web")
        assert (inside["address"], inside["mtu"], inside["operstate"]) == (MAC, 1400, "UP")
        assert (outside["master"], outside["mtu"], outside["operstate"]) == ("br0", 1400, "UP")
        assert (outside["link_index"], inside["link_index"]) == (inside["ifindex"], outside["ifindex"])
        assert outside["ifalias"].startswith("netsandbox:")
        assert outside["ifalias"].endswith(":box")
        assert outside["address"].startswith("fe:")
        assert lab.sysctl("ipv6/conf/veth-web/disable_ipv6") == "1"
        assert lab.addresses("veth-web") == set()
        made.remove()
        assert box.interfaces == ()
        assert set(lab.links(box.path)) == {"lo"}


def test_options_of_the_host_end_of_a_veth_are_applied(box: Sandbox) -> None:
    """Without a master, the host end of a veth is up, and has the MAC, the MTU and the IPv6 setting of its options."""
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web", ipv6=True, host_mac=MAC, host_mtu=1300))
        outside = details("veth-web")
        assert (outside["address"], outside["mtu"], outside["operstate"]) == (MAC, 1300, "UP")
        assert lab.sysctl("ipv6/conf/veth-web/disable_ipv6") == "0"
        made.remove()


def test_bridge_port_options_of_a_host_end_are_applied(box: Sandbox) -> None:
    lab.ip("link add br0 address 02:00:00:00:00:99 type bridge")
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web", master="br0", hairpin=True, isolated=True, learning=False))
        port = details("veth-web")["linkinfo"]["info_slave_data"]
        assert (port["hairpin"], port["isolated"], port["learning"]) == (True, True, False)
        made.remove()


def test_a_host_bridge_keeps_its_mac_when_ports_change(box: Sandbox) -> None:
    lab.ip("link add br0 type bridge")
    before = lab.link("br0")["address"]
    ends = box.add_interfaces([InterfaceSpec(Veth(f"end{n}", master="br0")) for n in range(3)])
    assert lab.link("br0")["address"] == before
    for end in ends:
        end.remove()
    assert lab.link("br0")["address"] == before


LINKS: list[tuple[Kind, str, dict[str, object]]] = [
    (Macvlan("p0"), "macvlan", {"mode": "bridge"}),
    (Macvlan("p0", mode="private", bc_queue_len=77), "macvlan", {"mode": "private", "bcqueuelen": 77}),
    (Ipvlan("p0", mode="l3", flag="private"), "ipvlan", {"mode": "l3"}),
    (Vlan("p0", 42, gvrp=True), "vlan", {"id": 42}),
    (
        Vxlan(42, link="p0", group="239.1.1.1", port=8472, ttl=5, learning=False),
        "vxlan",
        {"id": 42, "group": "239.1.1.1", "port": 8472, "ttl": 5, "learning": False},
    ),
    (Vxlan(7, remote="fd00::9", local="fd00::8"), "vxlan", {"id": 7, "remote6": "fd00::9", "local6": "fd00::8"}),
    (Vxlan(8, remote="10.0.0.9"), "vxlan", {"id": 8, "remote": "10.0.0.9", "port": 4789}),
    (Vrf("red", 10), "vrf", {"table": 10}),
    (Dummy(), "dummy", {}),
    (Ifb(), "ifb", {}),
    (Tap(owner=1000, group=1001, vnet_hdr=True), "tun", {"type": "tap", "vnet_hdr": True, "persist": True}),
    (Tap(mode="tun", multi_queue=True), "tun", {"type": "tun", "multi_queue": True, "pi": False}),
    (
        Bridge("b", stp=True, forward_delay=300, priority=4096, mcast_snooping=False),
        "bridge",
        {"stp_state": 1, "forward_delay": 300, "priority": 4096, "mcast_snooping": 0},
    ),
    (
        Macvlan("p0", mode="source", macs=["02:00:00:00:00:43", MAC], nodst=True, bc_queue_len=5),
        "macvlan",
        {"mode": "source", "nodst": True, "macaddr_count": 2},
    ),
    (Macvlan("p0", mode="source", macs=()), "macvlan", {"mode": "source", "macaddr_count": 0}),
    (Macvlan("p0", mode="passthru", nopromisc=True), "macvlan", {"mode": "passthru", "nopromisc": True, "nodst": None}),
    (
        Vlan("p0", 43, ingress_qos={1: 2}, egress_qos=[(2, 3), (0, 1)]),
        "vlan",
        {
            "id": 43,
            "ingress_qos": [{"from": 1, "to": 2}],
            "egress_qos": [{"from": 0, "to": 1}, {"from": 2, "to": 3}],
        },
    ),
    (
        Vxlan(9, source_ports=(1000, 2000), df="set", gbp=True, gpe=False, remcsum_tx=True, remcsum_rx=True),
        "vxlan",
        {
            "id": 9,
            "port_range": {"low": 1000, "high": 2000},
            "df": "set",
            "gbp": True,
            "gpe": None,
            "remcsum_tx": True,
            "remcsum_rx": True,
        },
    ),
    (Vxlan(9, df="inherit", ttl_inherit=True), "vxlan", {"df": "inherit", "ttl": None}),
    (Vxlan(10, remote="fd00::9", label=0x12345), "vxlan", {"id": 10, "label": "0x12345"}),
    (Vxlan(0, external=True), "vxlan", {"external": True, "id": 0, "learning": False, "vnifilter": None}),
    (
        Vxlan(0, external=True, vnifilter=True, learning=True),
        "vxlan",
        {"external": True, "vnifilter": True, "learning": True},
    ),
    (Vxlan(0, external=True, gpe=True), "vxlan", {"external": True, "gpe": True, "learning": False}),
    (  # a kernel without VLAN filtering ignores these options
        Bridge("b", vlan_protocol="802.1ad", vlan_default_pvid=5, vlan_stats=True, vlan_stats_per_port=True),
        "bridge",
        {},
    ),
    (
        Bridge(
            "b",
            group_address="01:80:c2:00:00:0e",
            no_linklocal_learn=True,
            nf_call_iptables=True,
            nf_call_ip6tables=True,
            nf_call_arptables=True,
        ),
        "bridge",
        {
            "group_addr": "01:80:c2:00:00:0e",
            "no_linklocal_learn": 1,
            "mcast_vlan_snooping": 0,
            "nf_call_iptables": 1,
            "nf_call_ip6tables": 1,
            "nf_call_arptables": 1,
        },
    ),
    (
        Bridge(
            "b",
            mcast_router=2,
            mcast_query_use_ifaddr=True,
            mcast_query_interval=100,
            mcast_query_response_interval=200,
            mcast_querier_interval=300,
            mcast_startup_query_count=4,
            mcast_startup_query_interval=8640000,
            mcast_last_member_count=5,
            mcast_last_member_interval=600,
            mcast_membership_interval=700,
            mcast_hash_max=512,
            mcast_igmp_version=3,
            mcast_mld_version=2,
            mcast_stats=True,
        ),
        "bridge",
        {
            "mcast_router": 2,
            "mcast_query_use_ifaddr": 1,
            "mcast_query_intvl": 100,
            "mcast_query_response_intvl": 200,
            "mcast_querier_intvl": 300,
            "mcast_startup_query_cnt": 4,
            "mcast_startup_query_intvl": 8640000,
            "mcast_last_member_cnt": 5,
            "mcast_last_member_intvl": 600,
            "mcast_membership_intvl": 700,
            "mcast_hash_max": 512,
            "mcast_igmp_version": 3,
            "mcast_mld_version": 2,
            "mcast_stats_enabled": 1,
        },
    ),
]
IDS = [f"{n} {kind.kind}{kind.words(kind.options)}"[:60] for n, (kind, *_) in enumerate(LINKS)]


@pytest.mark.parametrize(("kind", "name", "told"), LINKS, ids=IDS)
def test_a_link_of_every_kind_is_created_and_deleted(
    box: Sandbox, kind: Kind, name: str, told: dict[str, object]
) -> None:
    """A link of every kind is created with its options, and a detach deletes it and restores the state."""
    if name in lab.KINDS_A_KERNEL_MAY_LACK:
        lab.needs(name)
    lab.veth("p0", "p1", up=True)
    none = name == "ipvlan" or told.get("type") == "tun" or told.get("mode") == "passthru" or told.get("gpe")
    mac = None if none else MAC
    with lab.comes_back(box.path), lab.comes_back():
        made = box.add_interface(kind, name="wan0", mac=mac, mtu=1300)
        assert (made.source, made.name, made.kind, made.mtu) == (kind.source_name, "wan0", name, 1300)
        found = details("wan0", box.path)
        assert mac is None or found["address"] == mac
        assert (found["mtu"], found["linkinfo"]["info_kind"], "UP" in found["flags"]) == (1300, name, True)
        data = found["linkinfo"].get("info_data", {})
        assert {key: data.get(key) for key in told} == told
        assert "wan0" not in lab.links()
        box.plan(made.remove)
        made.remove()
        assert set(lab.links(box.path)) == {"lo"}


@pytest.mark.usefixtures("run_netns")
@pytest.mark.parametrize(("kind", "name"), [link[:2] for link in LINKS], ids=IDS)
def test_the_planned_commands_create_the_same_link(kind: Kind, name: str) -> None:
    """The ip commands of a plan create the same link as add_interface, in a sandbox of the same state."""
    if name in lab.KINDS_A_KERNEL_MAY_LACK:
        lab.needs(name)
    lab.veth("p0", "p1", up=True)
    with Sandbox.create("a") as there, Sandbox.create("b") as copied:
        plan = there.plan_interface(kind, name="wan0", mtu=1300)
        there.add_interface(kind, name="wan0", mtu=1300)
        for command in plan.commands:
            assert "-n a " in command or "exec a " in command or "netns a " in command
        wanted = details("wan0", there.path)
        there.interfaces[0].remove()
        script = "\n".join(plan.commands)
        for word in ("-n a ", "exec a ", "netns a "):
            script = script.replace(word, word.replace("a ", "b "))
        lab.shell(script)
        found = details("wan0", copied.path)
        same = ("ifindex", "mtu", "flags", "link_type", "operstate", "linkinfo")
        assert {key: _timeless(found[key]) for key in same} == {key: _timeless(wanted[key]) for key in same}
        there.destroy()
        copied.destroy()


@pytest.mark.parametrize(
    ("kind", "number", "told"),
    [(Bridge("b", fdb_max_learned=5), 49, struct.pack("=I", 5)), (Vxlan(7, localbypass=False), 31, b"\0")],
    ids=["fdb_max_learned", "localbypass"],
)
def test_options_unknown_to_ip_reach_the_kernel(box: Sandbox, kind: Kind, number: int, told: bytes) -> None:
    """Options that an older ip(8) does not show are read back from the attributes that the kernel reports."""
    box.add_interface(kind, name="wan0")
    link = box._handle.box.link("wan0")
    assert link is not None
    info = attrs.unpack(attrs.unpack(link.raw, 16)[18])  # struct ifinfomsg, IFLA_LINKINFO
    assert attrs.unpack(info[2])[number] == told  # IFLA_INFO_DATA


def test_a_macvlan_accepts_1000_macs(box: Sandbox) -> None:
    lab.veth("p0", "p1", up=True)
    macs = [f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(1000)]
    with lab.comes_back():
        made = box.add_interface(Macvlan("p0", mode="source", macs=macs))
        assert sorted(details("eth0", box.path)["linkinfo"]["info_data"]["macaddr_data"]) == macs
        assert [item.index for item in box.interfaces] == [made.index]
        made.remove()


def _timeless(value: object) -> object:
    """Return the output of ip(8) without timers and IDs, which differ between equal links."""
    if not isinstance(value, dict):
        return value
    other = ("timer", "_id", "root")
    return {key: _timeless(item) for key, item in value.items() if not any(word in key for word in other)}


@pytest.mark.usefixtures("run_netns")
def test_the_planned_commands_create_the_same_veth() -> None:
    lab.ip("link add br0 type bridge")
    wish = Veth("veth-web", master="br0", hairpin=True, learning=False)
    with Sandbox.create("a") as there, Sandbox.create("b") as copied:
        plan = there.plan_interface(wish, addresses=["10.0.0.2/24"], mac=MAC, mtu=1400)
        there.add_interface(wish, addresses=["10.0.0.2/24"], mac=MAC, mtu=1400)
        ends = details("veth-web"), details("eth0", there.path)
        bridge = lab.link("br0")
        there.interfaces[0].remove()
        script = "\n".join(plan.commands)
        for word in ("-n a ", "exec a ", "netns a "):
            script = script.replace(word, word.replace("a ", "b "))
        lab.shell(script)
        again = details("veth-web"), details("eth0", copied.path)
        for old, new in zip(ends, again, strict=True):
            same = ("address", "mtu", "flags", "operstate", "master", "ifalias")
            assert {key: new.get(key) for key in same} == {key: old.get(key) for key in same}
        slave = ends[0]["linkinfo"]["info_slave_data"]
        assert again[0]["linkinfo"]["info_slave_data"]["hairpin"] == slave["hairpin"]
        assert lab.link("br0")["address"] == bridge["address"]
        there.destroy()
        copied.destroy()


def test_a_program_opens_a_tap_by_its_name(box: Sandbox) -> None:
    box.add_interface(Tap(), name="tap0", addresses=["10.0.0.1/24"], advertise=0)

    def ping() -> bytes:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
            lab.libc("usleep", 0)
            box.exec(["ip", "neighbor", "add", "10.0.0.9", "lladdr", MAC, "dev", "tap0"], check=True)
            box.exec(["ping", "-c1", "-W1", "10.0.0.9"], capture_output=True)
            return os.read(fd, 2000)
        finally:
            os.close(fd)

    assert box.run(ping)[:6].hex(":") == MAC
    assert lab.link("tap0", box.path)["ifname"] == "tap0"


def test_many_sandboxes_may_share_a_parent_link(box: Sandbox) -> None:
    """Macvlans of one parent can be created in several sandboxes, and twice in one."""
    lab.veth("p0", "p1", up=True)
    with Sandbox.create("other") as other, lab.comes_back():
        ours = box.add_interface(Macvlan("p0"), addresses=["10.0.0.2/24"])
        theirs = other.add_interface(Macvlan("p0"), addresses=["10.0.0.3/24"])
        box.exec(["ping", "-c1", "-W9", "10.0.0.3"], check=True, capture_output=True)
        assert (ours.source, theirs.source) == ("macvlan@p0", "macvlan@p0")
        more = box.add_interface(Macvlan("p0"), on_conflict="ignore")
        assert [item.name for item in box.interfaces] == ["eth0", "eth1"]
        for item in (ours, theirs, more):
            item.remove()
        other.destroy()


REFUSED: list[tuple[str, Callable[[Sandbox], object], type[Exception], str]] = [
    ("no link below", lambda box: box.add_interface(Macvlan("nowhere")), SpecError, "link 'nowhere': no such link"),
    ("no master", lambda box: box.add_interface(Veth("v", master="no")), SpecError, "master 'no': no such link"),
    (
        "a name that is taken",
        lambda box: box.add_interface(Veth("p0")),
        NameConflictError,
        "call the host end of eth0 p0: .*taken by link",
    ),
    (
        "two of one name",
        lambda box: box.add_interfaces([InterfaceSpec(Veth("v")), InterfaceSpec(Veth("v"))]),
        SpecError,
        "source 'v': is given twice",
    ),
    (
        "two of one MAC",
        lambda box: box.add_interfaces([InterfaceSpec(Macvlan("p0"), mac=MAC), InterfaceSpec(Macvlan("p0"), mac=MAC)]),
        SpecError,
        f"mac '{MAC}': is that of another macvlan of p0",
    ),
    (
        "a master that is none",
        lambda box: box.add_interface(Veth("v", master="p1")),
        KernelError,
        "EOPNOTSUPP|EINVAL",
    ),
    ("a name inside that is taken", lambda box: box.add_interface(Veth("v"), name="lo"), NameConflictError, "lo"),
    ("an MTU too large", lambda box: box.add_interface(Macvlan("p0"), mtu=9000), KernelError, "mtu|EINVAL"),
]


@pytest.mark.parametrize(("act", "error", "text"), [item[1:] for item in REFUSED], ids=[item[0] for item in REFUSED])
def test_a_link_that_cannot_be_created_leaves_nothing(
    box: Sandbox, act: Callable[[Sandbox], object], error: type[Exception], text: str
) -> None:
    """An invalid link is refused, and the host and the sandbox stay unchanged."""
    lab.veth("p0", "p1", up=True)
    with lab.comes_back(box.path), lab.comes_back(), pytest.raises(error, match=text):
        act(box)
    assert box.interfaces == ()


def test_a_duplicate_macvlan_mac_in_a_sandbox_is_refused(box: Sandbox) -> None:
    """A second macvlan of one parent with the same MAC is refused before anything is changed."""
    lab.veth("p0", "p1", up=True)
    box.add_interface(Macvlan("p0"), mac=MAC)
    with lab.comes_back(box.path), pytest.raises(SpecError, match="is that of another macvlan of p0"):
        box.add_interface(Macvlan("p0"), mac=MAC)


def test_a_duplicate_macvlan_mac_elsewhere_is_rolled_back(box: Sandbox) -> None:
    """If a macvlan in another sandbox has the MAC, the kernel refuses the new macvlan, which is rolled back."""
    lab.veth("p0", "p1", up=True)
    with Sandbox.create("other") as other:
        other.add_interface(Macvlan("p0"), mac=MAC)
        with lab.comes_back(box.path), lab.comes_back(), pytest.raises(KernelError) as info:
            box.add_interface(Macvlan("p0"), mac=MAC)
        assert info.value.errno == errno.EADDRINUSE
        other.destroy()


def test_an_unsupported_kind_is_reported_with_its_module(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dummy, "kind", "nonsense")
    monkeypatch.setitem(links._WORDS, "nonsense", "dummy")
    with (
        lab.comes_back(box.path),
        pytest.raises(KernelError, match=r"no links of the kind nonsense \(module nonsense\)"),
    ):
        box.add_interface(Dummy())


def test_a_missing_tun_device_is_reported_with_its_module(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tap, "DEVICE", str(tmp_path / "tun"))
    with lab.comes_back(box.path), pytest.raises(KernelError, match=r"ENOENT \(it takes the module tun"):
        box.add_interface(Tap())


def test_a_tap_with_a_taken_name_is_refused_by_the_kernel(box: Sandbox) -> None:
    box.add_interface(Tap(), name="tap0")
    with pytest.raises(KernelError, match="create tap tap0: EBUSY"):
        box._handle.box.make_tap("tap0", 99, {"mode": "tap"})


# --- how links are deleted ---


def test_names_of_veths_are_free_after_destroy(box: Sandbox) -> None:
    """After destroy the names of the sandbox's veths can be reused at once, and the kernel deletes the veths."""
    lab.ip("link add br0 type bridge")
    with lab.comes_back():
        for _ in range(5):
            with Sandbox.create("web") as web:
                web.add_interface(Veth("veth-web", master="br0"), addresses=["10.0.0.2/24"])
                web.destroy()
        gone("veth-web")
    assert box.interfaces == ()


def test_a_replacing_sandbox_can_reuse_the_names_of_veths(box: Sandbox) -> None:
    box.add_interface(Veth("veth-box"))
    box.close()
    with Sandbox.create("box", replace=True) as new:
        assert new.add_interface(Veth("veth-box")).name == "eth0"
        assert Sandbox.prune() == ()
        assert "veth-box" in lab.links()
        new.destroy()


@pytest.mark.parametrize("verb", ["destroy", "replace"])
def test_destroy_deletes_veths_while_a_program_runs_inside(box: Sandbox, verb: str) -> None:
    """Destroying or replacing a sandbox deletes its veths even if a running program keeps the namespace."""
    with lab.comes_back():
        box.add_interfaces([InterfaceSpec(Veth(f"end{n}")) for n in range(3)])
        program = box.popen(["sh", "-c", "echo; read x"], stdin=-1, stdout=-1)
        assert program.stdout
        program.stdout.readline()
        if verb == "destroy":
            box.destroy()
        else:
            with Sandbox.create("box", replace=True) as new:
                assert not {"end0", "end1", "end2"} & set(lab.links())
                new.destroy()
            box.close()
        assert not {"end0", "end1", "end2"} & set(lab.links())
        program.communicate(b"\n")


def test_destroy_with_wait_returns_after_veths_are_deleted(box: Sandbox) -> None:
    with lab.comes_back():
        box.add_interfaces([InterfaceSpec(Veth("end0")), InterfaceSpec(Veth("end1"))])
        box.destroy(wait=True)
        assert not {"end0", "end1"} & set(lab.links())


@pytest.mark.parametrize("ends", [1, 2])
def test_destroy_with_wait_deletes_veths_of_an_open_namespace(box: Sandbox, ends: int) -> None:
    """destroy(wait=True) deletes the veths although another object keeps the namespace open."""
    with lab.comes_back(), Sandbox.open("box") as held:
        box.add_interfaces([InterfaceSpec(Veth(f"end{n}")) for n in range(ends)])
        box.destroy(wait=True)
        assert not {"end0", "end1"} & set(lab.links())
        assert held.name == "box"


def test_delete_links_ignores_links_that_are_gone(box: Sandbox) -> None:
    """delete_links ignores links that are gone already; other errors of the kernel are raised."""
    lab.veth("v0", "p0")
    kernel = box._handle.host
    indexes = [lab.link(name)["ifindex"] for name in ("v0", "p0")]
    delete_links(kernel, [*indexes, 99])
    delete_links(kernel, [*indexes])
    delete_links(kernel, [])
    assert set(lab.links()) == {"lo"}
    with pytest.raises(KernelError) as info:
        delete_links(kernel, [lab.link("lo")["ifindex"]])
    assert info.value.errno == errno.EOPNOTSUPP


def test_a_link_group_in_use_is_not_used_to_delete(box: Sandbox) -> None:
    lab.ip_batch("link add d0 type bridge")
    box.add_interfaces([InterfaceSpec(Veth("one")), InterfaceSpec(Veth("two"))])
    lab.ip_batch(f"link set d0 group {0x6E000000 + lab.link('two')['ifindex']}")
    box.remove_interfaces(box.interfaces)
    assert set(lab.links()) == {"lo", "d0"}


VETHS = [
    InterfaceSpec(Bridge("br"), addresses=["10.0.1.1/24"]),
    InterfaceSpec(Veth("one"), master="br"),
    InterfaceSpec(Veth("two"), addresses=["10.0.0.2/24", "fd00::2/64"], routes=["10.7.0.0/16"]),
    InterfaceSpec(Veth("three")),
]


def requests(monkeypatch: pytest.MonkeyPatch, fail: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Return the list to which the text of each later request is added; requests that *fail* selects fail."""
    asked: list[str] = []
    send = LinuxKernel.send

    def noted(self: LinuxKernel, request: Request) -> None:
        asked.append(request.text)
        if fail(request.text):
            raise KernelError(errno.ENOBUFS, request.text)
        send(self, request)

    monkeypatch.setattr(LinuxKernel, "send", noted)
    return asked


def test_several_veths_are_deleted_in_one_request(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with lab.comes_back():
        box.add_interfaces(VETHS)
        asked = requests(monkeypatch)
        box.remove_interfaces(["eth1", "eth2", "eth3"])
        assert [text for text in asked if "delete" in text] == [text for text in asked if "delete link group" in text]
        assert sum("delete" in text for text in asked) == 1
        assert [item.name for item in box.interfaces] == ["eth0"]
        assert set(lab.links(box.path)) == {"lo", "eth0"}


def test_the_planned_commands_remove_several_veths(box: Sandbox) -> None:
    with lab.comes_back(), lab.comes_back(box.path):
        box.add_interfaces([InterfaceSpec(Veth("one")), InterfaceSpec(Veth("two"))])
        lab.shell("\n".join(box.plan(box.remove_interfaces, ["eth0", "eth1"]).commands))
    box.remove_interfaces(["eth0", "eth1"])
    assert box.missing == ()


@pytest.mark.parametrize("failure", [r"delete link group", r"set link \d+: group .*"])
def test_removing_several_veths_is_atomic(box: Sandbox, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    """If the kernel refuses to delete several veths, none is deleted, and the changes are rolled back."""
    box.add_interfaces(VETHS)
    lab.ip_batch("link set two down", "link set two name called-anew group 9")
    with lab.comes_back(box.path), lab.comes_back(), monkeypatch.context() as patch:
        once = iter([True])
        requests(patch, lambda text: re.match(failure, text) is not None and next(once, False))
        with pytest.raises(KernelError, match="ENOBUFS"):
            box.remove_interfaces(box.interfaces)
    assert [item.name for item in box.interfaces] == ["eth0", "eth1", "eth2", "eth3"]
    assert lab.link("called-anew")["group"] == "9"
    box.remove_interfaces(box.interfaces)
    assert set(lab.links()) == {"lo"}


def test_destroying_an_adopted_sandbox_deletes_its_links(run_netns: Path) -> None:
    """Sandbox.destroy deletes the links that were created in an adopted namespace, and keeps the namespace."""
    lab.ip("netns add foreign")
    lab.ip("link set lo up", netns=str(run_netns / "foreign"))
    lab.veth("p0", "p1", up=True)
    with lab.comes_back("/run/netns/foreign"), lab.comes_back():
        with Sandbox.adopt(str(run_netns / "foreign")) as made:
            made.add_interfaces([InterfaceSpec(Veth("v")), InterfaceSpec(Macvlan("p0")), InterfaceSpec(Tap())])
            made.destroy()
        assert set(lab.links("/run/netns/foreign")) == {"lo"}
    lab.ip("netns delete foreign")


def test_links_created_in_the_host_sandbox(host: None) -> None:
    """The host sandbox creates veths and macvlans on the host, refuses taken names, and deletes its links."""
    assert host is None
    lab.veth("p0", "p1", up=True)
    with Sandbox.host() as here, lab.comes_back():
        ends = here.add_interface(Veth("outer"), addresses=["10.9.0.1/24"])
        upper = here.add_interface(Macvlan("p0"), name="mv0")
        assert {"outer", "eth0", "mv0"} <= set(lab.links())
        with pytest.raises(NameConflictError, match="call the host end of eth1 p1"):
            here.add_interface(Veth("p1"))
        with pytest.raises(NameConflictError, match="taken by its other end"):
            here.add_interface(Veth("one"), name="one")
        upper.remove()
        ends.remove()


def test_a_renamed_host_end_is_deleted_with_its_interface(box: Sandbox) -> None:
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web"))
        lab.ip("link set veth-web down")
        lab.ip("link set veth-web name called-anew")
        assert [item.name for item in box.interfaces] == ["eth0"]
        made.remove()


def test_a_host_end_with_a_new_mac_is_found_by_its_alias(box: Sandbox) -> None:
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web"), addresses=["10.0.0.2/24"])
        lab.ip("link set veth-web address 02:00:00:00:00:77")
        with lab.comes_back(), lab.comes_back(box.path):
            assert Sandbox.prune() == ()
        assert [(item.id, item.index) for item in box.interfaces] == [(made.id, made.index)]
        made.remove()
        assert "eth0" not in lab.links(box.path)


@pytest.mark.parametrize("changes", [["name called-anew"], ["alias nobody's"]])
def test_a_host_end_with_a_new_mac_and_name_is_missing(box: Sandbox, changes: list[str]) -> None:
    """A veth whose host end has a new MAC, and a new name or alias, is listed as missing."""
    box.add_interface(Veth("veth-web"))
    for change in ("down", "address 02:00:00:00:00:77", *changes):
        lab.ip("link set veth-web", change)
    assert (box.interfaces, [item.source for item in box.missing]) == ((), ["veth-web"])


def test_an_interface_without_its_host_end_is_missing(box: Sandbox) -> None:
    """An interface whose host end was deleted is missing until it is removed from the record."""
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web"))
        lab.ip("link delete veth-web")
        assert box.interfaces == ()
        assert [item.source for item in box.missing] == ["veth-web"]
        made.remove()
        assert box.missing == ()


@pytest.mark.parametrize("verb", ["remove", "destroy", "prune"])
def test_a_veth_end_moved_out_is_deleted_by_its_host_end(box: Sandbox, verb: str) -> None:
    """remove, destroy and prune delete a veth by its host end, even if its other end was moved out of the sandbox."""
    with lab.comes_back():
        made = box.add_interface(Veth("veth-web"))
        program = box.popen(["unshare", "-n", "sh", "-c", "echo; read x"], stdin=-1, stdout=-1)
        assert program.stdout
        program.stdout.readline()
        lab.ip(f"link set eth0 netns {program.pid}", netns=box.path)
        assert [item.source for item in box.missing] == ["veth-web"]
        if verb == "remove":
            made.remove()
        elif verb == "destroy":
            box.destroy()
        else:
            Path(box.path).parent.joinpath(".state/box.json").unlink()
            said = f"veth-web: the host end of a veth of sandbox {box.name}, which is gone"
            assert Sandbox.prune(dry_run=True) == (said,)
            assert "veth-web" in lab.links()
            assert Sandbox.prune() == (said,)
        assert "veth-web" not in lab.links()
        program.communicate(b"\n")
    if verb == "prune":
        lab.ip(f"netns delete {box.name}", check=False)
        lab.libc("umount2", box.path.encode(), 2)
        Path(box.path).unlink()
        box.close()


def test_a_foreign_link_in_place_of_ours_is_not_deleted(box: Sandbox) -> None:
    """A foreign link with the name and index of a deleted veth is not deleted."""
    made = box.add_interface(Veth("veth-web"))
    lab.ip("link delete eth0", netns=box.path)
    lab.ip(f"link add eth0 index {made.index} type veth peer name other index 7", netns=box.path)
    lab.veth("veth-web", "somebody")
    assert box.interfaces == ()
    made.remove()
    assert {"veth-web", "somebody"} <= set(lab.links())
    assert {"eth0", "other"} <= set(lab.links(box.path))


def test_a_failed_destroy_recreates_deleted_links(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """If destroy fails after links were deleted, the links are created again with their state."""
    lab.ip("link add br0 address 02:00:00:00:00:99 type bridge")
    lab.veth("p0", "p1")
    fd = namespace.run_in_new(lambda: namespace.open_namespace(namespace.OWN))
    with Sandbox.adopt(f"/proc/{os.getpid()}/fd/{fd}", "other") as other, lab.comes_back():
        other.add_interface("p0")
        other.add_interface(Veth("veth-web", master="br0", hairpin=True), mac=MAC, mtu=1400, addresses=["10.0.0.2/24"])
        other.add_interface(Macvlan("p1"), mac="02:00:00:00:00:43", addresses=["10.1.0.2/24"])
        other.add_interface(Tap(), mac="02:00:00:00:00:44", addresses=["10.2.0.2/24"])
        with monkeypatch.context() as patch, lab.comes_back(other.path), lab.comes_back():
            # p0 is detached last, after the other links have been deleted; rolling back its move finds nothing to do.
            patch.setattr(Move, "apply", _refuse)
            patch.setattr(Move, "inverse", lambda _: SetLink("", 1, "lo", None, None))
            with lab.fails(other, KernelError):
                other.destroy()
        other.destroy()
    os.close(fd)
    assert box.interfaces == ()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the final write of the next change's record fail."""
    keep, fail = Records.keep, iter([False, True])

    def kept(records: Records, key: str, record: Record | None) -> None:
        if next(fail, False):
            raise KernelError(errno.ENOSPC, "write the record")
        keep(records, key, record)

    monkeypatch.setattr(Records, "keep", kept)


@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_a_failed_detach_restores_the_state_of_host_ends(
    box: Sandbox, request: pytest.FixtureRequest, names: list[str]
) -> None:
    """A detach that is rolled back restores the state that the host had given to the host ends of veths."""
    lab.ip("link add br0 type bridge")
    box.add_interfaces([InterfaceSpec(Veth(name, master="br0", hairpin=True)) for name in names])
    lab.ip_batch("link delete br0", "link add br1 type bridge", "link set br1 up")
    for name, net in zip(names, ("10.1.0", "10.2.0"), strict=False):
        lab.ip_batch(
            f"link set {name} mtu 1400 alias mine master br1",
            f"link property add dev {name} altname other-{name}",
            f"address add {net}.1/24 dev {name}",
            f"neighbor add {net}.3 lladdr {MAC} dev {name}",
            f"route add 10.9.0.0/16 via {net}.2 metric {net[3]}",
        )
    box.add_interface(Veth("off"))
    lab.ip("link set off down")
    with lab.comes_back():
        request.getfixturevalue("full")
        with lab.fails(box, KernelError, match="ENOSPC"):
            box.remove_interfaces(box.interfaces)


def test_a_failed_detach_on_the_host_recreates_in_order(
    request: pytest.FixtureRequest,
) -> None:
    """A detach on the host that is rolled back recreates veths and the bridge that is the master of one."""
    with Sandbox.host() as here, lab.comes_back():
        here.add_interface(Veth("one"))
        here.add_interface(Bridge("br0"))
        here.add_interface(Veth("two", master="br0", isolated=True))
        request.getfixturevalue("full")
        with lab.fails(here, KernelError, match="ENOSPC"):
            here.remove_interfaces(here.interfaces)
        here.remove_interfaces(here.interfaces)


def _refuse(*_: object) -> bool:
    raise KernelError(errno.EPERM, "move")


# A vrf


def test_ports_of_a_vrf_keep_their_ipv6_addresses(box: Sandbox) -> None:
    """An interface that becomes a port of a vrf has all its addresses, and leaves it for the host."""
    lab.needs("vrf")
    lab.veth("v0", "p0", up=True)
    with lab.comes_back():
        box.add_interface(Vrf("red", 10), name="red")
        port = box.add_interface("v0", master="red", addresses=["10.0.0.2/24", "fd00::2/64"])
        assert port.master == "red"
        assert lab.addresses("eth0", box.path) >= {"10.0.0.2/24", "fd00::2/64"}
        box.remove_interfaces(box.interfaces)
