"""The kinds of link that can be born in a sandbox.

A kind is a wish: it says what to make, and refuses nonsense when it is made, all of it at once. An option that is left
out, or None, is left to the kernel. What the options mean, and more about them, is in ip-link(8).
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from ipaddress import ip_address
from typing import ClassVar, Literal, Self

from netsandbox._checks import Checks, keyword_problems, name_problem
from netsandbox.netlink import kinds


@dataclass(frozen=True, slots=True)
class Kind:
    """A link to make; see its subclasses.

    Raises:
        SpecError: Something of it makes no sense; all that is wrong is in its `problems`.
    """

    kind: ClassVar[str]  # the kernel's name of the kind

    def __new__(cls, *given: object, **options: object) -> Self:
        """Refuse options of another kind, and none where one is needed."""
        known = fields(cls)
        check = Checks(keyword_problems(options, [item.name for item in known]))
        if given or options:  # to be copied, it is made without
            for item in known[len(given) :]:
                if item.default is MISSING and item.name not in options:
                    check.wrong(item.name, None, "is needed")
        check.finish()
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        check = Checks()
        self._check(check)
        for name, value in self.options:
            option = kinds.OPTIONS[self.kind][name]
            if option.read:
                object.__setattr__(self, name, option.read(value))
            if not option.fits(getattr(self, name)):
                check.wrong(name, value, option.rule)
        check.finish()

    def _check(self, check: Checks) -> None:
        """Collect what is wrong besides the options."""

    @property
    def options(self) -> kinds.Options:
        """What the kernel is told of it besides name, MAC and MTU."""
        known = kinds.OPTIONS[self.kind]
        return tuple((item, getattr(self, item)) for item in known if getattr(self, item) is not None)

    @property
    def lower(self) -> str | None:
        """Name, on the host, of the link below it."""
        return getattr(self, "link", None)

    @property
    def mac_rule(self) -> str | None:
        """Why it cannot be given a MAC, which the kernel would pass over; None: it can."""
        return None

    @property
    def key(self) -> str | None:
        """The name that tells it from all others in a sandbox; None if it has none but the one it gets inside."""
        return None

    @property
    def source_name(self) -> str:
        """What `Interface.source` says: its own name, or its kind and the link below."""
        return self.key or self.kind + (f"@{self.lower}" if self.lower else "")


@dataclass(frozen=True, slots=True)
class Veth(Kind):
    """A pair of links, each of which receives what the other one sends: one end inside, the other on the host.

    Both are made in one request, the inside end in its place with its name, MAC and MTU. The host end carries an alias
    that marks it as netsandbox's, and is up. When either goes, both go.

    Attributes:
        host: Name of the end on the host; it is the interface's `source`.
        master: Name, on the host, of the bridge or other master that the host end becomes a port of.
        host_mac: Link-layer address of the host end; if left out, one that begins with fe, so that a bridge never
            takes it for its own.
        host_mtu: MTU of the host end, in bytes; if left out, that of the interface.
        ipv6: Whether the host end has IPv6; off, it adds nothing to the chatter on its bridge.
        hairpin: Whether frames may leave the bridge by the port they came in.
        isolated: Whether the port reaches only ports that are not isolated.
        learning: Whether the bridge learns addresses from the port.

    Raises:
        SpecError: Something of it makes no sense.

    Source: veth(4), ip-link(8), bridge(8); ``WithCreatedInContainer`` of moby's osl.
    """

    host: str
    master: str | None = None
    host_mac: str | None = None
    host_mtu: int | None = None
    ipv6: bool = False
    hairpin: bool = False
    isolated: bool = False
    learning: bool = True
    kind: ClassVar[str] = "veth"

    def _check(self, check: Checks) -> None:
        check.add(name_problem("host", self.host))
        if self.master is not None:
            check.add(name_problem("master", self.master))
        if self.host_mac is not None:
            object.__setattr__(self, "host_mac", check.mac(self.host_mac, "host_mac"))
        if self.host_mtu is not None:
            check.mtu(self.host_mtu, ipv6=self.ipv6 is True, field="host_mtu")
        for word in ("ipv6", "hairpin", "isolated", "learning"):
            if not isinstance(getattr(self, word), bool):
                check.wrong(word, getattr(self, word), "is neither True nor False")
        if self.master is None and (self.hairpin is True or self.isolated is True or self.learning is False):
            check.wrong("master", None, "is needed for hairpin, isolated and learning: they are settings of its port")

    @property
    def key(self) -> str:
        """The name of the host end."""
        return self.host


@dataclass(frozen=True, slots=True)
class Bridge(Kind):
    """An Ethernet bridge, born inside the sandbox and deleted when it is removed.

    Attributes:
        name: Its source name: what ``master=`` of other interfaces refers to. Inside it is called by the prefix or
            name of its interface, as any other.
        stp: Whether the spanning tree protocol runs.
        priority: Its priority in the spanning tree, 0..65535.
        forward_delay: Time a port takes to forward, 200..3000, in hundredths of a second.
        hello_time: Time between hello packets, 100..1000, in hundredths of a second.
        max_age: Time until a silent bridge counts as gone, 600..4000, in hundredths of a second.
        ageing_time: Time until a learned address is forgotten, in hundredths of a second.
        vlan_filtering: Whether frames are filtered by VLAN.
        vlan_protocol: By which tags: "802.1q" or "802.1ad".
        vlan_default_pvid: VLAN of frames without a tag, 0 (none)..4094.
        vlan_stats: Whether the frames of each VLAN are counted.
        vlan_stats_per_port: Whether they are counted at each port.
        mcast_snooping: Whether multicast goes only where it was asked for.
        mcast_vlan_snooping: Whether that is known for each VLAN; needs *vlan_filtering*.
        mcast_router: Whether it is told of all multicast, as a router: 0 (never), 1 (while it hears a querier) or 2.
        mcast_querier: Whether it asks who wants multicast.
        mcast_query_use_ifaddr: Whether it asks by its own address, not by 0.0.0.0.
        mcast_query_interval: Time between questions, 100..8640000 (a day), in hundredths of a second.
        mcast_query_response_interval: Time there is for an answer, in hundredths of a second.
        mcast_querier_interval: Time until another querier counts as gone, in hundredths of a second.
        mcast_startup_query_count: How many questions are asked at the start.
        mcast_startup_query_interval: Time between those, 100..8640000, in hundredths of a second.
        mcast_last_member_count: How many questions are asked when somebody leaves a group.
        mcast_last_member_interval: Time between those, in hundredths of a second.
        mcast_membership_interval: Time until a silent member counts as gone, in hundredths of a second.
        mcast_hash_max: How many groups may be known.
        mcast_igmp_version: Version of IGMP, 2 or 3.
        mcast_mld_version: Version of MLD, 1 or 2.
        mcast_stats: Whether IGMP and MLD messages are counted.
        group_fwd_mask: Which link-local multicast groups it forwards, as bits.
        group_address: MAC of its spanning tree's group: 01:80:c2:00:00:00 or :04..:0f.
        fdb_max_learned: How many addresses may be learned; 0 sets no limit. Linux 6.7.
        no_linklocal_learn: Whether no address is learned from link-local frames.
        nf_call_iptables: Whether iptables sees the IPv4 packets that it forwards.
        nf_call_ip6tables: Whether ip6tables sees the IPv6 packets.
        nf_call_arptables: Whether arptables sees ARP.

    Raises:
        SpecError: Something of it makes no sense.

    Source: ``AddInterface`` with ``WithIsBridge`` in moby's osl; ip-link(8).
    """

    name: str
    stp: bool | None = None
    priority: int | None = None
    forward_delay: int | None = None
    hello_time: int | None = None
    max_age: int | None = None
    ageing_time: int | None = None
    vlan_filtering: bool | None = None
    vlan_protocol: Literal["802.1q", "802.1ad"] | None = None
    vlan_default_pvid: int | None = None
    vlan_stats: bool | None = None
    vlan_stats_per_port: bool | None = None
    mcast_snooping: bool | None = None
    mcast_vlan_snooping: bool | None = None
    mcast_router: int | None = None
    mcast_querier: bool | None = None
    mcast_query_use_ifaddr: bool | None = None
    mcast_query_interval: int | None = None
    mcast_query_response_interval: int | None = None
    mcast_querier_interval: int | None = None
    mcast_startup_query_count: int | None = None
    mcast_startup_query_interval: int | None = None
    mcast_last_member_count: int | None = None
    mcast_last_member_interval: int | None = None
    mcast_membership_interval: int | None = None
    mcast_hash_max: int | None = None
    mcast_igmp_version: int | None = None
    mcast_mld_version: int | None = None
    mcast_stats: bool | None = None
    group_fwd_mask: int | None = None
    group_address: str | None = None
    fdb_max_learned: int | None = None
    no_linklocal_learn: bool | None = None
    nf_call_iptables: bool | None = None
    nf_call_ip6tables: bool | None = None
    nf_call_arptables: bool | None = None
    kind: ClassVar[str] = "bridge"

    def _check(self, check: Checks) -> None:
        check.add(name_problem("source", self.name))

    @property
    def key(self) -> str:
        """Its name."""
        return self.name


@dataclass(frozen=True, slots=True)
class Macvlan(Kind):
    """A link with a MAC of its own on top of one of the host's.

    Attributes:
        link: Name, on the host, of the link below.
        mode: Whether such links on one link below reach each other: "bridge" (at once), "vepa" (if the switch sends
            the frames back), "private" (never), "passthru" (there is only one, which has the MAC of the link below),
            "source" (never, and each gets what comes from its *macs*).
        macs: MACs that it gets frames from, in mode "source"; up to 1000.
        nopromisc: Whether the link below stays out of promiscuous mode, in mode "passthru".
        nodst: Whether what comes from the *macs* of one such link goes to no other one, in mode "source".
        bc_queue_len: How many broadcasts may wait.

    Raises:
        SpecError: Something of it makes no sense.

    Source: ip-link(8), include/uapi/linux/if_link.h.
    """

    link: str
    mode: Literal["bridge", "vepa", "private", "passthru", "source"] = "bridge"
    macs: Iterable[str] | None = None
    nopromisc: bool | None = None
    nodst: bool | None = None
    bc_queue_len: int | None = None
    kind: ClassVar[str] = "macvlan"

    def _check(self, check: Checks) -> None:
        check.add(name_problem("link", self.link))
        if self.macs is not None and self.mode != "source":
            check.wrong("mode", self.mode, "is to be source with macs")
        if self.nopromisc and self.mode != "passthru":
            check.wrong("nopromisc", self.nopromisc, "is for mode passthru")

    @property
    def mac_rule(self) -> str | None:
        """In mode passthru it has that of the link below."""
        return "is that of the link below in mode passthru" if self.mode == "passthru" else None


@dataclass(frozen=True, slots=True)
class Ipvlan(Kind):
    """A link that shares the MAC of one of the host's, and is told from others by its IP addresses.

    Attributes:
        link: Name, on the host, of the link below.
        mode: "l2" (switches), "l3" (routes) or "l3s" (routes, and the host's packet filter sees it).
        flag: Whether such links on one link below reach each other: "bridge", "private" (never) or "vepa".

    Raises:
        SpecError: Something of it makes no sense.

    Source: ip-link(8), Documentation/networking/ipvlan.rst.
    """

    link: str
    mode: Literal["l2", "l3", "l3s"] = "l2"
    flag: Literal["bridge", "private", "vepa"] | None = None
    kind: ClassVar[str] = "ipvlan"

    def _check(self, check: Checks) -> None:
        check.add(name_problem("link", self.link))

    @property
    def mac_rule(self) -> str | None:
        """It has that of the link below."""
        return "is that of the link below"


@dataclass(frozen=True, slots=True)
class Vlan(Kind):
    """A VLAN of one of the host's links.

    Attributes:
        link: Name, on the host, of the link below.
        id: The VLAN, 0..4094.
        protocol: "802.1q" or "802.1ad".
        reorder_hdr: Whether the tag is taken off before programs see a frame.
        gvrp: Whether the VLAN is registered by GVRP.
        mvrp: Whether it is registered by MVRP.
        loose_binding: Whether its state is not that of the link below.
        bridge_binding: Whether its state follows the ports of the bridge below.
        ingress_qos: Priority that a packet gets by that of its tag, 0..7, as a mapping or in pairs.
        egress_qos: Priority of the tag, 0..7, by that of the packet, likewise; up to 1000.

    Raises:
        SpecError: Something of it makes no sense.

    Source: ip-link(8), IEEE 802.1Q.
    """

    link: str
    id: int
    protocol: Literal["802.1q", "802.1ad"] | None = None
    reorder_hdr: bool | None = None
    gvrp: bool | None = None
    mvrp: bool | None = None
    loose_binding: bool | None = None
    bridge_binding: bool | None = None
    ingress_qos: Mapping[int, int] | Iterable[tuple[int, int]] | None = None
    egress_qos: Mapping[int, int] | Iterable[tuple[int, int]] | None = None
    kind: ClassVar[str] = "vlan"

    def _check(self, check: Checks) -> None:
        check.add(name_problem("link", self.link))
        if self.id is None:
            check.wrong("id", self.id, kinds.OPTIONS["vlan"]["id"].rule)


@dataclass(frozen=True, slots=True)
class Vxlan(Kind):
    """An Ethernet over UDP; its packets travel over the host's links, whichever sandbox it is in.

    Attributes:
        id: Its number (VNI), 0..16777215.
        link: Name, on the host, of the link its packets leave by; needed with *group*.
        group: Multicast group of all its ends.
        remote: Address of the other end, instead of a group.
        local: Address its packets come from.
        port: UDP port of the other ends, 1..65535.
        source_ports: UDP ports its packets come from, 1..65535: the lowest and the highest.
        ttl: Hops its packets may make, 1..255; 0 takes what is usual.
        ttl_inherit: Whether they may make as many as the packet inside.
        tos: Type of service of its packets, 0..255; 1 takes that of the packet inside.
        df: Whether its packets may not be fragmented: "unset", "set" or "inherit" (as the packet inside), over IPv4.
        label: Flow label of its packets over IPv6, 0..1048575.
        ageing: Time until a learned address is forgotten, in seconds.
        max_addresses: How many addresses may be known.
        learning: Whether addresses are learned from what comes.
        proxy: Whether it answers ARP for those it knows.
        rsc: Whether it routes between its own addresses.
        l2miss: Whether unknown MACs are told to listeners.
        l3miss: Whether unknown IP addresses are told to listeners.
        udp_csum: Whether UDP checksums are sent over IPv4.
        udp6_zero_csum_tx: Whether none are sent over IPv6.
        udp6_zero_csum_rx: Whether none are needed over IPv6.
        remcsum_tx: Whether checksums of the packets inside are left to the other end.
        remcsum_rx: Whether the other end may leave them to this one.
        external: Whether programs say where each packet goes, and with which number: its own is 0, and it learns
            nothing unless *learning* is on.
        vnifilter: Whether it takes only numbers that are told later, by bridge(8), if it is *external*.
        localbypass: Whether packets to an end on the same machine skip the IP stack. Linux 6.5.
        gbp: Whether packets carry the mark of a group policy.
        gpe: Whether packets say their protocol and need not be Ethernet, if it is *external*; it has no MAC then.

    Raises:
        SpecError: Something of it makes no sense.

    Source: ip-link(8), RFC 7348.
    """

    id: int
    link: str | None = None
    group: str | None = None
    remote: str | None = None
    local: str | None = None
    port: int = 4789
    source_ports: tuple[int, int] | None = None
    ttl: int | None = None
    ttl_inherit: bool | None = None
    tos: int | None = None
    df: Literal["unset", "set", "inherit"] | None = None
    label: int | None = None
    ageing: int | None = None
    max_addresses: int | None = None
    learning: bool | None = None
    proxy: bool | None = None
    rsc: bool | None = None
    l2miss: bool | None = None
    l3miss: bool | None = None
    udp_csum: bool | None = None
    udp6_zero_csum_tx: bool | None = None
    udp6_zero_csum_rx: bool | None = None
    remcsum_tx: bool | None = None
    remcsum_rx: bool | None = None
    external: bool | None = None
    vnifilter: bool | None = None
    localbypass: bool | None = None
    gbp: bool | None = None
    gpe: bool | None = None
    kind: ClassVar[str] = "vxlan"

    def _check(self, check: Checks) -> None:
        if self.id is None:
            check.wrong("id", self.id, kinds.OPTIONS["vxlan"]["id"].rule)
        if self.link is not None:
            check.add(name_problem("link", self.link))
        if self.group is not None and self.link is None:
            check.wrong("link", self.link, "is needed with a group")
        if self.group is not None and self.remote is not None:
            check.wrong("remote", self.remote, "goes not together with a group")
        known = kinds.OPTIONS["vxlan"]
        ends = {name: getattr(self, name) for name in ("group", "remote", "local")}
        told = [ip_address(value) for name, value in ends.items() if value is not None and known[name].fits(value)]
        if len({address.version for address in told}) > 1:
            check.wrong("local", self.local, f"is not of the family of {told[0]}")
        if self.label and known["label"].fits(self.label) and not any(address.version == 6 for address in told):
            check.wrong("label", self.label, "is for IPv6 alone: an end with an IPv6 address is needed")
        self._check_modes(check)

    def _check_modes(self, check: Checks) -> None:
        if self.ttl is not None and self.ttl_inherit:
            check.wrong("ttl", self.ttl, "goes not together with ttl_inherit")
        if self.external is not True:
            for word in ("vnifilter", "gpe"):
                if getattr(self, word):
                    check.wrong(word, getattr(self, word), "is for external ones")
            return
        if self.id:
            check.wrong("id", self.id, "is not 0, as that of external ones is")
        if self.learning is None:  # as ip(8) does
            object.__setattr__(self, "learning", False)

    @property
    def mac_rule(self) -> str | None:
        """With *gpe* it has none."""
        return "is none with gpe" if self.gpe else None


@dataclass(frozen=True, slots=True)
class Dummy(Kind):
    """A link that drops what is sent to it, to hold addresses.

    Source: ip-link(8).
    """

    kind: ClassVar[str] = "dummy"


@dataclass(frozen=True, slots=True)
class Ifb(Kind):
    """A link to which traffic can be redirected so that it can be shaped.

    Source: ip-link(8), tc-mirred(8).
    """

    kind: ClassVar[str] = "ifb"


@dataclass(frozen=True, slots=True)
class Tap(Kind):
    """A link whose other end is a program, such as a virtual machine, that opens it by its name inside.

    Attributes:
        mode: "tap" (Ethernet frames) or "tun" (IP packets).
        owner: Number of the user who may open it; if left out, root may.
        group: Number of the group that may.
        packet_info: Whether each packet comes with a header that says its protocol.
        vnet_hdr: Whether each packet comes with a virtio header.
        multi_queue: Whether it may be opened several times at once.

    Raises:
        SpecError: Something of it makes no sense.

    Source: ip-tuntap(8), Documentation/networking/tuntap.rst.
    """

    mode: Literal["tap", "tun"] = "tap"
    owner: int | None = None
    group: int | None = None
    packet_info: bool | None = None
    vnet_hdr: bool | None = None
    multi_queue: bool | None = None
    kind: ClassVar[str] = "tun"

    @property
    def mac_rule(self) -> str | None:
        """In mode tun it has none."""
        return "is none in mode tun" if self.mode == "tun" else None

    @property
    def source_name(self) -> str:
        """What `Interface.source` says: its mode."""
        return self.mode
