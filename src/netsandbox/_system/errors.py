"""How an error of a system call becomes a `KernelError`."""

from types import TracebackType

from netsandbox.errors import KernelError


class Asking:
    """A block of system calls: an OSError in it becomes a KernelError that says what was asked.

    Args:
        request: What is asked of the kernel, in words.
        reason: Why it fails, in words; those of the errno if left out.
        answered: False if the kernel may have done what was asked in spite of an error.
    """

    __slots__ = ("_answered", "_reason", "_request")

    def __init__(self, request: str, reason: str | None = None, *, answered: bool = True) -> None:
        self._request, self._reason, self._answered = request, reason, answered

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raise an OSError as a KernelError."""
        if isinstance(error, OSError) and not isinstance(error, KernelError):
            raise KernelError(error.errno or 0, self._request, self._reason, answered=self._answered) from error
