"""Attach three interfaces, the last of which the kernel rejects: all are rolled back, and the error says why.

Run it as root in namespaces of your own: unshare -nm python examples/all_or_nothing.py
"""

import subprocess

from netsandbox import InterfaceSpec, KernelError, Sandbox, SpecError


def ip(command: str) -> str:
    return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True).stdout


for name in ("one", "two", "three"):
    ip(f"link add {name} type veth peer name {name}-peer")
ip("address add 192.0.2.1/24 dev one")
ip("link set one up")

with Sandbox.temporary() as box:
    before = ip("-brief address show")

    # The same route twice: the kernel rejects the second one after everything else is done.
    wishes = [
        InterfaceSpec("one", addresses=["10.1.0.2/24"]),
        InterfaceSpec("two", addresses=["10.2.0.2/24"]),
        InterfaceSpec("three", addresses=["10.3.0.2/24"], routes=["198.51.100.0/24", "198.51.100.0/24"]),
    ]
    try:
        box.add_interfaces(wishes)
    except KernelError as error:
        print(f"refused: {error.errno_name} at: {error.step}")
        print("undone:", *error.undone, sep="\n    ")

    print("interfaces in the sandbox:", box.interfaces)
    print("the host is as before:", ip("-brief address show") == before)

    # Invalid values are rejected before anything is changed, all at once.
    try:
        box.add_interface("one", mac="01:00:5e:00:00:01", mtu=40, addresses=["10.1.0.0/24", "10.1.0.9"])
    except SpecError as error:
        print("nonsense:", *error.problems, sep="\n    ")

for name in ("one", "two", "three"):
    ip(f"link delete {name}")
