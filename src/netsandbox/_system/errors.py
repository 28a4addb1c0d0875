"""How an error of a system call becomes a `KernelError`."""

from types import TracebackType

from netsandbox.errors import KernelError


class Asking:
    """A block of system calls: an OSError in it becomes a KernelError with these arguments and its errno."""

    def __init__(self, request: str, reason: str | None = None, *, answered: bool = True) -> None:
        self._request, self._reason, self._answered = request, reason, answered

    def __enter__(self) -> None:
        """A class, as a generator for `contextlib.contextmanager` would take three times as long."""

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, KernelError):
            raise KernelError(error.errno or 0, self._request, self._reason, answered=self._answered) from error
