"""The plan for a link that stays on the host: its settings change in place. Pure."""

from netsandbox._checks import MTU_MIN_IPV6
from netsandbox._kernel import HOST
from netsandbox._plan.model import Draft
from netsandbox._plan.restore import lost_without_ipv6
from netsandbox._plan.state import LinkState
from netsandbox._steps import Conf, Dropped, RestoreConf, SetLink, SetNeighbor
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.conf import disable_ipv6, sysctl_path
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.spec import InterfaceSpec


def change_in_place(draft: Draft, spec: InterfaceSpec, state: LinkState) -> None:
    """Add the steps that give a link of the host its settings."""
    link, at = state.link, (HOST, state.link.index, state.link.name)
    disabled = any(sysctl_path(key, "") == disable_ipv6("") and value != "0" for key, value in spec.sysctls)
    if disabled or not link.is_up:  # it loses its IPv6 addresses now, or when a detach sets it down again
        draft.add(*lost_without_ipv6(state))
    now = _settings.of(link)
    new = _settings.differing(spec.settings, now)
    if new is None:
        return
    ends_ipv6 = new.mtu is not None and new.mtu < MTU_MIN_IPV6
    if ends_ipv6:  # the kernel deletes the IPv6 sysctls of the link
        draft.add(Dropped(RestoreConf(*at, None, Conf(link.conf(AF_INET), link.conf(AF_INET6)))))
    step = SetLink(*at, _settings.among(now, new), new)
    if new.mac is None:
        draft.add(step)
        return
    # The kernel drops all neighbors of a link whose MAC changes (neigh_changeaddr()).
    kept = [item for item in state.neighbors if item.family != AF_BRIDGE and item.state & _neighbor.PERMANENT]
    again = [item for item in kept if not (ends_ipv6 and item.family == AF_INET6)]
    with draft.span("setInterfaceMAC", {"i.SrcName": link.name, "i.DstName": link.name}):
        draft.add(*(Dropped(SetNeighbor(*at, None, item)) for item in kept))
        draft.add(step, *(SetNeighbor(*at, None, item) for item in again))
