"""Renders sandboxes, interfaces, routes and neighbors as text for people."""

from collections.abc import Iterable
from dataclasses import replace

from netsandbox._run.interfaces import snapshot
from netsandbox.cli import console
from netsandbox.interface import Interface
from netsandbox.routes import Neighbor, Route
from netsandbox.sandbox import Sandbox

INTERFACE_HEADERS = ("NAME", "SOURCE", "KIND", "STATE", "MAC", "MTU", "MASTER", "ADDRESSES")


def line(item: Interface) -> str:
    """Return an interface and its settings on one line."""
    words = [item.name, "source", item.source, "kind", item.kind or "-", "state", item.operstate]
    words += ["mac", item.mac] if item.mac else []
    words += ["mtu", str(item.mtu)]
    for address in item.addresses:
        words += ["address", str(address)]
    words += ["master", item.master] if item.master else []
    for route in item.routes:
        words += ["route", _quoted(_without_link(route))]
    return " ".join(words)


def dropped(made: Interface) -> list[str]:
    """Return a line for each address that a setting removed."""
    why = "was dropped: it is gone now that all settings are made"
    return [f"{made.name}: {address} {why}" for address in made.dropped]


def _quoted(words: str) -> str:
    return f'"{words}"' if " " in words else words


def _without_link(route: Route) -> str:
    return str(replace(route, interface=None))


def sandbox(box: Sandbox) -> None:
    """Show everything in a sandbox, as it was at one moment."""
    found = snapshot(box, neighbors=True)
    console.text(f"sandbox {box.name} at {box.path}")
    ours = found.interfaces
    interfaces(ours, title="interfaces")
    changed(ours, found.missing)
    interfaces(found.foreign, title="foreign: not plugged in by netsandbox, and left alone")
    routes([item for item in found.routes if item.to.prefixlen == 0], title="gateways")
    routes([item for item in found.routes if item.to.prefixlen], title="routes")
    neighbors(found.neighbors, title="neighbors")


def interfaces(items: Iterable[Interface], *, title: str = "") -> None:
    """Show interfaces."""
    rows = [
        (
            item.name,
            item.source or "-",
            item.kind or "-",
            item.operstate,
            item.mac or "-",
            item.mtu,
            item.master or "-",
            " ".join(map(str, item.addresses)) or "-",
        )
        for item in items
    ]
    console.table(INTERFACE_HEADERS, rows, title=title)


def changed(ours: Iterable[Interface], missing: Iterable[Interface]) -> None:
    """Show which interfaces were renamed inside, and which are missing."""
    renamed = [(item.given_name, item.name, item.source) for item in ours if item.name != item.given_name]
    gone = [(item.name, "-", item.source) for item in missing]
    console.table(("PLUGGED IN AS", "NOW", "SOURCE"), [*renamed, *gone], title="renamed or missing")


def routes(items: Iterable[Route], *, title: str = "") -> None:
    """Show routes."""
    rows = [
        (
            item.to if item.to.prefixlen else f"default (IPv{item.to.version})",
            item.via or "-",
            item.interface or "-",
            "-" if item.metric is None else item.metric,
            item.source or "-",
            "onlink" if item.onlink else "-",
        )
        for item in items
    ]
    console.table(("TO", "VIA", "INTERFACE", "METRIC", "SOURCE", "FLAGS"), rows, title=title)


def neighbors(items: Iterable[Neighbor], *, title: str = "") -> None:
    """Show neighbors and forwarding entries."""
    rows = [(item.ip or "-", item.mac, item.interface, "bridge" if item.bridge else "-") for item in items]
    console.table(("IP", "MAC", "INTERFACE", "TABLE"), rows, title=title)


def addresses(items: Iterable[Interface]) -> None:
    """Show the addresses of interfaces, one a line."""
    rows = [(item.name, address) for item in items for address in item.addresses]
    console.table(("INTERFACE", "ADDRESS"), rows)
