"""Steps that give a namespace a name in the file system, and take it away."""

import errno
from dataclasses import dataclass

from netsandbox._kernel import World
from netsandbox._steps.base import Step, quote


@dataclass(frozen=True, slots=True)
class Pin(Step):
    """Mount a namespace on a new file, so that it outlives its processes and has a name."""

    netns: str
    path: str
    identity: tuple[int, int]  # device and inode of the namespace
    source: str = ""  # a path where the namespace is already; empty: it is a new one

    def __str__(self) -> str:
        directory, _, name = self.path.rpartition("/")
        if directory == "/run/netns" and not self.source:
            return f"ip netns add {quote(name)}"
        path = quote(self.path)
        mount = f"mount --bind {quote(self.source)} {path}" if self.source else f"unshare --net={path} true"
        return f"mkdir -p {quote(directory)} && touch {path} && {mount}"

    def apply(self, world: World) -> bool:
        world[self.netns].pin(self.path)
        return True

    def inverse(self) -> "Unpin":
        return Unpin(self.netns, self.path, self.identity)


@dataclass(frozen=True, slots=True)
class Unpin(Step):
    """Unmount a namespace from its file, and delete the file."""

    netns: str
    path: str
    identity: tuple[int, int]  # device and inode of the namespace
    benign_errnos = frozenset((errno.ENOENT, errno.ESTALE))  # the file is gone, or pins another namespace now

    def __str__(self) -> str:
        directory, _, name = self.path.rpartition("/")
        if directory == "/run/netns":
            return f"ip netns delete {quote(name)}"
        return f"umount {quote(self.path)} && rm {quote(self.path)}"

    def apply(self, world: World) -> bool:
        world[self.netns].unpin(self.path, self.identity)
        return True

    def inverse(self) -> Pin:
        return Pin(self.netns, self.path, self.identity)
