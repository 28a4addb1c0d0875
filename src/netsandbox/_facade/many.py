"""Many sandboxes in one call: the part of `Sandbox` for them."""

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
    """Calls for many sandboxes; users meet them as a part of `Sandbox`."""

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

        They share the descriptors of the host: each open sandbox needs two of its own.

        Args:
            names: Their names; or what to attach to each, by name.
            replace: Whether to destroy sandboxes that have these names.
            host: Path of the namespace that links come from; the calling thread's if left out.
            progress: Called with each name, and with the error if it failed.

        Returns:
            The open sandboxes, and the errors of the others.

        Raises:
            SpecError: A request is invalid; nothing was done.
            BaseException: The call was interrupted (KeyboardInterrupt). What was created until then stays, and is
                closed; a note has the names.
        """
        specs = _bulk.parse(names.items() if isinstance(names, Mapping) else ((name, ()) for name in items(names)))
        with closing(lifecycle.open_host(host)) as outside, ExitStack() as stack:
            made = _bulk.each(
                "create sandboxes",
                specs,
                lambda *wish: cls._create(*wish, replace_old=replace, host=outside)._closed_by(stack),  # noqa: SLF001  a sandbox as this one
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
            wishes: What to attach to each sandbox. A sandbox that is given by its name is opened for that and closed:
                its interfaces can be read, but not remove themselves.
            host: Path of the namespace that links come from, for those given by name.
            progress: Called with each name, and with the error if it failed.

        Returns:
            The interfaces, and the errors of the others.

        Raises:
            SpecError: A request is invalid; nothing was done.
            BaseException: The call was interrupted (KeyboardInterrupt); a note says what was done until then.
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
        """Destroy many sandboxes, each of them or not at all; see `destroy`.

        Their namespaces are closed together at the end: the kernel destroys many in little more time than one.

        Args:
            names: Their names, or they themselves.
            wait: Whether to return only when the other ends of their veths are gone from the host.
            host: Path of the namespace that links return to, for those given by name.
            progress: Called with each name, and with the error if it failed.

        Returns:
            The sandboxes, closed, and the errors of the others.

        Raises:
            SpecError: A name is invalid, or given twice; nothing was done.
            BaseException: The call was interrupted (KeyboardInterrupt); a note says what was done until then.
        """
        gone: list[tuple[Handle, Sequence[int]]] = []
        room = namespace.room()

        def flush() -> None:
            with ExitStack() as stack:
                for handle, _ in gone:
                    stack.callback(handle.close)
                for _, those in groupby(gone, lambda item: item[0].host.identity):
                    release(list(those), wait=wait)
                gone.clear()

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
        wishes: Iterable[tuple[object, Iterable[InterfaceSpec]]],
        verb: Callable[[Self, Sequence[InterfaceSpec]], T],
        host: str | None,
        progress: Progress | None,
    ) -> Summary[T]:
        """Call a verb of each sandbox; one that is given by its name is opened for that."""
        given = tuple(wishes)
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

    # --- how one is created and destroyed ---

    @classmethod
    def _create(
        cls, name: str, specs: Sequence[InterfaceSpec], *, replace_old: bool, host: str | LinuxKernel | None
    ) -> Self:
        """Create a sandbox with what is attached to it."""
        return cls(lifecycle.create(name, replace_old=replace_old, host=host, attach=cls._attachment(specs)))

    def _closed_by(self, stack: ExitStack) -> Self:
        """Have a stack close it; return itself."""
        stack.callback(self._handle.close)
        return self

    @staticmethod
    def _attachment(specs: Sequence[InterfaceSpec]) -> lifecycle.Attach | None:
        """Return what attaches interfaces to a sandbox that is being created; None if there are none."""
        if not specs:
            return None
        return lambda handle, record: _interfaces.attach(handle, record, specs, is_new=True)[:2]

    def _unpin(self) -> tuple[Handle, Sequence[int]]:
        """Destroy it but for its namespace; return what holds that, to be released, and the host ends of its veths."""
        return self._handle.end(lambda: self._handle.change(_interfaces.destroy(self)))
