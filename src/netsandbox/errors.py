"""Every exception of netsandbox.

    NetSandboxError
    ├── SpecError (ValueError)                 the request is invalid: every wrong field at once
    │   └── SourceNotFoundError                the link to attach is not on the host (also an InterfaceNotFoundError)
    ├── KernelError (OSError)                  the kernel refused, with its errno and its own words
    │   ├── NameConflictError                  the name of a link is taken in its target namespace (EEXIST)
    │   ├── InterfaceNotFoundError             no such interface (ENODEV)
    │   ├── SandboxExistsError                 the sandbox name is in use (EEXIST)
    │   └── SandboxNotFoundError               no such sandbox (ENOENT)
    ├── RouteConflictError                     an address overlaps a network that another link reaches
    ├── SandboxClosedError                     the sandbox was closed or destroyed
    ├── ProtocolError                          a netlink message or a record is malformed
    └── RollbackError                          a failed operation could not be rolled back completely

This module imports nothing else of netsandbox, so that every layer can raise these. docs/errors.md has a remedy for
each.
"""

import errno as _errno
import os
from collections.abc import Iterable
from typing import NamedTuple


def errno_name(number: int) -> str:
    """Return the symbolic name of an error number as the kernel has it: Python knows 95 as ``ENOTSUP``."""
    return "EOPNOTSUPP" if number == _errno.EOPNOTSUPP else _errno.errorcode.get(number, str(number))


class NetSandboxError(Exception):
    """The base of every exception of netsandbox.

    Attributes:
        sandbox: Name of the sandbox concerned, if any.
        link: Name of the link concerned, if any.
        operation: What the caller requested, in words.
        step: The ip(8) command that failed.
        undone: The commands that rolled back what had been done, in order.
        left: The commands that you have to carry out by hand; empty unless rolling back failed.
    """

    code = "error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.sandbox: str | None = None
        self.link: str | None = None
        self.operation: str | None = None
        self.step: str | None = None
        self.undone: tuple[str, ...] = ()
        self.left: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What went wrong, without the circumstances."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        """Return the request, the answer, and what was undone."""
        about = self.operation or (self.sandbox and f"sandbox {self.sandbox}")
        text = f"{about}: {self.message}" if about and about not in self.message else self.message
        if self.undone:
            text += f"; undone: {', '.join(self.undone)}"
        if self.left:
            text += f"; LEFT TO DO BY HAND: {', '.join(self.left)}"
        return text


class Problem(NamedTuple):
    """One invalid field of a request.

    Attributes:
        field: Name of the field, as the caller wrote it.
        value: The value that was given; None: it is missing.
        reason: What is wrong with it.
    """

    field: str
    value: object
    reason: str

    def __str__(self) -> str:
        """Return the field and the value, if there is one, and the reason."""
        return f"{self.field}: {self.reason}" if self.value is None else f"{self.field} {self.value!r}: {self.reason}"


class SpecError(NetSandboxError, ValueError):
    """The request is invalid; nothing was changed.

    Attributes:
        problems: Every invalid field, not only the first.
    """

    code = "spec"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        # By name: in SourceNotFoundError, the next class is not this one's base.
        NetSandboxError.__init__(self, "; ".join(str(problem) for problem in self.problems))


class KernelError(NetSandboxError, OSError):
    """The kernel refused.

    Attributes:
        errno: The kernel's error number.
        request: What the kernel was asked to do, in words.
        extack: The kernel's own explanation (netlink extended acknowledgement), if it gave one.
        answered: False if no answer arrived: the kernel may have carried out the request, which was rolled back.
    """

    code = "kernel"

    def __init__(self, errno: int, request: str, extack: str | None = None, *, answered: bool = True) -> None:
        NetSandboxError.__init__(self)
        OSError.__init__(self, errno, extack or os.strerror(errno))
        self.request = request
        self.extack = extack
        self.answered = answered

    @property
    def errno_name(self) -> str:
        """The symbolic name of the error number, such as ``EEXIST``."""
        return errno_name(self.errno or 0)

    @property
    def message(self) -> str:
        """The request, then the answer of the kernel."""
        doubt = "" if self.answered else ", no answer arrived"
        return f"{self.request}: {self.errno_name} ({self.strerror}{doubt})"


class NameConflictError(KernelError):
    """The name of a link is taken in the namespace that it is created in or moved to."""

    code = "name-conflict"

    def __init__(self, request: str, taken: str) -> None:
        super().__init__(_errno.EEXIST, request, taken)


class InterfaceNotFoundError(KernelError):
    """There is no such interface."""

    code = "interface-not-found"

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(_errno.ENODEV, request, reason)


class SourceNotFoundError(SpecError, InterfaceNotFoundError):
    """The link to attach does not exist on the host."""

    code = "source-not-found"

    def __init__(self, problems: Iterable[Problem]) -> None:
        SpecError.__init__(self, problems)
        self.errno = _errno.ENODEV
        self.strerror = os.strerror(_errno.ENODEV)
        self.request = f"look up the link {self.problems[0].value!r}"
        self.extack = None
        self.answered = True

    @property
    def message(self) -> str:
        """The invalid fields."""
        return "; ".join(str(problem) for problem in self.problems)


class SandboxExistsError(KernelError):
    """The name of the sandbox is in use."""

    code = "sandbox-exists"

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(_errno.EEXIST, request, reason)


class SandboxNotFoundError(KernelError):
    """There is no such sandbox."""

    code = "sandbox-not-found"

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(_errno.ENOENT, request, reason)


class RouteConflictError(NetSandboxError):
    """An address overlaps a network that another link of the sandbox reaches already.

    Attributes:
        address: The address that was requested.
        route: The existing route or address it overlaps.
        owner: Name of the link that has it.
    """

    code = "route-conflict"

    def __init__(self, address: str, route: str, owner: str) -> None:
        super().__init__(f"cannot program address {address}: it conflicts with existing route {route} of link {owner}")
        self.address = address
        self.route = route
        self.owner = owner


class SandboxClosedError(NetSandboxError):
    """The sandbox was closed or destroyed; no call acts on the host instead."""

    code = "sandbox-closed"


class ProtocolError(NetSandboxError):
    """A netlink message or a record is malformed."""

    code = "protocol"


class RollbackError(NetSandboxError):
    """A failed operation could not be rolled back completely; ``__cause__`` is the first error.

    Attributes:
        failures: The errors of rolling back, one for each command in *left*.
    """

    code = "rollback"

    def __init__(self, first: BaseException, failures: Iterable[BaseException]) -> None:
        self.failures = tuple(failures)
        why = first.message if isinstance(first, NetSandboxError) else repr(first)
        super().__init__(f"{why}; and rolling back failed: {'; '.join(map(str, self.failures))}")
        self.errno: int | None = getattr(first, "errno", None)
        self.extack: str | None = getattr(first, "extack", None)
