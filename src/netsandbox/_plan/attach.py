"""Wishes and facts to ordered steps: which name, which master, which conflicts, and in what order. Pure.

The order is osl's (behaviour.md 2.1, I4): the link comes with its name, MAC and MTU; IPv6 is off before a link without
IPv6 addresses comes up; addresses, master, link-local addresses and sysctls before the link is up; routes after.

`Attachment.back` holds the inverse of every step whose effect would outlive the interface, in the order in which they
take it out again.
"""

from binascii import crc32
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

from netsandbox._checks import NAME_MAX, IPInterface, IPNetwork
from netsandbox._kernel import HOST
from netsandbox._plan.check import check_sources
from netsandbox._plan.convert import route_entry
from netsandbox._plan.host import in_place
from netsandbox._plan.model import Draft, Plan, Target
from netsandbox._plan.restore import lost_when_down, port_of, restore_steps
from netsandbox._plan.state import Facts, LinkState
from netsandbox._record import Attachment
from netsandbox._steps import (
    CreateLink,
    CreateVeth,
    Dropped,
    HostEnd,
    Move,
    Place,
    Port,
    SetAddress,
    SetLink,
    SetMaster,
    SetNeighbor,
    SetRoute,
    SetSysctl,
    SetUp,
    Step,
    WaitUp,
    place,
)
from netsandbox.errors import (
    NameConflictError,
    NetSandboxError,
    Problem,
    RouteConflictError,
    SpecError,
)
from netsandbox.links import Kind, Veth, find_kind
from netsandbox.netlink import address as _address
from netsandbox.netlink import route as _route
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.conf import disable_ipv6, sysctl_path
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.link import Link
from netsandbox.netlink.settings import Settings
from netsandbox.spec import InterfaceSpec

HALF = 1  # prefix length of the two halves of everything, with which VPNs stand in for a default route


def plan_attach(
    specs: Sequence[InterfaceSpec],
    target: Target,
    facts: Facts,
    plugged: Sequence[Attachment],
    *,
    next_id: int,
) -> tuple[Plan, tuple[Attachment, ...]]:
    """Plan to plug interfaces in, and say what they will be.

    Args:
        specs: The wishes, in order.
        target: The sandbox.
        facts: What the kernel says.
        plugged: What is plugged in already.
        next_id: Number of the first new interface.

    Raises:
        SpecError: A wish does not fit the facts; all that is wrong is in it.
        NameConflictError: A name is taken.
        RouteConflictError: An address overlaps another link's network.
    """
    operation = f"attach {', '.join(spec.source_name for spec in specs)} to sandbox {target.name}"
    link = specs[0].source_name if specs else None
    planner = _Attach(target, facts, list(plugged))
    try:
        check_sources(specs, target, facts, plugged)
        made = tuple(planner.add(spec, number) for number, spec in enumerate(specs, next_id))
    except NetSandboxError as error:
        error.operation, error.link = operation, link
        raise
    # All are attached before one is waited for: they come up side by side, and a bridge does by its ports.
    for spec, new in zip(specs, made, strict=True):
        if spec.wait:
            planner.draft.add(WaitUp(target.netns, new.index, new.name, spec.wait_limit))
    return planner.draft.plan(operation, target, link), made


class _Attach:
    """Plans interfaces one after the other, each on top of those before."""

    def __init__(self, target: Target, facts: Facts, plugged: list[Attachment]) -> None:
        self.draft = Draft()
        self.target = target
        self.facts = facts
        self.plugged = plugged
        self.names = {name: link.name for link in facts.links for name in link.names}
        self.indexes = {link.index for link in facts.links}
        self.networks: list[tuple[IPNetwork, IPNetwork | IPInterface, int, str]] = list(_networks(facts))

    def add(self, spec: InterfaceSpec, number: int) -> Attachment:
        """Plan one interface, from top to bottom: its name and index, its arrival, its settings, up, its routes."""
        draft, kind = self.draft, spec.kind
        state = None if kind else self.facts.sources[spec.source_name]
        link = state.link if state else None
        stays = link is not None and self.target.is_host
        source = link.name if link else spec.source_name
        name = source if self.target.is_host and (link or (kind and kind.keeps_name)) else self._name(spec)
        if not stays:
            self._claim(source, name, link)
        index = link.index if link and (stays or link.index not in self.indexes) else self._free_index(link)
        self.indexes.add(index)
        self._check_networks(spec, index, name)
        at = (self.target.netns, index, name)
        names = {"i.SrcName": source, "i.DstName": name}

        first = len(draft.steps)
        with draft.span("AddInterface", {"srcName": source, "dstPrefix": spec.prefix}):
            if kind:
                self._create(spec, kind, at)
            elif state and stays:
                in_place(draft, spec, state, at, names)
            elif state:
                self._move(spec, state, at, names)
            arrived = len(draft.steps)
            with draft.span("configureInterface", {"ifaceName": name}):
                self._configure(spec, at, state, names)
            if not (stays and link and link.is_up):
                draft.add(SetUp(*at, old=False, new=True))
            with draft.span("setInterfaceRoutes", names):
                draft.add(*(SetRoute(*at, None, route_entry(route, index)) for route in spec.routes))

        # What outlives the interface: on the host everything, else what brought it here.
        outlives = draft.steps[first:] if stays else draft.steps[first : first + 1 if kind else arrived]
        back = tuple(step.inverse() for step in reversed(outlives))
        made = kind.kind if kind else None
        new = Attachment(number, source, index, name, made, born=True, back=back, advertise=spec.advertise)
        if link:
            lower = link.lower if link.lower_netns is None and not stays else None
            new = replace(new, kind=link.kind, born=False, altnames=link.altnames, lower=lower)
        self.plugged.append(new)
        return new

    def _create(self, spec: InterfaceSpec, kind: Kind, at: tuple[str, int, str]) -> None:
        """Plan to create the link in its place."""
        late = () if kind.mtu_with_birth else ("mtu",)  # in the request that creates the link, it would get lost
        birth, later = _settings.split(spec.settings, *late)
        self.draft.add(self._birth(spec, kind, at, birth))
        if later:
            self.draft.add(SetLink(*at, None, later))

    def _move(self, spec: InterfaceSpec, state: LinkState, at: tuple[str, int, str], names: Mapping[str, str]) -> None:
        """Plan to move the link: one request, in the spans of all that it does."""
        draft, link = self.draft, state.link
        netns, index, name = at
        old = place(HOST, link)
        move = Move(old, Place(netns, index, name, settings=_settings.merged(old.settings, spec)))
        move.refuse_immobile(link)
        with draft.span("moveLink", {"ifaceName": name}):
            draft.add(*map(Dropped, reversed(restore_steps(HOST, state))))
            own = draft.span("setInterfaceMAC", names) if spec.mac is not None else nullcontext()
            with draft.span("setInterfaceName", {"ifaceName": name}), own:
                draft.add(move)

    def _birth(
        self, spec: InterfaceSpec, kind: Kind, at: tuple[str, int, str], settings: Settings
    ) -> CreateLink | CreateVeth:
        """Return the step that makes a link."""
        outside = self.facts.host_links
        if isinstance(kind, Veth):
            taken = outside.get(kind.host)
            if taken or (self.target.is_host and kind.host in self.names):
                owner = f"link {taken.index} there" if taken else "its other end"
                raise NameConflictError(f"call the host end of {at[2]} {kind.host}", f"the name is taken by {owner}")
            master = outside[kind.master] if kind.master else None
            end = HostEnd(
                kind.host,
                settings=Settings(
                    mac=kind.host_mac or _host_mac(self.target.name, kind.host),
                    mtu=kind.host_mtu or spec.mtu,
                    alias=self.target.mark or None,
                ),
                master=master.index if master else None,
                master_name=master.name if master else "",
                master_mac=master.mac if master and _takes_port_mac(master) else None,
                ipv6=kind.ipv6,
                hairpin=kind.hairpin,
                isolated=kind.isolated,
                learning=kind.learning,
                index=self._free_index(None) if self.target.is_host else 0,  # or it would take that of the first end
            )
            self.indexes.add(end.index)
            return CreateVeth(*at, settings=settings, host=end)
        lower = outside[kind.lower] if kind.lower else None
        return CreateLink(
            *at,
            kind=kind.kind,
            settings=settings,
            options=kind.options,
            lower=lower.index if lower else None,
            lower_name=lower.name if lower else "",
        )

    def _name(self, spec: InterfaceSpec) -> str:
        """Choose the name inside: the one asked for, or the prefix with the lowest free number."""
        if spec.name is not None:
            return spec.name
        number = 0
        while f"{spec.prefix}{number}" in self.names:
            number += 1
        name = f"{spec.prefix}{number}"
        if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
            raise SpecError([Problem("prefix", spec.prefix, f"leaves no room for a free number: {name} is too long")])
        return name

    def _free_index(self, link: Link | None) -> int:
        """Choose an index that no link has, nor the other end: the kernel is slow to see a carrier between equals."""
        return max((*self.indexes, (link and link.lower) or 0)) + 1

    def _claim(self, source: str, name: str, link: Link | None) -> None:
        """Refuse names that are taken, and take them."""
        for wanted in (name, *(link.altnames if link else ())):
            if wanted in self.names:
                request = f"call {source} {wanted}"
                raise NameConflictError(request, f"the name is taken by link {self.names[wanted]}")
            self.names[wanted] = name

    def _check_networks(self, spec: InterfaceSpec, index: int, name: str) -> None:
        """Refuse addresses that overlap what another link reaches (behaviour.md I6)."""
        for address in spec.addresses:
            if address.is_link_local:
                continue
            if spec.on_conflict == "error":
                for network, there, owner, owner_name in self.networks:
                    if owner != index and network.version == address.version and network.overlaps(address.network):
                        raise RouteConflictError(str(address), str(there), owner_name)
            self.networks.append((address.network, address, index, name))

    def _configure(
        self, spec: InterfaceSpec, at: tuple[str, int, str], state: LinkState | None, names: Mapping[str, str]
    ) -> None:
        """Plan what is done between arrival and link up."""
        draft, name = self.draft, at[2]
        if self._is_cycled(spec):  # before the addresses, which it would lose
            self._enslave(spec, at, state, names)
        local = [address for address in spec.addresses if address.is_link_local]
        usual = [address for address in spec.addresses if not address.is_link_local]
        for address in usual:
            if address.version == 4:
                with draft.span("setInterfaceIP", names):
                    draft.add(add_step(at, address))
        first = next((str(item) for item in spec.addresses if item.version == 6), "")
        with draft.span("setInterfaceIPv6", {**names, "i.AddressIPv6": first}):
            if spec.has_ipv6:
                draft.add(self._sysctl(at, disable_ipv6(name), "0"))
            elif not (self.target.is_host and state and state.link.is_up):  # in use, it keeps its IPv6
                draft.add(self._sysctl(at, disable_ipv6(name), "1", optional=True))
            draft.add(*(add_step(at, address) for address in usual if address.version == 6))
        if not self._is_cycled(spec):
            self._enslave(spec, at, state, names)
        with draft.span("setInterfaceLinkLocalIPs", names):
            draft.add(*(add_step(at, address) for address in local))
        with draft.span("setSysctls", {"ifName": name}):
            draft.add(*(self._sysctl(at, sysctl_path(key, name), value) for key, value in spec.sysctls))

    def _enslave(
        self, spec: InterfaceSpec, at: tuple[str, int, str], state: LinkState | None, names: Mapping[str, str]
    ) -> None:
        """Plan to make the link a port of the master that is asked for."""
        if spec.master is None:
            return
        master = self._attached(spec.master)
        found = self.facts.link(master.index)
        was = port_of(state) if state and self.target.is_host else None
        entries = [item for item in state.neighbors if item.family == AF_BRIDGE] if state and was else []
        lost: list[Step] = [SetNeighbor(*at, None, item) for item in entries]
        if state and state.link.is_up and self.target.is_host and self._is_cycled(spec):
            lost += lost_when_down(state)
        with self.draft.span("setInterfaceMaster", names):
            self.draft.add(*map(Dropped, lost))
            self.draft.add(SetMaster(*at, was, Port(master.index, found.name if found else master.name)))

    def _is_cycled(self, spec: InterfaceSpec) -> bool:
        """Whether the master that is asked for takes a link down and up again when it becomes its port."""
        kind = self._attached(spec.master).made_kind if spec.master else None
        return kind is not None and kind.cycles_ports

    def _attached(self, source: str) -> Attachment:
        return next(item for item in self.plugged if item.source == source)

    def _sysctl(self, at: tuple[str, int, str], path: str, value: str, *, optional: bool = False) -> SetSysctl:
        return SetSysctl(*at, self.facts.sysctls.get(path), value, path=path, optional=optional)


def _takes_port_mac(master: Link) -> bool:
    kind = find_kind(master.kind)
    return kind is not None and kind.takes_port_mac


def _host_mac(sandbox: str, host: str) -> str:
    """Return a MAC for the host end of a veth, the same whenever it is asked for.

    It begins with fe: a bridge takes the lowest of its ports' for its own, and is not to change it with every veth.
    """
    numbers = [crc32(name.encode("utf-8", "surrogateescape")) for name in (sandbox, host)]
    return f"fe:{numbers[0] & 0xFF:02x}:{numbers[1].to_bytes(4, 'big').hex(':')}"


def add_step(at: tuple[str, int, str], address: IPInterface) -> SetAddress:
    """Return the step that gives a link, by namespace, index and name, a new address."""
    return SetAddress(*at, None, _address.new(at[1], address))


def _networks(facts: Facts) -> Iterator[tuple[IPNetwork, IPNetwork | IPInterface, int, str]]:
    """Yield what the links of a sandbox reach: network, what is there, and the index and name of the link.

    Default and half-default routes, routes through a gateway and routes that reach nothing (unreachable, blackhole)
    claim no network (behaviour.md C1, C2); link-local networks are on every link (C3).
    """
    names = {link.index: link.name for link in facts.links}
    for route in facts.routes:
        direct = route.type == _route.UNICAST and route.via is None and route.index in names
        if direct and route.to.prefixlen > HALF and not route.to.is_link_local and not route.to.is_multicast:
            yield route.to, route.to, route.index or 0, names[route.index or 0]
    for address in facts.addresses:
        if not address.interface.is_link_local:
            yield address.interface.network, address.interface, address.index, names.get(address.index, "?")
