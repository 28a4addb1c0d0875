"""The step that waits."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

from netsandbox._kernel import HOST, Kernel, World
from netsandbox._steps.base import Step
from netsandbox.errors import KernelError
from netsandbox.netlink.link import Link


@dataclass(frozen=True, slots=True)
class WaitUp(Step):
    """Wait until packets go through a link, and, if it is a veth, through the bridge port that is its other end.

    IFF_UP is not enough (docs/kernel-facts.md, "IFF_UP is what was requested, not a carrier").
    """

    netns: str  # the namespace, by its name in the World
    index: int
    link: str  # its name, for messages
    limit: float  # the longest wait, in seconds; 0: do not wait

    def __str__(self) -> str:
        return f"# wait until {self.link} is up and packets go through, for {self.limit:g} s at most"

    def apply(self, world: World) -> bool:
        """Wait; raise ETIMEDOUT at the limit, and ENODEV if the link is gone."""
        if not self.limit:
            return False
        found, left = self._wait(world[self.netns], self.index, self.link, _is_ready, self.limit)
        end = self._other_end(world[HOST], found)
        if end:
            self._wait(world[HOST], end.index, f"its other end {end.name} on the host", _forwards, left)
        return True

    def inverse(self) -> "WaitUp":
        return replace(self, limit=0.0)  # there is nothing to undo

    def _wait(
        self, kernel: Kernel, index: int, name: str, ready: Callable[[Link], bool], seconds: float
    ) -> tuple[Link, float]:
        """Wait until a link is *ready*; return it, and how many *seconds* are left."""
        found, left = kernel.wait_link(index, ready, seconds)
        request = f"wait {self.limit:g} s for {self.link} to be up"
        if found is None:
            raise KernelError(errno.ENODEV, request, f"{name} is gone")
        if not ready(found):
            raise KernelError(errno.ETIMEDOUT, request, f"{name} {_lack(kernel, found)}")
        return found, left

    def _other_end(self, host: Kernel, link: Link) -> Link | None:
        """Return the other end of a veth, if that is on the host."""
        found = host.link(link.lower) if link.kind == "veth" and link.lower else None
        if not found or found.kind != "veth" or found.lower != self.index:
            return None
        apart = self.netns != HOST
        return found if (found.lower_netns is not None) == apart == (link.lower_netns is not None) else None


def _is_ready(link: Link) -> bool:
    return link.is_ready


def _forwards(link: Link) -> bool:
    return link.port_state in {None, "FORWARDING"}


def _lack(kernel: Kernel, link: Link) -> str:
    """Return why packets do not go through a link."""
    if not link.carrier:
        return f"has no carrier: its operstate is {link.operstate}"
    if _forwards(link):
        return f"is not up: its operstate is {link.operstate}"
    master = kernel.link(link.master or 0)
    return f"does not forward as a port of {master.name if master else 'a bridge'}: its state is {link.port_state}"
