"""Steps that create a veth with one end inside and one on the host, and delete it."""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import count

from netsandbox._kernel import HOST, Kernel, World
from netsandbox._steps.base import Step, quote
from netsandbox._steps.create import unknown
from netsandbox._steps.ip import SetSysctl
from netsandbox.errors import KernelError
from netsandbox.netlink import bridge_port
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.link import Link
from netsandbox.netlink.settings import NONE, Settings

_FIRST_GROUP, _GROUPS = 0x6E000000, 2**24  # link groups for links to delete, far from the numbers that people choose


@dataclass(frozen=True, slots=True)
class HostEnd:
    """The end of a veth that is on the host."""

    name: str
    _: KW_ONLY
    settings: Settings  # its MAC identifies it: nobody inside can change that; its alias is the mark of its sandbox
    master: int | None = None  # index of the link it is a port of, if there is one
    master_name: str = ""
    master_mac: str | None = None  # which the master keeps: a bridge would take that of its first port
    ipv6: bool = False  # whether it has IPv6
    hairpin: bool = False  # whether frames may leave the bridge by the port they came in
    isolated: bool = False  # whether it reaches only ports that are not isolated
    learning: bool = True  # whether the bridge learns addresses from it
    index: int = 0  # 0 leaves it to the kernel

    @property
    def port(self) -> dict[str, bool]:
        """The settings of its port that differ from the kernel's defaults."""
        wanted = {"hairpin": self.hairpin, "isolated": self.isolated, "learning": self.learning}
        return {name: value for name, value in wanted.items() if value != (name == "learning")}

    def matches(self, link: Link) -> bool:
        """Whether a link on the host is this one: by its MAC, or, if that was changed, by its name and mark."""
        mark = self.settings.alias
        is_marked = bool(mark) and (link.name, link.alias) == (self.name, mark)
        return link.kind == "veth" and (link.mac == self.settings.mac or is_marked)

    def find(self, kernel: Kernel) -> Link | None:
        """Return the link with its index, or with its name if the index is not known, if the link is this one."""
        found = kernel.link(self.index or self.name)
        return found if found and self.matches(found) else None


@dataclass(frozen=True, slots=True)
class CreateVeth(Step):
    """Create a veth, one end in its place inside and one on the host, which becomes a port of its bridge and is up.

    The pair is one request; masters, aliases and other settings take further ones. IPv6 is off on the host end before
    that is up.
    """

    netns: str  # the namespace of the inside end, by its name in the World
    index: int  # index of the inside end
    link: str
    _: KW_ONLY
    settings: Settings = NONE
    host: HostEnd
    may_exist: bool = False  # it was there before, and may not have been deleted
    atomic = False

    def __str__(self) -> str:
        end, name = self.host, quote(self.host.name)
        there = ("netns", quote(self.netns)) if self.netns != HOST else ()
        early, late = _settings.split(end.settings)
        words: Sequence[str] = ("ip link add name", name, *_settings.words(early), "type veth")
        words = (*words, "peer name", quote(self.link), *there, *_settings.words(self.settings))
        lines = [" ".join(words)]
        lines += [] if end.ipv6 else [str(self._ipv6_off())]
        master = ("master", quote(end.master_name)) if end.master is not None else ()
        lines.append(" ".join(("ip link set dev", name, *_settings.words(late), *master, "up")))
        lines += [f"ip link set dev {quote(end.master_name)} address {end.master_mac}"] if end.master_mac else []
        if end.port:
            words = [f"{key} {'on' if value else 'off'}" for key, value in end.port.items()]
            lines.append(" ".join(("bridge link set dev", name, *words)))
        return " && ".join(lines)

    def apply(self, world: World) -> bool:
        host, box, end = world[HOST], world[self.netns], self.host
        found = end.find(host) if self.may_exist else None
        if found:
            group = _settings.differing(Settings(group=end.settings.group or 0), found)
            if group:
                host.send(_requests.modify(found.index, settings=group))
            return group is not None
        there = None if self.netns == HOST else host.fd
        early, late = _settings.split(end.settings)
        data = _requests.peer(end.name, settings=early, index=end.index, namespace=there)
        try:
            box.send(_requests.create("veth", self.link, settings=self.settings, index=self.index, data=data))
        except KernelError as error:
            raise unknown("veth", error) or error from error.__cause__
        if not end.ipv6:
            self._ipv6_off().apply(world)
        host.send(_requests.modify(0, settings=late or NONE, name=end.name, master=end.master, up=True))
        master = host.link(end.master) if end.master and end.master_mac else None
        if master and master.mac != end.master_mac:
            host.send(_requests.modify(master.index, settings=Settings(mac=end.master_mac)))
        if end.port:
            host.send(_requests.modify(0, name=end.name, port=("bridge", bridge_port.pack(end.port))))
        return True

    def _ipv6_off(self) -> SetSysctl:
        path = f"ipv6/conf/{self.host.name}/disable_ipv6"
        return SetSysctl(HOST, 0, self.host.name, None, "1", path=path, optional=True)

    def inverse(self) -> "DeleteVeth":
        return DeleteVeth(self)


@dataclass(frozen=True, slots=True)
class DeleteVeth(Step):
    """Delete a veth by its end on the host, which nobody inside can exchange."""

    made: CreateVeth
    benign_errnos = frozenset((errno.ENODEV,))

    def __str__(self) -> str:
        return f"ip link delete dev {quote(self.made.host.name)}"

    def apply(self, world: World) -> bool:
        found = self.made.host.find(world[HOST])
        if not found:
            return False
        world[HOST].send(_requests.delete(found.index))
        return True

    def inverse(self) -> CreateVeth:
        return replace(self.made, may_exist=True)


def delete_veths(steps: Iterable[Step], world: World) -> list[Step]:
    """Carry out several DeleteVeth steps in one request; return those whose veth was there."""
    host = world[HOST]
    found = [(step, end.index) for step in steps if isinstance(step, DeleteVeth) and (end := step.made.host.find(host))]
    delete_links(host, [index for _, index in found])
    return [step for step, _ in found]


def delete_links(kernel: Kernel, indexes: Sequence[int]) -> None:
    """Delete links, some of which may be gone already: several as a link group, which takes little longer than one.

    No other link is in the group, and no other process chooses it: its number is that of the first link.

    Raises:
        KernelError: The kernel refused; if it was the last request, nothing is deleted.
    """
    requests = [_requests.delete(index) for index in indexes]
    if len(indexes) > 1:
        used = {link.group for link in kernel.links()}
        group = next(number for number in count(_FIRST_GROUP + indexes[0] % _GROUPS) if number not in used)
        requests = [_requests.modify(index, settings=Settings(group=group)) for index in indexes]
        requests.append(_requests.delete_group(group))
    for request in requests:
        try:
            kernel.send(request)
        except KernelError as error:
            if error.errno != errno.ENODEV or not error.answered:
                raise
