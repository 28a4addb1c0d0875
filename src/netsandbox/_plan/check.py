"""Checks of requests against the facts: everything that is wrong, at once. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from netsandbox._checks import MTU_MIN_IPV6
from netsandbox._plan.model import Target
from netsandbox._plan.state import Facts, LinkState
from netsandbox._record import Attachment
from netsandbox.errors import Problem, SourceNotFoundError, SpecError
from netsandbox.links import KINDS, Kind
from netsandbox.netlink.constants import AF_INET6
from netsandbox.spec import InterfaceSpec


def find_problems(
    specs: Sequence[InterfaceSpec],
    target: Target,
    facts: Facts,
    attached: Sequence[Attachment],
    refused: Iterable[Problem] = (),
) -> SpecError | None:
    """Return the error with everything in which requests do not fit the facts, and with what was *refused* before.

    It is a SourceNotFoundError if nothing but missing links is wrong.
    """
    problems = list(refused)
    known = {item.source: item for item in attached}
    # Sources attached before, and whether their links take ports.
    before = {item.source: item.made_kind is not None and item.made_kind.takes_ports for item in attached}
    missing = 0
    made: list[InterfaceSpec] = []
    for spec in specs:
        name, kind = spec.source_name, spec.kind
        state = None if kind else facts.sources.get(name)
        source = state.link.name if state else name
        if kind:
            problems += _check_creation(spec, kind, facts, made)
            made.append(spec)
        if kind and not kind.key:
            pass  # any number of them
        elif source in known:
            problems.append(Problem("source", name, f"is already attached as {known[source].name}"))
        elif source in before:
            problems.append(Problem("source", name, "is given twice"))
        elif isinstance(spec.source, str) and not state:
            missing += 1
            inside = facts.named(name) and not target.is_host
            reason = "is inside already, but was not attached" if inside else "no such link on the host"
            problems.append(Problem("source", name, reason))
        problems += _check_source(spec, target, state)
        problems += _check_master(spec, target, facts, known, before)
        if not kind or kind.key:
            before.setdefault(source, kind is not None and kind.takes_ports)
    if not problems:
        return None
    return (SourceNotFoundError if missing == len(problems) else SpecError)(problems)


def _check_source(spec: InterfaceSpec, target: Target, state: LinkState | None) -> Iterator[Problem]:
    """Yield what does not fit the link of the host."""
    if state and state.link.is_loopback:
        yield Problem("source", state.link.name, "the loopback link cannot leave its namespace")
    if state and spec.has_ipv6 and spec.mtu is None and state.link.mtu < MTU_MIN_IPV6:
        yield Problem("mtu", state.link.mtu, f"is below {MTU_MIN_IPV6}, the least that IPv6 needs")
    has_ipv6 = state is not None and any(item.family == AF_INET6 for item in state.addresses)
    if target.is_host and spec.mtu is not None and spec.mtu < MTU_MIN_IPV6 and has_ipv6:
        yield Problem("mtu", spec.mtu, f"is below {MTU_MIN_IPV6}, and would take away the link's IPv6 addresses")
    keeps_name = spec.kind is None or spec.kind.keeps_name
    if target.is_host and keeps_name and spec.name not in {None, state.link.name if state else spec.source_name}:
        yield Problem("name", spec.name, "on the host nothing is renamed")


def _check_creation(
    spec: InterfaceSpec, kind: Kind, facts: Facts, before: Sequence[InterfaceSpec]
) -> Iterator[Problem]:
    """Yield what keeps a link from being created: links that are missing on the host, and a MAC that is in use."""
    for field, name in kind.needs:
        if name not in facts.host_links:
            yield Problem(field, name, "no such link on the host")
    if kind.unique_mac and spec.mac and kind.lower and kind.lower in facts.host_links:
        lower = facts.host_links[kind.lower].index
        macs = {link.mac for link in facts.links if link.kind == kind.kind and link.lower == lower}
        same = (type(kind), kind.lower)
        macs |= {item.mac for item in before if item.kind and (type(item.kind), item.kind.lower) == same}
        if spec.mac in macs:
            yield Problem("mac", spec.mac, f"is that of another {kind.kind} of {kind.lower}")


def _check_master(
    spec: InterfaceSpec, target: Target, facts: Facts, known: Mapping[str, Attachment], before: Mapping[str, bool]
) -> Iterator[Problem]:
    """Yield what is wrong with the requested master."""
    if spec.master is None:
        return
    master = known.get(spec.master)
    if not before.get(spec.master):
        masters = " or ".join(word for word, kind in KINDS.items() if kind.takes_ports)
        reason = f"is not a {masters}" if spec.master in before else f"no {masters} of that source is attached"
        yield Problem("master", spec.master, reason)
    elif master and not master.matches_kind(facts.link(master.index)):
        yield Problem("master", spec.master, f"has vanished from {target.name}")
