"""The class `Sandbox`: its lifecycle, and what runs inside."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from netsandbox._facade.many import Many
from netsandbox._plan.model import Plan
from netsandbox._run import lifecycle, maintenance
from netsandbox._run.handle import Handle
from netsandbox._run.release import release
from netsandbox.spec import InterfaceSpec, expect_all

if TYPE_CHECKING:
    import subprocess

    from netsandbox._events.iterator import Events

T = TypeVar("T")
P = ParamSpec("P")


class Sandbox(Many):
    """A network namespace, pinned at a path, with the interfaces that are attached to it.

    `create`, `open`, `adopt`, `host` and `temporary` return one. At the end of a ``with`` statement it is closed; a
    temporary one is destroyed. Links come from the *host* and return to it: the namespace of the thread that makes the
    object, or the one at the path *host*.

    A verb that fails has changed nothing: it is rolled back, and the error says so. After `close` or `destroy` every
    call raises SandboxClosedError. Several threads and processes may use a sandbox at once.
    """

    def __init__(self, handle: Handle, *, temporary: bool = False) -> None:
        """Not for users: call `create`, `open`, `adopt`, `host` or `temporary`."""
        super().__init__(handle)
        self._temporary = temporary

    # --- creating, closing, destroying ---

    @classmethod
    def create(
        cls, name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Self:
        """Create a sandbox: a new network namespace, pinned under a name, with its loopback link up.

        Args:
            name: Its name, at most 64 bytes; or an absolute path, where it is pinned.
            replace: Whether to destroy a sandbox that has this name, after returning its links to the host. If creating
                the new one fails, the old one stays as it was; but with *interfaces*, it is destroyed first, and stays
                destroyed.
            host: Path of the namespace that links come from; the calling thread's if left out.
            interfaces: What to attach, in this order; see `add_interface`. If it fails, there is no sandbox.

        Raises:
            SpecError: The name is invalid.
            SandboxExistsError: The name is in use.
            KernelError: The kernel refused; nothing is left behind.
            NetSandboxError: As of `add_interface`.
        """
        return cls._create(name, expect_all("spec", interfaces, InterfaceSpec), replace_old=replace, host=host)

    @classmethod
    def open(cls, name: str, *, host: str | None = None) -> Self:
        """Open a sandbox that exists, with its interfaces.

        Args:
            name: Its name or path.
            host: Path of the namespace that links come from; the calling thread's if left out.

        Raises:
            SandboxNotFoundError: There is no such sandbox, or its namespace was not created or adopted by netsandbox.
            KernelError: It cannot be opened.
        """
        return cls(lifecycle.open_(name, host=host))

    @classmethod
    def _open_as_it_is(cls, name: str) -> Self:
        """Open a sandbox for plans: an interrupted operation is not recovered."""
        return cls(lifecycle.open_(name, recover=False))

    @classmethod
    def adopt(cls, path: str, name: str | None = None, *, host: str | None = None) -> Self:
        """Use a network namespace that another program created; its loopback link is set up.

        `destroy` returns the links that netsandbox attached, and unpins the namespace only if `adopt` pinned it.

        Args:
            path: Where it is: /proc/4242/ns/net, /run/netns/x.
            name: Name to pin it under; if left out, it is not pinned, and *path* is its name.
            host: Path of the namespace that links come from; the calling thread's if left out.

        Raises:
            SpecError: *path* or *name* is invalid, or it is the host's own namespace.
            SandboxExistsError: The name is in use, or the namespace is a sandbox already, under any name.
            KernelError: It cannot be opened, or is no network namespace.
        """
        return cls(lifecycle.adopt(path, name, host=host))

    @classmethod
    def host(cls, path: str | None = None) -> Self:
        """Use the host's own namespace: no link is moved or renamed, and detaching restores what was there.

        A link that is up keeps its IPv6 even without an IPv6 address in the request: your connection may use it.

        Args:
            path: Path of the namespace; the calling thread's if left out.
        """
        return cls(lifecycle.open_host_sandbox(path))

    @classmethod
    def temporary(cls, *, host: str | None = None) -> Self:
        """Create a sandbox with a unique name, which is destroyed at the end of the ``with`` statement."""
        name = f"tmp-{os.getpid()}-{os.urandom(4).hex()}"
        return cls(lifecycle.create(name, replace_old=False, host=host), temporary=True)

    @staticmethod
    def list(*, all: bool = False) -> list[str]:  # noqa: A002  as in ``ls --all``
        """Return the names of the sandboxes; *all*: also of the namespaces there that it did not create."""
        return maintenance.pinned_names() if all else maintenance.names()

    @staticmethod
    def recover() -> tuple[str, ...]:
        """Recover what a crash interrupted, in all sandboxes, and return what was done, in words.

        An interrupted attach is rolled back, an interrupted detach is rolled forward, and records of an earlier boot
        are deleted. `open` recovers the sandbox that it opens.

        Raises:
            NetSandboxError: Something could not be recovered; everything else was.
        """
        return maintenance.recover()

    @staticmethod
    def prune(*, dry_run: bool = False) -> tuple[str, ...]:
        """Recover, delete the records of sandboxes whose namespace is gone, and return what was done, in words.

        Nothing that other programs created is changed.

        Args:
            dry_run: Whether to change nothing, and only return what would be done.
        """
        return maintenance.prune(dry_run=dry_run)

    @classmethod
    def plan_create(
        cls, name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Plan:
        """Return what `create` would do, and create nothing; it refuses what `create` refuses.

        A sandbox to *replace* that exists cannot be planned together with *interfaces* (SpecError): `create` destroys
        it before it looks for the links, which may be in it.
        """
        attach = cls._attachment(expect_all("spec", interfaces, InterfaceSpec))
        return lifecycle.plan_creation(name, replace_old=replace, host=host, attach=attach)

    @staticmethod
    def plan_adopt(path: str, name: str | None = None, *, host: str | None = None) -> Plan:
        """Return what `adopt` would do, and adopt nothing; it refuses what `adopt` refuses."""
        return lifecycle.plan_adoption(path, name, host=host)

    def close(self) -> None:
        """Close the object; the sandbox stays as it is. Closing again does nothing."""
        if not self._handle.is_closed:
            self._handle.close()

    def destroy(self, *, wait: bool = False) -> None:
        """Return every link that came from the host, and delete the namespace with everything that was created in it.

        The kernel needs some 30 ms more to delete the namespace. While a program runs inside, the namespace exists, but
        nothing of it is left on the host.

        Args:
            wait: Whether to wait until the other ends of its veths are gone from the host.

        Raises:
            NameConflictError: The name of a link is in use on the host; nothing was changed.
            KernelError: The kernel refused; what had been done was rolled back.
        """
        gone = self._unpin()
        with closing(gone[0]):
            release([gone], wait=wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._temporary and not self._handle.is_closed:
            self.destroy()
        self.close()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle and not handle.is_closed:
            warnings.warn(f"sandbox {handle.name} was not closed", ResourceWarning, source=self, stacklevel=2)
            handle.close()

    def __repr__(self) -> str:
        return f"<Sandbox {self.name!r} at {self.path!r}{' (closed)' if self._handle.is_closed else ''}>"

    # --- what happens inside ---

    def events(self, *, timeout: float | None = None) -> "Events":
        """Return an iterator over the changes in the sandbox from now on; see also `Events`.

        Args:
            timeout: After how many seconds without an event an iteration ends; None: never.
        """
        from netsandbox._events.iterator import Events  # noqa: PLC0415  few programs need it

        return Events([self], timeout=timeout)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* inside the namespace, on a thread of its own, and return what it returns.

        Sockets it opens and programs it starts belong to the sandbox. /sys/class/net and /proc/net do not show the
        sandbox, /proc/thread-self/net does.
        """
        return self._handle.run(lambda: function(*args, **kwargs))

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> "subprocess.Popen[Any]":  # noqa: ANN401
        """Start a program inside, and return it running; *options* are those of ``subprocess.Popen``."""
        import subprocess  # noqa: PLC0415  takes 3 ms, and few programs need it

        return self.run(lambda: subprocess.Popen(command, **options))  # noqa: S603  as the caller asks

    def exec(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> "subprocess.CompletedProcess[Any]":  # noqa: ANN401
        """Run a program inside to its end, and return its result; *options* are those of ``subprocess.run``."""
        import subprocess  # noqa: PLC0415  as above

        return self.run(lambda: subprocess.run(command, **options))  # noqa: S603, PLW1510  as above
