"""The command that shows what changes in sandboxes, as it happens."""

import sys
from contextlib import ExitStack

import click

from netsandbox._events.iterator import Events
from netsandbox._events.tracker import Event
from netsandbox.cli import console, render_json
from netsandbox.cli.app import Settings, complete_sandbox, json_option, opened, pass_settings, usage
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


@click.command
@click.argument("sandboxes", metavar="[SANDBOX]...", nargs=-1, shell_complete=complete_sandbox)
@click.option("-a", "--all", "everything", is_flag=True, help="All sandboxes, also those created later.")
@click.option("-c", "--count", metavar="N", type=click.IntRange(min=1), help="End after N events.")
@json_option
@pass_settings
def monitor(settings: Settings, sandboxes: tuple[str, ...], *, everything: bool, count: int | None) -> None:
    """Show the changes in sandboxes, until interrupted.

    Prints a line for each new, changed or deleted link, address, route and neighbor, in the words of ip monitor; with
    --json, a JSON object a line. Ends when the last SANDBOX is destroyed.
    """
    if everything == bool(sandboxes):
        usage("Name sandboxes, or say --all." if not sandboxes else "--all means every sandbox: name none.")
    with ExitStack() as stack:
        boxes = [stack.enter_context(opened(name)) for name in dict.fromkeys(sandboxes)]
        events = stack.enter_context(Events(None if everything else boxes))
        console.complain(f"listening to {', '.join(box.name for box in boxes) or 'all sandboxes'}")
        for number, event in enumerate(events, 1):
            if settings.json:
                console.data(render_json.event(event))
            else:
                console.text(f"{event.sandbox} [{_LABELS[event.what]}] {_line(event)}")
                sys.stdout.flush()
            if number == count:
                return


def _line(event: Event) -> str:
    """Return an event in the words of ip monitor, which prints "Deleted", but prints new and changed alike."""
    if event.value is None:
        return _MARKS[event.change]
    return ("Deleted " if event.change == "deleted" else "") + _words(event, event.value)


def _words(event: Event, value: Link | Address | Route | Neighbor) -> str:
    if isinstance(value, Route):
        return str(value) if value.to.prefixlen else str(value).replace(str(value.to), "default", 1)
    if isinstance(value, Neighbor):
        if value.bridge:
            return f"{value.mac} dev {value.interface}" + (f" dst {value.ip}" if value.ip else "")
        words = f"{value.ip} dev {value.interface}" + (f" lladdr {value.mac}" if value.mac else "")
        return f"{words} {value.state}".rstrip()
    name = event.interface or f"if{value.index}"
    if isinstance(value, Link):
        words = f"{value.index}: {name}: <{','.join(render_json.flags(value.flags))}> mtu {value.mtu}"
        words += f" master {event.master}" if event.master else ""
        words += f" state {value.operstate}"
        words += f" port {value.port_state.lower()}" if value.port_state else ""
        return words + (f" link/{render_json.link_type(value.type)} {value.mac}" if value.mac else "")
    shown = render_json.address(value)
    words = f"{value.index}: {name} {shown['family']} {value.interface}"
    words += f" peer {value.peer}" if value.peer else ""
    words += f" brd {value.broadcast}" if value.broadcast else ""
    return " ".join((f"{words} scope {shown['scope']}", *(key for key, item in shown.items() if item is True)))
