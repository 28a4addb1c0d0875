"""Per-link sysctls: how to restore them, and which can be read and set by number with a link's own message.

Source: enum in include/uapi/linux/ipv6.h, addrconf_sysctl[] and ipv6_store_devconf() in net/ipv6/addrconf.c; enum in
include/uapi/linux/ip.h, devinet_sysctl and inet_set_link_af() in net/ipv4/devinet.c.
"""

import re
from typing import NamedTuple

from netsandbox.netlink.constants import AF_INET, AF_INET6

IPV4_MC_FORWARDING = 2  # IPV4_DEVCONF_MC_FORWARDING: follows the multicast router, and cannot be set
_NAMES = (
    "forwarding hop_limit - accept_ra accept_redirects autoconf dad_transmits router_solicitations "
    "router_solicitation_interval router_solicitation_delay use_tempaddr temp_valid_lft temp_prefered_lft "
    "regen_max_retry max_desync_factor max_addresses force_mld_version accept_ra_defrtr accept_ra_pinfo "
    "accept_ra_rtr_pref router_probe_interval accept_ra_rt_info_max_plen proxy_ndp optimistic_dad "
    "accept_source_route - disable_ipv6 accept_dad force_tllao ndisc_notify mldv1_unsolicited_report_interval "
    "mldv2_unsolicited_report_interval suppress_frag_ndisc accept_ra_from_local use_optimistic accept_ra_mtu - "
    "use_oif_addrs_only accept_ra_min_hop_limit ignore_routes_with_linkdown drop_unicast_in_l2_multicast "
    "drop_unsolicited_na keep_addr_on_down router_solicitation_max_interval seg6_enabled seg6_require_hmac "
    "enhanced_dad addr_gen_mode disable_policy accept_ra_rt_info_min_plen ndisc_tclass rpl_seg_enabled "
    "ra_defrtr_metric ioam6_enabled ioam6_id - ndisc_evict_nocarrier accept_untracked_na accept_ra_min_lft "
    "force_forwarding"
).split()  # "-": the MTU, multicast forwarding, a secret and a wide number, which cannot be read or set this way
_STABLE_PRIVACY = 2  # IN6_ADDR_GEN_MODE_STABLE_PRIVACY
_SECONDS = frozenset(  # reported in milliseconds, set in seconds
    "router_solicitation_interval router_solicitation_delay router_solicitation_max_interval "
    "router_probe_interval".split()
)

# IPV4_DEVCONF_* of those that can be set by number. Writing the file of another one has further effects: it flushes
# routes, or changes other settings. (That of rp_filter also sends RTM_NEWNETCONF.)
PLAIN = {
    "accept_redirects": 4,
    "secure_redirects": 5,
    "send_redirects": 6,
    "shared_media": 7,
    "rp_filter": 8,
    "accept_source_route": 9,
    "bootp_relay": 10,
    "log_martians": 11,
    "arp_filter": 13,
    "arp_announce": 18,
    "arp_ignore": 19,
    "arp_accept": 21,
    "arp_notify": 22,
    "src_valid_mark": 24,
    "proxy_arp_pvlan": 25,
    "drop_gratuitous_arp": 31,
    "arp_evict_nocarrier": 33,
}
_PATH = re.compile(r"(ipv[46])/conf/([^/]+)/(\w+)")
_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)


class Setting(NamedTuple):
    """A per-link sysctl that is in the link's own message."""

    link: str
    family: int  # AF_INET or AF_INET6
    number: int  # from 1 on for AF_INET, from 0 on for AF_INET6

    def value(self, values: tuple[int, ...]) -> str | None:
        """Return its value, of all of the family; None if it is not among them."""
        at = self.number - (self.family == AF_INET)
        return str(values[at]) if at < len(values) else None


def find(path: str, value: str) -> Setting | None:
    """Return the setting of a path below /proc/sys/net if the link's own message may make opening the file needless.

    That is an IPv4 setting that can be set by number, or the switch of IPv6 if IPv6 is to be on, as it is by default.
    """
    found = _PATH.fullmatch(path)
    if not found or not _NUMBER.fullmatch(value):
        return None
    family, link, name = found.groups()
    if family == "ipv4":
        return Setting(link, AF_INET, PLAIN[name]) if name in PLAIN else None
    return Setting(link, AF_INET6, _NAMES.index(name)) if (name, value) == ("disable_ipv6", "0") else None


def ipv6_changes(now: tuple[int, ...], wanted: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return the IPv6 settings of a link to write, as (name, value), to make them as *wanted*; the switch first."""
    different = [
        (name, str(new // 1000 if name in _SECONDS else new))
        for name, old, new in zip(_NAMES, now, wanted, strict=False)
        if name != "-" and old != new and (name, new) != ("addr_gen_mode", _STABLE_PRIVACY)  # needs the secret
    ]
    return sorted(different, key=lambda item: item[0] != "disable_ipv6")


def ipv4_changes(now: tuple[int, ...], wanted: tuple[int, ...]) -> dict[int, int]:
    """Return the IPv4 settings of a link to set, by number (IPV4_DEVCONF_*), to make them as *wanted*."""
    return {
        number: new
        for number, (old, new) in enumerate(zip(now, wanted, strict=False), 1)
        if old != new and number != IPV4_MC_FORWARDING
    }


def disable_ipv6(name: str) -> str:
    """Return the path, below /proc/sys/net, of the switch that turns IPv6 off on a link."""
    return f"ipv6/conf/{name}/disable_ipv6"


def sysctl_path(key: str, name: str) -> str:
    """Return the path, below /proc/sys/net, of a setting of a link; its key has IFNAME in the place of the name."""
    _, family, group, _, setting = key.split(".")
    return f"{family}/{group}/{name}/{setting}"
