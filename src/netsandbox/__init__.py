"""Network sandboxes for Linux: all of it or none of it.

The names are imported when they are first used (PEP 562): a program that only lists sandboxes does not pay for those
that change them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netsandbox._bulk import Summary
    from netsandbox._events.iterator import Events
    from netsandbox._events.tracker import Event
    from netsandbox._plan.model import Plan
    from netsandbox.adverts import Advertise, Adverts
    from netsandbox.errors import (
        InterfaceNotFoundError,
        KernelError,
        NameConflictError,
        NetSandboxError,
        Problem,
        ProtocolError,
        RollbackError,
        RouteConflictError,
        SandboxClosedError,
        SandboxExistsError,
        SandboxNotFoundError,
        SourceNotFoundError,
        SpecError,
    )
    from netsandbox.interface import Interface
    from netsandbox.links import Bridge, Dummy, Ifb, Ipvlan, Kind, Macvlan, Tap, Veth, Vlan, Vxlan
    from netsandbox.sandbox import Sandbox
    from netsandbox.spec import Gateway, InterfaceSpec, Neighbor, Route
    from netsandbox.stats import Statistics

_HOMES = {
    "Advertise": "adverts",
    "Adverts": "adverts",
    "Bridge": "links",
    "Dummy": "links",
    "Event": "_events.tracker",
    "Events": "_events.iterator",
    "Gateway": "spec",
    "Ifb": "links",
    "Interface": "interface",
    "InterfaceNotFoundError": "errors",
    "InterfaceSpec": "spec",
    "Ipvlan": "links",
    "KernelError": "errors",
    "Kind": "links",
    "Macvlan": "links",
    "NameConflictError": "errors",
    "Neighbor": "spec",
    "NetSandboxError": "errors",
    "Plan": "_plan.model",
    "Problem": "errors",
    "ProtocolError": "errors",
    "RollbackError": "errors",
    "Route": "spec",
    "RouteConflictError": "errors",
    "Sandbox": "sandbox",
    "SandboxClosedError": "errors",
    "SandboxExistsError": "errors",
    "SandboxNotFoundError": "errors",
    "SourceNotFoundError": "errors",
    "SpecError": "errors",
    "Statistics": "stats",
    "Summary": "_bulk",
    "Tap": "links",
    "Veth": "links",
    "Vlan": "links",
    "Vxlan": "links",
}
__all__ = [
    "Advertise",
    "Adverts",
    "Bridge",
    "Dummy",
    "Event",
    "Events",
    "Gateway",
    "Ifb",
    "Interface",
    "InterfaceNotFoundError",
    "InterfaceSpec",
    "Ipvlan",
    "KernelError",
    "Kind",
    "Macvlan",
    "NameConflictError",
    "Neighbor",
    "NetSandboxError",
    "Plan",
    "Problem",
    "ProtocolError",
    "RollbackError",
    "Route",
    "RouteConflictError",
    "Sandbox",
    "SandboxClosedError",
    "SandboxExistsError",
    "SandboxNotFoundError",
    "SourceNotFoundError",
    "SpecError",
    "Statistics",
    "Summary",
    "Tap",
    "Veth",
    "Vlan",
    "Vxlan",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"netsandbox.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
