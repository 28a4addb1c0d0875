"""Plans to create, adopt and destroy a sandbox: its namespace is pinned and unpinned. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Interface

from netsandbox._plan.detach import plan_detach
from netsandbox._plan.model import Plan, Target, joined, plan_of
from netsandbox._plan.state import Facts, Inventory, LinkState
from netsandbox._record import Attachment
from netsandbox._steps import Pin, SetAddress, SetUp, Step, Unpin
from netsandbox.netlink import address as _address
from netsandbox.netlink.constants import RT_SCOPE_HOST

_LOOPBACK = _address.Address(1, IPv4Interface("127.0.0.1/8"), scope=RT_SCOPE_HOST, flags=_address.PERMANENT)


def plan_create(
    target: Target, path: str | None, identity: tuple[int, int], *, source: str = "", lo: LinkState | None = None
) -> Plan:
    """Plan to pin a namespace at *path* (None: it stays at *source*) and to set its loopback link up.

    *lo* is that link, if the namespace is not new. When it is first set up, the kernel adds its address, and keeps
    that when the link is set down: the plan adds it in a step of its own, so that a rollback deletes it.
    """
    steps: tuple[Step, ...] = (Pin(target.netns, path, identity, source),) if path else ()
    if lo and not lo.link.is_up and _LOOPBACK.interface not in {item.interface for item in lo.addresses}:
        steps += (SetAddress(target.netns, 1, "lo", None, _LOOPBACK),)
    steps += () if lo and lo.link.is_up else (SetUp(target.netns, 1, "lo", old=False, new=True),)
    operation = f"adopt {source} as sandbox {target.name}" if source else f"create sandbox {target.name}"
    return plan_of(target, operation, None, *steps)


def leaving(items: Sequence[Attachment], found: Inventory, *, stays: bool) -> tuple[Attachment, ...]:
    """Return the interfaces that must be detached before their namespace is destroyed; all of them if it *stays*.

    The kernel destroys links that were created inside; except for a veth whose inside end was moved elsewhere.
    """
    return tuple(item for item in items if stays or not item.created or (item.host_end and item not in found.ours))


def plan_destroy(
    items: Sequence[Attachment], target: Target, facts: Facts, path: str | None, identity: tuple[int, int]
) -> Plan:
    """Plan to detach *items*, and to unpin the namespace from *path* (None: it is not pinned)."""
    last = () if path is None else (Unpin(target.netns, path, identity),)
    return joined(plan_detach(items, target, facts), plan_of(target, f"destroy sandbox {target.name}", None, *last))
