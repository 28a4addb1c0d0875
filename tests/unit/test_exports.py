"""The public names of the package and of its main classes."""

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


def test_package_exports_exactly_the_promised_names() -> None:
    assert set(netsandbox.__all__) == set(PROMISED.split())
    assert dir(netsandbox) == netsandbox.__all__


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError) as info:
        getattr(netsandbox, "Sandbag")  # noqa: B009  mypy would see through netsandbox.Sandbag
    assert str(info.value) == "module 'netsandbox' has no attribute 'Sandbag'"


def test_exported_names_are_sorted_and_unique() -> None:
    assert netsandbox.__all__ == sorted(set(netsandbox.__all__))


@pytest.mark.parametrize(("of", "names"), [(Sandbox, SANDBOX), (Interface, INTERFACE)], ids=["Sandbox", "Interface"])
def test_class_has_the_promised_members(of: type, names: str) -> None:
    assert [name for name in names.split() if not hasattr(of, name)] == []


@pytest.mark.parametrize("name", netsandbox.__all__)
def test_public_object_has_its_docstring_and_name(name: str) -> None:
    """Every public object has a docstring, and its exported name as __name__."""
    thing = getattr(netsandbox, name)
    assert thing.__doc__
    assert thing.__name__ == name
