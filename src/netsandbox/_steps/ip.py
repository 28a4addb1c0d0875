"""Steps that give links addresses, routes, neighbors and settings."""

import errno
from dataclasses import KW_ONLY, dataclass, replace

from netsandbox._kernel import Kernel, World
from netsandbox._steps.base import Exchange, inside, ip, quote
from netsandbox.errors import KernelError
from netsandbox.netlink import address as _address
from netsandbox.netlink import conf
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import neighbor as _neighbor
from netsandbox.netlink import route as _route
from netsandbox.netlink.address import Address
from netsandbox.netlink.constants import AF_BRIDGE, AF_INET, AF_INET6
from netsandbox.netlink.neighbor import NeighborEntry
from netsandbox.netlink.route import RouteEntry


class SetAddress(Exchange[Address]):
    """Add or delete an IP address."""

    __slots__ = ()

    def __str__(self) -> str:
        if self.new:
            own = self.new.interface
            words = f"address add {f'{own.ip} peer {self.new.peer}/{own.network.prefixlen}' if self.new.peer else own}"
            words += f" broadcast {self.new.broadcast}" if self.new.broadcast else ""
            words += f" dev {quote(self.link)}"
            words += f" scope {self.new.scope}" if self.new.scope and self.new.family == AF_INET else ""
            words += " nodad" if self.new.flags & _address.NODAD else ""
            words += " noprefixroute" if self.new.flags & _address.NOPREFIXROUTE else ""
        else:
            words = f"address delete {self.old.interface if self.old else ''} dev {quote(self.link)}"
        return ip(self.netns, words)

    def apply(self, world: World) -> bool:
        """Add or delete the address.

        An IPv6 address that had passed duplicate address detection is usable at once: it is added without detection,
        and then gets its own flags.
        """
        kernel = world[self.netns]
        if self.new is None:
            if self.old is None:
                return False
            kernel.send(_address.delete(self.old))
        elif self.new.family == AF_INET6 and not self.new.flags & (_address.NODAD | _address.TENTATIVE):
            kernel.send(_address.add(replace(self.new, flags=self.new.flags | _address.NODAD)))
            try:
                kernel.send(_address.update(self.new))
            except KernelError:
                kernel.send(_address.delete(self.new))
                raise
        else:
            kernel.send(_address.add(self.new))
        return True


class SetRoute(Exchange[RouteEntry]):
    """Add, replace or delete a route."""

    __slots__ = ()

    def __str__(self) -> str:
        entry = self.new or self.old
        verb = "delete" if self.new is None else "replace" if self.old else "add"
        return ip(self.netns, f"route {verb} {entry and entry.words(quote(self.link) if self.link else '')}")

    def apply(self, world: World) -> bool:
        kernel = world[self.netns]
        if self.new is None:
            if self.old is None:
                return False
            kernel.send(_route.delete(self.old))
            return True
        try:
            kernel.send(_route.replace(self.new) if self.old else _route.add(self.new))
        except KernelError as error:
            if error.errno == errno.ENETUNREACH and self.index and not kernel.link(self.index):
                raise KernelError(errno.ENODEV, f"set route {self.new.words(self.link)}", "its link is gone") from error
            raise
        return True


class SetNeighbor(Exchange[NeighborEntry]):
    """Add, replace or delete a neighbor or a bridge forwarding entry."""

    __slots__ = ()

    def __str__(self) -> str:
        entry = self.new or self.old
        if entry is None:
            return ""
        verb = "replace" if self.new else "delete"
        if entry.family == AF_BRIDGE:
            where = "master static" if entry.flags & _neighbor.MASTER else "self"
            words = f"fdb {verb} {entry.mac} dev {quote(self.link)}" + (f" dst {entry.ip}" if entry.ip else "")
            return ip(self.netns, f"{words} {where}", "bridge")
        mac = f" lladdr {entry.mac} nud permanent" if self.new else ""
        return ip(self.netns, f"neighbor {verb} {entry.ip}{mac} dev {quote(self.link)}")

    def apply(self, world: World) -> bool:
        kernel = world[self.netns]
        if self.new is None:
            if self.old is None:
                return False
            kernel.send(_neighbor.delete(self.old))
        else:
            kernel.send(_neighbor.replace(self.new))
        return True


@dataclass(frozen=True, slots=True)
class SetSysctl(Exchange[str]):
    """Give a setting below /proc/sys/net a value, unless it has it."""

    _: KW_ONLY
    path: str  # below /proc/sys/net
    optional: bool = False  # whether there is nothing to do if the link has no IPv6 settings at all

    def __str__(self) -> str:
        path = f"net/{self.path}"
        key = path if "." in path else path.replace("/", ".")
        return inside(self.netns, f"sysctl -qw {quote(f'{key}={self.new}')}")

    def apply(self, world: World) -> bool:
        if self.new is None:
            return False
        try:
            return world[self.netns].set_sysctl(self.path, self.new)
        except KernelError as error:
            if self.optional and error.errno == errno.ENOENT and not self._is_on(world[self.netns]):
                return False
            raise

    def _is_on(self, kernel: Kernel) -> bool:
        """Whether the link has IPv6 settings."""
        found = kernel.link(self.link)
        return bool(found and found.conf(AF_INET6))


@dataclass(frozen=True, slots=True)
class Conf:
    """All per-link settings of a link, as the kernel numbers them."""

    ipv4: tuple[int, ...]
    ipv6: tuple[int, ...]


class RestoreConf(Exchange[Conf]):
    """Restore all per-link settings: a link that moves gets the defaults of its new namespace."""

    __slots__ = ()

    def __str__(self) -> str:  # which of them differ is not known before the link is there
        return f"# restore per-interface sysctls of {self.link}"

    def apply(self, world: World) -> bool:
        kernel = world[self.netns]
        found = kernel.link(self.index)
        if self.new is None or found is None:
            return False
        ipv4 = conf.ipv4_changes(found.conf(AF_INET), self.new.ipv4)
        if ipv4:
            kernel.send(_requests.modify(self.index, ipv4_conf=ipv4))
        ipv6 = conf.ipv6_changes(found.conf(AF_INET6), self.new.ipv6)
        for name, value in ipv6:
            kernel.set_sysctl(f"ipv6/conf/{found.name}/{name}", value)
        return bool(ipv4 or ipv6)
