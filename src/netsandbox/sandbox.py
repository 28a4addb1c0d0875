"""The sandbox: what a program holds in its hand."""

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
    """A network namespace, pinned at a path, with the interfaces that were plugged into it.

    Made by `create`, `open`, `adopt`, `host` and `temporary`. In a ``with`` statement it is closed at the end (a
    temporary one is destroyed). The host, where links come from and go back to, is the namespace of the thread that
    makes the object, or the one at the path *host*.

    A verb that fails has done nothing: what it had done is undone, and the error says so. After `close` or `destroy`
    every call raises SandboxClosedError. It may be used from several threads and processes at once.
    """

    def __init__(self, handle: Handle, *, temporary: bool = False) -> None:
        """Not for users: call `create`, `open`, `adopt`, `host` or `temporary`."""
        super().__init__(handle)
        self._temporary = temporary

    # --- making, closing, destroying ---

    @classmethod
    def create(
        cls, name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Self:
        """Make a sandbox: a new network namespace, pinned under a name, with its loopback link up.

        Args:
            name: Its name, at most 64 bytes; or an absolute path, where it is pinned then.
            replace: Whether to destroy a sandbox that has this name; its links go back to the host first. Should making
                the new one fail, it comes back; but not if there are *interfaces*, which may have been in it: then
                destroying it is an operation of its own.
            host: Path of the namespace that links come from; the calling thread's if left out.
            interfaces: What to plug in, in this order, as a part of making it; see `add_interface`.

        Raises:
            SpecError: The name is none.
            SandboxExistsError: The name is in use.
            KernelError: The kernel refused; nothing is left behind.
            NetSandboxError: As of `add_interface`.

        Source: ``NewSandbox`` of moby's osl; ip-netns(8).
        """
        return cls._create(name, expect_all("spec", interfaces, InterfaceSpec), replace_old=replace, host=host)

    @classmethod
    def open(cls, name: str, *, host: str | None = None) -> Self:
        """Open a sandbox that exists; its interfaces are known again.

        Args:
            name: Its name or path.
            host: Path of the namespace that links come from; the calling thread's if left out.

        Raises:
            SandboxNotFoundError: There is none, or it was not made by netsandbox.
            KernelError: It cannot be opened, or what is there is no namespace.

        Source: ``NewSandbox(isRestore=true)`` and ``Restore`` of moby's osl.
        """
        return cls(lifecycle.open_(name, host=host))

    @classmethod
    def _open_as_it_is(cls, name: str) -> Self:
        """Open a sandbox to ask for plans: what was interrupted stays as it is."""
        return cls(lifecycle.open_(name, recover=False))

    @classmethod
    def adopt(cls, path: str, name: str | None = None, *, host: str | None = None) -> Self:
        """Use a network namespace that someone else made; its loopback link is brought up.

        `destroy` gives back our links and forgets it, and takes away only what netsandbox pinned.

        Args:
            path: Where it is: /proc/4242/ns/net, /run/netns/x.
            name: Name to pin it under; if left out, it is used where it is.
            host: Path of the namespace that links come from; the calling thread's if left out.

        Raises:
            SpecError: It is the host's own namespace, or *path* or *name* is none.
            SandboxExistsError: The name is in use, or it is a sandbox already, whatever its name.
            KernelError: It cannot be opened, or is no network namespace.

        Source: ``GetSandboxForExternalKey`` of moby's osl; ip-netns(8), attach.
        """
        return cls(lifecycle.adopt(path, name, host=host))

    @classmethod
    def host(cls, path: str | None = None) -> Self:
        """Use the host's own namespace: nothing is moved or renamed there, and what was there comes back.

        A link that is up keeps its IPv6 unless an IPv6 address asks for it: it may be the one you came over.

        Args:
            path: Path of the namespace; the calling thread's if left out.

        Source: ``NewSandbox(osCreate=false)`` of moby's osl, the default namespace.
        """
        return cls(lifecycle.open_host_sandbox(path))

    @classmethod
    def temporary(cls, *, host: str | None = None) -> Self:
        """Make a sandbox with a name of its own, which is destroyed at the end of the ``with`` statement."""
        name = f"tmp-{os.getpid()}-{os.urandom(4).hex()}"
        return cls(lifecycle.create(name, replace_old=False, host=host), temporary=True)

    @staticmethod
    def list(*, all: bool = False) -> list[str]:  # noqa: A002  as in ``ls --all``
        """Return the names of the sandboxes in the runtime directory.

        Args:
            all: Whether to name also the namespaces there that netsandbox did not make.
        """
        return maintenance.pinned_names() if all else maintenance.names()

    @staticmethod
    def recover() -> tuple[str, ...]:
        """Roll back or finish what a crash interrupted, in all sandboxes; `open` does it for the one it opens.

        An interrupted attach is rolled back, an interrupted detach is finished. Records of an earlier boot are deleted.

        Returns:
            What was done, in words.

        Raises:
            NetSandboxError: Something could not be rolled back or finished; the others were.
        """
        return maintenance.recover()

    @staticmethod
    def prune(*, dry_run: bool = False) -> tuple[str, ...]:
        """Recover, and delete the records of sandboxes whose namespace is gone. Nothing that others made is touched.

        Args:
            dry_run: Whether to change nothing, and only return what would be done.

        Returns:
            What was done, in words.
        """
        return maintenance.prune(dry_run=dry_run)

    @classmethod
    def plan_create(
        cls, name: str, *, replace: bool = False, host: str | None = None, interfaces: Iterable[InterfaceSpec] = ()
    ) -> Plan:
        """Return what `create` would do, and create nothing; it refuses what `create` refuses.

        Args:
            name: As of `create`.
            replace: As of `create`.
            host: As of `create`.
            interfaces: As of `create`.
        """
        attach = cls._attachment(expect_all("spec", interfaces, InterfaceSpec))
        return lifecycle.plan_creation(name, replace_old=replace, host=host, attach=attach)

    @staticmethod
    def plan_adopt(path: str, name: str | None = None, *, host: str | None = None) -> Plan:
        """Return what `adopt` would do, and adopt nothing; it refuses what `adopt` refuses."""
        return lifecycle.plan_adoption(path, name, host=host)

    def close(self) -> None:
        """Let go of the sandbox, which stays as it is; closing again does nothing."""
        if not self._handle.is_closed:
            self._handle.close()

    def destroy(self, *, wait: bool = False) -> None:
        """Give every link that came from the host back to it, and delete the namespace with all that was born in it.

        What was born in it dies with it a moment later: the kernel takes a namespace down in its own time, some 30 ms.
        While a program still runs inside, the namespace lives on, but nothing of it is left on the host.

        Args:
            wait: Whether to return only when the other ends of its veths are gone from the host.

        Raises:
            NameConflictError: A link's name is taken on the host; nothing was changed.
            KernelError: The kernel refused; what had been done is undone.
            SandboxClosedError: It was closed or destroyed before.

        Source: ``Destroy`` of moby's osl.
        """
        gone = self._unpin()
        with closing(gone[0]):
            release([gone], wait=wait)

    def __enter__(self) -> Self:
        """Enter the ``with`` statement at whose end it is closed, or destroyed if it is temporary."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, or destroy it if it is temporary."""
        if self._temporary and not self._handle.is_closed:
            self.destroy()
        self.close()

    def __del__(self) -> None:
        """Warn of a sandbox that was not closed, and close it."""
        handle = getattr(self, "_handle", None)
        if handle and not handle.is_closed:
            warnings.warn(f"sandbox {handle.name} was not closed", ResourceWarning, source=self, stacklevel=2)
            handle.close()

    def __repr__(self) -> str:
        """Name it."""
        return f"<Sandbox {self.name!r} at {self.path!r}{' (closed)' if self._handle.is_closed else ''}>"

    # --- what happens inside ---

    def events(self, *, timeout: float | None = None) -> "Events":
        """Return an iterator of what changes in here from now on; `Events` has it for several sandboxes, or for all.

        Args:
            timeout: After how many seconds without an event an iteration ends; None: never.
        """
        from netsandbox._events.iterator import Events  # noqa: PLC0415  most do not ask

        return Events([self], timeout=timeout)

    # --- running inside ---

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* inside the namespace, on a thread of its own, and return what it returns.

        Sockets it opens and programs it starts belong to the sandbox. /sys/class/net and /proc/net do not show the
        sandbox, /proc/thread-self/net does.

        Source: ``InvokeFunc`` of moby's osl; setns(2).
        """
        return self._handle.run(lambda: function(*args, **kwargs))

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> "subprocess.Popen[Any]":  # noqa: ANN401
        """Start a program inside, and return it running; *options* are those of ``subprocess.Popen``."""
        import subprocess  # noqa: PLC0415  takes 3 ms, and most start no program

        return self.run(lambda: subprocess.Popen(command, **options))  # noqa: S603  that is what it is for

    def exec(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> "subprocess.CompletedProcess[Any]":  # noqa: ANN401
        """Run a program inside to its end, and return what came of it; *options* are those of ``subprocess.run``."""
        import subprocess  # noqa: PLC0415  as above

        return self.run(lambda: subprocess.run(command, **options))  # noqa: S603, PLW1510  as the caller says
