"""Detach: the recorded teardown of each interface, brought up to date with both namespaces. Pure.

Everything that the link loses on its way is in the plan as well, so that a detach that fails can be rolled back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import count
from typing import TypeVar

from netsandbox import _steps
from netsandbox._kernel import HOST
from netsandbox._plan.model import Draft, Plan, Target
from netsandbox._plan.restore import lost_in_move
from netsandbox._plan.state import Facts, LinkState
from netsandbox._record import Attachment
from netsandbox.errors import NameConflictError
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.link import Link
from netsandbox.netlink.settings import Settings

T = TypeVar("T")


def plan_detach(items: Sequence[Attachment], target: Target, facts: Facts) -> Plan:
    """Plan to detach interfaces, the newest first; refuse if the original name of a link is taken on the host."""
    known = (*facts.host_links, *(item.host_place.index for item in items if item.host_place))
    free = count(1 + max((key for key in known if isinstance(key, int)), default=0))
    draft = Draft(target)
    for item in reversed(items):
        _detach(draft, item, facts, free)
    operation = f"detach {', '.join(item.name for item in items)} from sandbox {target.name}"
    return draft.plan(operation, items[0].name if items else None, idempotent=True)


def _detach(draft: Draft, item: Attachment, facts: Facts, free: Iterator[int]) -> None:
    """Plan to detach one interface; if its index is taken on the host, it gets the next one that is *free*."""
    target, state = draft.target, facts.states.get(item.index)
    peer = (item.peer_index(state.link) if state else None) or 0
    if (
        state is None
        or not item.matches_kind(state.link)
        or not item.matches_identity(state.link, facts.lowers.get(peer), facts.siblings)
    ):
        draft.add(*(item.teardown if item.host_end else ()))  # the host end of a veth may still be there
        return
    lost = [] if target.is_host and not item.created else lost_in_move(target.netns, state)
    if item.created:  # a link that moves keeps its settings
        unusual = _settings.differing(replace(_settings.of(state.link), mac=None), _settings.USUAL)
        lost.append(_steps.Dropped(_steps.SetLink(target.netns, state.link.index, state.link.name, None, unusual)))
    if item.host_end:
        lost += _lost_by_host_end(facts.ends[peer])
    steps = _return_steps(item, target, facts, state.link, free)
    with draft.span("RemoveInterface", {"srcName": item.source, "dstName": state.link.name}):
        draft.add(*lost, *steps)


def _lost_by_host_end(state: LinkState) -> list[_steps.Dropped]:
    """Return what the host end of a veth, which is up when it is created, had been given on the host."""
    link = state.link
    at = (HOST, link.index, link.name)
    names = [_steps.Dropped(_steps.SetAltnames(*at, None, link.altnames))] if link.altnames else []
    down = [] if link.is_up else [_steps.Dropped(_steps.SetUp(*at, old=True, new=False))]
    return [*names, *lost_in_move(HOST, state), *down]


def _return_steps(
    item: Attachment, target: Target, facts: Facts, link: Link, free: Iterator[int]
) -> tuple[_steps.Step, ...]:
    """Return the recorded teardown as it is now: names, indexes and settings may have changed on both sides."""
    there = item.host_place
    if there is None:
        return tuple(_current(step, link, facts.lowers) for step in item.teardown)
    for wanted in (there.name, *item.altnames):
        if wanted in facts.host_links:
            request = f"give {link.name} of sandbox {target.name} back to the host as {there.name}"
            taken = facts.host_links[wanted]
            raise NameConflictError(request, f"the name {wanted} is taken by link {taken.index} there")
    here = _steps.place(target.netns, link)
    steps = tuple(replace(step, old=here) if isinstance(step, _steps.Move) else step for step in item.teardown)
    if link.altnames != item.altnames:  # a name that was added in the sandbox does not leave it
        kept = tuple(name for name in link.altnames if name in item.altnames)
        less = _steps.SetAltnames(target.netns, link.index, link.name, link.altnames, kept)
        steps = (less, *steps, _steps.SetAltnames(HOST, there.index, there.name, kept, item.altnames))
    if there.index in facts.host_links:
        new = next(free)
        steps = tuple(reindex(step, there.index, new) for step in steps)
    return steps


def _current(step: _steps.Step, link: Link, lowers: Mapping[int, Link]) -> _steps.Step:
    """Return a step that deletes a link so that its inverse creates the link with its current name and settings."""
    if not isinstance(step, (_steps.DeleteLink, _steps.DeleteVeth)):
        return step
    made = replace(step.made, link=link.name, settings=replace(step.made.settings, mac=link.mac))
    if isinstance(made, _steps.CreateVeth):
        end, was = lowers[link.lower or 0], made.host
        settings = Settings(mac=end.mac or was.settings.mac, mtu=end.mtu, alias=end.alias, group=end.group)
        # without its master: that may have to be created again first, and another step makes the end its port
        made = replace(made, host=_steps.HostEnd(end.name, settings=settings, ipv6=was.ipv6, index=end.index))
    return made.inverse()


def reindex(value: T, old: int, new: int) -> T:
    """Return a step with every index *old* on the host changed to *new*; what concerns other namespaces stays."""
    if not is_dataclass(value) or isinstance(value, type) or getattr(value, "netns", HOST) != HOST:
        return value
    changes: dict[str, object] = {}
    for item in fields(value):
        part = getattr(value, item.name)
        changes[item.name] = new if item.name == "index" and part == old else reindex(part, old, new)
    return replace(value, **changes)
