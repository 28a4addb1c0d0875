"""FakeKernel itself: injected faults and its state. tests/contract compares FakeKernel with the kernel."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from netsandbox import KernelError
from netsandbox.netlink import link as links
from netsandbox.netlink import route
from netsandbox.testing import FakeKernel, Faults
from tests.unit.values import route_entry


def test_calls_are_counted_over_all_kernels_that_share_faults() -> None:
    faults = Faults()
    first, second = FakeKernel("first", faults), FakeKernel("second", faults)
    first.links()
    faults.fail(2)
    assert second.link("lo")
    with pytest.raises(KernelError, match="first: look up link 1: EIO"):
        first.link(1)
    assert second.links()
    assert faults.calls == [
        "first: list links",
        "second: look up link lo",
        "first: look up link 1",
        "second: list links",
    ]


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("carried_out", [True, False])
def test_injected_fault_may_carry_the_call_out(*, answered: bool, carried_out: bool) -> None:
    """A call with an injected fault is carried out or not, and answered or not, as requested."""
    kernel = FakeKernel()
    kernel.faults.fail(1, errno.ENOBUFS, answered=answered, carried_out=carried_out)
    with pytest.raises(KernelError) as info:
        kernel.send(links.create("bridge", "br0", index=5))
    assert (info.value.errno, info.value.answered) == (errno.ENOBUFS, answered)
    assert (kernel.link("br0") is not None) == carried_out


def test_refused_call_keeps_its_own_error() -> None:
    """A call that the fake refuses anyway raises the error of the kernel, not the injected one."""
    kernel = FakeKernel()
    kernel.faults.fail(1, errno.ENOBUFS, carried_out=True)
    with pytest.raises(KernelError, match=r"fake: create nonsense x: E?(OP)?NOTSUPP? \(Unknown device type\)"):
        kernel.send(links.create("nonsense", "x", index=5))


def test_any_exception_can_be_raised_and_faults_can_be_cleared() -> None:
    kernel = FakeKernel()
    kernel.faults.fail(1, KeyboardInterrupt())
    kernel.faults.fail(2)
    with pytest.raises(KeyboardInterrupt):
        kernel.links()
    kernel.faults.clear()
    assert kernel.links()


def test_state_is_a_snapshot_compared_by_value() -> None:
    """The state of a FakeKernel is a snapshot that is compared by value."""
    kernel = FakeKernel()
    kernel.add_link("v0", addresses=["10.0.0.1/24"], up=True)
    before = kernel.state()
    assert before == kernel.state()
    kernel.set_sysctl("ipv4/conf/v0/rp_filter", "2")
    assert kernel.state() != before
    kernel.set_sysctl("ipv4/conf/v0/rp_filter", "0")
    assert kernel.state() == before
    kernel.pin("/run/netns/x")
    assert kernel.state() != before


def test_sysctls_that_belong_to_no_link_are_kept_as_text() -> None:
    kernel = FakeKernel()
    kernel.sysctls["ipv4/tcp_rmem"] = "4096 131072"
    assert kernel.set_sysctl("ipv4/tcp_rmem", "4096 1")
    assert not kernel.set_sysctl("ipv4/tcp_rmem", "4096 1")
    assert kernel.sysctl("ipv4/tcp_rmem") == "4096 1"


def test_fake_kernel_may_have_no_ipv6() -> None:
    """A FakeKernel without IPv6 has no IPv6 addresses and sysctls, and refuses IPv6 routes and addresses."""
    kernel = FakeKernel(ipv6=False)
    link = kernel.add_link("v0", index=7, addresses=["10.0.0.1/24"], up=True)
    assert (len(link.conf(2)) > 8, link.conf(10)) == (True, ())
    assert [item.interface.version for item in kernel.addresses()] == [4]
    assert kernel.sysctl("ipv6/conf/v0/disable_ipv6") is None
    with pytest.raises(KernelError) as info:
        kernel.send(route.add(route_entry("fd09::/32", 7)))
    assert info.value.errno == errno.EOPNOTSUPP
    with pytest.raises(KernelError, match="add link v1: "):
        kernel.add_link("v1", addresses=["fd00::1/64"])


def test_moved_link_gets_a_free_index_if_taken() -> None:
    """A link that is moved gets a free index if its own is taken there."""
    here, there = FakeKernel("here"), FakeKernel("there")
    here.add_link("v0", index=7)
    there.add_link("w0", index=7)
    here.send(links.change(7, namespace=there.fd))
    found = there.link("v0")
    assert found
    assert found.index == 8


def test_link_without_mac_gets_no_link_local_address() -> None:
    kernel = FakeKernel()
    kernel.add_link("tun0", mac=None, up=True)
    assert kernel.addresses() == []


def test_edit_link_changes_a_link_directly() -> None:
    kernel = FakeKernel()
    link = kernel.add_link("v0")
    kernel.edit_link(link.index, lower=9)
    assert kernel.link("v0") == replace(link, lower=9)
