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

    `netsandbox._kernel.Kernel` says what the methods do that have no docstring here.

    Args:
        fd: A descriptor of the namespace; `close` closes it.
        is_here: Whether the calling thread is in the namespace, so that no thread has to enter it.

    Attributes:
        fd: The descriptor; -1 after `close`.
        identity: Device and inode of the namespace.
    """

    def __init__(self, fd: int, *, is_here: bool = False) -> None:
        self.fd = fd
        self.identity = namespace.identity(fd)
        self._copies: list[None] = []  # one item for each other open copy; all copies share this list
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
        """Create a namespace; it exists as long as this is open, or it is pinned."""
        return namespace.run_in_new(cls.own)

    def copy(self) -> Self:
        """Return a copy with the same descriptors, which are closed with the last copy."""
        self._copies.append(None)
        return copy.copy(self)

    def close(self) -> None:
        """Close the socket and the descriptors, unless another copy is open; every later call fails."""
        if self.fd < 0:
            return
        fd, self.fd = self.fd, -1
        try:
            self._copies.pop()  # atomic: of the copies that threads close at the same time, one gets an IndexError
        except IndexError:
            self._transport.close()
            self._sysctls.close()
            os.close(fd)

    def duplicate(self) -> int:
        """Return another descriptor of the namespace, for the caller to close."""
        return os.dup(self.fd)

    def links(self) -> list[Link]:
        return [link.unpack(message) for message in self._transport.ask(link_requests.dump())]

    def link(self, key: int | str, *, stats: bool = False) -> Link | None:
        found = self._get(key, stats=stats)
        return found and link.unpack(found)

    def _get(self, key: int | str, *, stats: bool = False) -> Message | None:
        """Return the message that describes a link; None if there is no such link."""
        try:
            return self._transport.ask(link_requests.get(key, stats=stats))[0]
        except KernelError as error:
            if error.errno == errno.ENODEV and error.answered:
                return None
            raise

    def addresses(self, index: int = 0) -> list[address.Address]:
        replies = self._transport.ask(address.dump(index))
        return [address.unpack(message) for message in replies if message.body[:1] and message.body[0] in _IP]

    def routes(self, *, family: int = 0, table: int = 0, index: int = 0) -> list[route.RouteEntry]:
        replies = self._transport.ask(route.dump(family=family, table=table, index=index))
        return [route.unpack(message) for message in replies if message.body[:1] and message.body[0] in _IP]

    def neighbors(self, family: int = 0, index: int = 0) -> list[neighbor.NeighborEntry]:
        return [neighbor.unpack(message) for message in self._transport.ask(neighbor.dump(family, index))]

    def route_to(self, destination: IPAddress) -> route.RouteEntry:
        return route.unpack(self._transport.ask(route.lookup(destination))[0])

    def send(self, request: Request) -> None:
        self._transport.ask(request)

    def sysctl(self, path: str) -> str | None:
        return self._sysctls.read(path)

    def set_sysctl(self, path: str, value: str) -> bool:
        """Give a setting below /proc/sys/net a value, unless it has it; return whether it was changed.

        Before a thread has entered the namespace, this asks netlink for the value, and sets plain IPv4 settings by
        netlink: entering takes a thread, and each namespace whose /proc/sys/net was read makes the next reading slower
        (they share one hash chain of names). It never changes a setting while /proc/sys is mounted read-only.
        """
        setting = None if self._sysctls.is_at_hand(path) else conf.find(path, value)
        if setting and (now := self._conf(setting)) is not None:
            if now == value:
                return False
            if setting.family == AF_INET and not is_read_only():
                with suppress(KernelError):  # writing the file fails too, and names the setting
                    self.send(link_requests.modify(0, name=setting.link, ipv4_conf={setting.number: int(value)}))
                if self._conf(setting) == value:
                    return True
        return self._sysctls.write(path, value)

    def _conf(self, setting: conf.Setting) -> str | None:
        """Return the value of a setting by netlink; None if there is no such link or setting."""
        found = self._get(setting.link)
        return setting.value(link.conf(found, setting.family)) if found else None

    def make_tap(self, name: str, index: int, options: Mapping[str, Value]) -> None:
        from netsandbox._system import tap  # noqa: PLC0415  few need it

        namespace.run_in(self.fd, lambda: tap.make(name, index, options))

    def pin(self, path: str) -> None:
        namespace.pin(self.fd, path)

    def unpin(self, path: str, identity: tuple[int, int]) -> None:
        namespace.unpin(path, namespace.Identity(*identity))

    def pause(self, seconds: float) -> None:
        """Wait for what no message reports: a link that cannot be set up yet, a dying namespace."""
        time.sleep(seconds)

    def wait_link(self, index: int, ready: Callable[[Link], bool], seconds: float) -> tuple[Link | None, float]:
        deadline = time.monotonic() + seconds
        with closing(listen(self.fd, (LINKS,))) as listener:  # before the first look: a change in between is reported
            while True:
                found = self.link(index)
                left = max(deadline - time.monotonic(), 0.0)
                if found is None or not left or ready(found):
                    return found, left
                while left and not listener.wait(index, left):
                    left = max(deadline - time.monotonic(), 0.0)
