"""Steps that make veths with one end inside and one on the host, and delete them: one by one, or several at once."""

import errno
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from netsandbox._kernel import HOST, Kernel, World
from netsandbox._steps.base import quote
from netsandbox._steps.birth import unknown
from netsandbox._steps.ip import SetSysctl
from netsandbox.errors import KernelError
from netsandbox.netlink import bridge_port
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.link import Link
from netsandbox.netlink.settings import NONE, Settings


@dataclass(frozen=True, slots=True)
class HostEnd:
    """The end of a veth that is on the host.

    Attributes:
        name: Its name.
        settings: Its settings. By its link-layer address it is known again: nobody inside can change it. Its alias is
            the text that says whose it is, if there is one.
        master: Index of the link it is a port of; None: of none.
        master_name: Name of that.
        master_mac: Link-layer address of that, which it keeps: a bridge would take that of its first port.
        ipv6: Whether it has IPv6.
        hairpin: Whether frames may leave the bridge by the port they came in.
        isolated: Whether the port reaches only ports that are not isolated.
        learning: Whether the bridge learns addresses from the port.
        index: Its index; 0 leaves it to the kernel.
    """

    name: str
    _: KW_ONLY
    settings: Settings
    master: int | None = None
    master_name: str = ""
    master_mac: str | None = None
    ipv6: bool = False
    hairpin: bool = False
    isolated: bool = False
    learning: bool = True
    index: int = 0

    @property
    def port(self) -> dict[str, bool]:
        """The settings of its port that are not the kernel's own."""
        wanted = {"hairpin": self.hairpin, "isolated": self.isolated, "learning": self.learning}
        return {name: value for name, value in wanted.items() if value != (name == "learning")}

    def matches(self, link: Link) -> bool:
        """Whether a link on the host is this one: by its MAC; if somebody there gave it another, by name and mark."""
        mark = self.settings.alias
        is_marked = bool(mark) and (link.name, link.alias) == (self.name, mark)
        return link.kind == "veth" and (link.mac == self.settings.mac or is_marked)

    def find(self, kernel: Kernel, key: int | str) -> Link | None:
        """Return the link with an index or name if it is this one."""
        found = kernel.link(key)
        return found if found and self.matches(found) else None


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """Make a pair of links, one in its place inside and one on the host, which is put on its bridge and brought up.

    The pair is one request; the rest is not, as the kernel looks at masters, aliases and settings only later. IPv6 is
    off on the host end before that is up.

    Attributes:
        netns: The namespace of the inside end, by its name in the World.
        index: Index of the inside end.
        link: Its name.
        settings: Its settings.
        host: The end on the host.
        former: Whether it was there before: then it may be there still.
    """

    netns: str
    index: int
    link: str
    _: KW_ONLY
    settings: Settings = NONE
    host: HostEnd
    former: bool = False
    atomic: ClassVar[bool] = False

    def __str__(self) -> str:
        """Say the ip(8), sysctl(8) and bridge(8) commands it equals."""
        end, name = self.host, quote(self.host.name)
        there = ("netns", quote(self.netns)) if self.netns != HOST else ()
        birth, late = _settings.split(end.settings)
        words: Sequence[str] = ("ip link add name", name, *_settings.words(birth), "type veth")
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
        """Make the pair, and set up the end on the host."""
        host, box, end = world[HOST], world[self.netns], self.host
        found = end.find(host, end.index or end.name) if self.former else None
        if found:
            group = _settings.differing(Settings(group=end.settings.group or 0), found)
            if group:
                host.send(_requests.modify(found.index, settings=group))
            return group is not None
        there = None if self.netns == HOST else host.fd
        birth, late = _settings.split(end.settings)
        data = _requests.peer(end.name, settings=birth, index=end.index, namespace=there)
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
        return SetSysctl(HOST, 0, self.host.name, None, "1", path, optional=True)

    def inverse(self) -> "DeleteVeth":
        """Return the step that deletes it."""
        return DeleteVeth(self)

    @property
    def settled(self) -> frozenset[int]:
        """A link of this name may be another's: nothing is taken for granted."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class DeleteVeth:
    """Delete a veth by its end on the host, which nobody inside can exchange.

    Attributes:
        made: How it was made, or is now.
    """

    made: CreateVeth
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return f"ip link delete dev {quote(self.made.host.name)}"

    def apply(self, world: World) -> bool:
        """Delete the pair, if it is there."""
        found = self.find(world)
        if not found:
            return False
        world[HOST].send(_requests.delete(found.index))
        return True

    def find(self, world: World) -> Link | None:
        """Return the end on the host, if it is there."""
        return self.made.host.find(world[HOST], self.made.host.index or self.made.host.name)

    def inverse(self) -> CreateVeth:
        """Return the step that makes it again."""
        return replace(self.made, former=True)

    @property
    def settled(self) -> frozenset[int]:
        """A link that is gone needs no deleting."""
        return frozenset((errno.ENODEV,))


@dataclass(frozen=True, slots=True)
class CreateVeths:
    """Make several pairs of links that were there before.

    Attributes:
        steps: How each is made.
        group: The link group that those which are there still may be in.
    """

    steps: tuple[CreateVeth, ...]
    group: int
    atomic: ClassVar[bool] = False

    def __str__(self) -> str:
        """Say the commands it equals."""
        return " && ".join(map(str, self.steps))

    def apply(self, world: World) -> bool:
        """Make those that are not there."""
        return sum(step.apply(world) for step in self.steps) > 0

    def inverse(self) -> "DeleteVeths":
        """Return the step that deletes them."""
        return DeleteVeths(tuple(step.inverse() for step in self.steps), self.group)

    @property
    def settled(self) -> frozenset[int]:
        """As for one."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class DeleteVeths:
    """Delete several veths in one request, as a link group of their own: that takes hardly longer than one.

    Attributes:
        steps: How each is deleted.
        group: Number of the group, which has no other links.
    """

    steps: tuple[DeleteVeth, ...]
    group: int
    atomic: ClassVar[bool] = False

    def __str__(self) -> str:
        """Say the ip(8) commands it equals."""
        ends = (quote(step.made.host.name) for step in self.steps)
        lines = [f"ip link set dev {end} group {self.group}" for end in ends]
        return " && ".join([*lines, f"ip link delete group {self.group}"])

    def apply(self, world: World) -> bool:
        """Delete those that are there."""
        found = [link.index for link in (step.find(world) for step in self.steps) if link]
        delete_links(world[HOST], found, self.group)
        return bool(found)

    def inverse(self) -> CreateVeths:
        """Return the step that makes them again."""
        return CreateVeths(tuple(step.inverse() for step in self.steps), self.group)

    @property
    def settled(self) -> frozenset[int]:
        """Those that are gone are passed over."""
        return frozenset()


def delete_links(kernel: Kernel, indexes: Sequence[int], group: int) -> None:
    """Delete links, some of which may be gone already: several in one request, as a *group* that has no other links.

    Raises:
        KernelError: The kernel refused; if it was the last request, nothing is deleted.
    """
    requests = [_requests.delete(index) for index in indexes]
    if len(indexes) > 1:
        requests = [
            *(_requests.modify(index, settings=Settings(group=group)) for index in indexes),
            _requests.delete_group(group),
        ]
    for request in requests:
        try:
            kernel.send(request)
        except KernelError as error:
            if error.errno != errno.ENODEV or not error.answered:
                raise
