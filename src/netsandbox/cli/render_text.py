"""Renders sandboxes, interfaces, routes and neighbors as text for people."""

from collections.abc import Iterable
from dataclasses import replace

from netsandbox._run.interfaces import snapshot
from netsandbox.cli import console
from netsandbox.interface import Interface
from netsandbox.routes import Neighbor, Route
from netsandbox.sandbox import Sandbox


def line(item: Interface) -> str:
    """Return an interface and its settings on one line."""
    words = [item.name, "source", item.source, "kind", item.kind or "-", "state", item.operstate]
    words += ["mac", item.mac] if item.mac else []
    words += ["mtu", str(item.mtu)]
    for address in item.addresses:
        words += ["address", str(address)]
    words += ["master", item.master] if item.master else []
    for route in item.routes:
        text = str(replace(route, interface=None))
        words += ["route", f'"{text}"' if " " in text else text]
    return " ".join(words)


def dropped(made: Interface) -> list[str]:
    """Return a warning for each requested address that the interface does not have."""
    why = "a sysctl of this link or a program inside removed it"
    return [f"{made.name}: {address} was dropped: {why}" for address in made.dropped]


def sandbox(box: Sandbox) -> None:
    """Print everything in a sandbox, as of one moment."""
    found = snapshot(box, neighbors=True)
    console.text(f"sandbox {box.name} at {box.path}")
    interfaces(found.interfaces, title="interfaces")
    renamed = [(item.given_name, item.name, item.source) for item in found.interfaces if item.name != item.given_name]
    missing = [(item.name, "-", item.source) for item in found.missing]
    console.table(("ATTACHED AS", "NOW", "SOURCE"), renamed + missing, title="renamed or missing")
    interfaces(found.foreign, title="foreign: not attached by netsandbox")
    routes([item for item in found.routes if item.to.prefixlen == 0], title="gateways")
    routes([item for item in found.routes if item.to.prefixlen], title="routes")
    neighbors(found.neighbors, title="neighbors")


def interfaces(items: Iterable[Interface], *, title: str = "") -> None:
    """Print interfaces."""
    rows = []
    for item in items:
        addresses = " ".join(map(str, item.addresses)) or None
        link = item.name, item.source or None, item.kind, item.operstate, item.mac, item.mtu, item.master
        rows.append((*link, addresses))
    console.table(("NAME", "SOURCE", "KIND", "STATE", "MAC", "MTU", "MASTER", "ADDRESSES"), rows, title=title)


def routes(items: Iterable[Route], *, title: str = "") -> None:
    """Print routes."""
    rows = []
    for item in items:
        to = item.to if item.to.prefixlen else f"default (IPv{item.to.version})"
        rows.append((to, item.via, item.interface, item.metric, item.source, "onlink" if item.onlink else None))
    console.table(("TO", "VIA", "INTERFACE", "METRIC", "SOURCE", "FLAGS"), rows, title=title)


def neighbors(items: Iterable[Neighbor], *, title: str = "") -> None:
    """Print neighbors and forwarding entries."""
    rows = [(item.ip, item.mac, item.interface, "bridge" if item.bridge else None) for item in items]
    console.table(("IP", "MAC", "INTERFACE", "TABLE"), rows, title=title)


def addresses(items: Iterable[Interface]) -> None:
    """Print the addresses of interfaces, one on a line."""
    rows = [(item.name, address) for item in items for address in item.addresses]
    console.table(("INTERFACE", "ADDRESS"), rows)
