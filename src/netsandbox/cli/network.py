"""The commands for the gateways, routes, neighbors and addresses of a sandbox."""

import errno
from functools import partial
from typing import Any

import click

from netsandbox.cli import console, parse_ip, render_json, render_text
from netsandbox.cli.app import (
    DRY_RUN,
    JSON,
    Settings,
    command,
    complete_interface,
    find_interface,
    sandbox_argument,
    usage,
)
from netsandbox.errors import KernelError
from netsandbox.routes import Neighbor
from netsandbox.sandbox import Sandbox

_ANY_MAC = "02:00:00:00:00:00"  # stands for the MAC of a neighbor that is looked up by its IP address
_VERBS = {"list": "list", "show": "list", "add": "add", "del": "del", "delete": "del"}  # as ip(8) has them
_action = click.argument("action", type=click.Choice(list(_VERBS)), metavar="[list|add|del]", default="list")
_INTERFACE = ("-i", "--interface", "--dev", "interface")
_interface = click.option(*_INTERFACE, metavar="I", shell_complete=complete_interface, help="Use interface I.")
_family = partial(click.option, type=int, default=None)


@command(DRY_RUN, JSON)
@sandbox_argument
@click.argument("address", required=False)
@_interface
@click.option("--onlink", is_flag=True, help="Accept a gateway that no route reaches.")
@_family("-4", "family", flag_value=4, help="Use IPv4 [default]; show IPv4 gateways only.")
@_family("-6", "family", flag_value=6, help="Use IPv6; show IPv6 gateways only.")
@click.option("--unset", is_flag=True, help="Delete the default route.")
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
    """Show, set or unset the default gateways.

    ADDRESS is the new gateway. With --interface and no ADDRESS, set a default route without a gateway.
    """
    if unset and (address or interface or onlink):
        usage("--unset can be combined with -4 and -6 only")
    if onlink and not address:
        usage("--onlink needs an ADDRESS")
    if address and family and (family == 6) != (":" in address):
        usage(f"{address} is not an IPv{family} address")
    with settings.open(sandbox) as box:
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


@command(DRY_RUN, JSON)
@sandbox_argument
@_action
@click.argument("to", nargs=-1)
@click.option("--via", metavar="IP", help="Set the next hop.")
@click.option("--metric", metavar="N", type=int, help="Set the priority; the lowest wins.")
@_interface
@click.option("--onlink", is_flag=True, help="Accept a next hop that no route reaches.")
@click.option("--source", "--src", "source", metavar="IP", help="Set the preferred source address.")
def route(settings: Settings, /, sandbox: str, action: str, to: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """List, add or delete routes.

    TO is a network or "default". The syntax of ip-route(8) may follow:

    netsandbox route web add 10.8.0.0/16 via 10.0.0.1
    """
    verb = _VERBS[action]
    if verb == "list" and any(options.values()):
        usage("list takes no options of a route")
    if (verb == "list") == bool(to):
        usage("list takes no route" if to else f"{action} needs a route, such as 10.8.0.0/16")
    with settings.open(sandbox) as box:
        if verb == "list":
            settings.show(box.routes, render_json.route, render_text.routes)
        else:
            settings.change(box, box.add_route if verb == "add" else box.remove_route, parse_ip.route(to, options))


@command(DRY_RUN, JSON)
@sandbox_argument
@_action
@click.argument("ip", nargs=-1)
@click.option("--mac", "--lladdr", "mac", metavar="M", help="Set the MAC address.")
@_interface
@click.option("--bridge", is_flag=True, help="Use a bridge forwarding entry; IP is the remote end of a tunnel.")
def neighbor(settings: Settings, /, sandbox: str, action: str, ip: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """List, add or delete permanent neighbors.

    The list includes bridge forwarding entries. An added neighbor replaces an existing one. After IP, the syntax of
    ip-neighbour(8) may follow:

    netsandbox neighbor web add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0
    """
    verb = _VERBS[action]
    if verb == "list" and (ip or any(options.values())):
        usage("list takes no neighbor")
    with settings.open(sandbox) as box:
        if verb == "list":
            settings.show(box.neighbors, render_json.neighbor, render_text.neighbors)
            return
        values = parse_ip.neighbor(ip, options)
        entry = Neighbor(**values) if values["mac"] or verb == "add" else _find(box, values)
        settings.change(box, box.add_neighbor if verb == "add" else box.remove_neighbor, entry)


def _find(box: Sandbox, values: dict[str, Any]) -> Neighbor:
    """Return the neighbor with an IP address on an interface."""
    wanted = Neighbor(**values | {"mac": _ANY_MAC})
    for item in box.neighbors:
        if not item.bridge and not wanted.bridge and (item.ip, item.interface) == (wanted.ip, wanted.interface):
            return item
    request = f"delete neighbor {wanted.ip} dev {wanted.interface} from sandbox {box.name}"
    raise KernelError(errno.ENOENT, request, "it is not known")


@command(DRY_RUN, JSON)
@sandbox_argument
@_action
@click.argument("interface", required=False, shell_complete=complete_interface)
@click.argument("address", required=False)
def address(settings: Settings, sandbox: str, action: str, interface: str | None, address: str | None) -> None:
    """List, add or delete addresses of interfaces.

    ADDRESS includes the prefix length:

    netsandbox address web add eth0 10.9.9.9/32
    """
    verb = _VERBS[action]
    if verb != "list" and not (interface and address):
        usage(f"{action} needs an interface and an address")
    if verb == "list" and address:
        usage("list takes at most an interface")
    with settings.open(sandbox) as box:
        if interface and address:
            settings.change(box, box.add_address if verb == "add" else box.remove_address, interface, address)
        else:
            found = [find_interface(box, interface)] if interface else box.interfaces
            settings.show(found, render_json.interface, render_text.addresses)
