"""Threads: each begins in the namespaces of the thread that starts it."""

import errno
import threading
from collections.abc import Callable
from typing import TypeVar

from netsandbox.errors import KernelError

T = TypeVar("T")


def start(function: Callable[[], T], *, daemon: bool = False) -> Callable[[], T]:
    """Call *function* on a thread of its own; return a function that waits for its outcome, and returns or raises it.

    The interpreter exits without waiting for the thread of a *daemon*.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  outcome() raises it, on the thread of the caller
            errors.append(error)

    def outcome() -> T:
        thread.join()
        if not errors:
            return results[0]
        try:
            raise errors[0]
        finally:
            errors.clear()  # no cycle between this frame and the traceback

    thread = threading.Thread(target=body, name="netsandbox", daemon=daemon)
    try:
        thread.start()
    except RuntimeError as error:
        raise KernelError(errno.EAGAIN, "start a thread", str(error)) from error
    return outcome


def on_a_thread(function: Callable[[], T]) -> T:
    """Call *function* on a thread of its own; return what it returns, or raise what it raises."""
    return start(function, daemon=True)()
