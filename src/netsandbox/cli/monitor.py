"""The command that shows changes in sandboxes as they happen."""

import sys
from contextlib import ExitStack

import click

from netsandbox._events.iterator import Events
from netsandbox._events.tracker import Event
from netsandbox.cli import console, render_json
from netsandbox.cli.app import JSON, Settings, command, complete_sandbox, usage
from netsandbox.netlink.address import Address
from netsandbox.netlink.link import Link
from netsandbox.routes import Neighbor, Route

_LABELS = {"link": "LINK", "address": "ADDR", "route": "ROUTE", "neighbor": "NEIGH", "sandbox": "SANDBOX"}
_MARKS = {
    "new": "new: its events follow",
    "deleted": "Deleted: closed or destroyed",
    "overrun": "overrun: more happened than could be read, and events were lost",
    "resynced": "resynced: all differences since then are shown",
}


@command(JSON)
@click.argument("sandboxes", metavar="[SANDBOX]...", nargs=-1, shell_complete=complete_sandbox)
@click.option("-a", "--all", "everything", is_flag=True, help="Watch all sandboxes, also those created later.")
@click.option("-c", "--count", metavar="N", type=click.IntRange(min=1), help="End after N events.")
def monitor(settings: Settings, sandboxes: tuple[str, ...], *, everything: bool, count: int | None) -> None:
    """Show the changes in sandboxes until interrupted.

    Print a line for each new, changed or deleted link, address, route and neighbor, as "ip monitor" does; with --json,
    one object per line. End when the last SANDBOX is destroyed.
    """
    if everything == bool(sandboxes):
        usage("Give the names of sandboxes, or --all." if not sandboxes else "--all takes no names of sandboxes.")
    with ExitStack() as stack:
        boxes = [stack.enter_context(settings.open(name)) for name in dict.fromkeys(sandboxes)]
        events = stack.enter_context(Events(None if everything else boxes))
        console.message(f"listening to {', '.join(box.name for box in boxes) or 'all sandboxes'}")
        for number, event in enumerate(events, 1):
            if settings.json:
                console.data(render_json.event(event))
            else:
                console.text(f"{event.sandbox} [{_LABELS[event.what]}] {_line(event)}")
                sys.stdout.flush()
            if number == count:
                return


def _line(event: Event) -> str:
    """Return an event in the format of ip monitor, which prints "Deleted", but prints new and changed alike."""
    if event.value is None:
        return _MARKS[event.change]
    return ("Deleted " if event.change == "deleted" else "") + _words(event, event.value)


def _words(event: Event, value: Link | Address | Route | Neighbor) -> str:
    if isinstance(value, Route):
        return str(value) if value.to.prefixlen else str(value).replace(str(value.to), "default", 1)
    if isinstance(value, Neighbor):
        if value.bridge:
            return _joined(f"{value.mac} dev {value.interface}", dst=value.ip)
        return f"{_joined(f'{value.ip} dev {value.interface}', lladdr=value.mac)} {value.state}".rstrip()
    name = event.interface or f"if{value.index}"
    if isinstance(value, Link):
        start = f"{value.index}: {name}: <{','.join(render_json.flags(value.flags))}> mtu {value.mtu}"
        words = _joined(start, master=event.master, state=value.operstate, port=(value.port_state or "").lower())
        return _joined(words, **{f"link/{render_json.link_type(value.type)}": value.mac})
    shown = render_json.address(value)
    words = _joined(f"{value.index}: {name} {shown['family']} {value.interface}", peer=value.peer, brd=value.broadcast)
    return " ".join((f"{words} scope {shown['scope']}", *(key for key, item in shown.items() if item is True)))


def _joined(start: str, **pairs: object) -> str:
    """Return *start*, followed by each keyword that has a value."""
    return " ".join((start, *(f"{word} {value}" for word, value in pairs.items() if value)))
