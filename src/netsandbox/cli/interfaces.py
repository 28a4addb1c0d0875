"""The commands that attach interfaces to a sandbox and detach them."""

from typing import Any

import click

from netsandbox.cli import advertise, app, attach_options, console, render_json, render_text
from netsandbox.cli.app import DRY_RUN, JSON, Settings, command


@command(DRY_RUN, JSON)
@click.argument("sandbox", required=False, shell_complete=app.complete_sandbox)
@attach_options.attach_parameters
@click.option(
    "--batch", metavar="FILE", type=click.Path(), help="Attach the interfaces listed in FILE; - is standard input."
)
@click.option("--create", is_flag=True, help="With --batch: create the sandboxes, each with its interfaces.")
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
    """Attach a link to a sandbox.

    Move the link SOURCE of the host into the sandbox. With --type, create a link instead, in a tenth of the time;
    SOURCE is then the name of a bridge or vrf, the name of the host end of a veth, the lower link of a macvlan, ipvlan
    or vlan, or the number of a vxlan. Print the interface. If a step fails, roll back the whole attach.

    Before exiting, send the first round of adverts (gratuitous ARP and unsolicited Neighbor Advertisements); with
    --advertise, send all rounds.

    With --batch, each line of FILE holds the arguments of one attach, quoted as in a shell. All lines for one sandbox
    are applied or rolled back together. A sandbox that fails does not stop the others.
    """
    if batch is not None:
        from netsandbox.cli import batch as lines  # noqa: PLC0415  seldom needed

        return lines.attach(settings, batch, create=create)
    if create:
        app.usage("--create needs --batch.")
    if sandbox is None:
        app.usage("Missing argument 'SANDBOX'.")
    with settings.open(sandbox) as box:
        link, keywords = attach_options.parse(source, options)
        made = settings.change(box, box.add_interface, link, **keywords)
        if made is None:
            return 0
        if settings.json:
            console.data(render_json.interface(made))
        else:
            console.text(render_text.line(made))
        for line in render_text.dropped(made):
            console.message(line)
        for _, line in advertise.finish([(box, made, "advertise" in keywords)]):
            console.message(line)
    return 0


@command(DRY_RUN, JSON)
@app.sandbox_argument
@click.argument("interfaces", metavar="INTERFACE...", nargs=-1, required=True, shell_complete=app.complete_interface)
def detach(settings: Settings, sandbox: str, interfaces: tuple[str, ...]) -> None:
    """Detach interfaces and return them to the host.

    Restore the original name and settings of each link. Delete the links that attach created. If a step fails, roll
    back the whole detach.
    """
    with settings.open(sandbox) as box:
        settings.change(box, box.remove_interfaces, interfaces)
