"""Attach: from requests and facts to ordered steps. Pure. `naming` chooses names and indexes, and finds conflicts.

The order is osl's (docs/contract.md, "Order of an attach"): the link arrives with its name, MAC and MTU; then come
addresses, the IPv6 switch, the master and sysctls; then it is brought up; then its routes are added.

`Attachment.teardown` has the inverse of each step whose effect would outlive the interface, in the order of a detach.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from netsandbox import _steps
from netsandbox._checks import IPInterface
from netsandbox._kernel import HOST
from netsandbox._plan.check import find_problems
from netsandbox._plan.convert import route_entry
from netsandbox._plan.host import change_in_place
from netsandbox._plan.model import Draft, Plan, Target
from netsandbox._plan.naming import InUse, host_mac
from netsandbox._plan.restore import lost_in_move, lost_when_down, port_of
from netsandbox._plan.state import Facts, LinkState
from netsandbox._record import Attachment
from netsandbox.errors import NameConflictError, NetSandboxError
from netsandbox.links import Kind, Veth, find_kind
from netsandbox.netlink import address as _address
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.conf import disable_ipv6, sysctl_path
from netsandbox.netlink.constants import AF_BRIDGE
from netsandbox.netlink.settings import Settings
from netsandbox.spec import InterfaceSpec


def plan_attach(
    specs: Sequence[InterfaceSpec], target: Target, facts: Facts, attached: Sequence[Attachment], *, next_id: int
) -> tuple[Plan, tuple[Attachment, ...]]:
    """Plan to attach links to a sandbox in which others are *attached*; return the plan and the new attachments."""
    operation = f"attach {', '.join(spec.source_name for spec in specs)} to sandbox {target.name}"
    link = specs[0].source_name if specs else None
    draft, used, known = Draft(target), InUse(facts), list(attached)
    try:
        refusal = find_problems(specs, target, facts, attached)
        if refusal:
            raise refusal
        for id_, spec in enumerate(specs, next_id):
            known.append(_Attach(spec, facts, known, used=used, draft=draft).plan(id_))
    except NetSandboxError as error:
        error.operation, error.link = operation, link
        raise
    made = tuple(known[len(attached) :])
    # All are attached before the first is waited for: they come up side by side, and a bridge comes up with its ports.
    for spec, new in zip(specs, made, strict=True):
        if spec.wait:
            draft.add(_steps.WaitUp(target.netns, new.index, new.name, spec.wait_limit))
    return draft.plan(operation, link), made


class _Attach:
    """Plans one interface: chooses its name and index, then adds its steps to the draft."""

    def __init__(
        self, spec: InterfaceSpec, facts: Facts, attached: Sequence[Attachment], *, used: InUse, draft: Draft
    ) -> None:
        self.spec, self.facts, self.used, self.draft, self.target = spec, facts, used, draft, draft.target
        self.state = None if spec.kind else facts.sources[spec.source_name]
        self.link = link = self.state.link if self.state else None
        self.stays = link is not None and self.target.is_host  # on the host nothing is moved or renamed
        self.is_up = link is not None and self.stays and link.is_up  # already
        self.master = next((item for item in attached if item.source == spec.master), None)
        master_kind = self.master.made_kind if self.master else None
        self.is_cycled = master_kind is not None and master_kind.cycles_ports  # the master sets it down and up again

        self.source = link.name if link else spec.source_name
        keeps_name = self.target.is_host and (link or (spec.kind and spec.kind.keeps_name))
        name = self.source if keeps_name else used.choose_name(spec)
        if not self.stays:
            used.take_names(self.source, name, *(link.altnames if link else ()))
        index = link.index if link and self.stays else used.take_index(link)
        used.take_networks(spec, index, name)
        self.at = (self.target.netns, index, name)  # as the steps name the link
        self.names = {"i.SrcName": self.source, "i.DstName": name}  # as osl's spans do

    def plan(self, id_: int) -> Attachment:
        """Plan one interface from top to bottom: it arrives, is configured, is brought up, and gets its routes."""
        spec, draft, kind, (_, index, name) = self.spec, self.draft, self.spec.kind, self.at
        first = len(draft.steps)
        with draft.span("AddInterface", {"srcName": self.source, "dstPrefix": spec.prefix}):
            if kind:
                self._create(kind)
            elif self.stays:
                change_in_place(draft, spec, self.facts.sources[spec.source_name])
            else:
                self._move(self.facts.sources[spec.source_name])
            arrived = len(draft.steps)
            with draft.span("configureInterface", {"ifaceName": name}):
                self._configure()
            if not self.is_up:
                draft.add(_steps.SetUp(*self.at, old=False, new=True))
            with draft.span("setInterfaceRoutes", self.names):
                draft.add(*(_steps.SetRoute(*self.at, None, route_entry(route, index)) for route in spec.routes))

        # What outlives the interface: on the host every effect, in a sandbox the creation or move of its link.
        outlives = draft.steps[first:] if self.stays else draft.steps[first : first + 1 if kind else arrived]
        link = self.link
        return Attachment(
            id_,
            self.source,
            index,
            name,
            kind=kind.kind if kind else link.kind if link else None,
            created=kind is not None,
            altnames=link.altnames if link else (),
            lower=link.lower if link and link.lower_netns is None and not self.stays else None,
            teardown=tuple(step.inverse() for step in reversed(outlives)),
            advertise=spec.advertise,
        )

    def _create(self, kind: Kind) -> None:
        """Plan to create the link where it is to be."""
        late = () if kind.mtu_at_creation else ("mtu",)  # the kernel drops an MTU in the request that creates the link
        early, later = _settings.split(self.spec.settings, *late)
        if isinstance(kind, Veth):
            self.draft.add(_steps.CreateVeth(*self.at, settings=early, host=self._host_end(kind)))
        else:
            step = _steps.CreateLink(*self.at, kind=kind.kind, settings=early, options=kind.options)
            if kind.lower:
                lower = self.facts.host_links[kind.lower]
                step = replace(step, lower=lower.index, lower_name=lower.name)
            self.draft.add(step)
        if later:
            self.draft.add(_steps.SetLink(*self.at, None, later))

    def _host_end(self, kind: Veth) -> _steps.HostEnd:
        """Return the end of a new veth on the host."""
        there, is_host = self.facts.host_links, self.target.is_host
        taken = there.get(kind.host)
        if taken or (is_host and kind.host in self.used.names):
            owner = f"link {taken.index} there" if taken else "its other end"
            raise NameConflictError(f"call the host end of {self.at[2]} {kind.host}", f"the name is taken by {owner}")
        master = there[kind.master] if kind.master else None
        master_kind = find_kind(master.kind) if master else None
        mac = kind.host_mac or host_mac(self.target.name, kind.host)
        return _steps.HostEnd(
            kind.host,
            settings=Settings(mac=mac, mtu=kind.host_mtu or self.spec.mtu, alias=self.target.mark or None),
            master=master.index if master else None,
            master_name=master.name if master else "",
            master_mac=master.mac if master and master_kind and master_kind.takes_port_mac else None,
            ipv6=kind.ipv6,
            hairpin=kind.hairpin,
            isolated=kind.isolated,
            learning=kind.learning,
            index=self.used.take_index() if is_host else 0,  # else the kernel may choose that of the other end
        )

    def _move(self, state: LinkState) -> None:
        """Plan to move the link: one request, in the spans of all that it does."""
        old = _steps.place(HOST, state.link)
        move = _steps.Move(old, _steps.Place(*self.at, settings=_settings.merged(old.settings, self.spec)))
        move.refuse_immobile(state.link)
        names = {"ifaceName": self.at[2]}
        with self.draft.span("moveLink", names):
            self.draft.add(*lost_in_move(HOST, state))
            with (
                self.draft.span("setInterfaceName", names),
                self.draft.span("setInterfaceMAC", self.names) if self.spec.mac is not None else nullcontext(),
            ):
                self.draft.add(move)

    def _configure(self) -> None:
        """Plan what is set between arrival and up."""
        draft, spec, name = self.draft, self.spec, self.at[2]
        local = [address for address in spec.addresses if address.is_link_local]
        usual = [address for address in spec.addresses if not address.is_link_local]
        if self.is_cycled:  # before the IPv6 addresses, which it would lose
            self._enslave()
        for address in usual:
            if address.version == 4:
                with draft.span("setInterfaceIP", self.names):
                    draft.add(add_step(self.at, address))
        first = next((str(item) for item in spec.addresses if item.version == 6), "")
        with draft.span("setInterfaceIPv6", {**self.names, "i.AddressIPv6": first}):
            if spec.has_ipv6:
                draft.add(self._sysctl(disable_ipv6(name), "0"))
            elif not self.is_up:  # a link of the host that is in use keeps its IPv6
                draft.add(self._sysctl(disable_ipv6(name), "1", optional=True))
            draft.add(*(add_step(self.at, address) for address in usual if address.version == 6))
        if not self.is_cycled:
            self._enslave()
        with draft.span("setInterfaceLinkLocalIPs", self.names):
            draft.add(*(add_step(self.at, address) for address in local))
        with draft.span("setSysctls", {"ifName": name}):
            draft.add(*(self._sysctl(sysctl_path(key, name), value) for key, value in spec.sysctls))

    def _enslave(self) -> None:
        """Plan to make the link a port of the requested master."""
        if self.master is None:
            return
        found = self.facts.link(self.master.index)
        was, lost = None, list[_steps.Dropped]()
        if self.state and self.stays:
            was = port_of(self.state)
            entries = [item for item in self.state.neighbors if was and item.family == AF_BRIDGE]
            lost += (_steps.Dropped(_steps.SetNeighbor(*self.at, None, item)) for item in entries)
            lost += lost_when_down(self.state) if self.is_up and self.is_cycled else ()
        with self.draft.span("setInterfaceMaster", self.names):
            new = _steps.Port(self.master.index, found.name if found else self.master.name)
            self.draft.add(*lost, _steps.SetMaster(*self.at, was, new))

    def _sysctl(self, path: str, value: str, *, optional: bool = False) -> _steps.SetSysctl:
        return _steps.SetSysctl(*self.at, self.facts.sysctls.get(path), value, path=path, optional=optional)


def add_step(at: tuple[str, int, str], address: IPInterface) -> _steps.SetAddress:
    """Return the step that adds an address to a link, given by namespace, index and name."""
    return _steps.SetAddress(*at, None, _address.new(at[1], address))
