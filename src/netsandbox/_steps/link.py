"""Steps that change links where they are."""

import errno
from dataclasses import dataclass

from netsandbox import telemetry
from netsandbox._kernel import World
from netsandbox._steps.base import Exchange, ip, quote
from netsandbox.errors import KernelError
from netsandbox.netlink import link as _link

UP_RETRIES, UP_PAUSE = 3, 0.010  # as osl: three more tries, 10 ms (in seconds) apart
_PASSING = frozenset((errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))


class SetMac(Exchange[str]):
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


class SetMtu(Exchange[int]):
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


class SetUp(Exchange[bool]):
    """Bring a link up or down."""

    __slots__ = ()

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.netns, f"link set dev {quote(self.link)} {'up' if self.new else 'down'}")

    def apply(self, world: World) -> bool:
        """Bring the link up, in up to four tries if what hinders it can pass, or down."""
        kernel = world[self.netns]
        request = _link.change(self.index, up=bool(self.new))
        attempt = 0
        while True:
            try:
                with telemetry.span("retryingLinkUp") if attempt else telemetry.OFF:
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


class SetMaster(Exchange[Port]):
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


class SetAltnames(Exchange[tuple[str, ...]]):
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
