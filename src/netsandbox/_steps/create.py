"""Steps that create a link in its place, and delete it."""

import errno
from dataclasses import KW_ONLY, dataclass, replace

from netsandbox._kernel import HOST, World
from netsandbox._steps.base import Step, ip, quote
from netsandbox.errors import KernelError
from netsandbox.links import Kind, find_kind
from netsandbox.netlink import link_requests as _requests
from netsandbox.netlink import settings as _settings
from netsandbox.netlink.options import Options
from netsandbox.netlink.settings import NONE, Settings


@dataclass(frozen=True, slots=True)
class CreateLink(Step):
    """Create a virtual link in its place, with its name, index and settings, in one request."""

    netns: str  # the namespace, by its name in the World
    index: int
    link: str
    _: KW_ONLY
    kind: str
    settings: Settings = NONE
    options: Options = ()
    lower: int | None = None  # index, on the host, of the lower link, if there is one
    lower_name: str = ""
    may_exist: bool = False  # it was there before, and may not have been deleted

    @property
    def _kind(self) -> type[Kind]:
        return find_kind(self.kind) or Kind

    @property
    def atomic(self) -> bool:
        return self._kind.by_request  # otherwise it takes several steps

    @property
    def _is_from_outside(self) -> bool:
        """Whether it is tied to the host: then the request has to go through the host's socket."""
        return self.netns != HOST and (self.lower is not None or self._kind.uses_host)

    def __str__(self) -> str:
        kind = self._kind
        words = kind.words(self.options)
        settings = "".join(f" {word}" for word in _settings.words(self.settings))
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
        kernel, kind = world[self.netns], self._kind
        found = kernel.link(self.index) if self.may_exist else None
        if found and found.kind == self.kind:
            return False
        if not kind.by_request:
            kernel.make_tap(self.link, self.index, dict(self.options))
            if self.settings != NONE:
                kernel.send(_requests.modify(self.index, settings=self.settings))
            return True
        try:
            world[HOST if self._is_from_outside else self.netns].send(
                _requests.create(
                    self.kind,
                    self.link,
                    index=self.index,
                    settings=self.settings,
                    lower=None if kind.lower_attr else self.lower,
                    namespace=kernel.fd if self._is_from_outside else None,
                    data=kind.pack(self.options, lower=self.lower or 0),
                )
            )
        except KernelError as error:
            raise unknown(self.kind, error) or error from error.__cause__
        return True

    def inverse(self) -> "DeleteLink":
        return DeleteLink(self)


def unknown(kind: str, error: KernelError) -> KernelError | None:
    """Return the error which says that the kernel lacks a kind of link, if that is what *error* means."""
    if error.errno != errno.EOPNOTSUPP or error.extack != "Unknown device type":
        return None
    known = find_kind(kind)
    module = (known and known.module) or kind
    reason = f"{error.extack}: this kernel has no links of the kind {kind} (module {module})"
    return KernelError(errno.EOPNOTSUPP, error.request, reason, answered=error.answered)


@dataclass(frozen=True, slots=True)
class DeleteLink(Step):
    """Delete a virtual link that was created in a sandbox, unless the link with its index is of another kind now."""

    made: CreateLink
    benign_errnos = frozenset((errno.ENODEV,))

    def __str__(self) -> str:
        return ip(self.made.netns, f"link delete dev {quote(self.made.link)}")

    def apply(self, world: World) -> bool:
        kernel, made = world[self.made.netns], self.made
        found = kernel.link(made.index)
        if not found or found.kind != made.kind:
            return False
        kernel.send(_requests.delete(made.index))
        return True

    def inverse(self) -> CreateLink:
        return replace(self.made, may_exist=True)
