"""The step that takes a link to another namespace."""

import errno
from dataclasses import dataclass, field
from typing import ClassVar

from netsandbox._kernel import World
from netsandbox._steps.base import ip, quote
from netsandbox.errors import KernelError
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Request
from netsandbox.netlink.settings import NONE, Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link is, and how it is called and set there.

    Attributes:
        netns: The namespace, by its name in the World.
        index: Its index there.
        name: Its name there.
        settings: Its settings there.
    """

    netns: str
    index: int
    name: str
    settings: Settings = field(default=NONE, kw_only=True)


def place(netns: str, link: Link) -> Place:
    """Return where *link* is, and how it is set there."""
    return Place(netns, link.index, link.name, settings=_settings.of(link))


@dataclass(frozen=True, slots=True)
class Move:
    """Take a link to another namespace, with its name, index and settings there, in one request.

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
        words = ("link set dev", quote(old.name), "netns", target, "name", quote(new.name))
        changes = _settings.words(_settings.differing(new.settings, old.settings))
        return ip(old.netns, " ".join((*words, *changes)))

    def apply(self, world: World) -> bool:
        """Move the link, or, if it has moved already, give it what it lacks there."""
        here, there = world[self.old.netns], world[self.new.netns]
        found = here.link(self.old.index)
        if found and self._is(found):
            here.send(self._request(found, namespace=there.fd, new_index=self.new.index))
            return True
        found = there.link(self.new.index)
        if not found or not self._is(found):
            reason = "it is neither where it was nor where it was to go"
            raise KernelError(errno.ENODEV, f"find link {self.old.name}", reason)
        if found.name == self.new.name and not _settings.differing(self.new.settings, _settings.of(found)):
            return False
        there.send(self._request(found))
        return True

    def _request(self, link: Link, *, namespace: int | None = None, new_index: int | None = None) -> Request:
        """Return the request that gives *link* the name and settings that it lacks, and moves it."""
        name = self.new.name if link.name != self.new.name else None
        lacks = _settings.differing(self.new.settings, _settings.of(link)) or NONE
        return _requests.modify(link.index, settings=lacks, name=name, namespace=namespace, new_index=new_index)

    def refuse_immobile(self, link: Link) -> None:
        """Refuse to move a link of which the kernel says that it cannot leave its namespace.

        Raises:
            KernelError: The kernel would refuse the move in these words.
        """
        if link.is_immobile:
            error = KernelError(
                errno.EINVAL,
                self._request(link, namespace=0, new_index=self.new.index).text,
                "The interface netns is immutable",
            )
            error.step = str(self)
            raise error

    def _is(self, link: Link) -> bool:
        """Whether *link*, found under the right index, is the one.

        It has one of the names or addresses, or, should a process inside have changed both, another end outside.
        """
        macs = {self.old.settings.mac, self.new.settings.mac} - {None}
        is_known = link.name in {self.old.name, self.new.name} or link.mac in macs
        return is_known or link.lower_netns is not None

    def inverse(self) -> "Move":
        """Return the way back."""
        return Move(self.new, self.old)

    @property
    def settled(self) -> frozenset[int]:
        """No refusal of a move means that it is done."""
        return frozenset()
