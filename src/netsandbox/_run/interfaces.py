"""The verbs for interfaces: each makes an operation of a sandbox's record.

An attach from top to bottom: `add_interfaces` checks the requests, `attach` reads the facts (`_plan/state.py`) and has
them planned (`_plan/attach.py`), and `_read_back` returns the result. `Handle.change` takes the lock before, and
carries the plan out in between; `Handle.plan` returns the plan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Unpack, cast

from netsandbox._checks import items
from netsandbox._plan.attach import plan_attach
from netsandbox._plan.check import find_problems
from netsandbox._plan.detach import plan_detach
from netsandbox._plan.model import Plan, plan_of
from netsandbox._plan.state import Facts, attach_facts, classify, detach_facts
from netsandbox._record import Attachment, Record
from netsandbox._run.handle import Handle, Make, Opened
from netsandbox._run.lifecycle import plan_destruction
from netsandbox._run.transaction import Operation, is_orphan_veth
from netsandbox._system.kernel import LinuxKernel
from netsandbox.adverts import AdvertiseLike, parse_advertise
from netsandbox.errors import InterfaceNotFoundError, Problem, SpecError
from netsandbox.interface import Interface, Owner, Snapshot, read_interfaces, with_dropped
from netsandbox.links import Kind
from netsandbox.spec import InterfaceOptions, InterfaceSpec, expect_all, parse_interface, salvage

_FOREIGN = "it is foreign: netsandbox did not attach it, and leaves it alone"


class Box(Owner, Opened, Protocol):
    """What the verbs need of a sandbox."""


def add_interface(box: Box, source: str | Kind | InterfaceSpec, **options: Unpack[InterfaceOptions]) -> Make[Interface]:
    """Attach one link; see `Sandbox.add_interface`."""
    if isinstance(source, InterfaceSpec):
        if options:
            raise SpecError([Problem("keyword", ", ".join(options), "goes into the InterfaceSpec")])
        spec = source
    else:
        try:
            spec = InterfaceSpec(source, **options)
        except SpecError as error:
            raise _refusal(box._handle, source, options, error) from None  # noqa: SLF001  a part of the library
    make = add_interfaces(box, [spec])

    def first(record: Record) -> Operation[Interface]:
        operation = make(record)
        return Operation(operation.plan, operation.record, lambda: operation.read()[0])

    return first


def add_interfaces(box: Box, specs: Iterable[InterfaceSpec]) -> Make[tuple[Interface, ...]]:
    """Attach several links, in this order; see `Sandbox.add_interfaces`."""
    requests = expect_all("spec", specs, InterfaceSpec)

    def make(record: Record) -> Operation[tuple[Interface, ...]]:
        plan, new, made = attach(box._handle, record, requests)  # noqa: SLF001  a part of the library
        return Operation(plan, new, lambda: with_dropped(requests, _read_back(box, made)))

    return make


def attach(
    handle: Handle, record: Record, specs: Sequence[InterfaceSpec], *, is_new: bool = False
) -> tuple[Plan, Record, tuple[Attachment, ...]]:
    """Plan to attach links; return the plan, the record afterwards, and what is attached.

    A namespace that *is_new* has no addresses and routes yet.
    """
    facts = _attach_facts(handle, specs, is_new=is_new)
    plan, made = plan_attach(specs, handle.target, facts, record.interfaces, next_id=record.next_id)
    new = replace(record, interfaces=record.interfaces + made, next_id=record.next_id + len(made))
    return plan, new, made


def _read_back(box: Box, made: Sequence[Attachment]) -> tuple[Interface, ...]:
    """Return what was attached, as the kernel has it."""
    found = read_interfaces(box, box._handle.box, made)  # noqa: SLF001  as above
    there = {item.id for item in found}
    lost = [item.source for item in made if item.id not in there]
    if lost:
        raise InterfaceNotFoundError(f"read {', '.join(lost)} back", "it was deleted or moved inside meanwhile")
    return found


def _attach_facts(handle: Handle, specs: Sequence[InterfaceSpec], *, is_new: bool = False) -> Facts:
    return attach_facts(
        handle.host,
        handle.box,
        specs,
        is_host=handle.target.is_host,
        is_new=is_new,
        is_leaving=lambda link: is_orphan_veth(handle.records, link),
    )


def _refusal(handle: Handle, source: object, options: Mapping[str, object], error: SpecError) -> SpecError:
    """Return an error with all problems: those of the options, and those of valid options with the facts."""
    record = handle.record()
    specs = salvage(source, options, error.problems)
    facts = _attach_facts(handle, specs)
    return find_problems(specs, handle.target, facts, record.interfaces, error.problems) or error


def remove_interface(box: Box, interface: Interface | str) -> Make[None]:
    """Detach one interface; see `Sandbox.remove_interface`."""
    return remove_interfaces(box, [interface])


def remove_interfaces(box: Box, interfaces: Iterable[Interface | str]) -> Make[None]:
    """Detach several interfaces; see `Sandbox.remove_interfaces`."""
    wanted = cast("tuple[Interface | str, ...]", items(interfaces))
    handle = box._handle  # noqa: SLF001  as above

    def make(record: Record) -> Operation[None]:
        found = [item for interface in wanted for item in _find(handle, record, interface, "detach {} from")]
        leaving = tuple(item for item in record.interfaces if item in found)
        plan = plan_detach(leaving, handle.target, detach_facts(handle.host, handle.box, leaving, record.interfaces))
        left = tuple(item for item in record.interfaces if item not in leaving)
        return Operation(plan, replace(record, interfaces=left), nothing)

    return make


def advertise(box: Box, interface: Interface | str | None = None, how: AdvertiseLike | None = None) -> Make[None]:
    """Advertise the addresses of interfaces again; see `Sandbox.advertise`."""
    asked = None if how is None else parse_advertise(how)
    handle = box._handle  # noqa: SLF001  as above

    def make(record: Record) -> Operation[None]:
        chosen = record.interfaces if interface is None else _find(handle, record, interface, "advertise {} of")

        def start() -> None:
            for item in chosen:
                handle.adverts.start(item.id, item.index, asked or item.advertise)

        return Operation(plan_of(handle.target, f"advertise sandbox {handle.name}", None), record, start)

    return make


def destroy(box: Box, *, wait: bool = False) -> Make[Sequence[int]]:  # noqa: ARG001  waiting comes after the plan
    """Destroy the sandbox but for its namespace, and return the host ends of its veths; see `Sandbox.destroy`."""
    handle = box._handle  # noqa: SLF001  as above

    def make(record: Record) -> Operation[Sequence[int]]:
        plan, ends = plan_destruction(handle, record)
        return Operation(plan, None, lambda: ends)

    return make


def snapshot(box: Box, *, neighbors: bool = False) -> Snapshot:
    """Read a sandbox: its record, and each list of the kernel once; *neighbors*: with forwarding entries."""
    handle = box._handle  # noqa: SLF001  as above
    record = handle.record()
    return Snapshot.read(box, handle.box, _host(handle, record), record.interfaces, neighbors=neighbors)


def _host(handle: Handle, record: Record) -> LinuxKernel | None:
    """Return the host that the links came from; None if the sandbox was opened with another one."""
    return handle.host if handle.host.identity == record.host else None


def _find(handle: Handle, record: Record, interface: Interface | str, verb: str) -> tuple[Attachment, ...]:
    """Return the attachment of an interface; there is none if it is a snapshot of one that was detached."""
    if isinstance(interface, Interface):
        interface.check_owner(handle.name)
        if not interface.id:
            raise _not_found(handle, verb, interface.name, _FOREIGN)
        asked = (interface.id, interface.index, interface.source)
        return tuple(item for item in record.interfaces if (item.id, item.index, item.source) == asked)
    link, found = (
        handle.box.link(parse_interface(interface)),
        classify(_host(handle, record), handle.box, record.interfaces),
    )
    chosen = tuple(item for item in found.ours if link and item.index == link.index)
    chosen = chosen or tuple(item for item in found.missing if item.name == interface)
    chosen = chosen or tuple(item for item in found.ours if not link and item.name == interface)
    if not chosen:
        raise _not_found(handle, verb, interface, _FOREIGN if link else "no interface has this name")
    return chosen


def _not_found(handle: Handle, verb: str, name: str, reason: str) -> InterfaceNotFoundError:
    return InterfaceNotFoundError(f"{verb.format(name)} sandbox {handle.name}", reason)


def nothing() -> None:
    """Read nothing back."""
