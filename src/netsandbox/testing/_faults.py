"""Faults on purpose: make the n-th call fail."""

import errno
from collections.abc import Callable
from typing import TypeVar

from netsandbox.errors import KernelError

T = TypeVar("T")


class Refusal(Exception):  # noqa: N818  becomes a KernelError with the text of the request
    """The answer of the kernel to a request that it refuses: an errno, and sometimes an extack message."""

    def __init__(self, code: int, extack: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.extack = extack


class Faults:
    """Makes calls fail; counts the calls of all kernels that share it.

    Attributes:
        calls: The calls, in order.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._due: dict[int, tuple[int | BaseException, bool, bool]] = {}

    def fail(
        self, n: int, error: int | BaseException = errno.EIO, *, answered: bool = True, carried_out: bool = False
    ) -> None:
        """Make the *n*-th call from now on fail; several calls can be made to fail.

        Args:
            n: 1 is the next call.
            error: An errno, which becomes a KernelError; or the exception to raise.
            answered: Whether the kernel's answer arrives (`KernelError.answered`).
            carried_out: Whether the kernel carries out the request nevertheless.
        """
        self._due[len(self.calls) + n] = (error, answered, carried_out)

    def clear(self) -> None:
        """Make no further call fail."""
        self._due.clear()

    def call(self, text: str, work: Callable[[], T]) -> T:
        """Count a call, which *text* describes; return the result of *work*, or fail if this call is to fail."""
        self.calls.append(text)
        fault = self._due.pop(len(self.calls), None)
        try:
            if fault is None:
                return work()
            error, answered, carried_out = fault
            if carried_out:
                work()
        except Refusal as refusal:
            raise KernelError(refusal.code, text, refusal.extack) from None
        raise error if isinstance(error, BaseException) else KernelError(error, text, answered=answered)
