"""FakeKernel answers as the kernel does: every request and every lookup goes to both.

The tests use the running kernel, in namespaces of their own. After each request, the states of both are compared:
links, addresses, routes, neighbors and some sysctls, in the namespace HERE and in a second one, THERE. Not compared is
what the kernel does asynchronously: the link-local address that it makes, with its route (which has a test of its own),
and duplicate address detection.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from netsandbox._system.kernel import LinuxKernel
from netsandbox.errors import KernelError
from netsandbox.netlink import address, attrs, neighbor, route
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink.constants import AF_BRIDGE, RT_SCOPE_LINK
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry
from netsandbox.netlink.settings import Settings
from netsandbox.testing import FakeKernel
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from netsandbox._kernel import Kernel
    from netsandbox.netlink.message import Request

T = TypeVar("T")
HERE, THERE, AWAY = "here", "there", "away"
SETTINGS = ("ipv4/conf/{}/rp_filter", "ipv4/conf/{}/arp_ignore", "ipv6/conf/{}/disable_ipv6", "ipv6/conf/{}/accept_ra")
OURS = "02:aa:"  # prefix of the MACs of our forwarding entries; the kernel makes others
FIELDS = "name altnames kind mac mtu is_up master port_kind alias txqlen group"
MAC = "02:00:00:00:00:{:02x}"


class Twins:
    """Two pairs of namespaces, of the fake and of the kernel, in the same state."""

    def __init__(self) -> None:
        self.fake: dict[str, FakeKernel] = {name: FakeKernel(name) for name in (HERE, THERE)}
        self.real: dict[str, LinuxKernel] = {}
        for name in (HERE, THERE, AWAY):  # AWAY has the veth peers, which are up
            self.real[name] = LinuxKernel.create()
        for side in (HERE, THERE):
            for path in SETTINGS:
                self.set("default", path.format("default"), "0", side)

    def close(self) -> None:
        for kernel in self.real.values():
            kernel.close()

    def ip(self, words: str, side: str = HERE) -> None:
        lab.ip(words, netns=f"/proc/{os.getpid()}/fd/{self.real[side].fd}")

    def veth(self, name: str, index: int, side: str = HERE, *altnames: str) -> int:
        """Create a veth end in both kernels; its peer is in AWAY."""
        away = f"/proc/{os.getpid()}/fd/{self.real[AWAY].fd}"
        self.ip(f"link add {name} index {index} address {MAC.format(index)} type veth peer name {side}{index}", side)
        self.ip(f"link set {side}{index} netns {away} up", side)
        for altname in altnames:
            self.ip(f"link property add dev {name} altname {altname}", side)
        self.fake[side].add_link(name, index=index, altnames=altnames)
        self.compare()
        return index

    def bridge(self, name: str, index: int, side: str = HERE) -> int:
        assert (
            self.ask(requests.create("bridge", name, settings=Settings(mac=MAC.format(index)), index=index), side) == 0
        )
        return index

    def up(self, *indexes: int) -> None:
        for index in indexes:
            assert self.ask(requests.modify(index, up=True)) == 0

    def ask(self, request: Request | Callable[[Mapping[str, Kernel]], Request], side: str = HERE) -> int:
        """Send a request to both; return the errno, 0 for success, that both answer."""
        worlds: tuple[Mapping[str, Kernel], ...] = (self.fake, self.real)
        asked = [request(world) if callable(request) else request for world in worlds]
        answers = [_outcome(partial(world[side].send, made)) for world, made in zip(worlds, asked, strict=True)]
        assert answers[0] == answers[1]
        self.compare()
        return answers[1] or 0

    def move(self, index: int, name: str | None = None, *, new_index: int | None = None, **settings: Any) -> int:  # noqa: ANN401
        def request(world: Mapping[str, Kernel]) -> Request:
            there = world[THERE].fd
            return requests.modify(
                index, settings=Settings(**settings), namespace=there, name=name, new_index=new_index
            )

        return self.ask(request)

    def set(self, name: str, path: str, value: str, side: str = HERE) -> bool | int:
        """Write a sysctl in both; return what both return, or the errno."""

        def change(kernel: Kernel) -> bool:
            return kernel.set_sysctl(path.format(name), value)

        answer = self.look(change, side)
        self.compare()
        return answer

    def look(self, question: Callable[[Kernel], T], side: str = HERE) -> T | int:
        """Return what both answer to a lookup, or the errno."""
        answers = [_outcome(partial(question, kernel)) for kernel in self.at(side)]
        assert answers[0] == answers[1]
        return answers[1]

    def at(self, side: str) -> tuple[Kernel, Kernel]:
        return self.fake[side], self.real[side]

    def compare(self) -> None:
        for side in (HERE, THERE):
            fake, real = (_observe(kernel) for kernel in self.at(side))
            assert fake == real


def _outcome(call: Callable[[], T]) -> T | int:
    try:
        return call()
    except KernelError as error:
        return error.errno or -1


def _observe(kernel: Kernel) -> dict[str, object]:
    found = [link for link in kernel.links() if not link.is_loopback]
    names = {link.name for link in found}
    return {
        "links": {
            link.index: (
                link.name,
                link.altnames,
                link.kind,
                link.mac,
                link.mtu,
                link.is_up,
                link.master,
                link.port_kind,
            )
            for link in found
        },
        "ports": {
            link.index: [(key, data) for key, data in attrs.walk(link.port) if key in {2, 3, 4}] for link in found
        },
        "addresses": [
            replace(item, flags=item.flags & ~address.TENTATIVE, rest=())
            for item in kernel.addresses()
            if not _is_made(item)
        ],
        "routes": sorted(
            str(replace(item, flags=item.flags & route.ONLINK, rest=()))
            for item in kernel.routes(table=route.TABLE_MAIN)
            if item.to != ip_network("fe80::/64")
        ),
        "neighbors": sorted(
            str(replace(item, rest=())) for item in kernel.neighbors() if item.state & neighbor.PERMANENT
        ),
        "forwarding": sorted(
            str(replace(item, rest=())) for item in kernel.neighbors(AF_BRIDGE) if str(item.mac).startswith(OURS)
        ),
        "settings": {path.format(name): kernel.sysctl(path.format(name)) for name in names for path in SETTINGS},
    }


def _is_made(item: address.Address) -> bool:
    """Whether an address is one that the kernel makes when the link has carrier."""
    return item.interface.version == 6 and item.interface.packed[8:] in {
        bytes([0, 0, 0, 0xFF, 0xFE, 0, 0, index]) for index in range(256)
    }


def _add(text: str, index: int = 7) -> Request:
    return address.add(address.new(index, ip_interface(text)))


def _delete(text: str, index: int = 7) -> Request:
    return address.delete(address.new(index, ip_interface(text)))


def _entry(to: str, via: str | None = None, index: int | None = 7, **fields: object) -> RouteEntry:
    hop = None if via is None else ip_address(via)
    usual = {"scope": 0 if via or ":" in to else RT_SCOPE_LINK}
    return RouteEntry(ip_network(to), index, hop, **usual | fields)  # type: ignore[arg-type]


def _neighbor(ip: str, index: int = 7, mac: str = "02:00:00:00:00:99") -> NeighborEntry:
    return NeighborEntry(10 if ":" in ip else 2, index, ip_address(ip), mac)


@pytest.fixture
def twins(isolated: None) -> Iterator[Twins]:  # noqa: ARG001
    made = Twins()
    yield made
    made.compare()
    made.close()


# --- links ---


def test_a_new_namespace_has_a_loopback_link_that_is_down(twins: Twins) -> None:
    lo = twins.look(lambda kernel: [(link.index, link.name, link.is_up, link.is_loopback) for link in kernel.links()])
    assert lo == [(1, "lo", False, True)]


def test_the_loopback_link_has_its_addresses_once_it_is_up(twins: Twins) -> None:
    """The loopback link gets 127.0.0.1/8 and ::1/128 when it comes up, and keeps 127.0.0.1/8 when it goes down."""
    twins.up(1)
    found = twins.look(lambda kernel: [(str(item.interface), item.scope) for item in kernel.addresses(1)])
    assert found == [("127.0.0.1/8", 254), ("::1/128", 254)]
    twins.ask(requests.modify(1, up=False))
    assert twins.look(lambda kernel: [str(item.interface) for item in kernel.addresses(1)]) == ["127.0.0.1/8"]


@pytest.mark.parametrize("key", [7, "v0", "other", "another-long-name"])
def test_a_link_is_found_by_index_name_and_altname(twins: Twins, key: int | str) -> None:
    twins.veth("v0", 7, HERE, "other", "another-long-name")
    assert twins.look(lambda kernel: getattr(kernel.link(key), "name", None)) == "v0"
    assert twins.look(lambda kernel: len(getattr(kernel.link(key, stats=True), "stats", ""))) == 200


@pytest.mark.parametrize("key", [8, "v1", "nothing-of-this-name"])
def test_lookup_of_a_missing_link_returns_none(twins: Twins, key: int | str) -> None:
    twins.veth("v0", 7)
    assert twins.look(lambda kernel: kernel.link(key)) is None


def test_bridge_is_created_with_name_index_mac_and_mtu(twins: Twins) -> None:
    assert twins.ask(requests.create("bridge", "br0", settings=Settings(mac=MAC.format(9), mtu=1400), index=9)) == 0
    found = twins.look(lambda kernel: [(link.name, link.mac, link.mtu, link.kind) for link in kernel.links()[1:]])
    assert found == [("br0", MAC.format(9), 1400, "bridge")]


@pytest.mark.parametrize(
    ("kind", "name", "index", "code"),
    [
        ("bridge", "v0", 9, errno.EEXIST),
        ("bridge", "other", 9, errno.EEXIST),
        ("bridge", "br0", 7, errno.EEXIST),
        ("nonsense", "br0", 9, errno.EOPNOTSUPP),
        ("bridge", "x" * 16, 9, errno.ERANGE),
        ("bridge", "a b", 9, errno.EINVAL),
    ],
)
def test_invalid_link_creation_is_refused(twins: Twins, kind: str, name: str, index: int, code: int) -> None:
    """Creating a link is refused if the name or index is taken, the name is invalid or the kind is unknown."""
    twins.veth("v0", 7, HERE, "other")
    assert twins.ask(requests.create(kind, name, index=index)) == code


def test_renamed_link_keeps_its_sysctls(twins: Twins) -> None:
    """A link can be renamed while it is down or up, and keeps its sysctls."""
    twins.veth("v0", 7)
    twins.set("v0", "ipv4/conf/{}/rp_filter", "2")
    assert twins.ask(requests.modify(7, name="w0")) == 0
    twins.up(7)
    assert twins.ask(requests.modify(7, name="eth0")) == 0
    assert twins.ask(requests.modify(7, name="eth0")) == 0
    assert twins.look(lambda kernel: kernel.sysctl("ipv4/conf/eth0/rp_filter")) == "2"
    assert twins.look(lambda kernel: kernel.sysctl("ipv4/conf/v0/rp_filter")) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("w0", errno.EEXIST),
        ("other", errno.EEXIST),
        ("own", errno.EEXIST),
        ("x" * 16, errno.ERANGE),
        ("a/b", errno.EINVAL),
        ("all", errno.EINVAL),
        ("", 0),
    ],
)
def test_invalid_rename_is_refused(twins: Twins, name: str, code: int) -> None:
    """Renaming a link to a taken or invalid name is refused, and an empty name is ignored."""
    twins.veth("v0", 7, HERE, "own")
    twins.veth("w0", 8, HERE, "other")
    assert twins.ask(requests.modify(7, name=name)) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"settings": Settings(mac="02:00:00:00:00:42")}, 0),
        ({"settings": Settings(mac="01:00:00:00:00:42")}, errno.EADDRNOTAVAIL),
        ({"settings": Settings(mac="00:00:00:00:00:00")}, errno.EADDRNOTAVAIL),
        ({"settings": Settings(mtu=1400)}, 0),
        ({"settings": Settings(mtu=67)}, errno.EINVAL),
        ({"settings": Settings(mtu=65536)}, errno.EINVAL),
        ({"ipv4_conf": {8: 2, 19: 1}}, 0),
        ({"ipv4_conf": {12: -1}}, 0),  # medium_id
        ({"settings": Settings(alias="some text", txqlen=77, group=5)}, 0),
        ({"settings": Settings(alias="", txqlen=0, group=0)}, 0),
        ({"up": True, "settings": Settings(mtu=1300), "name": "w0"}, 0),
    ],
)
def test_link_change_succeeds_or_is_refused(twins: Twins, change: dict[str, object], code: int) -> None:
    twins.veth("v0", 7)
    assert twins.ask(requests.modify(7, **change)) == code  # type: ignore[arg-type]


def test_alias_and_group_are_set_and_cleared(twins: Twins) -> None:
    twins.veth("v0", 7)
    assert twins.ask(requests.modify(7, settings=Settings(alias="some text", group=5))) == 0
    assert twins.ask(requests.modify(7, settings=Settings(alias="", group=0))) == 0


def test_alternative_names_are_added_and_deleted(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.veth("v1", 8)
    assert twins.ask(requests.altnames(7, ["one", "two"], add=True)) == 0
    assert twins.ask(requests.altnames(7, ["one"], add=True)) == errno.EEXIST
    assert twins.ask(requests.altnames(8, ["v0"], add=True)) == errno.EEXIST
    assert twins.ask(requests.altnames(7, ["one"], add=False)) == 0
    assert twins.ask(requests.altnames(7, ["one"], add=False)) == errno.ENOENT
    assert twins.ask(requests.altnames(77, ["one"], add=True)) == errno.ENODEV


def test_change_of_a_missing_link_is_refused(twins: Twins) -> None:
    assert twins.ask(requests.modify(77, up=True)) == errno.ENODEV
    assert twins.ask(requests.modify(77, port=("bridge", b""))) == errno.ENODEV
    assert twins.ask(requests.delete(77)) == errno.ENODEV


def test_deleting_a_link_deletes_its_configuration(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.ask(_add("10.0.0.2/24"))
    twins.up(7)
    assert twins.ask(requests.delete(7)) == 0
    assert twins.look(lambda kernel: kernel.link(7)) is None


def test_links_of_a_group_are_deleted_together(twins: Twins) -> None:
    for index in (7, 8):
        twins.bridge(f"br{index}", index)
        assert twins.ask(requests.modify(index, settings=Settings(group=9))) == 0
    twins.bridge("br9", 9)
    assert twins.ask(requests.delete_group(9)) == 0
    assert [link.index for link in twins.real[HERE].links()] == [1, 9]
    assert twins.ask(requests.delete_group(9)) == errno.ENODEV
    ends = requests.peer("b", settings=Settings(mac=MAC.format(11)), index=11)
    assert twins.ask(requests.create("veth", "a", settings=Settings(mac=MAC.format(10)), index=10, data=ends)) == 0
    for index in (10, 11):  # the second one goes with the first
        assert twins.ask(requests.modify(index, settings=Settings(group=9))) == 0
    assert twins.ask(requests.delete_group(9)) == 0
    assert [link.index for link in twins.real[HERE].links()] == [1, 9]


def test_loopback_link_cannot_be_deleted_or_moved(twins: Twins) -> None:
    assert twins.ask(requests.delete(1)) == errno.EOPNOTSUPP
    assert twins.move(1) == errno.EINVAL


def test_second_macvlan_with_the_same_mac_stays_down(twins: Twins) -> None:
    """Of two macvlans with the same MAC, bringing up the second one fails with EADDRINUSE."""
    lower = twins.veth("v0", 7)
    twins.up(7)
    for index, name in ((8, "m0"), (9, "m1")):
        twins.ip(f"link add {name} index {index} link v0 address 02:00:00:00:00:99 type macvlan mode bridge")
        twins.fake[HERE].add_link(name, index=index, kind="macvlan", lower=lower, mac="02:00:00:00:00:99")
    twins.up(8)
    assert twins.ask(requests.modify(9, up=True)) == errno.EADDRINUSE


# --- moving ---


def test_a_link_is_moved_renamed_and_changed_in_one_request(twins: Twins) -> None:
    twins.veth("v0", 7)
    assert twins.move(7, "eth0", new_index=5, mac="02:00:00:00:00:42", mtu=1400) == 0
    found = twins.look(lambda kernel: [(link.index, link.name, link.mac) for link in kernel.links()[1:]], THERE)
    assert found == [(5, "eth0", "02:00:00:00:00:42")]


def test_move_drops_the_configuration_of_a_link(twins: Twins) -> None:
    """A move drops addresses, routes, neighbors, the master and sysctls, sets the link down, and keeps altnames."""
    twins.veth("v0", 7, HERE, "other")
    twins.bridge("br0", 9)
    twins.ask(requests.modify(7, master=9))
    for text in ("10.0.0.2/24", "fd00::2/64"):
        twins.ask(_add(text))
    twins.up(7)
    twins.ask(route.add(_entry("10.9.0.0/16", "10.0.0.1")))
    twins.ask(neighbor.replace(_neighbor("10.0.0.9")))
    twins.set("v0", "ipv4/conf/{}/rp_filter", "2")
    assert twins.move(7) == 0
    assert twins.look(
        lambda kernel: [(link.altnames, link.is_up, link.master) for link in kernel.links()[1:]], THERE
    ) == [(("other",), False, None)]
    assert twins.look(lambda kernel: kernel.addresses(7), THERE) == []
    assert twins.look(lambda kernel: kernel.sysctl("ipv4/conf/v0/rp_filter"), THERE) == "0"


@pytest.mark.parametrize(
    ("there", "name", "code"),
    # The kernel moves the link by its old name if that is free there, and only then renames it.
    [
        (("eth0",), None, 0),
        (("v0",), None, errno.EEXIST),
        (("v0",), "eth0", 0),
        (("v0", "eth0"), "eth0", errno.EEXIST),
        (("eth0",), "eth0", errno.EEXIST),
        (("other",), "eth0", errno.EEXIST),
    ],
)
def test_move_is_refused_if_the_names_are_taken_there(
    twins: Twins, there: tuple[str, ...], name: str | None, code: int
) -> None:
    """A move fails if the name is taken there; if only the rename fails, the link has moved nevertheless."""
    twins.veth("v0", 7, HERE, "other")
    for index, taken in enumerate(there, 20):
        twins.veth(taken, index, THERE)
    assert twins.move(7, name) == code
    moved = not code or (there, name) == (("eth0",), "eth0")
    assert twins.look(lambda kernel: kernel.link(7) is None) == moved


def test_refused_mac_leaves_the_link_moved(twins: Twins) -> None:
    """If a move includes a MAC that is refused, the link has moved, with its old name."""
    twins.veth("v0", 7)
    assert twins.move(7, "eth0", mac="01:00:00:00:00:42") == errno.EADDRNOTAVAIL
    assert twins.look(lambda kernel: getattr(kernel.link(7), "name", None), THERE) == "v0"


def test_move_to_a_taken_index_is_refused(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.veth("w0", 7, THERE)
    assert twins.move(7, new_index=7) == errno.EBUSY


def test_bridge_cannot_be_moved(twins: Twins) -> None:
    twins.bridge("br0", 9)
    assert twins.move(9) == errno.EINVAL


def test_move_to_the_same_namespace_does_nothing(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.up(7)
    assert twins.ask(lambda world: requests.modify(7, namespace=world[HERE].fd)) == 0


def test_move_to_an_invalid_descriptor_is_refused(twins: Twins) -> None:
    twins.veth("v0", 7)
    assert twins.ask(requests.modify(7, namespace=999)) == errno.EBADF


# --- masters ---


def test_port_settings_last_until_the_port_is_released(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.bridge("br0", 9)
    assert twins.ask(requests.modify(7, port=("bridge", attrs.pack_u8(4, 1)))) == errno.EOPNOTSUPP
    assert twins.ask(requests.modify(7, master=9)) == 0
    assert twins.ask(requests.modify(7, master=9)) == 0
    assert twins.ask(requests.modify(7, port=("bridge", attrs.pack_u8(4, 1) + attrs.pack_u32(3, 55)))) == 0
    assert twins.ask(requests.modify(7, master=0)) == 0
    assert twins.ask(requests.modify(7, master=0)) == 0
    assert twins.ask(requests.modify(7, master=9)) == 0


def test_master_can_be_replaced(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.bridge("br0", 8)
    twins.bridge("br1", 9)
    twins.ask(requests.modify(7, master=8))
    assert twins.ask(requests.modify(7, master=9)) == 0


def test_ports_are_released_when_their_bridge_is_deleted(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.bridge("br0", 9)
    twins.ask(requests.modify(7, master=9))
    assert twins.ask(requests.delete(9)) == 0


@pytest.mark.parametrize(
    ("index", "master", "code"),
    [(7, 77, errno.EINVAL), (7, 8, errno.EOPNOTSUPP), (9, 10, errno.ELOOP), (1, 9, errno.EINVAL)],
)
def test_invalid_master_or_port_is_refused(twins: Twins, index: int, master: int, code: int) -> None:
    """A missing master, a veth as a master, a bridge as a port and lo as a port are refused."""
    twins.veth("v0", 7)
    twins.veth("v1", 8)
    twins.bridge("br0", 9)
    twins.bridge("br1", 10)
    assert twins.ask(requests.modify(index, master=master)) == code


# --- addresses ---


def test_addresses_have_the_kernels_order_and_flags(twins: Twins) -> None:
    twins.veth("v0", 7)
    for text in (
        "10.0.0.2/24",
        "10.0.0.3/24",
        "169.254.9.9/16",
        "10.1.0.2/24",
        "10.0.0.4/32",
        "fe80::42/64",
        "fd00::2/64",
        "fd00::3/64",
        "fe80::43/64",
    ):
        assert twins.ask(_add(text)) == 0
    twins.up(7)
    found = twins.look(lambda kernel: [item.flags & 1 for item in kernel.addresses(7)])
    assert isinstance(found, list)
    assert sum(found) == 1


@pytest.mark.parametrize(
    ("text", "index", "code"),
    [
        ("10.0.0.2/24", 7, errno.EEXIST),
        ("10.0.0.2/25", 7, 0),
        ("10.0.0.2/24", 8, 0),
        ("fd00::2/64", 7, errno.EEXIST),
        ("fd00::2/65", 7, errno.EEXIST),
        ("fd00::2/64", 8, 0),
        ("10.0.0.9/24", 77, errno.ENODEV),
        ("fd00::9/64", 77, errno.ENODEV),
    ],
)
def test_adding_an_existing_address_is_refused(twins: Twins, text: str, index: int, code: int) -> None:
    """An IPv4 address may be there again with another prefix length, but an IPv6 address only on another link."""
    twins.veth("v0", 7)
    twins.veth("v1", 8)
    twins.up(7, 8)
    twins.ask(_add("10.0.0.2/24"))
    twins.ask(_add("fd00::2/64"))
    assert twins.ask(_add(text, index)) == code


def test_a_secondary_of_another_scope_is_refused(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.ask(_add("10.0.0.2/24"))
    assert twins.ask(address.add(replace(address.new(7, ip_interface("10.0.0.3/24")), scope=253))) == errno.EINVAL


def test_flags_of_an_address_can_be_changed(twins: Twins) -> None:
    twins.veth("v0", 7)
    wish = address.new(7, ip_interface("fd00::2/64"))
    twins.ask(address.add(wish))
    assert twins.ask(address.update(replace(wish, flags=address.PERMANENT))) == 0


def test_address_with_a_peer_can_be_added(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.up(7)
    wish = replace(address.new(7, ip_interface("10.0.0.2/24")), peer=ip_address("10.5.0.1"), broadcast=None)
    assert twins.ask(address.add(wish)) == 0


@pytest.mark.parametrize("text", ["10.0.0.9/24", "10.0.0.2/25", "fd00::9/64", "fd00::2/65"])
def test_deleting_a_missing_address_is_refused(twins: Twins, text: str) -> None:
    twins.veth("v0", 7)
    twins.ask(_add("10.0.0.2/24"))
    twins.ask(_add("fd00::2/64"))
    assert twins.ask(_delete(text)) == errno.EADDRNOTAVAIL
    assert twins.ask(_delete(text, 77)) == errno.ENODEV


def test_secondaries_are_deleted_with_their_primary(twins: Twins) -> None:
    """Deleting a primary IPv4 address deletes its secondary addresses as well."""
    twins.veth("v0", 7)
    twins.up(7)
    for text in ("10.0.0.2/24", "10.1.0.2/24", "10.0.0.3/24", "10.0.0.4/24", "fd00::2/64", "fd00::3/64"):
        twins.ask(_add(text))
    twins.ask(route.add(_entry("10.9.0.0/16", "10.0.0.1")))
    for text in ("10.0.0.3/24", "fd00::2/64", "10.0.0.2/24", "fd00::3/64"):
        assert twins.ask(_delete(text)) == 0
    left = twins.look(lambda kernel: [str(item.interface) for item in kernel.addresses(7) if not _is_made(item)])
    assert left == ["10.1.0.2/24"]


def test_secondary_is_promoted_with_promote_secondaries(twins: Twins) -> None:
    """With promote_secondaries=1, a secondary address survives its primary and becomes primary."""
    twins.veth("v0", 7)
    twins.set("v0", "ipv4/conf/{}/promote_secondaries", "1")
    twins.up(7)
    for text in ("10.0.0.2/24", "10.0.0.3/24", "10.1.0.2/24", "10.0.0.4/24"):
        twins.ask(_add(text))
    assert twins.ask(_delete("10.0.0.2/24")) == 0
    assert twins.ask(_delete("10.0.0.3/24")) == 0


def test_deleting_the_last_ipv4_address_deletes_routes(twins: Twins) -> None:
    """Deleting the last IPv4 address of a link deletes all IPv4 routes through the link."""
    twins.veth("v0", 7)
    twins.veth("v1", 8)
    twins.up(7, 8)
    twins.ask(_add("10.0.0.2/24"))
    twins.ask(route.add(_entry("10.9.0.0/16", "10.0.0.1")))
    twins.ask(route.add(_entry("10.8.0.0/16")))
    twins.ask(route.add(_entry("10.7.0.0/16", index=8)))
    assert twins.ask(_delete("10.0.0.2/24")) == 0
    assert twins.look(lambda kernel: [str(item.to) for item in kernel.routes(family=2, table=254)]) == ["10.7.0.0/16"]


def test_routes_are_deleted_with_their_source_address(twins: Twins) -> None:
    """Deleting an address deletes the routes that have it as their source, on any link."""
    twins.veth("v0", 7)
    twins.veth("v1", 8)
    twins.up(7, 8)
    twins.ask(_add("10.0.0.2/24"))
    twins.ask(_add("10.1.0.2/24"))
    twins.ask(route.add(_entry("10.9.0.0/16", index=8, source=ip_address("10.0.0.2"))))
    assert twins.ask(_delete("10.0.0.2/24")) == 0


def test_link_down_drops_ipv6_and_keeps_ipv4_addresses(twins: Twins) -> None:
    """A link that goes down loses all routes and its IPv6 addresses, and keeps its IPv4 addresses."""
    twins.veth("v0", 7)
    for text in ("10.0.0.2/24", "fd00::2/64"):
        twins.ask(_add(text))
    twins.up(7)
    twins.ask(route.add(_entry("10.9.0.0/16", "10.0.0.1")))
    twins.ask(route.add(_entry("fd09::/32", "fd00::1")))
    twins.ask(neighbor.replace(_neighbor("10.0.0.9")))
    twins.ask(neighbor.replace(_neighbor("fd00::9")))
    assert twins.ask(requests.modify(7, up=False)) == 0
    assert twins.look(lambda kernel: [str(item.interface) for item in kernel.addresses(7)]) == ["10.0.0.2/24"]
    assert twins.look(lambda kernel: kernel.routes(table=254)) == []
    twins.up(7)


def test_disable_ipv6_drops_ipv6_and_refuses_more(twins: Twins) -> None:
    """Setting disable_ipv6 drops IPv6 addresses; adding addresses or routes fails until it is cleared."""
    twins.veth("v0", 7)
    twins.up(7)
    twins.ask(_add("fd00::2/64"))
    twins.ask(neighbor.replace(_neighbor("fd00::9")))
    assert twins.set("v0", "ipv6/conf/{}/disable_ipv6", "1") is True
    assert twins.look(lambda kernel: kernel.addresses(7)) == []
    assert twins.ask(_add("fd00::2/64")) == errno.EACCES
    assert twins.ask(route.add(_entry("fd09::/32"))) == errno.EACCES
    assert twins.set("v0", "ipv6/conf/{}/disable_ipv6", "0") is True
    assert twins.ask(_add("fd00::2/64")) == 0


def _local(kernel: Kernel) -> list[tuple[str, int]]:
    return [(str(item.interface), item.flags & address.PERMANENT) for item in kernel.addresses(7) if _is_made(item)]


@pytest.mark.parametrize("how", ["up", "switch"])
def test_link_that_is_up_gets_a_link_local_address(twins: Twins, how: str) -> None:
    """A link that is up, with IPv6 enabled before or after, gets a link-local address and the route to fe80::/64."""
    twins.veth("v0", 7)
    if how == "switch":
        twins.set("v0", "ipv6/conf/{}/disable_ipv6", "1")
    twins.up(7)
    if how == "switch":
        twins.set("v0", "ipv6/conf/{}/disable_ipv6", "0")
    wanted = [("fe80::ff:fe00:7/64", address.PERMANENT)]
    assert _local(twins.fake[HERE]) == wanted
    end = monotonic() + 10
    while _local(twins.real[HERE]) != wanted:  # the kernel waits for carrier
        assert monotonic() < end
    for kernel in twins.at(HERE):
        routes = kernel.routes(family=10, table=254, index=7)
        assert [(str(item.to), item.metric, item.protocol) for item in routes] == [("fe80::/64", 256, route.KERNEL)]


def test_addr_gen_mode_none_makes_no_address(twins: Twins) -> None:
    """A link with addr_gen_mode=1 gets no link-local address."""
    twins.veth("v0", 7)
    twins.set("v0", "ipv6/conf/{}/addr_gen_mode", "1")
    twins.up(7)
    assert twins.look(_local) == []


# --- routes ---


@pytest.fixture
def routed(twins: Twins) -> Twins:
    """Two links that are up, with 10.0.0.2/24 and fd00::2/64 on the first, and one that is down."""
    for index, name in ((7, "v0"), (8, "v1"), (9, "v2")):
        twins.veth(name, index)
    twins.up(7, 8)
    twins.ask(_add("10.0.0.2/24"))
    twins.ask(_add("fd00::2/64"))
    return twins


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (_entry("10.9.0.0/16"), 0),
        (_entry("10.9.0.0/16", "10.0.0.1"), 0),
        (_entry("10.9.0.0/16", "10.0.0.1", metric=7), 0),
        (_entry("10.9.0.0/16", table=100), 0),
        (_entry("0.0.0.0/0", "10.0.0.1"), 0),
        (_entry("0.0.0.0/0"), 0),
        (_entry("10.9.0.0/16", source=ip_address("10.0.0.2")), 0),
        (_entry("10.9.0.0/16", source=ip_address("10.0.0.3")), errno.EINVAL),
        (_entry("10.9.0.0/16", "10.5.0.1"), errno.ENETUNREACH),
        (_entry("10.9.0.0/16", "10.0.0.1", 8), errno.ENETUNREACH),
        (_entry("10.9.0.0/16", "10.5.0.1", flags=route.ONLINK), 0),
        (_entry("10.9.0.0/16", index=9), errno.ENETDOWN),
        (_entry("10.9.0.0/16", index=77), errno.ENODEV),
        (_entry("10.0.0.0/24", index=8), errno.EEXIST),
        (_entry("10.0.0.0/24", index=8, metric=7), 0),
        (_entry("10.9.0.0/16", index=None, type=7), 0),
        (_entry("fd09::/32"), 0),
        (_entry("fd09::/32", "fd00::1"), 0),
        (_entry("::/0", "fd00::1", metric=7), 0),
        (_entry("fd09::/32", "fd05::1"), errno.EHOSTUNREACH),
        (_entry("fd09::/32", index=9), errno.ENETDOWN),
        (_entry("fd09::/32", index=77), errno.ENODEV),
        (_entry("fd00::/64", index=8), 0),
        (_entry("fd00::/64", index=8, metric=256), errno.EEXIST),
    ],
    ids=str,
)
def test_a_route_is_added_or_refused(routed: Twins, entry: RouteEntry, code: int) -> None:
    assert routed.ask(route.add(entry)) == code


@pytest.mark.parametrize("to", ["10.9.0.0/16", "fd09::/32"])
def test_route_is_added_once_and_can_be_replaced(routed: Twins, to: str) -> None:
    assert routed.ask(route.add(_entry(to))) == 0
    assert routed.ask(route.add(_entry(to))) == errno.EEXIST
    assert routed.ask(route.add(_entry(to, index=8))) == errno.EEXIST
    assert routed.ask(route.replace(_entry(to, index=8))) == 0
    assert routed.ask(route.replace(_entry(to, index=8))) == 0
    assert routed.ask(route.replace(_entry(to, metric=7))) == 0
    assert routed.ask(route.delete(_entry(to, index=8))) == 0
    assert routed.ask(route.delete(_entry(to, index=8))) == errno.ESRCH


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (_entry("10.9.0.0/16", "10.0.0.1"), 0),
        (_entry("10.9.0.0/16", "10.0.0.3"), errno.ESRCH),
        (_entry("10.9.0.0/16", "10.0.0.1", 8), errno.ESRCH),
        (_entry("10.9.0.0/16", "10.0.0.1", None), 0),
        (_entry("10.9.0.0/16", "10.0.0.1", metric=7), errno.ESRCH),
        (_entry("10.9.0.0/16", "10.0.0.1", protocol=route.KERNEL), errno.ESRCH),
        (_entry("10.8.0.0/16", "10.0.0.1"), errno.ESRCH),
        (_entry("fd09::/32", "fd00::1"), 0),
        (_entry("fd09::/32", "fd00::3"), errno.ESRCH),
        (_entry("fd09::/32", "fd00::1", metric=7), errno.ESRCH),
    ],
    ids=str,
)
def test_only_a_matching_route_is_deleted(routed: Twins, wish: RouteEntry, code: int) -> None:
    """A route is deleted if everything in the request matches, and otherwise ESRCH is raised."""
    routed.ask(route.add(_entry("10.9.0.0/16", "10.0.0.1")))
    routed.ask(route.add(_entry("fd09::/32", "fd00::1")))
    assert routed.ask(route.delete(wish)) == code


@pytest.mark.parametrize(
    ("to", "outcome"),
    [
        ("10.0.0.9", (7, None, 1)),
        ("10.9.0.9", (7, "10.0.0.1", 1)),
        ("10.9.9.9", (8, None, 1)),
        ("10.0.0.2", (1, None, 2)),
        ("10.6.0.1", errno.EHOSTUNREACH),
        ("10.5.0.1", errno.ENETUNREACH),
        ("fd00::9", (7, None, 1)),
        ("fd09::9", (7, "fd00::1", 1)),
        ("fd05::1", errno.ENETUNREACH),
    ],
)
def test_longest_prefix_wins(routed: Twins, to: str, outcome: object) -> None:
    """A lookup returns the route with the longest prefix, or fails as that route demands."""
    for entry in (
        _entry("10.9.0.0/16", "10.0.0.1"),
        _entry("10.9.9.0/24", index=8),
        _entry("10.6.0.0/16", index=None, type=7),
        _entry("fd09::/32", "fd00::1"),
    ):
        routed.ask(route.add(entry))

    def lead(kernel: Kernel) -> tuple[int | None, str | None, int]:
        found = kernel.route_to(ip_address(to))
        return found.index, str(found.via) if found.via else None, found.type

    assert routed.look(lead) == outcome


def test_routes_are_listed_by_family_table_and_link(routed: Twins) -> None:
    routed.ask(route.add(_entry("10.9.0.0/16", index=8)))
    routed.ask(route.add(_entry("10.8.0.0/16", table=100)))
    for question in ({"family": 2, "table": 254}, {"table": 100}, {"family": 2, "table": 254, "index": 8}):
        found = routed.look(lambda kernel, asked=question: {str(item.to) for item in kernel.routes(**asked)})  # type: ignore[misc]
        assert found


# --- neighbors ---


@pytest.mark.parametrize("ip", ["10.0.0.9", "fd00::9"])
def test_neighbor_is_set_replaced_and_deleted(routed: Twins, ip: str) -> None:
    assert routed.ask(neighbor.replace(_neighbor(ip))) == 0
    assert routed.ask(neighbor.replace(_neighbor(ip, mac="02:00:00:00:00:98"))) == 0
    assert routed.ask(neighbor.replace(_neighbor(ip, 8))) == 0
    assert routed.ask(neighbor.delete(_neighbor(ip))) == 0
    assert routed.ask(neighbor.delete(_neighbor(ip))) == errno.ENOENT
    assert routed.ask(neighbor.delete(_neighbor(ip, 77))) == errno.ENODEV
    assert routed.ask(neighbor.replace(_neighbor(ip, 77))) == errno.ENODEV


def test_mac_change_drops_permanent_neighbors(routed: Twins) -> None:
    """A change of the MAC of a link drops the permanent neighbors on that link."""
    for ip in ("10.0.0.9", "fd00::9"):
        routed.ask(neighbor.replace(_neighbor(ip)))
    assert routed.ask(requests.modify(7, settings=Settings(mac="02:00:00:00:00:77"))) == 0
    assert routed.look(lambda kernel: [item for item in kernel.neighbors(index=7) if item.state & 0x80]) == []


def test_forwarding_entries_belong_to_the_link_or_to_its_bridge(routed: Twins) -> None:
    routed.bridge("br0", 11)
    own = NeighborEntry(AF_BRIDGE, 7, None, f"{OURS}00:00:00:01", neighbor.PERMANENT, neighbor.SELF)
    of_bridge = NeighborEntry(AF_BRIDGE, 7, None, f"{OURS}00:00:00:02", neighbor.NOARP, neighbor.MASTER)
    assert routed.ask(neighbor.replace(of_bridge)) == errno.EOPNOTSUPP
    routed.ask(requests.modify(7, master=11))
    assert routed.ask(neighbor.replace(of_bridge)) == 0
    assert routed.ask(neighbor.replace(own)) == 0
    assert routed.ask(neighbor.delete(own)) == 0
    assert routed.ask(neighbor.delete(own)) == errno.ENOENT
    assert routed.ask(requests.modify(7, master=0)) == 0


# --- sysctls, pins, waiting ---


@pytest.mark.parametrize(
    "path",
    [
        "ipv4/conf/v0/rp_filter",
        "ipv4/conf/v0/nonsense",
        "ipv4/conf/v9/rp_filter",
        "ipv6/conf/v0/disable_ipv6",
        "ipv6/conf/v0/-",
        "nonsense/conf/v0/rp_filter",
    ],
)
def test_sysctl_has_a_value_or_is_missing(twins: Twins, path: str) -> None:
    """A sysctl is read and written, once with an effect, or is missing: None and ENOENT."""
    twins.veth("v0", 7)
    there = path in {"ipv4/conf/v0/rp_filter", "ipv6/conf/v0/disable_ipv6"}
    assert twins.look(lambda kernel: kernel.sysctl(path)) == ("0" if there else None)
    assert twins.set("v0", path, "1") == (True if there else errno.ENOENT)
    assert twins.set("v0", path, "1") == (False if there else errno.ENOENT)


def test_link_has_the_sysctls_of_both_families(twins: Twins) -> None:
    twins.veth("v0", 7)
    twins.set("v0", "ipv4/conf/{}/rp_filter", "2")
    twins.set("v0", "ipv6/conf/{}/router_solicitation_interval", "9")
    twins.set("v0", "ipv6/conf/{}/disable_ipv6", "1")

    def read(kernel: Kernel) -> tuple[int, int, int]:
        found = kernel.link(7)
        assert found
        return found.conf(2)[7], found.conf(10)[8], found.conf(10)[26]

    assert twins.look(read) == (2, 9000, 1)


def test_new_links_get_the_default_sysctls(twins: Twins) -> None:
    twins.set("default", "ipv4/conf/{}/rp_filter", "2")
    twins.set("default", "ipv6/conf/{}/disable_ipv6", "1")
    twins.veth("v0", 7)
    assert twins.look(lambda kernel: kernel.sysctl("ipv4/conf/v0/rp_filter")) == "2"
    assert twins.set("all", "ipv6/conf/{}/accept_ra", "1") in {True, False}


def test_a_namespace_is_pinned_and_unpinned_once(twins: Twins, tmp_path: Path) -> None:
    """Pinning again does nothing; unpinning another identity gives ESTALE, and unpinning again ENOENT."""
    path = str(tmp_path / "pin")
    for kernel in (twins.fake[HERE], twins.real[HERE]):
        kernel.pin(path)
        kernel.pin(path)
        assert _outcome(partial(kernel.unpin, path, (0, 0))) == errno.ESTALE
        kernel.unpin(path, kernel.identity)
        assert _outcome(partial(kernel.unpin, path, kernel.identity)) == errno.ENOENT
    assert twins.fake[HERE].pins == set()


def test_wait_link_returns_the_link_and_time_left(twins: Twins) -> None:
    """Waiting returns the link, or None if it is missing, and the time that is left."""
    twins.veth("v0", 7)
    twins.up(7)

    def wait(kernel: Kernel, index: int, *, ready: bool) -> tuple[str | None, bool]:
        found, left = kernel.wait_link(index, lambda _: ready, 0.01 if index == 7 and not ready else 100)
        return found.name if found else None, left > 0

    assert twins.look(lambda kernel: wait(kernel, 7, ready=True)) == ("v0", True)
    assert twins.look(lambda kernel: wait(kernel, 7, ready=False)) == ("v0", False)
    assert twins.look(lambda kernel: wait(kernel, 99, ready=False)) == (None, True)


def test_pause_is_recorded_by_the_fake(twins: Twins) -> None:
    assert twins.look(lambda kernel: kernel.pause(0)) is None
    assert twins.fake[HERE].pauses == [0]


def test_links_are_created_with_settings(twins: Twins) -> None:
    """A link gets its settings with the request that creates it, but for its alias; so does the other end of a veth."""
    full = Settings(mtu=1400, alias="not at birth", txqlen=7, group=3)
    assert twins.ask(requests.create("bridge", "br0", settings=replace(full, mac=MAC.format(9)), index=9)) == 0
    end = requests.peer("b", settings=replace(full, mac=MAC.format(11)), index=11)
    assert twins.ask(requests.create("veth", "a", settings=Settings(mac=MAC.format(10)), index=10, data=end)) == 0
    assert twins.look(lambda kernel: [link.group for link in kernel.links() if link.name in {"b", "br0"}]) == [3, 3]
    assert twins.look(lambda kernel: [link.alias for link in kernel.links() if link.name in {"b", "br0"}]) == [None] * 2


@pytest.mark.parametrize(("value", "code"), [("2147483647", True), ("2147483648", errno.EINVAL), ("-1", True)])
def test_sysctl_is_a_number_of_32_bits_or_is_refused(twins: Twins, value: str, code: int) -> None:
    """The kernel refuses a number that does not fit into 32 bits with EINVAL."""
    twins.veth("v0", 7)
    assert twins.set("v0", "ipv4/conf/{}/medium_id", value) == code
