"""Tap: a link whose other end is a program. No netlink request creates it: `_system/tap.py` does, by ioctls."""

from dataclasses import dataclass
from typing import Annotated, Literal

from netsandbox.links.base import Kind
from netsandbox.links.options import Choice, Flag, Number

_NO_ATTRIBUTE = 0
_MOST = 2**32 - 2  # the last number means no user


@dataclass(frozen=True, slots=True)
class Tap(Kind):
    """A link whose other end is a program, such as a virtual machine, that opens it by its name inside.

    Source: ip-tuntap(8), Documentation/networking/tuntap.rst.
    """

    mode: Annotated[
        Literal["tap", "tun"],
        Choice(_NO_ATTRIBUTE, "tap carries Ethernet frames, tun IP packets", {"tap": 2, "tun": 1}),
    ] = "tap"
    owner: Annotated[
        int | None,
        Number(_NO_ATTRIBUTE, "Number of the user who may open it; by default root", most=_MOST, word="user"),
    ] = None
    group: Annotated[int | None, Number(_NO_ATTRIBUTE, "Number of the group that may open it", most=_MOST)] = None
    packet_info: Annotated[
        bool | None, Flag(_NO_ATTRIBUTE, "Put a header with its protocol before each packet", word="pi")
    ] = None
    vnet_hdr: Annotated[bool | None, Flag(_NO_ATTRIBUTE, "Put a virtio header before each packet")] = None
    multi_queue: Annotated[bool | None, Flag(_NO_ATTRIBUTE, "Let programs open it several times at once")] = None
    kind = "tun"
    by_request = False

    @property
    def mac_rule(self) -> str | None:
        return "cannot be set in mode tun: it has no MAC" if self.mode == "tun" else None

    @property
    def source_name(self) -> str:
        return self.mode
