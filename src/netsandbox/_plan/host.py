"""The plan for a link that stays on the host: its MAC and MTU change in place. Pure."""

from collections.abc import Mapping

from netsandbox._checks import MTU_MIN_IPV6
from netsandbox._kernel import HOST
from netsandbox._plan.model import Draft
from netsandbox._plan.restore import restore_steps
from netsandbox._plan.state import LinkState
from netsandbox._steps import Conf, Lost, RestoreConf, SetAddress, SetMac, SetMtu, SetNeighbor, SetRoute
from netsandbox.netlink import address as _address
from netsandbox.netlink import link as _link
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink.conf import disable_ipv6, sysctl_path
from netsandbox.spec import InterfaceSpec


def in_place(
    draft: Draft, spec: InterfaceSpec, state: LinkState, at: tuple[str, int, str], names: Mapping[str, str]
) -> None:
    """Add the steps that give a link of the host, which stays there, its MAC and MTU."""
    link = state.link
    switched_off = any(sysctl_path(key, "") == disable_ipv6("") and value != "0" for key, value in spec.sysctls)
    if not link.is_up or switched_off:  # its IPv6 addresses go with the switch, or when it is set down again
        had = (step for step in restore_steps(HOST, state) if isinstance(step, (SetAddress, SetRoute, SetNeighbor)))
        draft.add(*map(Lost, reversed([step for step in had if step.new and step.new.family == _address.AF_INET6])))
    if spec.mac is not None and spec.mac != link.mac:  # neigh_changeaddr() drops permanent neighbors too
        kept = [SetNeighbor(*at, None, item) for item in state.neighbors if item.family != _neighbor.AF_BRIDGE]
        kept = [step for step in kept if step.new and step.new.state & _neighbor.PERMANENT]
        with draft.span("setInterfaceMAC", names):
            draft.add(*map(Lost, kept), SetMac(*at, link.mac, spec.mac), *kept)
    if spec.mtu is not None and spec.mtu != link.mtu:
        if spec.mtu < MTU_MIN_IPV6:  # the kernel takes IPv6 off the link, with its sysctls
            conf = Conf(link.conf(_link.AF_INET), link.conf(_link.AF_INET6))
            draft.add(Lost(RestoreConf(*at, None, conf)))
        draft.add(SetMtu(*at, link.mtu, spec.mtu))
