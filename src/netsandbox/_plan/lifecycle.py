"""Plans for the namespace itself: pin it, unpin it. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Interface

from netsandbox._plan.detach import plan_detach
from netsandbox._plan.model import Plan, Target, joined, plan_of
from netsandbox._plan.state import Facts, Inventory, LinkState
from netsandbox._record import Attachment
from netsandbox._steps import Pin, SetAddress, SetUp, Step, Unpin
from netsandbox.netlink import address as _address

_LOOPBACK = _address.Address(1, IPv4Interface("127.0.0.1/8"), scope=254, flags=_address.PERMANENT)  # RT_SCOPE_HOST


def plan_create(
    target: Target, path: str | None, identity: tuple[int, int], *, source: str = "", lo: LinkState | None = None
) -> Plan:
    """Plan to pin a namespace at *path* (None: it stays at *source*) and bring its loopback link up.

    *lo* is that link, if the namespace is not a new one. The kernel gives it its address with the first up, and does
    not take it back with down: so that is a step of its own.
    """
    steps: tuple[Step, ...] = (Pin(target.netns, path, identity, source),) if path else ()
    if lo and not lo.link.is_up and _LOOPBACK.interface not in {item.interface for item in lo.addresses}:
        steps += (SetAddress(target.netns, 1, "lo", None, _LOOPBACK),)
    steps += () if lo and lo.link.is_up else (SetUp(target.netns, 1, "lo", old=False, new=True),)
    operation = f"adopt {source} as sandbox {target.name}" if source else f"create sandbox {target.name}"
    return plan_of(target, operation, None, *steps)


def leaving(items: Sequence[Attachment], found: Inventory, *, stays: bool) -> tuple[Attachment, ...]:
    """Return which interfaces have to be taken out before their namespace goes; all of them if it *stays*.

    What was born inside dies with it; but for a veth whose inside end has been moved elsewhere.
    """
    return tuple(item for item in items if stays or not item.born or (item.outer and item not in found.ours))


def plan_destroy(
    items: Sequence[Attachment], target: Target, facts: Facts, path: str | None, identity: tuple[int, int]
) -> Plan:
    """Plan to take *items* out, and to unpin the namespace with all that is left in it from *path* (None: nothing)."""
    last: tuple[Step, ...] = () if path is None else (Unpin(target.netns, path, identity),)
    operation = f"destroy sandbox {target.name}"
    whole = joined(plan_detach(items, target, facts), plan_of(target, operation, None, *last))
    return replace(whole, idempotent=True)
