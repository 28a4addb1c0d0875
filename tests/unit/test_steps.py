"""Steps: the command that each one equals, its effect, and its inverse."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from netsandbox import KernelError, _steps
from netsandbox._kernel import HOST
from netsandbox._steps import (
    Conf,
    CreateLink,
    CreateVeth,
    DeleteLink,
    DeleteVeth,
    Dropped,
    HostEnd,
    Move,
    Pin,
    Place,
    Port,
    RestoreConf,
    SetAddress,
    SetAltnames,
    SetLink,
    SetMaster,
    SetNeighbor,
    SetRoute,
    SetSysctl,
    SetUp,
    Step,
    Unpin,
    WaitUp,
    delete_links,
    delete_veths,
)
from netsandbox._steps.base import inside, ip, quote
from netsandbox.netlink import address, attrs
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.neighbor import PERMANENT, SELF, NeighborEntry
from netsandbox.netlink.settings import Settings
from netsandbox.testing import FakeKernel, _links
from tests.unit.rig import Rig, send
from tests.unit.values import address_entry, forwarding, neighbor_entry, route_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

AT = ("web", 7, "v0")
GONE = frozenset((errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT, errno.ENODEV))
THERE = frozenset((errno.EEXIST,))
OUTSIDE = Place(
    HOST, 5, "out", settings=Settings(mac="02:00:00:00:00:05", mtu=1500, alias="a text", txqlen=1000, group=3)
)
INSIDE = Place("web", 6, "eth0", settings=Settings(mac="02:00:00:00:00:42", mtu=1400, alias="", txqlen=77, group=0))
WITH_PEER = replace(address_entry("10.0.0.2/24", 7), peer=ip_address("10.5.0.1"), broadcast=None)
WITHOUT_ROUTE = replace(address_entry("10.0.0.2/32", 7), flags=address.NOPREFIXROUTE)
TENTATIVE = replace(address_entry("fd00::4/64", 7), flags=address.TENTATIVE)
TUNNEL = NeighborEntry(AF_BRIDGE, 7, ip_address("10.0.0.9"), "02:00:00:00:00:98", PERMANENT, SELF)
IDENTITY = (4, 1234)

LAN = "02:00:00:00:00:06"
MAC, END = "02:00:00:00:00:01", "fe:00:00:00:00:02"
FULL_END = HostEnd(
    "veth-web",
    settings=Settings(mac=END, mtu=1300, alias="a mark"),
    master=9,
    master_name="br0",
    master_mac="02:00:00:00:00:99",
    hairpin=True,
    isolated=True,
    learning=False,
)
# Priority (the default), cost, state (which the port finds by itself), hairpin, learning and flood (the default).
PORT_SETTINGS = b"".join(
    (
        attrs.pack(2, (32).to_bytes(2, sys.byteorder)),
        attrs.pack_u32(3, 77),
        *(attrs.pack_u8(kind, value) for kind, value in ((1, 3), (4, 1), (8, 0), (9, 1))),
    )
)
BORN = (
    CreateVeth("web", 18, "eth8", host=HostEnd("one", settings=Settings(mac=END, group=3))),
    CreateVeth("web", 19, "eth9", host=HostEnd("two", settings=Settings(mac=END))),
)

TEXTS: list[tuple[Step, str]] = [
    (
        Move(OUTSIDE, INSIDE),
        "ip link set dev out netns web name eth0 address 02:00:00:00:00:42 mtu 1400 alias '' txqueuelen 77 group 0",
    ),
    (
        Move(INSIDE, OUTSIDE),
        (
            "ip -n web link set dev eth0 netns $$ name out address 02:00:00:00:00:05 mtu 1500 alias 'a text' "
            "txqueuelen 1000 group 3"
        ),
    ),
    (
        Move(OUTSIDE, replace(OUTSIDE, netns="web", settings=replace(OUTSIDE.settings, mac=None))),
        "ip link set dev out netns web name out",
    ),
    (CreateLink("web", 7, "br0", kind="bridge"), "ip -n web link add name br0 type bridge"),
    (
        CreateLink("web", 7, "br0", kind="bridge", settings=Settings(mac="02:00:00:00:00:01")),
        "ip -n web link add name br0 address 02:00:00:00:00:01 type bridge",
    ),
    (CreateLink("web", 7, "br0", kind="bridge").inverse(), "ip -n web link delete dev br0"),
    (
        CreateLink(
            "web",
            7,
            "eth0",
            kind="macvlan",
            settings=Settings(mac=MAC, mtu=1400),
            options=(("mode", "bridge"),),
            lower=5,
            lower_name="wan 0",
        ),
        f"ip link add link 'wan 0' name eth0 netns web address {MAC} mtu 1400 type macvlan mode bridge",
    ),
    (
        CreateLink(HOST, 7, "eth0", kind="macvlan", options=(("mode", "vepa"),), lower=5, lower_name="wan"),
        "ip link add link wan name eth0 type macvlan mode vepa",
    ),
    (
        CreateLink(
            "/srv/web", 7, "eth0", kind="vxlan", options=(("id", 42), ("learning", False)), lower=5, lower_name="wan"
        ),
        "ip link add name eth0 netns /srv/web type vxlan id 42 nolearning dev wan",
    ),
    (
        CreateLink("web", 7, "eth0", kind="vxlan", options=(("id", 42),)),
        "ip link add name eth0 netns web type vxlan id 42",
    ),
    (
        CreateLink(
            "web",
            7,
            "eth0",
            kind="macvlan",
            options=(("mode", "source"), ("macs", (MAC,)), ("nodst", True)),
            lower=5,
            lower_name="wan",
        ),
        f"ip link add link wan name eth0 netns web type macvlan mode source macaddr set {MAC} flag nodst",
    ),
    (
        CreateLink(
            "web",
            7,
            "eth0",
            kind="vlan",
            options=(("id", 5), ("egress_qos", ((0, 1), (2, 3)))),
            lower=5,
            lower_name="wan",
        ),
        "ip link add link wan name eth0 netns web type vlan id 5 egress-qos-map 0:1 2:3",
    ),
    (
        CreateLink("web", 7, "eth0", kind="vxlan", options=(("id", 0), ("source_ports", (8, 9)), ("external", True))),
        "ip link add name eth0 netns web type vxlan srcport 8 9 external",
    ),
    (
        CreateLink(
            "web",
            7,
            "tap0",
            kind="tun",
            settings=Settings(mac=MAC, mtu=1400),
            options=(("mode", "tap"), ("owner", 1000), ("packet_info", False)),
        ),
        f"ip -n web tuntap add dev tap0 mode tap user 1000 && ip -n web link set dev tap0 address {MAC} mtu 1400",
    ),
    (
        CreateLink("web", 7, "tap0", kind="tun", options=(("mode", "tun"), ("multi_queue", True))),
        "ip -n web tuntap add dev tap0 mode tun multi_queue",
    ),
    (
        CreateVeth("web", 7, "eth0", settings=Settings(mac=MAC, mtu=1400), host=FULL_END),
        (
            f"ip link add name veth-web address {END} mtu 1300 type veth peer name eth0 netns web"
            f" address {MAC} mtu 1400"
            " && sysctl -qw net.ipv6.conf.veth-web.disable_ipv6=1"
            " && ip link set dev veth-web alias 'a mark' master br0 up"
            " && ip link set dev br0 address 02:00:00:00:00:99"
            " && bridge link set dev veth-web hairpin on isolated on learning off"
        ),
    ),
    (
        CreateVeth(HOST, 7, "eth0", host=HostEnd("veth-web", settings=Settings(mac=END), ipv6=True)),
        f"ip link add name veth-web address {END} type veth peer name eth0 && ip link set dev veth-web up",
    ),
    (CreateVeth("web", 7, "eth0", host=FULL_END).inverse(), "ip link delete dev veth-web"),
    (SetLink(*AT, None, Settings(mac="02:00:00:00:00:01")), "ip -n web link set dev v0 address 02:00:00:00:00:01"),
    (SetLink(*AT, Settings(mtu=1500), Settings(mtu=1400)), "ip -n web link set dev v0 mtu 1400"),
    (SetUp(*AT, old=False, new=True), "ip -n web link set dev v0 up"),
    (SetUp(*AT, old=True, new=False), "ip -n web link set dev v0 down"),
    (SetMaster(*AT, None, Port(9, "br0")), "ip -n web link set dev v0 master br0"),
    (
        SetMaster(*AT, None, Port(9, "br0", "bridge", PORT_SETTINGS)),
        (
            "ip -n web link set dev v0 master br0"
            " && ip -n web link set dev v0 type bridge_slave cost 77 hairpin on learning off"
        ),
    ),
    (SetMaster(*AT, Port(9, "br0"), None), "ip -n web link set dev v0 nomaster"),
    (
        SetAltnames(*AT, ("a", "b"), ("b", "c d")),
        "ip -n web link property del dev v0 altname a && ip -n web link property add dev v0 altname 'c d'",
    ),
    (SetAltnames(*AT, None, ("a",)), "ip -n web link property add dev v0 altname a"),
    (
        SetAddress(*AT, None, address_entry("10.0.0.2/24", 7)),
        "ip -n web address add 10.0.0.2/24 broadcast 10.0.0.255 dev v0",
    ),
    (SetAddress(*AT, None, WITH_PEER), "ip -n web address add 10.0.0.2 peer 10.5.0.1/24 dev v0"),
    (
        SetAddress(*AT, None, address_entry("169.254.9.9/32", 7)),
        "ip -n web address add 169.254.9.9/32 dev v0 scope 253",
    ),
    (SetAddress(*AT, None, address_entry("fd00::2/64", 7)), "ip -n web address add fd00::2/64 dev v0 nodad"),
    (SetAddress(*AT, None, WITHOUT_ROUTE), "ip -n web address add 10.0.0.2/32 dev v0 noprefixroute"),
    (SetAddress(*AT, None, TENTATIVE), "ip -n web address add fd00::4/64 dev v0"),
    (SetAddress(*AT, address_entry("fd00::2/64", 7), None), "ip -n web address delete fd00::2/64 dev v0"),
    (SetRoute(*AT, None, route_entry("10.9.0.0/16", 7)), "ip -n web route add 10.9.0.0/16 dev v0 scope 253"),
    (
        SetRoute(*AT, None, route_entry("10.9.0.0/16", 7, "10.5.0.1", metric=9, flags=4, protocol=4)),
        "ip -n web route add 10.9.0.0/16 via 10.5.0.1 dev v0 proto 4 metric 9 onlink",
    ),
    (
        SetRoute(*AT, route_entry("0.0.0.0/0", 7), route_entry("0.0.0.0/0", 7, source=ip_address("10.0.0.2"))),
        "ip -n web route replace 0.0.0.0/0 dev v0 scope 253 src 10.0.0.2",
    ),
    (
        SetRoute(HOST, 0, "", route_entry("fd09::/32", None, type=7, table=100), None),
        "ip route delete unreachable fd09::/32 table 100",
    ),
    (
        SetNeighbor(*AT, None, neighbor_entry("10.0.0.9", 7)),
        "ip -n web neighbor replace 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev v0",
    ),
    (SetNeighbor(*AT, neighbor_entry("fd00::9", 7), None), "ip -n web neighbor delete fd00::9 dev v0"),
    (SetNeighbor(*AT, None, forwarding(7)), "bridge -n web fdb replace 02:00:00:00:00:98 dev v0 master static"),
    (
        SetNeighbor("/srv/my web", 7, "v0", None, TUNNEL),
        "nsenter --net='/srv/my web' bridge fdb replace 02:00:00:00:00:98 dev v0 dst 10.0.0.9 self",
    ),
    (SetNeighbor(HOST, 7, "v0", TUNNEL, None), "bridge fdb delete 02:00:00:00:00:98 dev v0 dst 10.0.0.9 self"),
    (SetNeighbor(*AT, None, None), ""),
    (
        SetSysctl(*AT, "0", "1", path="ipv4/conf/v0/rp_filter"),
        "ip netns exec web sysctl -qw net.ipv4.conf.v0.rp_filter=1",
    ),
    (
        SetSysctl("/proc/42/ns/net", 7, "v0.5", "0", "4096 87380", path="ipv4/conf/v0.5/x"),
        "nsenter --net=/proc/42/ns/net sysctl -qw 'net/ipv4/conf/v0.5/x=4096 87380'",
    ),
    (
        RestoreConf(HOST, 7, "v0", None, Conf((), ())),
        "# restore per-interface sysctls of v0",
    ),
    (
        Dropped(SetLink(*AT, None, Settings(mtu=1400))),
        "# dropped by the kernel, restored on undo: ip -n web link set dev v0 mtu 1400",
    ),
    (
        Dropped(RestoreConf(HOST, 7, "v0", None, Conf((), ()))),
        "# dropped by the kernel, restored on undo: per-interface sysctls of v0",
    ),
    (Pin("web", "/run/netns/web", IDENTITY), "ip netns add web"),
    (Pin("web", "/srv/web", IDENTITY), "mkdir -p /srv && touch /srv/web && unshare --net=/srv/web true"),
    (
        Pin("web", "/srv/web", IDENTITY, "/proc/42/ns/net"),
        "mkdir -p /srv && touch /srv/web && mount --bind /proc/42/ns/net /srv/web",
    ),
    (Unpin("web", "/run/netns/web", IDENTITY), "ip netns delete web"),
    (Unpin("web", "/srv/web", IDENTITY), "umount /srv/web && rm /srv/web"),
    (WaitUp(*AT, 5.0), "# wait until v0 is up and packets go through, for 5 s at most"),
]
NOT_INVERTIBLE = (Dropped, DeleteLink, DeleteVeth, WaitUp)  # what comes back was there before
INVERTIBLE = [step for step, _ in TEXTS if not isinstance(step, NOT_INVERTIBLE)]


def _ids(steps: Iterable[Step]) -> list[str]:
    return [f"{type(step).__name__} {number}" for number, step in enumerate(steps)]


@pytest.mark.parametrize(("step", "text"), TEXTS, ids=_ids(step for step, _ in TEXTS))
def test_step_text_is_the_equivalent_command(step: Step, text: str) -> None:
    """The text of a step is the command that has the same effect."""
    assert str(step) == text


@pytest.mark.parametrize("name", [name for name in _steps.__all__ if hasattr(getattr(_steps, name), "inverse")])
def test_every_step_class_has_an_example(name: str) -> None:
    """Every step class has an example in TEXTS."""
    assert name == "Step" or name in {type(step).__name__ for step, _ in TEXTS}


@pytest.mark.parametrize("step", INVERTIBLE, ids=_ids(INVERTIBLE))
def test_inverse_of_the_inverse_is_the_step(step: Step) -> None:
    again = step.inverse().inverse()
    assert (
        replace(again, may_exist=False) == step
        if isinstance(again, (CreateLink, CreateVeth))
        else _bare(again) == _bare(step)
    )


def _bare(step: Step) -> Step:
    return replace(step, source="") if isinstance(step, Pin) else step


@pytest.mark.parametrize(
    ("netns", "said"),
    [
        (HOST, "ip link"),
        ("web", "ip -n web link"),
        ("a b", "ip -n 'a b' link"),
        ("/srv/web", "nsenter --net=/srv/web ip link"),
    ],
)
def test_command_names_its_namespace(netns: str, said: str) -> None:
    """A command enters a namespace with `ip -n` by its name, or with nsenter(1) by its path."""
    assert ip(netns, "link") == said


def test_words_are_quoted_for_the_shell() -> None:
    assert quote("eth0") == "eth0"
    assert quote("$(reboot)") == "'$(reboot)'"
    assert inside(HOST, "true") == "true"


@pytest.fixture
def rig() -> Rig:
    """A host with a link "out", and in the sandbox a link v0 that is up and a bridge."""
    made = Rig()
    made.host.add_link("out", index=5, alias="a text", group=3)
    made.host.add_link("pair", index=4, mac=END)
    made.host.add_link("lan", index=6, kind="bridge", mac=LAN)
    made.box.add_link("v0", index=7, altnames=("a",), addresses=["10.0.0.2/24", "fd00::2/64"], up=True)
    made.box.add_link("br0", index=9, kind="bridge")
    return made


PORT = Port(9, "br0", "bridge", attrs.pack_u8(4, 1))
REVERSIBLE: list[Step] = [
    Move(OUTSIDE, INSIDE),
    CreateLink("web", 8, "br1", kind="bridge", settings=Settings(mac="02:00:00:00:00:01")),
    CreateLink(
        "web",
        8,
        "eth0",
        kind="macvlan",
        settings=Settings(mac=MAC, mtu=1400),
        options=(("mode", "bridge"),),
        lower=5,
        lower_name="out",
    ),
    CreateLink(
        "web", 8, "eth0", kind="vxlan", settings=Settings(mtu=1400), options=(("id", 42), ("remote", "fd00::1"))
    ),
    CreateLink("web", 8, "tap0", kind="tun", settings=Settings(mac=MAC, mtu=1400), options=(("mode", "tap"),)),
    CreateLink("web", 8, "tap0", kind="tun", options=(("mode", "tap"),)),
    CreateVeth(
        "web",
        8,
        "eth0",
        settings=Settings(mac=MAC, mtu=1400),
        host=replace(FULL_END, master=6, master_name="lan", master_mac=LAN),
    ),
    CreateVeth("web", 8, "eth0", host=HostEnd("veth-web", settings=Settings(mac=END), ipv6=True)),
    SetLink(*AT, Settings(mac="02:00:00:00:00:07"), Settings(mac="02:00:00:00:00:01")),
    SetLink(*AT, Settings(mtu=1500), Settings(mtu=1400)),
    SetMaster(*AT, None, Port(9, "br0")),
    SetMaster(*AT, None, PORT),
    SetMaster(*AT, None, replace(PORT, may_exist=True)),
    SetMaster(*AT, None, replace(PORT, index=99, may_exist=True)),
    SetAltnames(*AT, ("a",), ("b", "c")),
    SetAddress(*AT, None, address_entry("10.1.0.2/24", 7)),
    SetAddress(*AT, None, address_entry("fd01::2/64", 7)),
    SetAddress(*AT, None, replace(address_entry("fd01::2/64", 7), flags=address.PERMANENT)),
    SetAddress(*AT, None, TENTATIVE),
    SetRoute(*AT, None, route_entry("10.9.0.0/16", 7, "10.0.0.1")),
    SetRoute(*AT, None, route_entry("fd09::/32", 7)),
    SetNeighbor(*AT, None, neighbor_entry("10.0.0.9", 7)),
    SetSysctl(*AT, "0", "1", path="ipv4/conf/v0/rp_filter"),
    Pin("web", "/srv/web", (0, 0)),
]


@pytest.mark.parametrize("step", REVERSIBLE, ids=_ids(REVERSIBLE))
def test_inverse_undoes_the_step(rig: Rig, step: Step) -> None:
    """A step changes the state, and the inverse of the step restores it."""
    step = replace(step, identity=rig.box.identity) if isinstance(step, Pin) else step
    before = rig.state()
    assert step.apply(rig.world)
    assert rig.changes(before)
    assert step.inverse().apply(rig.world)
    assert rig.changes(before) == {}


def test_undo_of_settings_sends_only_those_that_were_changed(rig: Rig) -> None:
    """If a driver refuses a MAC before the other settings are changed, undoing them does not set the MAC again."""
    step = SetLink(*AT, Settings(mac="02:00:00:00:00:07", mtu=1500), Settings(mac="02:00:00:00:00:01", mtu=1400))
    before = rig.state()
    assert not step.inverse().apply(rig.world)
    assert rig.changes(before) == {}
    send(rig.box, requests.modify(7, settings=Settings(mtu=1400)))
    rig.faults.calls.clear()
    assert step.inverse().apply(rig.world)
    assert rig.faults.calls[-1].endswith("set link 7: mtu 1500")
    assert rig.changes(before) == {}
    send(rig.box, requests.delete(7))
    with pytest.raises(KernelError, match="ENODEV"):
        step.inverse().apply(rig.world)


def test_a_link_that_is_brought_up_and_down_again_is_down(rig: Rig) -> None:
    before = rig.state()
    step = SetUp(HOST, 5, "out", old=False, new=True)
    assert step.apply(rig.world)
    assert step.inverse().apply(rig.world)
    assert rig.changes(before) == {}


NOTHING: list[Step] = [
    SetLink(*AT, Settings(mac="02:00:00:00:00:01"), None),
    SetLink(*AT, Settings(mtu=1400), None),
    SetAltnames(*AT, ("a",), ("a",)),
    SetAddress(*AT, None, None),
    SetRoute(*AT, None, None),
    SetNeighbor(*AT, None, None),
    SetSysctl(*AT, "0", None, path="ipv4/conf/v0/rp_filter"),
    SetSysctl(*AT, "1", "0", path="ipv4/conf/v0/rp_filter"),
    RestoreConf(*AT, None, None),
    RestoreConf("web", 99, "v9", None, Conf((), ())),
    CreateLink("web", 99, "br0", kind="bridge").inverse(),
    CreateLink("web", 7, "v0", kind="bridge").inverse(),
    CreateLink("web", 9, "br0", kind="bridge", may_exist=True),
    CreateVeth("web", 8, "eth0", host=HostEnd("pair", settings=Settings(mac=END)), may_exist=True),
    CreateVeth("web", 8, "eth0", host=HostEnd("out", settings=Settings(mac=END))).inverse(),
    CreateVeth("web", 8, "eth0", host=HostEnd("gone", settings=Settings(mac=END))).inverse(),
    SetMaster(*AT, None, Port(99, "br9", may_exist=True)),
]


@pytest.mark.parametrize("step", NOTHING, ids=_ids(NOTHING))
def test_a_step_with_nothing_to_do_does_nothing(rig: Rig, step: Step) -> None:
    before = rig.state()
    assert not step.apply(rig.world)
    assert rig.changes(before) == {}


def test_bridge_keeps_its_mac_with_its_first_port(rig: Rig) -> None:
    """A host bridge gets its MAC back after the kernel gives it that of its first port."""
    end = HostEnd("veth-web", settings=Settings(mac=END), master=6, master_name="lan", master_mac=LAN)
    rig.host.edit_link(6, mac=END)  # as the kernel does
    assert CreateVeth("web", 8, "eth0", host=end).apply(rig.world)
    found = rig.host.link("lan")
    assert found
    assert found.mac == LAN


def test_veth_is_deleted_by_the_index_of_its_host_end(rig: Rig) -> None:
    """A veth whose host end was renamed is deleted by the index of the host end; by its name alone it is not."""
    made = CreateVeth("web", 8, "eth0", host=HostEnd("veth-web", settings=Settings(mac=END)))
    assert made.apply(rig.world)
    end = rig.host.link("veth-web")
    assert end
    send(rig.host, requests.modify(end.index, name="called-anew"))
    assert not made.inverse().apply(rig.world)
    assert DeleteVeth(replace(made, host=replace(made.host, index=end.index))).apply(rig.world)
    assert rig.box.link("eth0") is None


def test_failed_group_deletion_restores_the_groups(rig: Rig) -> None:
    """If deleting veths as a group fails, the inverse of each step gives the host end its group back."""
    for made in BORN:
        assert made.apply(rig.world)
    before = rig.state()
    steps = [made.inverse() for made in BORN]
    rig.faults.fail(6, errno.ENOBUFS)  # after two lookups, a list and two changes
    with pytest.raises(KernelError, match="delete link group"):
        delete_veths(steps, rig.world)
    assert rig.changes(before)
    for step in steps:
        assert step.inverse().apply(rig.world)
    assert rig.changes(before) == {}
    for step in steps:
        assert not step.inverse().apply(rig.world)


def test_group_deletion_skips_missing_veths(rig: Rig) -> None:
    """Deleting veths as a group skips those that no longer exist, and returns the steps of the others."""
    before = rig.state()
    assert BORN[1].apply(rig.world)
    assert delete_veths([made.inverse() for made in BORN], rig.world) == [BORN[1].inverse()]
    assert rig.changes(before) == {}


def test_group_of_links_to_delete_is_a_free_one(rig: Rig) -> None:
    """Links are deleted as a group of a number that no other link has."""
    rig.host.add_link("other", index=8, group=0x6E000004)
    before = len(rig.faults.calls)
    delete_links(rig.host, [4, 5])
    assert [call for call in rig.faults.calls[before:] if "group" in call][-1].endswith(f"group {0x6E000005}")
    assert [link.index for link in rig.host.links()] == [1, 6, 8]


@pytest.mark.parametrize(("indexes", "left"), [([], {5, 8}), ([8], {5}), ([5, 8, 99], set()), ([99], {5, 8})])
def test_one_or_several_links_are_deleted_by_index(rig: Rig, indexes: list[int], left: set[int]) -> None:
    """Deleting links by index deletes one, several or none, and skips missing ones."""
    rig.host.add_link("other", index=8)
    delete_links(rig.host, indexes)
    assert {5, 8} & {link.index for link in rig.host.links()} == left


def test_failed_deletion_of_a_link_is_raised(rig: Rig) -> None:
    """Deleting a link that the kernel does not delete raises KernelError."""
    with pytest.raises(KernelError) as info:
        delete_links(rig.host, [1])
    assert info.value.errno == errno.EOPNOTSUPP


BIRTHS: list[Step] = [
    CreateLink("web", 8, "eth0", kind="vlan", lower=5, lower_name="out"),
    CreateVeth("web", 8, "eth0", host=HostEnd("veth-web", settings=Settings(mac=END))),
]


@pytest.mark.parametrize(("step", "kind", "module"), [(BIRTHS[0], "vlan", "8021q"), (BIRTHS[1], "veth", "veth")])
def test_unsupported_kind_error_names_the_module(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: Step, kind: str, module: str
) -> None:
    """Creating a link of a kind that the kernel lacks raises KernelError with the name of the module."""
    monkeypatch.setattr(_links, "BY_REQUEST", frozenset())
    with pytest.raises(KernelError, match=rf"no links of the kind {kind} \(module {module}\)") as info:
        step.apply(rig.world)
    assert info.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    "step", [CreateLink("web", 8, "eth0", kind="bridge"), CreateVeth("web", 8, "eth0", host=FULL_END)]
)
def test_other_creation_errors_are_raised_unchanged(rig: Rig, step: Step) -> None:
    """Any other error of creating a link is raised with its errno."""
    rig.faults.fail(1, errno.ENOBUFS)
    with pytest.raises(KernelError) as info:
        step.apply(rig.world)
    assert info.value.errno == errno.ENOBUFS


def test_inverse_of_lost_restores_what_the_move_drops(rig: Rig) -> None:
    """Lost itself changes nothing; the inverse of Lost is the step that restores what a move drops."""
    step = Dropped(SetLink(*AT, None, Settings(mtu=1400)))
    before = rig.state()
    assert step.apply(rig.world)
    assert rig.changes(before) == {}
    assert step.inverse() == SetLink(*AT, None, Settings(mtu=1400))
    assert step.benign_errnos == frozenset()


SETTLED: list[tuple[Step, frozenset[int]]] = [
    (SetLink(*AT, None, Settings(mtu=1400)), THERE),
    (SetLink(*AT, Settings(mtu=1400), None), GONE),
    (SetUp(*AT, old=True, new=False), GONE),
    (Move(OUTSIDE, INSIDE), frozenset()),
    (CreateLink("web", 7, "br0", kind="bridge"), frozenset()),
    (CreateVeth("web", 7, "eth0", host=FULL_END), frozenset()),
    (CreateVeth("web", 7, "eth0", host=FULL_END).inverse(), frozenset((errno.ENODEV,))),
    (CreateLink("web", 7, "br0", kind="bridge").inverse(), frozenset((errno.ENODEV,))),
    (Pin("web", "/srv/web", IDENTITY), frozenset()),
    (Unpin("web", "/srv/web", IDENTITY), frozenset((errno.ENOENT, errno.ESTALE))),
    (WaitUp(*AT, 5.0), frozenset()),
]


@pytest.mark.parametrize(("step", "codes"), SETTLED, ids=_ids(step for step, _ in SETTLED))
def test_steps_have_their_benign_errnos(step: Step, codes: frozenset[int]) -> None:
    """Each step has the errnos that mean that its work is done already."""
    assert step.benign_errnos == codes


def test_repeated_move_applies_the_missing_changes(rig: Rig) -> None:
    """A move of a link that has moved already changes what differs, and a further one changes nothing."""
    step = Move(OUTSIDE, INSIDE)
    step.apply(rig.world)
    rig.box.send(requests.modify(6, settings=Settings(mtu=1300), name="old"))
    assert step.apply(rig.world)
    found = rig.box.link("eth0")
    assert found
    assert found.mtu == 1400
    assert not step.apply(rig.world)


@pytest.mark.parametrize("where", ["nowhere", "another under its index here", "another under its index there"])
def test_move_refuses_a_different_link(rig: Rig, where: str) -> None:
    """A move raises ENODEV and changes nothing if its link is neither at its source nor at its destination."""
    rig.host.send(requests.delete(5))
    if "here" in where:
        rig.host.add_link("stranger", index=5, mac="02:00:00:00:00:77")
    if where.endswith("there"):
        rig.box.add_link("stranger", index=6, mac="02:00:00:00:00:77")
    before = rig.state()
    with pytest.raises(KernelError, match=r"find link out: ENODEV .it is neither where it was nor where it was to go"):
        Move(OUTSIDE, INSIDE).apply(rig.world)
    assert rig.changes(before) == {}


def test_link_without_mac_is_identified_by_its_name(rig: Rig) -> None:
    rig.host.add_link("tun0", index=8, mac=None)
    old = Place(HOST, 8, "tun0", settings=Settings(mtu=1500, alias="", txqlen=1000))
    assert Move(old, replace(old, netns="web", name="eth0")).apply(rig.world)
    assert rig.box.link("eth0")


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EAGAIN, errno.ENOMEM])
def test_link_up_is_tried_four_times_on_transient_errors(rig: Rig, code: int) -> None:
    """Bringing a link up is tried four times, 10 ms apart, on EBUSY, EAGAIN and ENOMEM."""
    step = SetUp(HOST, 5, "out", old=False, new=True)
    for n in (1, 3, 5):
        rig.faults.fail(n, code)
    assert step.apply(rig.world)
    assert rig.host.pauses == [0.010] * 3
    for n in (1, 3, 5, 7):
        rig.faults.fail(n, code)
    with pytest.raises(KernelError, match="set link 5: up"):
        step.apply(rig.world)
    assert rig.host.pauses == [0.010] * 6


@pytest.mark.parametrize("step", [SetUp(HOST, 5, "out", old=False, new=True), SetUp(*AT, old=True, new=False)])
def test_permanent_errors_of_link_up_are_not_retried(rig: Rig, step: SetUp) -> None:
    """Bringing a link up is not tried again on other errors, and bringing a link down never is."""
    code = errno.EADDRINUSE if step.new else errno.EBUSY
    rig.faults.fail(1, code)
    with pytest.raises(KernelError) as info:
        step.apply(rig.world)
    assert info.value.errno == code
    assert rig.host.pauses == []


@pytest.mark.parametrize("step", [SetAddress, SetRoute, SetNeighbor])
def test_missing_link_raises_enodev(rig: Rig, step: Callable[..., Step]) -> None:
    """Adding an address, a route or a neighbor to a missing link raises KernelError with ENODEV."""
    values: dict[Any, object] = {
        SetAddress: address_entry("10.0.0.9/24", 77),
        SetRoute: route_entry("10.9.0.0/16", 77, "10.0.0.1"),
        SetNeighbor: neighbor_entry("10.0.0.9", 77),
    }
    with pytest.raises(KernelError) as info:
        step("web", 77, "v9", None, values[step]).apply(rig.world)
    assert info.value.errno == errno.ENODEV


def test_unreachable_next_hop_reports_a_missing_link(rig: Rig) -> None:
    """ENETUNREACH for a route of a missing link is reported as such, and otherwise raised unchanged."""
    rig.faults.fail(1, errno.ENETUNREACH)
    with pytest.raises(KernelError, match="its link is gone"):
        SetRoute("web", 77, "v9", None, route_entry("10.9.0.0/16", 77, "10.0.0.1")).apply(rig.world)
    with pytest.raises(KernelError) as info:
        SetRoute(*AT, None, route_entry("10.9.0.0/16", 7, "10.5.0.1")).apply(rig.world)
    assert info.value.errno == errno.ENETUNREACH


def test_optional_sysctl_may_be_missing_without_ipv6() -> None:
    """An optional IPv6 sysctl is skipped if the link has no IPv6, and a required one raises ENOENT."""
    kernel = FakeKernel(ipv6=False)
    kernel.add_link("v0", index=7)
    step = SetSysctl(HOST, 7, "v0", None, "1", path="ipv6/conf/v0/disable_ipv6")
    assert not replace(step, optional=True).apply({HOST: kernel})
    with pytest.raises(KernelError, match=r"set net/ipv6/conf/v0/disable_ipv6 to 1: ENOENT"):
        step.apply({HOST: kernel})


def test_optional_sysctl_must_exist_with_ipv6(rig: Rig) -> None:
    """An optional IPv6 sysctl that cannot be written raises KernelError, unless the link itself is missing."""
    rig.faults.fail(1, errno.ENOENT)
    with pytest.raises(KernelError):
        SetSysctl(*AT, None, "1", path="ipv6/conf/v0/disable_ipv6", optional=True).apply(rig.world)
    rig.faults.fail(1, errno.EROFS)
    with pytest.raises(KernelError):
        SetSysctl(*AT, None, "1", path="ipv6/conf/v0/disable_ipv6", optional=True).apply(rig.world)
    assert not SetSysctl("web", 99, "v9", None, "1", path="ipv6/conf/v9/disable_ipv6", optional=True).apply(rig.world)


def test_only_changed_sysctls_are_restored(rig: Rig) -> None:
    """RestoreConf writes only the sysctls that differ, those of IPv4 in one request."""
    found = rig.box.link(7)
    assert found
    step = RestoreConf(*AT, None, Conf(found.conf(2), found.conf(10)))
    assert not step.apply(rig.world)
    for name, value in (("ipv4", "rp_filter"), ("ipv4", "arp_ignore"), ("ipv6", "accept_ra"), ("ipv6", "disable_ipv6")):
        rig.box.set_sysctl(f"{name}/conf/v0/{value}", "2")
    before = len(rig.faults.calls)
    assert step.apply(rig.world)
    asked = rig.faults.calls[before + 1 :]
    assert asked == [
        "box: set link 7: IPv4 settings",
        "box: set net/ipv6/conf/v0/disable_ipv6 to 0",
        "box: set net/ipv6/conf/v0/accept_ra to 1",
    ]
    assert not step.apply(rig.world)


def test_replaced_route_is_restored_by_the_inverse(rig: Rig) -> None:
    old, new = route_entry("0.0.0.0/0", 7, "10.0.0.1"), route_entry("0.0.0.0/0", 7, "10.0.0.254")
    SetRoute(*AT, None, old).apply(rig.world)
    before = rig.state()
    step = SetRoute(*AT, old, new)
    assert step.apply(rig.world)
    assert rig.changes(before)
    assert step.inverse().apply(rig.world)
    assert rig.changes(before) == {}
