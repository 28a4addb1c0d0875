"""Network sandboxes for Linux: all of it or none of it.

The names are imported when they are first used (PEP 562): a program that only lists sandboxes does not pay for those
that change them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netsandbox import links
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
    from netsandbox.links import *  # noqa: F403
    from netsandbox.routes import Gateway, Neighbor, Route
    from netsandbox.sandbox import Sandbox
    from netsandbox.spec import InterfaceSpec
    from netsandbox.stats import Statistics

    __all__ = [
        "Advertise",
        "Adverts",
        "Event",
        "Events",
        "Gateway",
        "Interface",
        "InterfaceNotFoundError",
        "InterfaceSpec",
        "KernelError",
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
    ]
    __all__ += links.__all__

_HOMES = {
    "Advertise": "adverts",
    "Adverts": "adverts",
    "Event": "_events.tracker",
    "Events": "_events.iterator",
    "Gateway": "routes",
    "Interface": "interface",
    "InterfaceNotFoundError": "errors",
    "InterfaceSpec": "spec",
    "KernelError": "errors",
    "NameConflictError": "errors",
    "Neighbor": "routes",
    "NetSandboxError": "errors",
    "Plan": "_plan.model",
    "Problem": "errors",
    "ProtocolError": "errors",
    "RollbackError": "errors",
    "Route": "routes",
    "RouteConflictError": "errors",
    "Sandbox": "sandbox",
    "SandboxClosedError": "errors",
    "SandboxExistsError": "errors",
    "SandboxNotFoundError": "errors",
    "SourceNotFoundError": "errors",
    "SpecError": "errors",
    "Statistics": "stats",
    "Summary": "_bulk",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used; `links` lists the kinds of link."""
    links = import_module("netsandbox.links")
    if name == "__all__":
        value: object = sorted((*_HOMES, *links.__all__))
    elif name in links.__all__:
        value = getattr(links, name)
    elif name in _HOMES:
        value = getattr(import_module(f"netsandbox.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted((*_HOMES, *import_module("netsandbox.links").__all__))
