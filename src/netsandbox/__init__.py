"""Network sandboxes for Linux: all of it or none of it.

A public name is imported when it is first used (PEP 562): a program that only lists sandboxes does not pay for the
modules that change them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netsandbox._bulk import Summary as Summary
    from netsandbox._events.iterator import Events as Events
    from netsandbox._events.tracker import Event as Event
    from netsandbox._plan.model import Plan as Plan
    from netsandbox.adverts import Advertise as Advertise
    from netsandbox.adverts import Adverts as Adverts
    from netsandbox.errors import InterfaceNotFoundError as InterfaceNotFoundError
    from netsandbox.errors import KernelError as KernelError
    from netsandbox.errors import NameConflictError as NameConflictError
    from netsandbox.errors import NetSandboxError as NetSandboxError
    from netsandbox.errors import Problem as Problem
    from netsandbox.errors import ProtocolError as ProtocolError
    from netsandbox.errors import RollbackError as RollbackError
    from netsandbox.errors import RouteConflictError as RouteConflictError
    from netsandbox.errors import SandboxClosedError as SandboxClosedError
    from netsandbox.errors import SandboxExistsError as SandboxExistsError
    from netsandbox.errors import SandboxNotFoundError as SandboxNotFoundError
    from netsandbox.errors import SourceNotFoundError as SourceNotFoundError
    from netsandbox.errors import SpecError as SpecError
    from netsandbox.interface import Interface as Interface
    from netsandbox.links import *  # noqa: F403
    from netsandbox.routes import Gateway as Gateway
    from netsandbox.routes import Neighbor as Neighbor
    from netsandbox.routes import Route as Route
    from netsandbox.sandbox import Sandbox as Sandbox
    from netsandbox.spec import InterfaceSpec as InterfaceSpec
    from netsandbox.stats import Statistics as Statistics

    __all__: list[str]

_MODULES = {  # what each module has; `links` lists the kinds of link itself
    "_bulk": "Summary",
    "_events.iterator": "Events",
    "_events.tracker": "Event",
    "_plan.model": "Plan",
    "adverts": "Advertise Adverts",
    "errors": "InterfaceNotFoundError KernelError NameConflictError NetSandboxError Problem ProtocolError RollbackError"
    " RouteConflictError SandboxClosedError SandboxExistsError SandboxNotFoundError SourceNotFoundError SpecError",
    "interface": "Interface",
    "routes": "Gateway Neighbor Route",
    "sandbox": "Sandbox",
    "spec": "InterfaceSpec",
    "stats": "Statistics",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name == "__all__":
        value: object = __dir__()
    elif name in _MODULE_OF:
        value = getattr(import_module(f"netsandbox.{_MODULE_OF[name]}"), name)
    elif name in import_module("netsandbox.links").__all__:
        value = getattr(import_module("netsandbox.links"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted((*_MODULE_OF, *import_module("netsandbox.links").__all__))
