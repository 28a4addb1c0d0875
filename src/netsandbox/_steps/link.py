"""Steps that change links where they are."""

import errno
from dataclasses import dataclass

from netsandbox import telemetry
from netsandbox._kernel import World
from netsandbox._steps.base import Exchange, ip, quote
from netsandbox.errors import KernelError
from netsandbox.netlink import bridge_port
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.settings import Settings

UP_RETRIES, UP_PAUSE = 3, 0.010  # as osl; the pause is in seconds
_PASSING = frozenset((errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))


class SetLink(Exchange[Settings]):
    """Give a link other settings, in one request."""

    __slots__ = ()

    @property
    def atomic(self) -> bool:
        return self.new is None or len(_settings.only(self.new)) < 2  # the kernel makes one change after the other

    def __str__(self) -> str:
        return ip(self.netns, " ".join(("link set dev", quote(self.link), *_settings.words(self.new))))

    def apply(self, world: World) -> bool:
        kernel, wanted = world[self.netns], self.new
        if (
            wanted and not self.atomic
        ):  # a refused request may have made some of the changes; a driver may refuse others
            found = kernel.link(self.index)
            wanted = _settings.differing(wanted, _settings.of(found)) if found else wanted
        if wanted:
            kernel.send(_requests.modify(self.index, settings=wanted))
        return wanted is not None


class SetUp(Exchange[bool]):
    """Bring a link up or down."""

    __slots__ = ()

    def __str__(self) -> str:
        return ip(self.netns, f"link set dev {quote(self.link)} {'up' if self.new else 'down'}")

    def apply(self, world: World) -> bool:
        """Bring the link down, or up: after an error that can pass, UP_RETRIES more times."""
        kernel = world[self.netns]
        request = _requests.modify(self.index, up=bool(self.new))
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
    """A port of a master, such as a bridge."""

    index: int  # index of the master
    name: str
    kind: str = "bridge"
    settings: bytes = b""  # of the port, as the kernel encodes them; empty: the master's defaults
    may_exist: bool = False  # the link was its port before: it may have been created again since, or be gone


class SetMaster(Exchange[Port]):
    """Make a link a port of a master, or release it from its master."""

    __slots__ = ()

    @property
    def atomic(self) -> bool:
        return not (self.new and self.new.settings)  # which take another request

    def __str__(self) -> str:
        link = f"link set dev {quote(self.link)}"
        if self.new is None:
            return ip(self.netns, f"{link} nomaster")
        lines = [ip(self.netns, f"{link} master {quote(self.new.name)}")]
        words = bridge_port.words(self.new.settings) if self.new.kind == "bridge" else ""
        lines += [ip(self.netns, f"{link} type bridge_slave {words}")] if words else []
        return " && ".join(lines)

    def apply(self, world: World) -> bool:
        kernel = world[self.netns]
        index = self.new.index if self.new else 0
        if self.new and self.new.may_exist:
            found = kernel.link(index) or kernel.link(self.new.name)
            if found is None:
                return False
            index = found.index
        kernel.send(_requests.modify(self.index, master=index))
        if self.new and self.new.settings:
            kernel.send(_requests.modify(self.index, port=(self.new.kind, self.new.settings)))
        return True


class SetAltnames(Exchange[tuple[str, ...]]):
    """Give a link other alternative names."""

    __slots__ = ()

    def __str__(self) -> str:
        gone, made = self._differences()
        words = [("del", name) for name in gone] + [("add", name) for name in made]
        lines = (f"link property {verb} dev {quote(self.link)} altname {quote(name)}" for verb, name in words)
        return " && ".join(ip(self.netns, line) for line in lines)

    def apply(self, world: World) -> bool:
        gone, made = self._differences()
        for names, add in ((gone, False), (made, True)):
            if names:
                world[self.netns].send(_requests.altnames(self.index, names, add=add))
        return bool(gone or made)

    def _differences(self) -> tuple[list[str], list[str]]:
        old, new = self.old or (), self.new or ()
        return [name for name in old if name not in new], [name for name in new if name not in old]
