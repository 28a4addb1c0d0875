"""Attach an interface to the namespace of a running process: a container that somebody else made.

Run it as root in namespaces of your own: unshare -nm python examples/adopt.py
"""

import subprocess

from netsandbox import Sandbox


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


ip("link add veth-ctr type veth peer name ctr-host")

# A process with a network namespace of its own. It prints "ready" there, and waits until its stdin is closed.
container = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; cat"], stdin=-1, stdout=-1)
if container.stdout:
    container.stdout.readline()

with Sandbox.adopt(f"/proc/{container.pid}/ns/net", "container") as box:
    print(f"adopted as {box.name}, pinned at {box.path}")
    box.add_interface("veth-ctr", addresses=["10.0.0.2/24"])
    subprocess.run(["nsenter", "-t", str(container.pid), "-n", "ip", "-brief", "address"], check=True)

    # The link returns to the host and the pin is deleted. The adopted namespace stays.
    box.destroy()

subprocess.run(["nsenter", "-t", str(container.pid), "-n", "ip", "-brief", "link"], check=True)
container.communicate()
ip("-brief link show veth-ctr")
ip("link delete veth-ctr")
