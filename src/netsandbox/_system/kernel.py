"""One network namespace of the running kernel, as steps and plans see it."""

import copy
import errno
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Self

from netsandbox._checks import IPAddress
from netsandbox._system import namespace
from netsandbox._system.listener import LINKS, listen
from netsandbox._system.sysctl import Sysctls, is_read_only
from netsandbox._system.transport import Transport
from netsandbox.errors import KernelError
from netsandbox.netlink import address, conf, link, link_requests, neighbor, route
from netsandbox.netlink.constants import AF_INET, AF_INET6
from netsandbox.netlink.link import Link
from netsandbox.netlink.message import Message, Request
from netsandbox.netlink.options import Value

_IP = frozenset((AF_INET, AF_INET6))


class LinuxKernel:
    """A network namespace: a descriptor of it, a netlink socket in it, and its settings.

    Implements `netsandbox._steps.Kernel`. It owns the descriptor.

    Attributes:
        fd: The descriptor; -1 after `close`.
        identity: What tells the namespace from all others.
    """

    def __init__(self, fd: int, *, is_here: bool = False) -> None:
        """Take the descriptor *fd*; if the calling thread is in that namespace, nobody has to enter it."""
        self.fd = fd
        self.identity = namespace.identity(fd)
        self._twins: list[None] = []  # one for each twin that is open besides this
        self._sysctls = Sysctls(fd)
        try:
            self._transport = Transport() if is_here else namespace.run_in(fd, Transport)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def own(cls) -> Self:
        """Open the namespace of the calling thread."""
        return cls(namespace.open_namespace(namespace.OWN), is_here=True)

    @classmethod
    def create(cls) -> Self:
        """Make a namespace; it lives as long as this is open, or it is pinned."""
        return namespace.run_in_new(cls.own)

    def twin(self) -> Self:
        """Return another of the same descriptors, which are closed with the last one that is."""
        self._twins.append(None)
        return copy.copy(self)

    def close(self) -> None:
        """Close the socket and the descriptors, unless a twin needs them; from then on every call fails."""
        if self.fd < 0:
            return
        fd, self.fd = self.fd, -1
        try:
            self._twins.pop()  # of twins that are closed at the same moment, one finds none left
        except IndexError:
            self._transport.close()
            self._sysctls.close()
            os.close(fd)

    def duplicate(self) -> int:
        """Return another descriptor of the namespace, for the caller to close."""
        return os.dup(self.fd)

    def links(self) -> list[link.Link]:
        """Return all links."""
        return [link.unpack(message) for message in self._transport.ask(link_requests.dump())]

    def link(self, key: int | str, *, stats: bool = False) -> link.Link | None:
        """Return the link with an index, name or alternative name; None if there is none."""
        found = self._get(key, stats=stats)
        return found and link.unpack(found)

    def _get(self, key: int | str, *, stats: bool = False) -> Message | None:
        """Return the message that describes a link; None if there is none."""
        try:
            return self._transport.ask(link_requests.get(key, stats=stats))[0]
        except KernelError as error:
            if error.errno == errno.ENODEV and error.answered:
                return None
            raise

    def addresses(self, index: int = 0) -> list[address.Address]:
        """Return the addresses of a link (0: of all)."""
        replies = self._transport.ask(address.dump(index))
        return [address.unpack(message) for message in replies if message.body[:1] and message.body[0] in _IP]

    def routes(self, *, family: int = 0, table: int = 0, index: int = 0) -> list[route.RouteEntry]:
        """Return the IPv4 and IPv6 routes of a family, table and outgoing link (0: of all)."""
        replies = self._transport.ask(route.dump(family=family, table=table, index=index))
        return [route.unpack(message) for message in replies if message.body[:1] and message.body[0] in _IP]

    def neighbors(self, family: int = 0, index: int = 0) -> list[neighbor.NeighborEntry]:
        """Return the neighbours of a family (0: IPv4 and IPv6) and link (0: of all)."""
        return [neighbor.unpack(message) for message in self._transport.ask(neighbor.dump(family, index))]

    def route_to(self, destination: IPAddress) -> route.RouteEntry:
        """Return the route that leads to an address."""
        return route.unpack(self._transport.ask(route.lookup(destination))[0])

    def send(self, request: Request) -> None:
        """Ask for a change."""
        self._transport.ask(request)

    def sysctl(self, path: str) -> str | None:
        """Return the value of a setting below /proc/sys/net; None if there is no such setting."""
        return self._sysctls.read(path)

    def set_sysctl(self, path: str, value: str) -> bool:
        """Give a setting below /proc/sys/net a value, unless it has it; return whether it was changed.

        If nobody has been there for a setting yet, what the link itself tells is looked at first, and plain IPv4
        settings are set that way: to enter the namespace takes a thread, and the more namespaces there are whose
        /proc/sys/net was looked at, the longer takes the next look (they share one chain of names). Where that is
        read-only, nothing is set in another way.
        """
        setting = None if self._sysctls.is_at_hand(path) else conf.find(path, value)
        if setting and (now := self._told(setting)) is not None:
            if now == value:
                return False
            if setting.family == AF_INET and not is_read_only():
                with suppress(KernelError):  # the file will say what is wrong, and with which setting
                    self.send(link_requests.modify(0, name=setting.link, ipv4_conf={setting.number: int(value)}))
                if self._told(setting) == value:
                    return True
        return self._sysctls.write(path, value)

    def _told(self, setting: conf.Setting) -> str | None:
        """Return the value of a setting as its link tells it."""
        found = self._get(setting.link)
        return setting.value(link.conf(found, setting.family)) if found else None

    def make_tap(self, name: str, index: int, options: Mapping[str, Value]) -> None:
        """Make a link that a program can open; *options* are those of the kind "tun"."""
        from netsandbox._system import tap  # noqa: PLC0415  few need it

        namespace.run_in(self.fd, lambda: tap.make(name, index, options))

    def pin(self, path: str) -> None:
        """Make *path*, and mount the namespace on it."""
        namespace.pin(self.fd, path)

    def unpin(self, path: str, identity: tuple[int, int]) -> None:
        """Take the namespace with an identity off *path*, and delete that."""
        namespace.unpin(path, namespace.Identity(*identity))

    def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # for what no message tells: a link that cannot come up yet, a namespace that goes

    def wait_link(self, index: int, ready: Callable[[Link], bool], seconds: float) -> tuple[Link | None, float]:
        """Wait until a link is *ready*, or gone; the kernel tells what has changed, and then the link is looked at.

        The socket listens before the first look, so that no change is missed in between.
        """
        deadline = time.monotonic() + seconds
        with closing(listen(self.fd, (LINKS,))) as listener:
            while True:
                found = self.link(index)
                left = max(deadline - time.monotonic(), 0.0)
                if found is None or not left or ready(found):
                    return found, left
                while left and not listener.hears_of(index, left):
                    left = max(deadline - time.monotonic(), 0.0)
