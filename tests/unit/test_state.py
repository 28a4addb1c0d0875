"""What is read from the kernel before a plan is made."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from netsandbox import Bridge, Ifb, InterfaceSpec
from netsandbox._kernel import HOST
from netsandbox._plan import state as _state
from netsandbox._plan.state import Facts, LinkState, attach_facts, classify, detach_facts, read_state
from netsandbox._record import Attachment
from netsandbox._steps import Move, Place
from netsandbox.errors import KernelError
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink import neighbor, route
from netsandbox.netlink.neighbor import PERMANENT, SELF
from netsandbox.netlink.settings import Settings
from netsandbox.testing import FakeKernel
from tests.unit.rig import furnished, send
from tests.unit.values import forwarding, route_entry

INSIDE = Place("web", 7, "eth0", settings=Settings(mtu=1500))
OUTSIDE = Place(HOST, 7, "v0", settings=Settings(mtu=1500))
ITEM = Attachment(1, "v0", 7, "eth0", "veth", created=False, teardown=(Move(INSIDE, OUTSIDE),))


def test_link_state_has_all_that_a_move_drops() -> None:
    """The state of a link has the addresses, routes, neighbors and the master that a move drops."""
    host = furnished().host
    send(host, route.add(route_entry("10.8.0.0/16", 7, table=100)))
    send(host, neighbor.replace(replace(forwarding(7, "02:00:00:00:00:97"), state=PERMANENT, flags=SELF)))
    link = host.link("v0")
    assert link
    found = read_state(host, link)
    assert found.link == link
    assert [str(item.interface) for item in found.addresses] == [
        "169.254.9.9/16",
        "10.0.0.1/24",
        "10.0.0.2/24",
        "fd00::2/64",
        "fd00::1/64",
        "fe80::ff:fe00:7/64",
    ]
    assert {str(item.to) for item in found.routes if item.protocol != route.KERNEL} == {
        "10.8.0.0/16",
        "10.9.0.0/16",
        "fd09::/32",
    }
    assert {str(item) for item in found.neighbors} == {"10.0.0.9 02:00:00:00:00:99", "02:00:00:00:00:98"}
    assert (found.master and found.master.name, found.ports) == ("lan", ())


def test_the_state_of_a_bridge_has_its_ports() -> None:
    host = furnished().host
    bridge, port = host.link("lan"), host.link("v0")
    assert bridge
    assert read_state(host, bridge).ports == (port,)


def test_state_of_a_plain_link_has_only_the_link() -> None:
    """The state of a link without any configuration has nothing but the link."""
    host = furnished().host
    link = host.link("v1")
    assert link
    assert read_state(host, link) == LinkState(link)


def test_missing_sources_are_left_out() -> None:
    """Sources that do not exist on the host are left out; alternative names are found."""
    rig = furnished()
    found = attach_facts(rig.host, rig.box, [InterfaceSpec(name) for name in ("v1", "first", "gone")])
    assert {name: state.link.name for name, state in found.sources.items()} == {"v1": "v1", "first": "v0"}
    assert (found.addresses, found.routes, found.sysctls) == ((), (), {})


def test_addresses_and_routes_are_read_only_if_needed() -> None:
    """Addresses and routes of the main table are read only if route conflicts are to be checked."""
    rig = furnished()
    rig.box.add_link("eth0", index=7, addresses=["10.0.0.2/24"], up=True)
    send(rig.box, route.add(route_entry("10.8.0.0/16", 7, table=100)))
    checked = InterfaceSpec(Ifb(), addresses=["10.1.0.2/24"])
    found = attach_facts(rig.host, rig.box, [checked])
    assert [str(item.interface) for item in found.addresses] == ["10.0.0.2/24", "fe80::ff:fe00:7/64"]
    assert [str(item.to) for item in found.routes] == ["10.0.0.0/24", "fe80::/64"]
    before = len(rig.faults.calls)
    attach_facts(rig.host, rig.box, [checked], is_new=True)
    assert rig.faults.calls[before:] == ["box: list links"]


def test_sysctls_are_read_by_the_name_of_the_link() -> None:
    """Sysctls are read by the link's own name, even if its source is an alternative name."""
    host = furnished(is_host=True).host
    specs = [
        InterfaceSpec("first", sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"}),
        InterfaceSpec(Bridge("br"), sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"}),
        InterfaceSpec("v1", sysctls={"net.ipv4.conf.IFNAME.nonsense": "2"}),
    ]
    found = attach_facts(host, host, specs, is_host=True)
    off = {f"ipv6/conf/{name}/disable_ipv6": "0" for name in ("v0", "v1")}
    assert found.sysctls == {"ipv4/conf/v0/rp_filter": "2", **off}


def test_links_are_found_by_index_name_and_altname() -> None:
    """A link of the sandbox is found by its index, its name or an alternative name."""
    box = FakeKernel()
    link = box.add_link("eth0", index=7, altnames=("uplink",))
    facts = Facts(links=(link,))
    assert (facts.link(7), facts.link(8), facts.link(None)) == (link, None, None)
    assert (facts.named("eth0"), facts.named("uplink"), facts.named("v0")) == (link, link, None)


@pytest.mark.parametrize("altnames", [(), ("uplink",)])
def test_host_links_with_a_conflicting_name_are_read(altnames: tuple[str, ...]) -> None:
    """For a detach, the host links are read whose name is a name or alternative name of the leaving link."""
    host, box = FakeKernel("host"), FakeKernel("box")
    box.add_link("eth0", index=7)
    other = host.add_link("other", altnames=("uplink",))
    item = replace(ITEM, altnames=altnames)
    found = detach_facts(host, box, [item], [item])
    assert found.host_links == dict.fromkeys(altnames, other)
    assert found.states[7].link.name == "eth0"
    assert found.siblings == {7}
    same = host.add_link("v0", index=30)
    assert detach_facts(host, box, [item], [item]).host_links["v0"] == same


def test_all_host_links_are_read_if_the_index_is_taken() -> None:
    """For a detach, all host links are read if the original index of the leaving link is taken."""
    host, box = FakeKernel("host"), FakeKernel("box")
    box.add_link("eth0", index=7)
    host.add_link("taker", index=7)
    host.add_link("last", index=40)
    found = detach_facts(host, box, [ITEM], [ITEM])
    assert set(found.host_links) == {1, 7, 40}


def test_vanished_link_is_left_out_and_lower_is_read() -> None:
    """For a detach, a link that no longer exists is left out, and the recorded lower link is read."""
    host, box = FakeKernel("host"), FakeKernel("box")
    lower = host.add_link("v0", index=9)
    box.add_link("eth1", index=8, kind="bridge")
    items = [ITEM, replace(ITEM, id=2, index=8, teardown=(), lower=9, kind="bridge", created=True)]
    found = detach_facts(host, box, items, items)
    assert (set(found.states), found.lowers, found.host_links) == ({8}, {9: lower}, {})
    assert found.siblings == {7, 8}


def test_facts_do_not_change_with_the_kernel() -> None:
    """A later change of a link does not change facts that were read before."""
    host = furnished().host
    facts = attach_facts(host, FakeKernel(), [InterfaceSpec("v0")])
    send(host, requests.modify(7, settings=Settings(mtu=1300)))
    assert facts.sources["v0"].link.mtu == 1500


@pytest.mark.parametrize("mastered", [True, False])
def test_state_of_an_overfull_link_has_only_its_master(monkeypatch: pytest.MonkeyPatch, *, mastered: bool) -> None:
    """Of a link in the sandbox with more than MANY entries, the state has only the link and its master."""
    host, box = FakeKernel("host"), FakeKernel("box")
    bridge = box.add_link("br0", index=8, kind="bridge")
    box.add_link("eth0", index=7, addresses=["10.0.0.2/24", "10.0.0.3/24"], master=8 * mastered, up=True)
    link, master = box.link(7), bridge if mastered else None
    everything = detach_facts(host, box, [ITEM], [ITEM]).states[7]
    assert (everything.link, everything.master, len(everything.addresses)) == (link, master, 3)
    monkeypatch.setattr(_state, "MANY", 4)
    assert detach_facts(host, box, [ITEM], [ITEM]).states[7] == LinkState(everything.link, master=master)


@pytest.mark.parametrize(("code", "borne"), [(errno.EMSGSIZE, True), (errno.EIO, False)])
def test_dump_over_the_size_limit_does_not_stop_a_detach(code: int, *, borne: bool) -> None:
    """A dump over the size limit does not stop a detach; any other error does."""
    rig = furnished()
    rig.box.add_link("eth0", index=7)
    rig.faults.fail(2, code)
    if borne:
        state = detach_facts(rig.host, rig.box, [ITEM], [ITEM]).states[7]
        assert state == LinkState(state.link)
    else:
        with pytest.raises(KernelError):
            detach_facts(rig.host, rig.box, [ITEM], [ITEM])


def test_links_are_identified_by_index_kind_and_peer() -> None:
    """A link is identified by its index, its kind and the peer that the host reports, and not by its name."""
    host, box = FakeKernel("host"), FakeKernel("box")
    ours = box.add_link("renamed", index=7, lower=8, lower_netns=1)
    swapped = box.add_link("eth1", index=9, lower=10, lower_netns=1)
    bridge = box.add_link("eth2", index=11, kind="bridge")
    host.add_link("p0", index=8, lower=7, lower_netns=1)
    host.add_link("p1", index=10, lower=99, lower_netns=1)
    items = (
        replace(ITEM, lower=8),
        replace(ITEM, id=2, index=9, name="eth1", lower=10),
        replace(ITEM, id=3, index=11, name="eth2"),
        replace(ITEM, id=4, index=12, name="eth3"),
    )
    found = classify(host, box, items)
    assert {link.name for link in found.links} == {"lo", "renamed", "eth1", "eth2"}
    assert (found.ours, found.missing) == (items[:1], items[1:])
    assert {link.index for link in found.foreign} == {swapped.index, bridge.index}
    assert classify(None, box, items).ours == items[:2]  # as far as the sandbox alone shows
    assert ours.index not in {link.index for link in classify(None, box, items).foreign}
