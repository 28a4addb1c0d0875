"""Steps that give a namespace a name in the file system, and take it away."""

import errno
from dataclasses import dataclass
from typing import ClassVar

from netsandbox._kernel import World
from netsandbox._steps.base import quote


@dataclass(frozen=True, slots=True)
class Pin:
    """Mount a namespace on a new file, so that it outlives its processes and has a name."""

    netns: str
    path: str
    identity: tuple[int, int]  # device and inode of the namespace
    source: str = ""  # where it is already; empty: it is a new one
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the command it equals."""
        directory, _, name = self.path.rpartition("/")
        if directory == "/run/netns" and not self.source:
            return f"ip netns add {quote(name)}"
        mount = (
            f"mount --bind {quote(self.source)} {quote(self.path)}"
            if self.source
            else f"unshare --net={quote(self.path)} true"
        )
        return f"mkdir -p {quote(directory)} && touch {quote(self.path)} && {mount}"

    def apply(self, world: World) -> bool:
        """Make the file, and mount the namespace on it."""
        world[self.netns].pin(self.path)
        return True

    def inverse(self) -> "Unpin":
        """Return the step that takes it off."""
        return Unpin(self.netns, self.path, self.identity)

    @property
    def settled(self) -> frozenset[int]:
        """A file that is there already is another's."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Unpin:
    """Take a namespace off its file, and delete that."""

    netns: str
    path: str
    identity: tuple[int, int]  # device and inode of the namespace
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the command it equals."""
        directory, _, name = self.path.rpartition("/")
        if directory == "/run/netns":
            return f"ip netns delete {quote(name)}"
        return f"umount {quote(self.path)} && rm {quote(self.path)}"

    def apply(self, world: World) -> bool:
        """Unmount, and delete the file."""
        world[self.netns].unpin(self.path, self.identity)
        return True

    def inverse(self) -> Pin:
        """Return the step that mounts it again."""
        return Pin(self.netns, self.path, self.identity)

    @property
    def settled(self) -> frozenset[int]:
        """A file that is gone, or that is another's by now, needs no deleting."""
        return frozenset((errno.ENOENT, errno.ESTALE))
