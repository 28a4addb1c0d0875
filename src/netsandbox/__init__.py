"""Network sandboxes for Linux: all of it or none of it, in a millisecond."""

from netsandbox._outline import Plan
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
from netsandbox.links import Bridge
from netsandbox.sandbox import Sandbox
from netsandbox.spec import InterfaceSpec, Neighbor, Route
from netsandbox.stats import Statistics

__all__ = [
    "Bridge",
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
]
