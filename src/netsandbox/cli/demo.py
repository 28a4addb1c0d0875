"""The command that shows what netsandbox does, on a host of its own, and leaves nothing behind."""

import subprocess
import sys

import click

from netsandbox.cli.app import Settings, json_option, pass_settings


@click.command
@json_option
@pass_settings
def demo(settings: Settings) -> int:
    """Show what netsandbox does, on a host of its own.

    Two sandboxes joined by a bridge in a third, pings across, and an attach that is rolled back. It plays in
    namespaces of its own, without root in a user namespace; this machine's network is not touched.
    """
    # A process of its own: it leaves this machine's namespaces, and what it makes ends with it.
    command = [sys.executable, "-m", "netsandbox.cli.scene", *(["--json"] if settings.json else [])]
    return subprocess.run(command, check=False).returncode  # noqa: S603  ourselves
