"""The step that moves a link to another namespace."""

import errno
from dataclasses import dataclass, field

from netsandbox._kernel import World
from netsandbox._steps.base import Step, ip, quote
from netsandbox.errors import KernelError
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Request
from netsandbox.netlink.settings import NONE, Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link is, with its name and settings there."""

    netns: str  # by its name in the World
    index: int
    name: str
    settings: Settings = field(default=NONE, kw_only=True)


def place(netns: str, link: Link) -> Place:
    """Return the place of *link*, which is in the namespace *netns*."""
    return Place(netns, link.index, link.name, settings=_settings.of(link))


@dataclass(frozen=True, slots=True)
class Move(Step):
    """Move a link to another namespace, with its name, index and settings there, in one request.

    The request is not atomic (docs/kernel-facts.md, "A refused move may have moved the link"). So this step looks
    where the link is before it acts, and can be repeated.
    """

    old: Place
    new: Place
    atomic = False

    def __str__(self) -> str:
        old, new = self.old, self.new
        target = quote(new.netns) if new.netns else "$$"  # a process on the host: the shell itself
        words = ("link set dev", quote(old.name), "netns", target, "name", quote(new.name))
        changes = _settings.words(_settings.differing(new.settings, old.settings))
        return ip(old.netns, " ".join((*words, *changes)))

    def apply(self, world: World) -> bool:
        """Move the link, or, if it has moved already, make the changes that are missing there."""
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
        """Return the request that makes the changes that *link* lacks, and moves it to a *namespace*."""
        name = self.new.name if link.name != self.new.name else None
        lacks = _settings.differing(self.new.settings, _settings.of(link)) or NONE
        return _requests.modify(link.index, settings=lacks, name=name, namespace=namespace, new_index=new_index)

    def refuse_immobile(self, link: Link) -> None:
        """Raise what the kernel would answer if it reports that *link* cannot leave its namespace."""
        if link.is_immobile:
            request = self._request(link, namespace=0, new_index=self.new.index).text
            error = KernelError(errno.EINVAL, request, "The interface netns is immutable")
            error.step = str(self)
            raise error

    def _is(self, link: Link) -> bool:
        """Whether *link*, which has the right index, is the one: by name, by MAC, or by a link in another namespace."""
        macs = {self.old.settings.mac, self.new.settings.mac} - {None}
        is_known = link.name in {self.old.name, self.new.name} or link.mac in macs
        return is_known or link.lower_netns is not None

    def inverse(self) -> "Move":
        return Move(self.new, self.old)
