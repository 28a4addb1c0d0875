"""Print the shell commands of an operation before it is done.

Run it as root in namespaces of your own: unshare -nm python examples/plan.py
"""

import subprocess

from netsandbox import Sandbox


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


ip("link add veth-web type veth peer name web-host")
ip("address add 192.0.2.1/24 dev veth-web")

with Sandbox.create("web") as box:
    plan = box.plan_interface("veth-web", name="wan0", mtu=1400, addresses=["10.0.0.2/24"])
    print(plan.operation)
    print(plan)

    print("\nNothing was changed; the sandbox has", len(box.interfaces), "interfaces.\n")

    # Every method that changes something can be planned.
    wan0 = box.add_interface("veth-web", name="wan0", mtu=1400, addresses=["10.0.0.2/24"])
    for plan in (
        box.plan(box.set_gateway, "10.0.0.1"),
        box.plan(box.remove_interface, wan0),
        box.plan(box.destroy),
    ):
        print(plan.operation, *plan.commands, sep="\n    ")
    box.destroy()

ip("link delete veth-web")
