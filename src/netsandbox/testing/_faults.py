"""Makes the n-th call fail."""

import errno
from collections.abc import Callable
from typing import TypeVar

from netsandbox.errors import KernelError

T = TypeVar("T")


class Refusal(Exception):  # noqa: N818  becomes a KernelError with the words of the request
    """What the kernel says to a request: an errno, and sometimes why."""

    def __init__(self, code: int, extack: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.extack = extack


class Faults:
    """Makes calls fail: counts those of all the kernels that share it.

    Attributes:
        calls: What was asked, in order.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._due: dict[int, tuple[int | BaseException, bool, bool]] = {}

    def fail(
        self, n: int, error: int | BaseException = errno.EIO, *, answered: bool = True, carried_out: bool = False
    ) -> None:
        """Make the *n*-th call from now on fail; may be said of several calls.

        Args:
            n: 1 is the next call.
            error: An errno, which becomes a KernelError; or what is raised as it is.
            answered: Whether the kernel's answer arrived (`KernelError.answered`).
            carried_out: Whether the kernel did what was asked all the same.
        """
        self._due[len(self.calls) + n] = (error, answered, carried_out)

    def clear(self) -> None:
        """Let all calls through from now on."""
        self._due.clear()

    def call(self, text: str, work: Callable[[], T]) -> T:
        """Do *work*, which *text* says, and return what it returns, or fail if this call is to fail."""
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
