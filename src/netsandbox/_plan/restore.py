"""What a link loses, as steps whose inverses restore it. Each list is in the reverse order of restoration. Pure."""

from netsandbox._kernel import HOST
from netsandbox._plan.state import LinkState
from netsandbox._steps import (
    Conf,
    Dropped,
    Port,
    RestoreConf,
    SetAddress,
    SetMaster,
    SetNeighbor,
    SetRoute,
    SetUp,
    Step,
)
from netsandbox.links import find_kind
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.link import Link


def lost_in_move(netns: str, state: LinkState) -> list[Dropped]:
    """Return what a link loses when it leaves *netns*."""
    return [Dropped(step) for step in reversed(_restoring(netns, state))]


def lost_when_down(state: LinkState) -> list[Dropped]:
    """Return what a link of the host loses when it is set down: IPv6 addresses, routes, neighbors."""
    return [Dropped(step) for step in _ip_steps(state) if not isinstance(step, SetAddress) or _is_ipv6(step)]


def lost_without_ipv6(state: LinkState) -> list[Dropped]:
    """Return what a link of the host loses when IPv6 is disabled on it."""
    return [Dropped(step) for step in _ip_steps(state) if _is_ipv6(step)]


def port_of(state: LinkState) -> Port | None:
    """Return the link's place as a port of its master."""
    return _port(state.link, state.master) if state.master else None


def _restoring(netns: str, state: LinkState) -> list[Step]:
    """Return the steps that give a link in *netns* everything that it had there, in order."""
    link = state.link
    at = (netns, link.index, link.name)
    steps: list[Step] = [RestoreConf(*at, None, Conf(link.conf(AF_INET), link.conf(AF_INET6)))]
    ipv4 = [address for address in state.addresses if address.family == AF_INET]
    ipv6 = [address for address in state.addresses if address.family == AF_INET6]
    steps += (SetAddress(*at, None, item) for item in (*ipv4, *reversed(ipv6)))  # the kernel lists IPv6 newest first
    if state.master:
        steps.append(SetMaster(*at, None, port_of(state)))
    steps += (SetMaster(netns, item.index, item.name, None, _port(item, link)) for item in state.ports)
    if link.is_up:
        steps.append(SetUp(*at, old=False, new=True))
    made = [entry for entry in state.routes if entry.protocol != _route.KERNEL]
    made.sort(key=lambda entry: entry.via is not None)  # the kernel refuses a route whose next hop it cannot reach yet
    steps += (SetRoute(*at, None, entry) for entry in made)
    kept = (item for item in state.neighbors if item.state & _neighbor.PERMANENT or item.family == AF_BRIDGE)
    steps += (SetNeighbor(*at, None, entry) for entry in kept)
    return steps


def _ip_steps(state: LinkState) -> list[SetAddress | SetRoute | SetNeighbor]:
    steps = reversed(_restoring(HOST, state))
    return [step for step in steps if isinstance(step, (SetAddress, SetRoute, SetNeighbor))]


def _is_ipv6(step: SetAddress | SetRoute | SetNeighbor) -> bool:
    return step.new is not None and step.new.family == AF_INET6


def _port(link: Link, master: Link) -> Port:
    kind = find_kind(link.port_kind)
    settings = link.port if kind is None or kind.port_settings else b""
    return Port(master.index, master.name, link.port_kind or "", settings, may_exist=True)
