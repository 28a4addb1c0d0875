"""Short constructors for the values of the netlink codec."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from netsandbox.netlink import address, neighbor, route
from netsandbox.netlink.neighbor import AF_BRIDGE, NeighborEntry
from netsandbox.netlink.route import RouteEntry

if TYPE_CHECKING:
    from netsandbox.netlink.address import Address


def address_entry(text: str, index: int) -> Address:
    return address.new(index, ip_interface(text))


def route_entry(to: str, index: int | None, via: str | None = None, **fields: Any) -> RouteEntry:  # noqa: ANN401
    hop = None if via is None else ip_address(via)
    usual = {"scope": 0 if via or ":" in to else route.LINK}
    return RouteEntry(ip_network(to), index, hop, **usual | fields)


def neighbor_entry(ip: str, index: int, mac: str = "02:00:00:00:00:99") -> NeighborEntry:
    return NeighborEntry(10 if ":" in ip else 2, index, ip_address(ip), mac)


def forwarding(index: int, mac: str = "02:00:00:00:00:98") -> NeighborEntry:
    return NeighborEntry(AF_BRIDGE, index, None, mac, neighbor.NOARP, neighbor.MASTER)
