"""Steps that make a link in its place, and delete it."""

import errno
from dataclasses import dataclass, replace
from typing import ClassVar

from netsandbox._kernel import HOST, World
from netsandbox._steps.base import ip, quote
from netsandbox.errors import KernelError
from netsandbox.links import Kind, find_kind
from netsandbox.netlink import link as _link
from netsandbox.netlink.options import Options


@dataclass(frozen=True, slots=True)
class CreateLink:
    """Make a virtual link in its place, with its name, index, MAC and MTU, in one request.

    Attributes:
        netns: The namespace, by its name in the World.
        index: Index of the link.
        link: Its name.
        kind: Its kind.
        mac: Its link-layer address; None leaves it to the kernel.
        mtu: Its MTU, in bytes; None leaves it to the kernel.
        options: The options of its kind.
        lower: Index, on the host, of the lower link; None: there is none.
        lower_name: Name of that.
        former: Whether it was there before: then it may be there still.
    """

    netns: str
    index: int
    link: str
    kind: str
    mac: str | None
    mtu: int | None = None
    options: Options = ()
    lower: int | None = None
    lower_name: str = ""
    former: bool = False

    @property
    def _kind(self) -> type[Kind]:
        return find_kind(self.kind) or Kind

    @property
    def atomic(self) -> bool:
        """Whether it is one request; a device that a program opens is made in several steps."""
        return self._kind.by_request

    @property
    def _is_from_outside(self) -> bool:
        """Whether it is tied to the host: then the host's socket has to ask for it."""
        return self.netns != HOST and (self.lower is not None or self._kind.uses_host)

    def __str__(self) -> str:
        """Say the ip(8) commands it equals."""
        kind = self._kind
        words = kind.words(self.options)
        settings = f" address {self.mac}" if self.mac else ""
        settings += f" mtu {self.mtu}" if self.mtu else ""
        if not kind.by_request:
            dev = quote(self.link)
            made = ip(self.netns, f"tuntap add dev {dev}{words}")
            return f"{made} && {ip(self.netns, f'link set dev {dev}{settings}')}" if settings else made
        below = ""
        if self.lower is not None and kind.lower_attr:
            words += f" dev {quote(self.lower_name)}"
        elif self.lower is not None:
            below = f" link {quote(self.lower_name)}"
        there = f" netns {quote(self.netns)}" if self._is_from_outside else ""
        text = f"link add{below} name {quote(self.link)}{there}{settings} type {self.kind}{words}"
        return ip(HOST if self._is_from_outside else self.netns, text)

    def apply(self, world: World) -> bool:
        """Make the link."""
        kernel, kind = world[self.netns], self._kind
        found = kernel.link(self.index) if self.former else None
        if found and found.kind == self.kind:
            return False
        if not kind.by_request:
            kernel.make_tap(self.link, self.index, dict(self.options))
            if self.mac or self.mtu:
                kernel.send(_link.change(self.index, mac=self.mac, mtu=self.mtu))
            return True
        try:
            world[HOST if self._is_from_outside else self.netns].send(
                _link.create(
                    self.kind,
                    self.link,
                    index=self.index,
                    mac=self.mac,
                    mtu=self.mtu,
                    lower=None if kind.lower_attr else self.lower,
                    namespace=kernel.fd if self._is_from_outside else None,
                    data=kind.pack(self.options, lower=self.lower or 0),
                )
            )
        except KernelError as error:
            raise unknown(self.kind, error) or error from error.__cause__
        return True

    def inverse(self) -> "DeleteLink":
        """Return the step that deletes it."""
        return DeleteLink(self)

    @property
    def settled(self) -> frozenset[int]:
        """A link with this index may be another's: nothing is taken for granted."""
        return frozenset()


def unknown(kind: str, error: KernelError) -> KernelError | None:
    """Return the error that says that the kernel lacks a kind of link, if that is what *error* means."""
    if error.errno != errno.EOPNOTSUPP or error.extack != "Unknown device type":
        return None
    known = find_kind(kind)
    module = (known and known.module) or kind
    reason = f"{error.extack}: this kernel has no links of the kind {kind} (module {module})"
    return KernelError(errno.EOPNOTSUPP, error.request, reason, answered=error.answered)


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a virtual link that was born in a sandbox; one of another kind under the same index is not touched.

    Attributes:
        made: How it was made.
    """

    made: CreateLink
    atomic: ClassVar[bool] = True

    def __str__(self) -> str:
        """Say the ip(8) command it equals."""
        return ip(self.made.netns, f"link delete dev {quote(self.made.link)}")

    def apply(self, world: World) -> bool:
        """Delete the link, if it is there."""
        kernel, made = world[self.made.netns], self.made
        found = kernel.link(made.index)
        if not found or found.kind != made.kind:
            return False
        kernel.send(_link.delete(made.index))
        return True

    def inverse(self) -> CreateLink:
        """Return the step that makes it again."""
        return replace(self.made, former=True)

    @property
    def settled(self) -> frozenset[int]:
        """A link that is gone needs no deleting."""
        return frozenset((errno.ENODEV,))
