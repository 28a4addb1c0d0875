"""Many sandboxes in one call: create them, attach to them, destroy them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from typing import Self, TypeVar

from netsandbox import _bulk
from netsandbox._bulk import Progress, Summary
from netsandbox._checks import items
from netsandbox._facade.interfaces import Interfaces
from netsandbox._run import interfaces as _interfaces
from netsandbox._run import lifecycle
from netsandbox._run.handle import Handle
from netsandbox._run.release import release
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox.interface import Interface
from netsandbox.spec import InterfaceSpec

T = TypeVar("T")


class Many(Interfaces):
    """The part of `Sandbox` for many sandboxes at once."""

    @classmethod
    def create_many(
        cls,
        names: Iterable[str] | Mapping[str, Iterable[InterfaceSpec]],
        *,
        replace: bool = False,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> Summary[Self]:
        """Create many sandboxes, each with its interfaces or not at all; see `create`.

        They share the descriptors of the host; each open sandbox needs two of its own.

        Args:
            names: Their names; or, by name, what to attach to each.
            replace: Whether to destroy sandboxes that have these names.
            host: Path of the namespace that links come from; the calling thread's if left out.
            progress: Called with each name, and with the error if it failed.

        Returns:
            The open sandboxes, and the errors of the others.

        Raises:
            SpecError: A request is invalid; nothing was done.
            BaseException: The call was interrupted (KeyboardInterrupt). The sandboxes created so far stay, and are
                closed; a note names them.
        """
        specs = _bulk.parse(names.items() if isinstance(names, Mapping) else ((name, ()) for name in items(names)))
        with closing(lifecycle.open_host(host)) as outside, ExitStack() as stack:
            made = _bulk.each(
                "create sandboxes",
                specs,
                lambda *request: cls._create(*request, replace_old=replace, host=outside)._closed_by(stack),  # noqa: SLF001  of the same class
                progress,
            )
            stack.pop_all()
            return made

    @classmethod
    def add_many(
        cls,
        wishes: Mapping[str | Self, Iterable[InterfaceSpec]],
        *,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> Summary[tuple[Interface, ...]]:
        """Attach interfaces to many sandboxes: to each all of them or none; see `add_interfaces`.

        Args:
            wishes: What to attach to each sandbox, which is given by name or as an object. One that is given by name is
                opened and closed again: its interfaces can be read, but their verbs fail.
            host: Path of the namespace that links come from, for those given by name.
            progress: Called with each name, and with the error if it failed.

        Returns:
            The interfaces, and the errors of the others.

        Raises:
            SpecError: A request is invalid; nothing was done.
            BaseException: The call was interrupted (KeyboardInterrupt); a note says what was done.
        """
        return cls._each("attach to sandboxes", wishes.items(), cls.add_interfaces, host, progress)

    @classmethod
    def destroy_many(
        cls,
        names: Iterable[str | Self],
        *,
        wait: bool = False,
        host: str | None = None,
        progress: Progress | None = None,
    ) -> Summary[Self]:
        """Destroy many sandboxes, each completely or not at all; see `destroy`.

        Their namespaces are closed together at the end: the kernel destroys many in little more time than one.

        Args:
            names: The sandboxes, by name or as objects.
            wait: Whether to wait until the other ends of their veths are gone from the host.
            host: Path of the namespace that links return to, for those given by name.
            progress: Called with each name, and with the error if it failed.

        Returns:
            The sandboxes, closed, and the errors of the others.

        Raises:
            SpecError: A name is invalid, or given twice; nothing was done.
            BaseException: The call was interrupted (KeyboardInterrupt); a note says what was done.
        """
        gone: list[tuple[Handle, Sequence[int]]] = []
        room = namespace.room()

        def flush() -> None:
            unpinned, gone[:] = gone[:], []
            with ExitStack() as stack:
                for handle, _ in unpinned:
                    stack.callback(handle.close)
                for _, of_host in groupby(unpinned, lambda item: item[0].host.identity):
                    release(list(of_host), wait=wait)

        def destroy(box: Self, _: object) -> Self:
            if len(gone) == room:
                flush()
            gone.append(box._unpin())
            return box

        try:
            return cls._each("destroy sandboxes", ((name, ()) for name in items(names)), destroy, host, progress)
        finally:
            flush()

    @classmethod
    def _each(
        cls,
        operation: str,
        requests: Iterable[tuple[object, Iterable[InterfaceSpec]]],
        verb: Callable[[Self, Sequence[InterfaceSpec]], T],
        host: str | None,
        progress: Progress | None,
    ) -> Summary[T]:
        """Call *verb* with each sandbox; one that is given by name is opened and closed again."""
        given = tuple(requests)
        boxes = {box.name: box for box, _ in given if isinstance(box, cls)}
        specs = _bulk.parse((box.name if isinstance(box, cls) else box, wanted) for box, wanted in given)
        with closing(lifecycle.open_host(host)) as outside:

            def work(name: str, wanted: Sequence[InterfaceSpec]) -> T:
                if name in boxes:
                    return verb(boxes[name], wanted)
                box = cls(lifecycle.open_(name, host=outside))
                with closing(box._handle):
                    return verb(box, wanted)

            return _bulk.each(operation, specs, work, progress)

    @classmethod
    def _create(
        cls, name: str, specs: Sequence[InterfaceSpec], *, replace_old: bool, host: str | LinuxKernel | None
    ) -> Self:
        """Create a sandbox with its interfaces."""
        return cls(lifecycle.create(name, replace_old=replace_old, host=host, attach=cls._attachment(specs)))

    def _closed_by(self, stack: ExitStack) -> Self:
        """Return the sandbox, which *stack* closes."""
        stack.callback(self._handle.close)
        return self

    @staticmethod
    def _attachment(specs: Sequence[InterfaceSpec]) -> lifecycle.Attach | None:
        """Return what attaches interfaces to a new sandbox; None if there are none."""
        if not specs:
            return None
        return lambda handle, record: _interfaces.attach(handle, record, specs, is_new=True)[:2]

    def _unpin(self) -> tuple[Handle, Sequence[int]]:
        """Destroy it but for its namespace; return what `release` needs: a handle, and the host ends of its veths."""
        return self._handle.end(lambda: self._handle.change(_interfaces.destroy(self)))
