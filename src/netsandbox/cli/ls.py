"""The command that lists sandboxes; to be quick, it imports only the runtime directory of the library."""

import click

from netsandbox._system.store import Store
from netsandbox.cli import console
from netsandbox.cli.app import JSON, Settings, command


@command(JSON)
@click.option("-a", "--all", "everything", is_flag=True, help="Also list namespaces that netsandbox did not create.")
def ls(settings: Settings, *, everything: bool) -> None:
    """List the sandboxes (alias: list)."""
    store = Store()
    ours = store.names()
    names = sorted({*ours, *store.pinned()}) if everything else ours
    if settings.json:
        console.data([{"name": name, "managed": name in ours} if everything else {"name": name} for name in names])
    elif everything:
        console.table(["NAME", "MADE BY"], [(name, "netsandbox" if name in ours else "others") for name in names])
    else:
        console.table(["NAME"], [(name,) for name in names])
