"""The step that takes a link to another namespace."""

import errno
from dataclasses import dataclass
from typing import ClassVar, TypedDict

from netsandbox._kernel import World
from netsandbox._steps.base import ip, quote
from netsandbox.errors import KernelError
from netsandbox.netlink import link as _link
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Request


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
            here.send(self._request(found, there.fd))
            return True
        found = there.link(self.new.index)
        if not found or not self._is(found):
            reason = "it is neither where it was nor where it was to go"
            raise KernelError(errno.ENODEV, f"find link {self.old.name}", reason)
        settings = self._settings(found)
        if settings:
            there.send(_link.change(found.index, **settings))
        return bool(settings)

    def refuse_immobile(self, link: Link) -> None:
        """Refuse to move a link of which the kernel says that it cannot leave its namespace.

        Raises:
            KernelError: The kernel would refuse the move in these words.
        """
        if link.is_immobile:
            error = KernelError(errno.EINVAL, self._request(link, 0).text, "The interface netns is immutable")
            error.step = str(self)
            raise error

    def _request(self, link: Link, namespace: int) -> Request:
        return _link.change(link.index, namespace=namespace, new_index=self.new.index, **self._settings(link))

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
