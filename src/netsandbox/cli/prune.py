"""The command that clears up what crashes and reboots left behind."""

import click

from netsandbox.cli import console
from netsandbox.cli.app import Settings, dry_run_option, json_option, pass_settings
from netsandbox.sandbox import Sandbox


@click.command
@dry_run_option
@json_option
@pass_settings
def prune(settings: Settings) -> None:
    """Clear up what crashes and reboots left behind.

    What was interrupted is undone or finished, and sandboxes whose namespace is gone are forgotten. It touches nothing
    that netsandbox has no record of. What was done is printed, a line each; with --dry-run, what would be.
    """
    done = Sandbox.prune(dry_run=settings.dry_run)
    if settings.json:
        console.data(list(done))
    else:
        for words in done:
            console.text(words)
