"""Steps that make, move, change and delete links."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypedDict

from netsandbox import telemetry
from netsandbox._steps.base import HOST, Change, Kernel, World, ip, quote
from netsandbox._steps.ip import SetSysctl
from netsandbox.errors import KernelError
from netsandbox.netlink import kinds
from netsandbox.netlink import link as _link
from netsandbox.netlink.link import Link

UP_RETRIES, UP_PAUSE = 3, 0.010  # as osl: three more tries, 10 ms (in seconds) apart
_PASSING = frozenset((errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link is, and how it is called and set there.

    Attributes:
        netns: The namespace, by its name in the World.
        index: Its index there.
        name: Its name there.
        mac: Its link-layer address there.
        mtu: Its MTU there, in bytes.
        alias: The text attached to it there.
        txqlen: Length of its transmit queue there, in packets.
        group: Its link group there.
    """

    netns: str
    index: int
    name: str
    mac: str | None
    mtu: int
    alias: str = ""
    txqlen: int = 0
    group: int = 0


def place(netns: str, link: Link) -> Place:
    """Return where *link* is, and how it is set there."""
    return Place(netns, link.index, link.name, link.mac, link.mtu, link.alias or "", link.txqlen, link.group)


class _Settings(TypedDict, total=False):
    name: str
    mac: str
    mtu: int
    alias: str
    txqlen: int
    group: int


@dataclass(frozen=True, slots=True)
class Move:
    """Take a link to another namespace, with its name, index, MAC and MTU there, in one request.

    The request is not atomic: when it fails, the link may have moved all the same (behaviour.md K3). So this step
    looks where the link is before it acts, and can be repeated.
    """

    old: Place
    new: Place
    atomic: ClassVar[bool] = False

    def __str__(self) -> str:
        """Say the ip(8) command it equals; ``$$`` is a process on the host: the shell itself."""
        old, new = self.old, self.new
        target = quote(new.netns) if new.netns else "$$"
        words = f"link set dev {quote(old.name)} netns {target} name {quote(new.name)}"
        words += f" address {new.mac}" if new.mac and new.mac != old.mac else ""
        words += f" mtu {new.mtu}" if new.mtu != old.mtu else ""
        words += f" alias {quote(new.alias)}" if new.alias != old.alias else ""
        words += f" txqueuelen {new.txqlen}" if new.txqlen != old.txqlen else ""
        words += f" group {new.group}" if new.group != old.group else ""
        return ip(old.netns, words)

    def apply(self, world: World) -> bool:
        """Move the link, or, if it has moved already, give it what it lacks there."""
        here, there = world[self.old.netns], world[self.new.netns]
        found = here.link(self.old.index)
        if found and self._is(found):
            settings = self._settings(found)
            here.send(_link.change(found.index, namespace=there.fd, new_index=self.new.index, **settings))
            return True
        found = there.link(self.new.index)
        if not found or not self._is(found):
            reason = "it is neither where it was nor where it was to go"
            raise KernelError(errno.ENODEV, f"find link {self.old.name}", reason)
        settings = self._settings(found)
        if settings:
            there.send(_link.change(found.index, **settings))
        return bool(settings)

    def _is(self, link: Link) -> bool:
        """Whether *link*, found under the right index, is the one.

        It has one of the names or addresses, or, should a process inside have changed both, another end outside.
        """
        known = link.name in {self.old.name, self.new.name} or (link.mac and link.mac in {self.old.mac, self.new.mac})
        return bool(known) or link.lower_netns is not None

    def _settings(self, link: Link) -> _Settings:
        """Return what *link* lacks."""
        lacks = _Settings()
        if link.name != self.new.name:
            lacks["name"] = self.new.name
        if self.new.mac and link.mac != self.new.mac:
            lacks["mac"] = self.new.mac
        if link.mtu != self.new.mtu:
            lacks["mtu"] = self.new.mtu
        if (link.alias or "") != self.new.alias:
            lacks["alias"] = self.new.alias
        if link.txqlen != self.new.txqlen:
            lacks["txqlen"] = self.new.txqlen
        if link.group != self.new.group:
            lacks["group"] = self.new.group
        return lacks

    def inverse(self) -> "Move":
        """Return the way back."""
        return Move(self.new, self.old)

    @property
    def settled(self) -> frozenset[int]:
        """No refusal of a move means that it is done."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class CreateLink:
    """Make a virtual link in its place, with its name, index, MAC and MTU, in one request.

    Attributes:
        netns: The namespace, by its name in the World.
        index: Index of the link.
        link: Its name.
        kind: Its kind.
        mac: Its link-layer address; None leaves it to the kernel.
        mtu: Its MTU, in bytes; None leaves it to the kernel.
        options: What its kind is told.
        lower: Index, on the host, of the link below; None: there is none.
        lower_name: Name of that.
        former: Whether it was there before: then it may be there still.
    """

    netns: str
    index: int
    link: str
    kind: str
    mac: str | None
    mtu: int | None = None
    options: kinds.Options = ()
    lower: int | None = None
    lower_name: str = ""
    former: bool = False

    @property
    def atomic(self) -> bool:
        """Whether it is one request; what a program is to open is made in several steps."""
        return self.kind != "tun"

    @property
    def _is_from_outside(self) -> bool:
        """Whether it is tied to the host: then the host's socket has to ask for it."""
        return self.netns != HOST and (self.lower is not None or self.kind == "vxlan")

    def __str__(self) -> str:
        """Say the ip(8) commands it equals."""
        words = kinds.words(self.kind, self.options)
        settings = f" address {self.mac}" if self.mac else ""
        settings += f" mtu {self.mtu}" if self.mtu else ""
        if self.kind == "tun":
            dev = quote(self.link)
            made = ip(self.netns, f"tuntap add dev {dev}{words}")
            return f"{made} && {ip(self.netns, f'link set dev {dev}{settings}')}" if settings else made
        below = ""
        if self.lower is not None and self.kind == "vxlan":
            words += f" dev {quote(self.lower_name)}"
        elif self.lower is not None:
            below = f" link {quote(self.lower_name)}"
        there = f" netns {quote(self.netns)}" if self._is_from_outside else ""
        text = f"link add{below} name {quote(self.link)}{there}{settings} type {self.kind}{words}"
        return ip(HOST if self._is_from_outside else self.netns, text)

    def apply(self, world: World) -> bool:
        """Make the link."""
        kernel = world[self.netns]
        found = kernel.link(self.index) if self.former else None
        if found and found.kind == self.kind:
            return False
        if self.kind == "tun":
            kernel.make_tap(self.link, self.index, dict(self.options))
            if self.mac or self.mtu:
                kernel.send(_link.change(self.index, mac=self.mac, mtu=self.mtu))
            return True
        below = None if self.kind == "vxlan" else self.lower
        data = kinds.pack(self.kind, self.options, lower=self.lower or 0)
        try:
            world[HOST if self._is_from_outside else self.netns].send(
                _link.create(
                    self.kind,
                    self.link,
                    index=self.index,
                    mac=self.mac,
                    mtu=self.mtu,
                    lower=below,
                    namespace=kernel.fd if self._is_from_outside else None,
                    data=data,
                )
            )
        except KernelError as error:
            raise _unknown(self.kind, error) or error from error.__cause__
        return True

    def inverse(self) -> "DeleteLink":
        """Return the step that deletes it."""
        return DeleteLink(self)

    @property
    def settled(self) -> frozenset[int]:
        """A link with this index may be another's: nothing is taken for granted."""
        return frozenset()


def _unknown(kind: str, error: KernelError) -> KernelError | None:
    """Return the error that says that the kernel lacks a kind of link, if that is what *error* means."""
    if error.errno != errno.EOPNOTSUPP or error.extack != "Unknown device type":
        return None
    module = kinds.MODULES.get(kind, kind)
    reason = f"{error.extack}: this kernel has no links of the kind {kind} (module {module})"
    return KernelError(errno.EOPNOTSUPP, error.request, reason, answered=error.answered)


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a virtual link that was born in a sandbox; one of another kind under the same index is not touched.

    Attributes:
        made: How it was made.
    """

    made: CreateLink
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.made.netns, f"link delete dev {quote(self.made.link)}")

    def apply(self, world: World) -> bool:
        """Delete the link, if it is there."""
        kernel, made = world[self.made.netns], self.made
        found = kernel.link(made.index)
        if not found or found.kind != made.kind:
            return False
        kernel.send(_link.delete(made.index))
        return True

    def inverse(self) -> CreateLink:
        """Return the step that makes it again."""
        return replace(self.made, former=True)

    @property
    def settled(self) -> frozenset[int]:
        """A link that is gone needs no deleting."""
        return frozenset((errno.ENODEV,))


@dataclass(frozen=True, slots=True)
class HostEnd:
    """The end of a veth that is on the host.

    Attributes:
        name: Its name.
        mac: Its link-layer address, by which it is known again: nobody inside can change it.
        mtu: Its MTU, in bytes; None leaves it to the kernel.
        master: Index of the link it is a port of; None: of none.
        master_name: Name of that.
        master_mac: Link-layer address of that, which it keeps: a bridge would take that of its first port.
        mark: The text attached to it, which says whose it is; empty: none.
        ipv6: Whether it has IPv6.
        hairpin: Whether frames may leave the bridge by the port they came in.
        isolated: Whether the port reaches only ports that are not isolated.
        learning: Whether the bridge learns addresses from the port.
        index: Its index; 0 leaves it to the kernel.
        group: Its link group.
    """

    name: str
    mac: str
    mtu: int | None = None
    master: int | None = None
    master_name: str = ""
    master_mac: str | None = None
    mark: str = ""
    ipv6: bool = False
    hairpin: bool = False
    isolated: bool = False
    learning: bool = True
    index: int = 0
    group: int = 0

    @property
    def port(self) -> dict[str, bool]:
        """The settings of its port that are not the kernel's own."""
        wanted = {"hairpin": self.hairpin, "isolated": self.isolated, "learning": self.learning}
        return {name: value for name, value in wanted.items() if value != (name == "learning")}

    def find(self, kernel: Kernel, key: int | str) -> Link | None:
        """Return the link with an index or name if it is this one."""
        found = kernel.link(key)
        return found if found and found.kind == "veth" and found.mac == self.mac else None


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """Make a pair of links, one in its place inside and one on the host, which is put on its bridge and brought up.

    The pair is one request; the rest is not, as the kernel looks at masters, aliases and settings only later. IPv6 is
    off on the host end before that is up.

    Attributes:
        netns: The namespace of the inside end, by its name in the World.
        index: Index of the inside end.
        link: Its name.
        mac: Its link-layer address; None leaves it to the kernel.
        mtu: Its MTU, in bytes; None leaves it to the kernel.
        host: The end on the host.
        former: Whether it was there before: then it may be there still.
    """

    netns: str
    index: int
    link: str
    mac: str | None
    mtu: int | None
    host: HostEnd
    former: bool = False
    atomic: ClassVar[bool] = False

    def __str__(self) -> str:
        """Say the ip(8), sysctl(8) and bridge(8) commands it equals."""
        end, name = self.host, quote(self.host.name)
        mine = f" address {self.mac}" if self.mac else ""
        mine += f" mtu {self.mtu}" if self.mtu else ""
        there = f" netns {quote(self.netns)}" if self.netns != HOST else ""
        other = f" mtu {end.mtu}" if end.mtu else ""
        lines = [
            f"ip link add name {name} address {end.mac}{other} type veth peer name {quote(self.link)}{there}{mine}"
        ]
        lines += [] if end.ipv6 else [str(self._ipv6_off())]
        words = f" alias {quote(end.mark)}" if end.mark else ""
        words += f" group {end.group}" if end.group else ""
        words += f" master {quote(end.master_name)}" if end.master is not None else ""
        lines.append(f"ip link set dev {name}{words} up")
        lines += [f"ip link set dev {quote(end.master_name)} address {end.master_mac}"] if end.master_mac else []
        if end.port:
            words = "".join(f" {key} {'on' if value else 'off'}" for key, value in end.port.items())
            lines.append(f"bridge link set dev {name}{words}")
        return " && ".join(lines)

    def apply(self, world: World) -> bool:
        """Make the pair, and set up the end on the host."""
        host, box, end = world[HOST], world[self.netns], self.host
        found = end.find(host, end.index or end.name) if self.former else None
        if found:
            if found.group != end.group:
                host.send(_link.change(found.index, group=end.group))
            return found.group != end.group
        there = None if self.netns == HOST else host.fd
        data = _link.peer(end.name, index=end.index, mac=end.mac, mtu=end.mtu, namespace=there)
        try:
            box.send(_link.create("veth", self.link, index=self.index, mac=self.mac, mtu=self.mtu, data=data))
        except KernelError as error:
            raise _unknown("veth", error) or error from error.__cause__
        if not end.ipv6:
            self._ipv6_off().apply(world)
        alias, group = end.mark or None, end.group or None
        host.send(_link.change(0, name=end.name, master=end.master, alias=alias, group=group, up=True))
        master = host.link(end.master) if end.master and end.master_mac else None
        if master and master.mac != end.master_mac:
            host.send(_link.change(master.index, mac=end.master_mac))
        if end.port:
            host.send(_link.change(0, name=end.name, port=("bridge", _link.bridge_port(end.port))))
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
        world[HOST].send(_link.delete(found.index))
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
    requests = [_link.change(index, group=group) if len(indexes) > 1 else _link.delete(index) for index in indexes]
    for request in (*requests, _link.delete_group(group)) if len(indexes) > 1 else requests:
        try:
            kernel.send(request)
        except KernelError as error:
            if error.errno != errno.ENODEV or not error.answered:
                raise


class SetMac(Change[str]):
    """Give a link another link-layer address."""

    __slots__ = ()

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.netns, f"link set dev {quote(self.link)} address {self.new}")

    def apply(self, world: World) -> bool:
        """Set the address."""
        if self.new is None:
            return False
        world[self.netns].send(_link.change(self.index, mac=self.new))
        return True


class SetMtu(Change[int]):
    """Give a link another MTU (bytes)."""

    __slots__ = ()

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.netns, f"link set dev {quote(self.link)} mtu {self.new}")

    def apply(self, world: World) -> bool:
        """Set the MTU."""
        if self.new is None:
            return False
        world[self.netns].send(_link.change(self.index, mtu=self.new))
        return True


@dataclass(frozen=True, slots=True)
class SetUp(Change[bool]):
    """Bring a link up or down.

    Attributes:
        source: Name of the link on the host, for the span of a retry.
        prefix: What its name inside begins with, for the same.
    """

    source: str = ""
    prefix: str = ""

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.netns, f"link set dev {quote(self.link)} {'up' if self.new else 'down'}")

    def apply(self, world: World) -> bool:
        """Bring the link up, in up to four tries if what hinders it can pass, or down."""
        kernel = world[self.netns]
        request = _link.change(self.index, up=bool(self.new))
        attempt = 0
        while True:
            attributes = {"srcName": self.source, "dstPrefix": self.prefix}
            try:
                with telemetry.span("retryingLinkUp", attributes) if attempt else telemetry.OFF:
                    kernel.send(request)
            except KernelError as error:
                if not self.new or attempt == UP_RETRIES or error.errno not in _PASSING:
                    raise
            else:
                return True
            attempt += 1
            kernel.pause(UP_PAUSE)


@dataclass(frozen=True, slots=True)
class Port:
    """What a link is a port of.

    Attributes:
        index: Index of the master.
        name: Its name.
        kind: Its kind, such as "bridge".
        settings: Settings of the port, as the kernel encodes them; empty: the master's defaults.
        former: Whether it was so before: then the master may have been made anew since, or be gone.
    """

    index: int
    name: str
    kind: str = "bridge"
    settings: bytes = b""
    former: bool = False


class SetMaster(Change[Port]):
    """Make a link a port of another, or of none."""

    __slots__ = ()

    @property
    def atomic(self) -> bool:
        """Whether it is one request: settings of the port are another one."""
        return not (self.new and self.new.settings)

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        link = f"link set dev {quote(self.link)}"
        if self.new is None:
            return ip(self.netns, f"{link} nomaster")
        lines = [ip(self.netns, f"{link} master {quote(self.new.name)}")]
        words = _link.port_words(self.new.settings) if self.new.kind == "bridge" else ""
        lines += [ip(self.netns, f"{link} type bridge_slave {words}")] if words else []
        return " && ".join(lines)

    def apply(self, world: World) -> bool:
        """Enslave or release the link."""
        kernel = world[self.netns]
        index = self.new.index if self.new else 0
        if self.new and self.new.former:
            found = kernel.link(index) or kernel.link(self.new.name)
            if found is None:
                return False
            index = found.index
        kernel.send(_link.change(self.index, master=index))
        if self.new and self.new.settings:
            kernel.send(_link.change(self.index, port=(self.new.kind, self.new.settings)))
        return True


class SetAltnames(Change[tuple[str, ...]]):
    """Give a link other alternative names."""

    __slots__ = ()

    def __str__(self) -> str:
        """Say the ip(8) commands it equals."""
        gone, made = self._differences()
        words = [("del", name) for name in gone] + [("add", name) for name in made]
        lines = (f"link property {verb} dev {quote(self.link)} altname {quote(name)}" for verb, name in words)
        return " && ".join(ip(self.netns, line) for line in lines)

    def apply(self, world: World) -> bool:
        """Delete the names that are too many, and add those that are missing."""
        gone, made = self._differences()
        for names, add in ((gone, False), (made, True)):
            if names:
                world[self.netns].send(_link.altnames(self.index, names, add=add))
        return bool(gone or made)

    def _differences(self) -> tuple[list[str], list[str]]:
        old, new = self.old or (), self.new or ()
        return [name for name in old if name not in new], [name for name in new if name not in old]
