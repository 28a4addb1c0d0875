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
    CreateLink,
    CreateVeth,
    DeleteLink,
    DeleteVeth,
    Dropped,
    HostEnd,
    Move,
    SetAltnames,
    SetLink,
    SetUp,
    Step,
    place,
)
from netsandbox.errors import NameConflictError
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.link import Link
from netsandbox.netlink.settings import Settings

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
    return draft.plan(operation, target, items[0].name if items else None, idempotent=True)


def _detach(draft: Draft, item: Attachment, target: Target, facts: Facts, free: Iterator[int]) -> None:
    """Plan to detach one interface; if its index is in use on the host, it gets the next one that is *free*."""
    state = facts.states.get(item.index)
    tie = item.tie(state.link) if state else None
    lower = facts.lowers.get(tie or 0)
    if state is None or not item.holds(state.link) or not item.is_tied(state.link, lower, facts.siblings):
        draft.add(*_leftover(item))
        return
    lost = () if target.is_host and not item.born else tuple(map(Dropped, reversed(restore_steps(target.netns, state))))
    if item.born:  # a link that moves takes its settings along
        unusual = _settings.differing(replace(_settings.of(state.link), mac=None), _settings.USUAL)
        lost += (Dropped(SetLink(target.netns, state.link.index, state.link.name, None, unusual)),)
    if item.outer:  # what the host has made of its end
        lost += tuple(map(Dropped, reversed(_outside(facts.ends[tie or 0]))))
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

    def settings(made: CreateLink | CreateVeth) -> Settings:
        return replace(made.settings, mac=link.mac)

    if isinstance(step, DeleteLink):
        return replace(step, made=replace(step.made, link=link.name, settings=settings(step.made)))
    if isinstance(step, DeleteVeth):
        outer = lowers[link.lower or 0]
        end = HostEnd(  # what it is a port of comes back later, as that may have to be made again as well
            outer.name,
            settings=Settings(
                mac=outer.mac or step.made.host.settings.mac,
                mtu=outer.mtu,
                alias=outer.alias,
                group=outer.group,
            ),
            ipv6=step.made.host.ipv6,
            index=outer.index,
        )
        return replace(step, made=replace(step.made, link=link.name, settings=settings(step.made), host=end))
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
