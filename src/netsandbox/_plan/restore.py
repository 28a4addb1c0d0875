"""What a link loses when it leaves a namespace, as the steps that bring it back. Pure."""

from netsandbox._kernel import HOST
from netsandbox._plan.state import LinkState
from netsandbox._steps import Conf, Port, RestoreConf, SetAddress, SetMaster, SetNeighbor, SetRoute, SetUp, Step
from netsandbox.links import find_kind
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.link import Link


def restore_steps(netns: str, state: LinkState) -> tuple[Step, ...]:
    """Return the steps that give a link that came (back) to *netns* all that it had there, in order."""
    link = state.link
    at = (netns, link.index, link.name)
    steps: list[Step] = [RestoreConf(*at, None, Conf(link.conf(AF_INET), link.conf(AF_INET6)))]
    ipv4 = [address for address in state.addresses if address.family == AF_INET]
    ipv6 = [address for address in state.addresses if address.family == AF_INET6]
    steps += (SetAddress(*at, None, address) for address in (*ipv4, *reversed(ipv6)))  # the kernel lists IPv6 backwards
    if state.master:
        steps.append(SetMaster(*at, None, port_of(state)))
    steps += (SetMaster(netns, item.index, item.name, None, _port(item, link)) for item in state.ports)
    if link.is_up:
        steps.append(SetUp(*at, old=False, new=True))
    made = [entry for entry in state.routes if entry.protocol != _route.KERNEL]
    made.sort(key=lambda entry: entry.via is not None)  # a next hop must be reachable when a route names it
    steps += (SetRoute(*at, None, entry) for entry in made)
    kept = (item for item in state.neighbors if item.state & _neighbor.PERMANENT or item.family == AF_BRIDGE)
    steps += (SetNeighbor(*at, None, entry) for entry in kept)
    return tuple(steps)


def lost_when_down(state: LinkState) -> list[Step]:
    """Return the steps that bring back, last one first, what a link on the host loses when it is set down."""
    had = [item for item in restore_steps(HOST, state) if isinstance(item, (SetAddress, SetRoute, SetNeighbor))]
    return [step for step in reversed(had) if not (isinstance(step, SetAddress) and _is_ipv4(step))]


def _is_ipv4(step: SetAddress) -> bool:
    return step.new is not None and step.new.family == AF_INET


def port_of(state: LinkState) -> Port | None:
    """Return what a link is a port of."""
    return _port(state.link, state.master) if state.master else None


def _port(link: Link, master: Link) -> Port:
    kind = find_kind(link.port_kind)
    settings = link.port if kind is None or kind.port_settings else b""
    return Port(master.index, master.name, link.port_kind or "", settings, may_exist=True)
