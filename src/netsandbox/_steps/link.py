"""Steps that make, move, change and delete links."""

import errno
from dataclasses import dataclass
from typing import ClassVar, TypedDict

from netsandbox import telemetry
from netsandbox._steps.base import Change, World, ip, quote
from netsandbox.errors import KernelError
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
    """Make a virtual link, with its name, index and MAC, in one request.

    Attributes:
        netns: The namespace, by its name in the World.
        index: Index of the link.
        link: Its name.
        kind: Its kind.
        mac: Its link-layer address; None leaves it to the kernel.
        former: Whether it was there before: then it may be there still.
    """

    netns: str
    index: int
    link: str
    kind: str
    mac: str | None
    former: bool = False
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        mac = f" address {self.mac}" if self.mac else ""
        return ip(self.netns, f"link add name {quote(self.link)}{mac} type {self.kind}")

    def apply(self, world: World) -> bool:
        """Make the link."""
        found = world[self.netns].link(self.index) if self.former else None
        if found and found.kind == self.kind:
            return False
        world[self.netns].send(_link.create(self.kind, self.link, index=self.index, mac=self.mac))
        return True

    def inverse(self) -> "DeleteLink":
        """Return the step that deletes it."""
        return DeleteLink(self.netns, self.index, self.link, self.kind, self.mac)

    @property
    def settled(self) -> frozenset[int]:
        """A link with this index may be another's: nothing is taken for granted."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a virtual link that was born in a sandbox; one of another kind under the same index is not touched."""

    netns: str
    index: int
    link: str
    kind: str
    mac: str | None
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.netns, f"link delete dev {quote(self.link)}")

    def apply(self, world: World) -> bool:
        """Delete the link, if it is there."""
        found = world[self.netns].link(self.index)
        if not found or found.kind != self.kind:
            return False
        world[self.netns].send(_link.delete(self.index))
        return True

    def inverse(self) -> CreateLink:
        """Return the step that makes it again."""
        return CreateLink(self.netns, self.index, self.link, self.kind, self.mac, former=True)

    @property
    def settled(self) -> frozenset[int]:
        """A link that is gone needs no deleting."""
        return frozenset((errno.ENODEV,))


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
        return ip(
            self.netns,
            f"link set dev {quote(self.link)} " + (f"master {quote(self.new.name)}" if self.new else "nomaster"),
        )

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
