"""The fake itself: how calls are made to fail. That it does what the kernel does is said in tests/contract."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from netsandbox import KernelError
from netsandbox.netlink import link_requests as requests
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
def test_a_call_that_fails_was_carried_out_or_not(*, answered: bool, carried_out: bool) -> None:
    kernel = FakeKernel()
    kernel.faults.fail(1, errno.ENOBUFS, answered=answered, carried_out=carried_out)
    with pytest.raises(KernelError) as info:
        kernel.send(requests.create("bridge", "br0", index=5))
    assert (info.value.errno, info.value.answered) == (errno.ENOBUFS, answered)
    assert (kernel.link("br0") is not None) == carried_out


def test_a_call_that_is_refused_anyway_is_refused_with_the_kernels_words() -> None:
    kernel = FakeKernel()
    kernel.faults.fail(1, errno.ENOBUFS, carried_out=True)
    with pytest.raises(KernelError, match=r"fake: create nonsense x: E?(OP)?NOTSUPP? \(Unknown device type\)"):
        kernel.send(requests.create("nonsense", "x", index=5))


def test_any_exception_can_be_raised_and_faults_can_be_cleared() -> None:
    kernel = FakeKernel()
    kernel.faults.fail(1, KeyboardInterrupt())
    kernel.faults.fail(2)
    with pytest.raises(KeyboardInterrupt):
        kernel.links()
    kernel.faults.clear()
    assert kernel.links()


def test_the_state_is_compared_by_value_and_does_not_change_later() -> None:
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


def test_settings_that_belong_to_no_link_are_kept_as_text() -> None:
    kernel = FakeKernel()
    kernel.sysctls["ipv4/tcp_rmem"] = "4096 131072"
    assert kernel.set_sysctl("ipv4/tcp_rmem", "4096 1")
    assert not kernel.set_sysctl("ipv4/tcp_rmem", "4096 1")
    assert kernel.sysctl("ipv4/tcp_rmem") == "4096 1"


def test_without_ipv6_there_is_none() -> None:
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


def test_a_link_gets_a_free_index_where_its_own_is_taken() -> None:
    here, there = FakeKernel("here"), FakeKernel("there")
    here.add_link("v0", index=7)
    there.add_link("w0", index=7)
    here.send(requests.modify(7, namespace=there.fd))
    found = there.link("v0")
    assert found
    assert found.index == 8


def test_a_link_without_mac_makes_no_address_of_it() -> None:
    kernel = FakeKernel()
    kernel.add_link("tun0", mac=None, up=True)
    assert kernel.addresses() == []


def test_a_link_can_be_changed_behind_the_back_of_everybody() -> None:
    kernel = FakeKernel()
    link = kernel.add_link("v0")
    kernel.edit_link(link.index, lower=9)
    assert kernel.link("v0") == replace(link, lower=9)
