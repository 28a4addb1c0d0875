"""Connect two sandboxes by a bridge in a third one: they reach each other, but not the host.

Run it as root in namespaces of your own: unshare -nm python examples/bridge.py
"""

import subprocess

from netsandbox import Bridge, InterfaceSpec, Sandbox


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


for name in ("red", "blue"):
    ip(f"link add {name} type veth peer name {name}-port")

with Sandbox.temporary() as switch, Sandbox.temporary() as red, Sandbox.temporary() as blue:
    # The bridge is created in the sandbox; its ports name it by its source. All three are attached, or none.
    for port in switch.add_interfaces(
        [
            InterfaceSpec(Bridge("br0"), name="br0"),
            InterfaceSpec("red-port", prefix="port", master="br0"),
            InterfaceSpec("blue-port", prefix="port", master="br0"),
        ]
    ):
        print(f"switch: {port.source} is {port.name}, {port.kind}, master {port.master}")

    red.add_interface("red", addresses=["10.0.0.1/24", "fd00::1/64"])
    blue.add_interface("blue", addresses=["10.0.0.2/24", "fd00::2/64"])

    for address in ("10.0.0.2", "fd00::2"):
        red.exec(["ping", "-q", "-c", "1", "-w", "5", address], check=True)

# The three sandboxes are destroyed, and the veths have returned to the host.
for name in ("red", "blue"):
    ip(f"-brief link show {name}")
    ip(f"link delete {name}")
