"""The command that demonstrates netsandbox on a host of its own."""

import subprocess
import sys

from netsandbox.cli.app import JSON, Settings, command


@command(JSON)
def demo(settings: Settings) -> int:
    """Demonstrate netsandbox on a host of its own.

    Connect two sandboxes through a bridge in a third, ping from each to the other, and roll back an attach. The demo
    runs in new namespaces, without root in a user namespace; it does not change the network of this machine.
    """
    # In a process of its own, which leaves the namespaces of this machine; all that it creates ends with it.
    words = [sys.executable, "-m", "netsandbox.cli.scene", *(["--json"] if settings.json else [])]
    with subprocess.Popen(words) as process:  # noqa: S603  ourselves
        try:
            return process.wait()
        except KeyboardInterrupt:  # the process has received SIGINT as well, and is waited for until it has ended
            process.wait()
            raise
