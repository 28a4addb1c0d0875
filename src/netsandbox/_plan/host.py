"""The plan for a link that stays on the host: its settings change in place. Pure."""

from collections.abc import Mapping

from netsandbox._checks import MTU_MIN_IPV6
from netsandbox._kernel import HOST
from netsandbox._plan.model import Draft
from netsandbox._plan.restore import restore_steps
from netsandbox._plan.state import LinkState
from netsandbox._steps import Conf, Dropped, RestoreConf, SetAddress, SetLink, SetNeighbor, SetRoute
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.conf import disable_ipv6, sysctl_path
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.spec import InterfaceSpec


def in_place(
    draft: Draft, spec: InterfaceSpec, state: LinkState, at: tuple[str, int, str], names: Mapping[str, str]
) -> None:
    """Add the steps that give a link of the host, which stays there, its settings."""
    link = state.link
    switched_off = any(sysctl_path(key, "") == disable_ipv6("") and value != "0" for key, value in spec.sysctls)
    if not link.is_up or switched_off:  # its IPv6 addresses go with the switch, or when it is set down again
        had = (step for step in restore_steps(HOST, state) if isinstance(step, (SetAddress, SetRoute, SetNeighbor)))
        draft.add(*map(Dropped, reversed([step for step in had if step.new and step.new.family == AF_INET6])))
    now = _settings.of(link)
    new = _settings.differing(spec.settings, now)
    if new is None:
        return
    is_small = new.mtu is not None and new.mtu < MTU_MIN_IPV6
    if is_small:  # the kernel takes IPv6 off the link, with its sysctls
        draft.add(Dropped(RestoreConf(*at, None, Conf(link.conf(AF_INET), link.conf(AF_INET6)))))
    step = SetLink(*at, _settings.among(now, new), new)
    if new.mac is None:
        draft.add(step)
        return
    kept = [SetNeighbor(*at, None, item) for item in state.neighbors if item.family != AF_BRIDGE]
    kept = [item for item in kept if item.new and item.new.state & _neighbor.PERMANENT]  # neigh_changeaddr() drops all
    again = [item for item in kept if item.new and not (is_small and item.new.family == AF_INET6)]
    with draft.span("setInterfaceMAC", names):
        draft.add(*map(Dropped, kept), step, *again)
