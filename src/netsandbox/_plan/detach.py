"""The way out: what brings a link's former state back, and the plans that take interfaces out. Pure.

A link loses its addresses, routes, master, neighbours and settings when it leaves a namespace. `restore` says how they
come back; on the way in that is what undoing needs, on the way out it is what the host gets back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import count
from typing import TypeVar

from netsandbox._kernel import HOST
from netsandbox._plan.model import Draft, Plan, Target
from netsandbox._plan.restore import restore_steps
from netsandbox._plan.state import Facts, LinkState
from netsandbox._record import Attachment
from netsandbox._steps import (
    DeleteLink,
    DeleteVeth,
    DeleteVeths,
    HostEnd,
    Lost,
    Move,
    SetAltnames,
    SetMtu,
    SetUp,
    Step,
    place,
)
from netsandbox.errors import NameConflictError
from netsandbox.netlink.link import Link

T = TypeVar("T")


def plan_detach(items: Sequence[Attachment], target: Target, facts: Facts) -> Plan:
    """Plan to take interfaces out, newest first; one whose link has vanished needs nothing.

    Raises:
        NameConflictError: A name that a link has to get back is taken on the host.
    """
    known = (*facts.host_links, *(item.home.index for item in items if item.home))
    free = count(1 + max((key for key in known if isinstance(key, int)), default=0))
    draft = Draft()
    for item in reversed(items):
        _detach(draft, item, target, facts, free)
    names = ", ".join(item.name for item in items)
    operation = f"detach {names} from sandbox {target.name}"
    plan = draft.plan(operation, target, items[0].name if items else None, idempotent=True)
    return _together(plan, facts.group)


def _detach(draft: Draft, item: Attachment, target: Target, facts: Facts, free: Iterator[int]) -> None:
    """Plan to detach one interface; if its index is in use on the host, it gets the next one that is *free*."""
    state = facts.states.get(item.index)
    tie = item.tie(state.link) if state else None
    lower = facts.lowers.get(tie or 0)
    if state is None or not item.holds(state.link) or not item.is_tied(state.link, lower, facts.siblings):
        draft.add(*_leftover(item))
        return
    lost = () if target.is_host and not item.born else tuple(map(Lost, reversed(restore_steps(target.netns, state))))
    if item.born:  # a link that moves takes its MTU along
        lost += (Lost(SetMtu(target.netns, state.link.index, state.link.name, None, state.link.mtu)),)
    if item.outer:  # what the host has made of its end
        lost += tuple(map(Lost, reversed(_outside(facts.ends[tie or 0]))))
    back = _homewards(item, target, facts, state.link, free)
    with draft.span("RemoveInterface", {"srcName": item.source, "dstName": state.link.name}):
        draft.add(*lost, *back)


def _outside(state: LinkState) -> tuple[Step, ...]:
    """Return the steps that give the end of a veth on the host, which is up when it is made, all that it had there."""
    link = state.link
    at = (HOST, link.index, link.name)
    down = () if link.is_up else (SetUp(*at, old=True, new=False),)
    names = (SetAltnames(*at, None, link.altnames),) if link.altnames else ()
    return (*down, *restore_steps(HOST, state), *names)


def _together(plan: Plan, group: int) -> Plan:
    """Have several veths deleted in one request, which takes little longer than one: in the place of the last of them.

    What was attached after a veth, and may be on top of it, is detached before.
    """
    veths = tuple(step for step in plan.steps if isinstance(step, DeleteVeth))
    if len(veths) < 2:
        return plan
    kept = [
        (DeleteVeths(veths, group) if step is veths[-1] else step, spans)
        for step, spans in zip(plan.steps, plan.spans, strict=True)
        if not isinstance(step, DeleteVeth) or step is veths[-1]
    ]
    return replace(plan, steps=tuple(step for step, _ in kept), spans=tuple(spans for _, spans in kept))


def _homewards(item: Attachment, target: Target, facts: Facts, link: Link, free: Iterator[int]) -> tuple[Step, ...]:
    """Return the recorded way home, as things stand now: on both sides they may have changed meanwhile."""
    home = item.home
    if home is None:
        return tuple(_as_it_is(step, link, facts.lowers) for step in item.back)
    for wanted in (home.name, *item.altnames):
        if wanted in facts.host_links:
            request = f"give {link.name} of sandbox {target.name} back to the host as {home.name}"
            taken = facts.host_links[wanted]
            raise NameConflictError(request, f"the name {wanted} is taken by link {taken.index} there")
    here = place(target.netns, link)
    back = tuple(replace(step, old=here) if isinstance(step, Move) else step for step in item.back)
    if link.altnames != item.altnames:  # a name that was given inside does not leave the sandbox
        kept = tuple(name for name in link.altnames if name in item.altnames)
        less = SetAltnames(target.netns, link.index, link.name, link.altnames, kept)
        back = (less, *back, SetAltnames(HOST, home.index, home.name, kept, item.altnames))
    if home.index in facts.host_links:
        new = next(free)
        back = tuple(reindex(step, home.index, new) for step in back)
    return back


def _leftover(item: Attachment) -> tuple[Step, ...]:
    """Return what is to be done for an interface that is missing: of a veth, the end on the host may be there still."""
    return item.back if item.outer else ()


def _as_it_is(step: Step, link: Link, lowers: Mapping[int, Link]) -> Step:
    """Return a step that deletes a link as that is called and set now, should it have to be made again."""
    if isinstance(step, DeleteLink):
        return replace(step, made=replace(step.made, link=link.name, mac=link.mac))
    if isinstance(step, DeleteVeth):
        outer = lowers[link.lower or 0]
        end = HostEnd(  # what it is a port of comes back later, as that may have to be made again as well
            outer.name,
            outer.mac or step.made.host.mac,
            outer.mtu,
            mark=outer.alias or "",
            ipv6=step.made.host.ipv6,
            index=outer.index,
            group=outer.group,
        )
        return replace(step, made=replace(step.made, link=link.name, mac=link.mac, host=end))
    return step


def reindex(value: T, old: int, new: int) -> T:
    """Return a step with every index *old* on the host changed to *new*; what concerns other namespaces stays."""
    if not is_dataclass(value) or isinstance(value, type) or getattr(value, "netns", HOST) != HOST:
        return value
    changes: dict[str, object] = {}
    for item in fields(value):
        part = getattr(value, item.name)
        changes[item.name] = new if item.name == "index" and part == old else reindex(part, old, new)
    return replace(value, **changes)
