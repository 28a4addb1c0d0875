"""The public names: those that are promised, and no others."""

from __future__ import annotations

import pytest

import netsandbox
from netsandbox import Interface, Sandbox

PROMISED = """
    Sandbox Interface InterfaceSpec Statistics Route Neighbor Plan Problem
    Bridge Dummy Ifb Ipvlan Kind Macvlan Tap Veth Vlan Vrf Vxlan
    Advertise Adverts Event Events Gateway
    NetSandboxError SpecError KernelError RouteConflictError NameConflictError ProtocolError SandboxExistsError
    SandboxNotFoundError SandboxClosedError InterfaceNotFoundError SourceNotFoundError RollbackError
    Summary
"""
SANDBOX = """
    create open adopt host temporary list name path interfaces close destroy
    create_many destroy_many add_many
    add_interface add_interfaces plan_interface remove_interface remove_interfaces
    set_gateway unset_gateway gateway4 gateway6 add_route remove_route routes add_address remove_address
    add_neighbor remove_neighbor neighbors disable_arp_for_vip apply_os_tweaks events run popen exec
"""
INTERFACE = "source name index mac mtu addresses routes master is_bridge statistics remove"


def test_what_is_promised_is_there_and_nothing_else_is_public() -> None:
    assert set(netsandbox.__all__) == set(PROMISED.split())
    assert dir(netsandbox) == netsandbox.__all__


def test_a_name_that_is_none_is_told_so() -> None:
    with pytest.raises(AttributeError) as info:
        getattr(netsandbox, "Sandbag")  # noqa: B009  mypy would see through netsandbox.Sandbag
    assert str(info.value) == "module 'netsandbox' has no attribute 'Sandbag'"


def test_the_names_are_listed_once_and_in_order() -> None:
    assert netsandbox.__all__ == sorted(set(netsandbox.__all__))


@pytest.mark.parametrize(("of", "names"), [(Sandbox, SANDBOX), (Interface, INTERFACE)], ids=["Sandbox", "Interface"])
def test_a_promised_verb_is_there(of: type, names: str) -> None:
    assert [name for name in names.split() if not hasattr(of, name)] == []


@pytest.mark.parametrize("name", netsandbox.__all__)
def test_a_public_name_says_what_it_is(name: str) -> None:
    thing = getattr(netsandbox, name)
    assert thing.__doc__
    assert thing.__name__ == name
