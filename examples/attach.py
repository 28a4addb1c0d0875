"""Attach one end of a veth pair to a sandbox, use it from inside, and detach it.

Run it as root in namespaces of your own: unshare -nm python examples/attach.py
"""

import subprocess

from netsandbox import Sandbox


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


# The host's side: a veth pair whose other end stays here.
ip("link add veth-web type veth peer name web-host")
ip("address add 10.0.0.1/24 dev web-host")
ip("link set web-host up")

with Sandbox.temporary() as box:
    eth0 = box.add_interface(
        "veth-web",
        mac="02:42:0a:00:00:02",
        mtu=1400,
        addresses=["10.0.0.2/24", "fd00::2/64"],
        routes=["192.0.2.0/24"],
        sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"},
    )
    box.set_gateway("10.0.0.1")

    print(f"{eth0.source} is {eth0.name} inside: {eth0.mac}, MTU {eth0.mtu}, {', '.join(map(str, eth0.addresses))}")
    print(f"gateway {box.gateway4}, routes {', '.join(map(str, box.routes))}")
    box.exec(["ping", "-q", "-c", "1", "-w", "5", "10.0.0.1"], check=True)
    print(f"received {eth0.statistics().rx_packets} packets")

    eth0.remove()
    print("back on the host:")
    ip("-brief link show veth-web")

ip("link delete veth-web")
