"""Commands that plug interfaces into a sandbox and take them out."""

from typing import Any

import click

from netsandbox.cli import advertise, console, render_json, render_text
from netsandbox.cli.app import (
    Settings,
    complete_interface,
    complete_sandbox,
    dry_run_option,
    json_option,
    opened,
    pass_settings,
    sandbox_argument,
    usage,
)
from netsandbox.cli.attach_options import asked, wish_options


@click.command
@click.argument("sandbox", required=False, shell_complete=complete_sandbox)
@wish_options
@click.option(
    "--batch", metavar="FILE", type=click.Path(), help="Attach what the lines of FILE say; -: standard input."
)
@click.option("--create", is_flag=True, help="With --batch: make the sandboxes, each with its interfaces.")
@dry_run_option
@json_option
@pass_settings
def attach(
    settings: Settings,
    /,
    sandbox: str | None,
    source: str | None,
    *,
    batch: str | None,
    create: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Plug a link into a sandbox, all of it or none of it.

    SOURCE is a link of the host, which is moved in. With --type a link is made in its place, which takes a tenth
    of the time; SOURCE then is the name of a bridge, the name of the host's end of a veth, the link below a macvlan,
    ipvlan or vlan, or the number of a vxlan. Prints the interface. Its neighbors are told its addresses
    before this ends: as often as --advertise says, otherwise once.

    With --batch, each line of FILE holds what would stand after attach, as a shell would have it. The lines of one
    sandbox are plugged in together, or none of them; one that fails keeps no other from its turn.
    """
    if batch is not None:
        from netsandbox.cli import batch as many  # noqa: PLC0415  few need it

        return many.attach(settings, batch, create=create)
    if create:
        usage("--create needs --batch.")
    if sandbox is None:
        usage("Missing argument 'SANDBOX'.")
    with opened(sandbox, dry_run=settings.dry_run) as box:
        wish, keywords = asked(source, options)
        made = settings.change(box, box.add_interface, wish, **keywords)
        if made is None:
            return 0
        if settings.json:
            console.data(render_json.interface(made))
        else:
            console.text(render_text.line(made))
        for line in render_text.dropped(made):
            console.complain(line)
        for _, line in advertise.finish([(box, made, "advertise" in keywords)]):
            console.complain(line)
    return 0


@click.command
@sandbox_argument
@click.argument("interfaces", metavar="INTERFACE...", nargs=-1, required=True, shell_complete=complete_interface)
@dry_run_option
@json_option
@pass_settings
def detach(settings: Settings, sandbox: str, interfaces: tuple[str, ...]) -> None:
    """Take interfaces out, back to the host as they were.

    A bridge that was made inside is deleted. All of them leave, the newest first, or none does.
    """
    with opened(sandbox, dry_run=settings.dry_run) as box:
        settings.change(box, box.remove_interfaces, interfaces)
