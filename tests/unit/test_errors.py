"""Exceptions: their texts, codes, base classes and attributes."""

from __future__ import annotations

import errno

import pytest

from netsandbox import (
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
    errors,
)

MTU = Problem("mtu", 9, "is not a number from 68 to 65535")
GONE = Problem("source", "veth9", "does not exist on the host")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NetSandboxError(), ""),
        (NetSandboxError("it is broken"), "it is broken"),
        (
            KernelError(errno.EEXIST, "rename link 7 to eth0", "name in use"),
            "rename link 7 to eth0: EEXIST (name in use)",
        ),
        (KernelError(errno.ENODEV, "look up link eth0"), "look up link eth0: ENODEV (No such device)"),
        (
            KernelError(errno.EAGAIN, "list links", answered=False),
            "list links: EAGAIN (Resource temporarily unavailable, no answer arrived)",
        ),
        (KernelError(4095, "list links"), "list links: 4095 (Unknown error 4095)"),
        (KernelError(0, "list links"), "list links: 0 (Success)"),
        (SpecError([MTU]), "mtu 9: is not a number from 68 to 65535"),
        (SpecError([MTU, GONE]), "mtu 9: is not a number from 68 to 65535; source 'veth9': does not exist on the host"),
        (SourceNotFoundError([GONE, MTU]), f"{GONE}; {MTU}"),
        (NameConflictError("move v0", "the host has a link v0"), "move v0: EEXIST (the host has a link v0)"),
        (InterfaceNotFoundError("find eth0", "it is gone"), "find eth0: ENODEV (it is gone)"),
        (SandboxExistsError("create web", "the name is in use"), "create web: EEXIST (the name is in use)"),
        (SandboxNotFoundError("open web", "nothing is there"), "open web: ENOENT (nothing is there)"),
        (
            RouteConflictError("10.0.0.2/24", "10.0.0.0/8", "eth0"),
            "cannot program address 10.0.0.2/24: it conflicts with existing route 10.0.0.0/8 of link eth0",
        ),
        (SandboxClosedError("it is closed"), "it is closed"),
        (ProtocolError("message of 3 bytes"), "message of 3 bytes"),
        (
            RollbackError(KernelError(errno.EBUSY, "add x"), [KernelError(errno.EPERM, "drop"), ValueError("z")]),
            "add x: EBUSY (Device or resource busy); and rolling back failed: drop: EPERM (Operation not permitted); z",
        ),
        (RollbackError(KeyboardInterrupt(), [ValueError("z")]), "KeyboardInterrupt(); and rolling back failed: z"),
    ],
)
def test_error_text_has_the_request_and_the_reason(error: NetSandboxError, text: str) -> None:
    """The text of an exception has the request or the invalid values, and the reason."""
    assert str(error) == error.message == text


def test_error_text_has_the_operation_and_the_rollback() -> None:
    """The text has the sandbox or the operation, the undone commands and those left to do by hand."""
    error = KernelError(errno.EPERM, "add route to 10.0.0.0/8")
    error.sandbox = "web"
    assert str(error) == "sandbox web: add route to 10.0.0.0/8: EPERM (Operation not permitted)"
    error.operation = "add v0 to web"
    error.undone = ("ip link set dev eth0 down", "ip link set dev eth0 name v0")
    assert str(error) == (
        "add v0 to web: add route to 10.0.0.0/8: EPERM (Operation not permitted); "
        "undone: ip link set dev eth0 down, ip link set dev eth0 name v0"
    )
    error.left = ("ip link delete dev br0",)
    assert str(error).endswith("; LEFT TO DO BY HAND: ip link delete dev br0")
    assert error.message == "add route to 10.0.0.0/8: EPERM (Operation not permitted)"


@pytest.mark.parametrize(
    ("error", "codes", "kinds"),
    [
        (SpecError([MTU]), ("spec", None), (ValueError,)),
        (SourceNotFoundError([GONE]), ("source-not-found", errno.ENODEV), (SpecError, InterfaceNotFoundError, OSError)),
        (KernelError(errno.EBUSY, "x"), ("kernel", errno.EBUSY), (OSError,)),
        (NameConflictError("x", "y"), ("name-conflict", errno.EEXIST), (KernelError,)),
        (InterfaceNotFoundError("x", "y"), ("interface-not-found", errno.ENODEV), (KernelError,)),
        (SandboxExistsError("x", "y"), ("sandbox-exists", errno.EEXIST), (KernelError,)),
        (SandboxNotFoundError("x", "y"), ("sandbox-not-found", errno.ENOENT), (KernelError,)),
        (RouteConflictError("a", "b", "c"), ("route-conflict", None), ()),
        (SandboxClosedError("x"), ("sandbox-closed", None), ()),
        (ProtocolError("x"), ("protocol", None), ()),
        (RollbackError(KernelError(errno.EBUSY, "x"), []), ("rollback", errno.EBUSY), ()),
        (RollbackError(ValueError("x"), []), ("rollback", None), ()),
    ],
)
def test_exceptions_have_codes_and_base_classes(
    error: NetSandboxError, codes: tuple[str, int | None], kinds: tuple[type, ...]
) -> None:
    """Every exception has a code, an errno if there is one, and the base classes that callers catch."""
    assert (error.code, getattr(error, "errno", None)) == codes
    assert all(isinstance(error, kind) for kind in (NetSandboxError, *kinds))


def test_exceptions_have_attributes_for_programs() -> None:
    """Exceptions have attributes for the request, the errno, the extack message and the circumstances."""
    refused = KernelError(errno.EEXIST, "rename link 7 to eth0", "name in use")
    assert (refused.request, refused.extack, refused.errno_name, refused.answered) == (
        "rename link 7 to eth0",
        "name in use",
        "EEXIST",
        True,
    )
    assert KernelError(errno.EOPNOTSUPP, "x").errno_name == "EOPNOTSUPP"  # errno.errorcode has ENOTSUP for this number
    assert (refused.strerror, KernelError(errno.EEXIST, "x").strerror) == ("name in use", "File exists")
    assert (refused.sandbox, refused.link, refused.operation, refused.step, refused.undone, refused.left) == (
        None,
        None,
        None,
        None,
        (),
        (),
    )
    conflict = RouteConflictError("10.0.0.2/24", "10.0.0.0/8", "eth0")
    assert (conflict.address, conflict.route, conflict.owner) == ("10.0.0.2/24", "10.0.0.0/8", "eth0")
    rollback = RollbackError(refused, [conflict])
    assert (rollback.failures, rollback.extack) == ((conflict,), "name in use")


def test_source_not_found_has_problems_and_an_errno() -> None:
    """SourceNotFoundError has the problems of a SpecError and the attributes of a KernelError."""
    error = SourceNotFoundError([GONE, MTU])
    assert error.problems == (GONE, MTU)
    assert (error.errno_name, error.strerror, error.extack, error.answered) == ("ENODEV", "No such device", None, True)
    assert error.request == "look up the link 'veth9'"


def test_errors_docstring_lists_every_exception() -> None:
    """The docstring of errors.py lists every exception, and every exception has a code of its own."""
    drawn = errors.__doc__ or ""
    classes = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, NetSandboxError)]
    assert [item.__name__ for item in classes if item.__name__ not in drawn] == []
    assert len({item.code for item in classes}) == len(classes)
