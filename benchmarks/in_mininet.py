"""Mininet's part, run by Debian's Python: each input line makes or stops a host and is answered by a line."""

import sys

from mininet.node import Node
from mininet.util import makeIntfPair

root = Node("root", inNamespace=False)
hosts = {}
for line in sys.stdin:
    verb, name, *rest = line.rstrip("\n").split(" ", 5)
    if verb == "make":
        link, mac, bridge, lines = rest
        host = hosts[name] = Node(name)
        makeIntfPair(link, name, mac, "02:00:01" + mac[8:], node1=host, node2=root, deleteIntfs=False)
        root.cmd(f"echo 1 >/proc/sys/net/ipv6/conf/{name}/disable_ipv6; ip link set dev {name} master {bridge} up")
        said = host.cmd(f"ip link set lo up && {lines}")
        if said:
            sys.exit(said)
    else:
        hosts.pop(name).terminate()
    print("done", flush=True)
