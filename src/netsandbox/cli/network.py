"""Commands for the gateways, routes, neighbors and addresses of a sandbox."""

import errno
from typing import Any

import click

from netsandbox.cli import console, parse_ip, render_json, render_text
from netsandbox.cli.app import (
    Settings,
    complete_interface,
    dry_run_option,
    json_option,
    opened,
    pass_settings,
    sandbox_argument,
    usage,
)
from netsandbox.errors import KernelError
from netsandbox.routes import Neighbor
from netsandbox.sandbox import Sandbox

_ANY_MAC = "02:00:00:00:00:00"  # where it need not be told
_VERBS = {"list": "list", "show": "list", "add": "add", "del": "del", "delete": "del"}  # as ip(8) has them
_action = click.argument("action", type=click.Choice(list(_VERBS)), metavar="[list|add|del]", default="list")
_interface = click.option(
    "-i", "--interface", "--dev", "interface", metavar="I", shell_complete=complete_interface, help="The interface."
)


@click.command
@sandbox_argument
@click.argument("address", required=False)
@_interface
@click.option("--onlink", is_flag=True, help="Take the gateway to be on the link, although no route says so.")
@click.option(
    "-4", "family", flag_value=4, type=int, default=None, help="IPv4, when no ADDRESS tells [default]; shows IPv4 only."
)
@click.option(
    "-6", "family", flag_value=6, type=int, default=None, help="IPv6, when no ADDRESS tells; shows IPv6 only."
)
@click.option("--unset", is_flag=True, help="Delete the default route.")
@dry_run_option
@json_option
@pass_settings
def gateway(  # noqa: PLR0917  click hands them over by name
    settings: Settings,
    /,
    sandbox: str,
    address: str | None,
    interface: str | None,
    onlink: bool,
    family: int | None,
    unset: bool,
) -> None:
    """Set, unset or show the default gateways.

    With --interface and no ADDRESS, the link itself reaches everything.
    """
    if unset and (address or interface or onlink):
        usage("--unset goes with -4 and -6 only")
    if onlink and not address:
        usage("--onlink needs an ADDRESS")
    if address and family and (family == 6) != (":" in address):
        usage(f"{address} is no IPv{family} address")
    with opened(sandbox, dry_run=settings.dry_run) as box:
        if unset:
            settings.change(box, box.unset_gateway, family or 4)
        elif address or interface:
            settings.change(box, box.set_gateway, address, interface, onlink=onlink, family=family or 4)
        else:
            found = [item for item in box.routes if family in {None, item.to.version}]
            if settings.json:
                console.data(render_json.gateways(found))
            else:
                render_text.routes(item for item in found if not item.to.prefixlen)


@click.command
@sandbox_argument
@_action
@click.argument("to", nargs=-1)
@click.option("--via", metavar="IP", help="Address of the next hop.")
@click.option("--metric", metavar="N", type=int, help="Priority, the lowest wins.")
@_interface
@click.option("--onlink", is_flag=True, help="Take the next hop to be on the link.")
@click.option("--source", "--src", "source", metavar="IP", help="Preferred source address.")
@dry_run_option
@json_option
@pass_settings
def route(settings: Settings, /, sandbox: str, action: str, to: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """List, add or delete routes.

    TO is a network or "default"; the words of ip-route(8) may follow:

    netsandbox route web add 10.8.0.0/16 via 10.0.0.1
    """
    verb = _VERBS[action]
    if verb == "list" and any(options.values()):
        usage("list takes no options of a route")
    if (verb == "list") == bool(to):
        usage("list takes no route" if to else f"{action} needs a route, such as 10.8.0.0/16")
    with opened(sandbox, dry_run=settings.dry_run) as box:
        if verb == "list":
            found = box.routes
            if settings.json:
                console.data([render_json.route(item) for item in found])
            else:
                render_text.routes(found)
        else:
            settings.change(box, box.add_route if verb == "add" else box.remove_route, parse_ip.route(to, options))


@click.command
@sandbox_argument
@_action
@click.argument("ip", nargs=-1)
@click.option("--mac", "--lladdr", "mac", metavar="M", help="Its link-layer address.")
@_interface
@click.option("--bridge", is_flag=True, help="A bridge forwarding entry; IP is a tunnel's other end, if there is one.")
@dry_run_option
@json_option
@pass_settings
def neighbor(settings: Settings, /, sandbox: str, action: str, ip: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """List, add or delete permanent neighbors.

    Also bridge forwarding entries. Adding replaces. After IP the words of ip-neighbour(8) may follow:

    netsandbox neighbor web add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0
    """
    verb = _VERBS[action]
    if verb == "list" and (ip or any(options.values())):
        usage("list takes no neighbor")
    with opened(sandbox, dry_run=settings.dry_run) as box:
        if verb == "list":
            found = box.neighbors
            if settings.json:
                console.data([render_json.neighbor(item) for item in found])
            else:
                render_text.neighbors(found)
            return
        values = parse_ip.neighbor(ip, options)
        wish = Neighbor(**values) if values["mac"] or verb == "add" else _known(box, values)
        settings.change(box, box.add_neighbor if verb == "add" else box.remove_neighbor, wish)


def _known(box: Sandbox, values: dict[str, Any]) -> Neighbor:
    """Return the neighbor that is meant by its address and interface alone."""
    wish = Neighbor(**values | {"mac": _ANY_MAC})
    for item in box.neighbors:
        if not item.bridge and not wish.bridge and (item.ip, item.interface) == (wish.ip, wish.interface):
            return item
    request = f"delete neighbor {wish.ip} dev {wish.interface} from sandbox {box.name}"
    raise KernelError(errno.ENOENT, request, "it is not known")


@click.command
@sandbox_argument
@_action
@click.argument("interface", required=False, shell_complete=complete_interface)
@click.argument("address", required=False)
@dry_run_option
@json_option
@pass_settings
def address(settings: Settings, sandbox: str, action: str, interface: str | None, address: str | None) -> None:
    """List, add or delete addresses of interfaces.

    netsandbox address web add eth0 10.9.9.9/32
    """
    verb = _VERBS[action]
    if verb != "list" and not (interface and address):
        usage(f"{action} needs an interface and an address")
    if verb == "list" and address:
        usage("list takes an interface at most")
    with opened(sandbox, dry_run=settings.dry_run) as box:
        if interface and address:
            settings.change(box, box.add_address if verb == "add" else box.remove_address, interface, address)
            return
        found = [render_json.find(box, interface)] if interface else box.interfaces
        if settings.json:
            console.data([render_json.interface(item) for item in found])
        else:
            render_text.addresses(found)
