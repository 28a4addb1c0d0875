"""Bridge: an Ethernet bridge that other interfaces of the sandbox can be ports of."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from netsandbox.links.base import Kind
from netsandbox.links.options import Bit, Choice, Name, Number, Option, Switch
from netsandbox.netlink import options as _options

VLAN_PROTOCOLS = {"802.1q": 0x8100, "802.1ad": 0x88A8}
_DAY = 8640000  # hundredths of a second
_BOOLOPT = 46  # IFLA_BR_MULTI_BOOLOPT
_GROUP = re.compile("01:80:c2:00:00:0[04-9a-f]")  # group_addr_store() in net/bridge/br_sysfs_br.c


class _GroupAddress(Option):
    rule = "is neither 01:80:c2:00:00:00 nor from 01:80:c2:00:00:04 to 01:80:c2:00:00:0f"
    values = "01:80:c2:00:00:00 or :04..:0f"

    def normalize(self, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, str) and _GROUP.fullmatch(value) else self.rule

    def pack(self, value: str) -> bytes:
        return _options.pack_mac(self.attr or 0, value)


@dataclass(frozen=True, slots=True)
class Bridge(Kind):
    """An Ethernet bridge, created inside the sandbox and deleted when it is detached.

    Times are in hundredths of a second. Its name inside comes from the prefix or name of its interface.

    Source: ``AddInterface`` with ``WithIsBridge`` in moby's osl; ip-link(8).
    """

    name: Annotated[str, Name("Its source name, which ``master=`` of other interfaces refers to", field="source")]
    stp: Annotated[bool | None, Switch(5, "Run the spanning tree protocol", size=4, word="stp_state")] = None
    priority: Annotated[int | None, Number(6, "Priority in the spanning tree", size=2, most=65535)] = None
    forward_delay: Annotated[int | None, Number(1, "Time until a port forwards", least=200, most=3000)] = None
    hello_time: Annotated[int | None, Number(2, "Time between hello packets", least=100, most=1000)] = None
    max_age: Annotated[int | None, Number(3, "Time until a silent bridge is dropped", least=600, most=4000)] = None
    ageing_time: Annotated[int | None, Number(4, "Time until a learned address is forgotten")] = None
    vlan_filtering: Annotated[bool | None, Switch(7, "Filter frames by VLAN")] = None
    vlan_protocol: Annotated[
        Literal["802.1q", "802.1ad"] | None, Choice(8, "Protocol of the VLAN tags", VLAN_PROTOCOLS, order="!")
    ] = None
    vlan_default_pvid: Annotated[int | None, Number(39, "VLAN of frames without a tag; 0: none", size=2, most=4094)] = (
        None
    )
    vlan_stats: Annotated[bool | None, Switch(41, "Count the frames of each VLAN", word="vlan_stats_enabled")] = None
    vlan_stats_per_port: Annotated[bool | None, Switch(45, "Count them at each port")] = None
    mcast_snooping: Annotated[bool | None, Switch(23, "Forward multicast only to ports that joined the group")] = None
    mcast_vlan_snooping: Annotated[
        bool | None, Bit(_BOOLOPT, 0x2, "Do so for each VLAN; requires *vlan_filtering*")
    ] = None
    mcast_router: Annotated[
        int | None,
        Number(
            22,
            "Receive all multicast as a router does; 0: never, 1: while it sees a querier, 2: always",
            size=1,
            most=2,
        ),
    ] = None
    mcast_querier: Annotated[bool | None, Switch(25, "Send multicast queries")] = None
    mcast_query_use_ifaddr: Annotated[bool | None, Switch(24, "Send them from its own address, not 0.0.0.0")] = None
    mcast_query_interval: Annotated[int | None, Number(33, "Time between queries", size=8, least=100, most=_DAY)] = None
    mcast_query_response_interval: Annotated[int | None, Number(34, "Time to wait for a response", size=8)] = None
    mcast_querier_interval: Annotated[int | None, Number(32, "Time until another querier is dropped", size=8)] = None
    mcast_startup_query_count: Annotated[int | None, Number(29, "Queries sent at startup")] = None
    mcast_startup_query_interval: Annotated[
        int | None, Number(35, "Time between queries at startup", size=8, least=100, most=_DAY)
    ] = None
    mcast_last_member_count: Annotated[int | None, Number(28, "Queries sent when a port leaves a group")] = None
    mcast_last_member_interval: Annotated[int | None, Number(30, "Time between those", size=8)] = None
    mcast_membership_interval: Annotated[int | None, Number(31, "Time until a silent member is dropped", size=8)] = None
    mcast_hash_max: Annotated[int | None, Number(27, "Most groups it keeps")] = None
    mcast_igmp_version: Annotated[int | None, Number(43, "Version of IGMP", size=1, least=2, most=3)] = None
    mcast_mld_version: Annotated[int | None, Number(44, "Version of MLD", size=1, least=1, most=2)] = None
    mcast_stats: Annotated[bool | None, Switch(42, "Count IGMP and MLD messages", word="mcast_stats_enabled")] = None
    group_fwd_mask: Annotated[
        int | None, Number(9, "Link-local multicast groups that it forwards, as bits", size=2, most=65535)
    ] = None
    group_address: Annotated[str | None, _GroupAddress(20, "MAC of the group of its spanning tree")] = None
    fdb_max_learned: Annotated[int | None, Number(49, "Most addresses it learns; 0: no limit; Linux 6.7")] = None
    no_linklocal_learn: Annotated[bool | None, Bit(_BOOLOPT, 0x1, "Learn no address from link-local frames")] = None
    nf_call_iptables: Annotated[bool | None, Switch(36, "Pass forwarded IPv4 packets to iptables")] = None
    nf_call_ip6tables: Annotated[bool | None, Switch(37, "Pass forwarded IPv6 packets to ip6tables")] = None
    nf_call_arptables: Annotated[bool | None, Switch(38, "Pass forwarded ARP packets to arptables")] = None
    kind = "bridge"
    source_field = key_field = "name"
    keeps_name = takes_ports = takes_port_mac = port_settings = True
    mtu_at_creation = False
