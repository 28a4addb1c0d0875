"""The same sandbox in six ways: by bare datagrams, with netsandbox, pyroute2 (two ways) and ip(8) (two ways).

Each way creates a namespace, moves an existing link into it, and gives the link a name, MAC, MTU, IPv4, IPv6 and
link-local address, a route, two sysctls and a gateway. Then it moves the link back with its original name, MAC and MTU,
and deletes the namespace. Each way has a veth pair and a namespace of its own.
"""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any, Protocol

from benchmarks import raw
from netsandbox import Route, Sandbox
from netsandbox._system import files, libc, namespace

try:
    from pyroute2 import IPRoute, NetNS, netns
except ImportError:
    PYROUTE2 = False
else:
    PYROUTE2 = True

NAME, MAC, MTU = "eth0", "02:42:ac:11:00:02", 1450
HOME_MAC, HOME_MTU = "02:42:00:00:00:01", 1500
ADDRESSES = ("172.17.0.2/16", "fd00::2/64", "169.254.9.9/32")
ROUTE, GATEWAY = "192.168.2.1/32", "172.17.0.1"
SETTINGS = {"rp_filter": "2", "arp_announce": "2"}  # below net.ipv4.conf.IFNAME


class Way(Protocol):
    """One way to create a sandbox and to attach a link."""

    def create(self) -> None:
        """Create the sandbox, with loopback up."""

    def attach(self) -> None:
        """Move the link into the sandbox and configure it."""

    def remove(self) -> None:
        """Move the link back, with its original name, MAC and MTU."""

    def destroy(self) -> None:
        """Destroy the sandbox, after `remove`."""


def sh(script: str) -> None:
    """Run a shell script, in which every command must succeed."""
    subprocess.run(["sh", "-ec", script], check=True)


def make_link(name: str) -> None:
    """Create a veth whose other end is up."""
    sh(f"ip link add name {name} address {HOME_MAC} type veth peer name {name}p && ip link set dev {name}p up")


def pyroute2() -> Any:  # noqa: ANN401
    """Return a netlink socket of pyroute2."""
    return IPRoute()


class Raw:
    """Requests encoded beforehand, one for each change: the time that the kernel itself takes."""

    def __init__(self, link: str) -> None:
        make_link(link)
        self.path = f"/run/netns/{link}"
        self.host = raw.Socket()
        self.home = namespace.open_namespace(namespace.OWN)
        self.index = index = socket.if_nametoindex(link)
        self.back = raw.move(index, self.home, link, HOME_MAC, HOME_MTU)
        addresses = (raw.add_address(index, address) for address in ADDRESSES)
        routes = (raw.add_route(index, ROUTE), raw.add_route(index, "0.0.0.0/0", GATEWAY))
        self.requests = (*addresses, raw.up(index), *routes)

    def create(self) -> None:
        files.share("/run/netns")
        self.fd = namespace.run_in_new(lambda: namespace.open_namespace(namespace.OWN))
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
        libc.mount(f"/proc/self/fd/{self.fd}", self.path, libc.MS_BIND)
        self.box, self.settings = namespace.run_in(self.fd, self._open)
        self.box.ask(raw.up(1))
        self.there = raw.move(self.index, self.fd, NAME, MAC, MTU)

    def _open(self) -> tuple[raw.Socket, int]:
        return raw.Socket(), os.open("/proc/sys/net/ipv4/conf", os.O_PATH)

    def move(self) -> None:
        """Only move the link."""
        self.host.ask(self.there)

    def configure(self) -> None:
        """Add addresses and routes, bring the link up, and set the sysctls."""
        for request in self.requests:
            self.box.ask(request)
        for key, value in SETTINGS.items():
            fd = os.open(f"{NAME}/{key}", os.O_WRONLY, dir_fd=self.settings)
            os.write(fd, value.encode())
            os.close(fd)

    def attach(self) -> None:
        self.move()
        self.configure()

    def remove(self) -> None:
        self.box.ask(self.back)

    def destroy(self) -> None:
        self.box.close()
        os.close(self.settings)
        libc.unmount(self.path)
        Path(self.path).unlink()
        os.close(self.fd)


class Ours:
    """netsandbox's public API."""

    def __init__(self, link: str) -> None:
        make_link(link)
        self.link = link

    def create(self) -> None:
        self.box = Sandbox.create(self.link)

    def attach(self) -> None:
        self.eth0 = self.box.add_interface(
            self.link,
            name=NAME,
            mac=MAC,
            mtu=MTU,
            addresses=ADDRESSES,
            routes=[ROUTE, Route("0.0.0.0/0", GATEWAY)],
            sysctls={f"net.ipv4.conf.IFNAME.{key}": value for key, value in SETTINGS.items()},
            advertise=0,  # no other way sends adverts, and sending in the background would slow the next competitor
        )

    def remove(self) -> None:
        self.eth0.remove()

    def destroy(self) -> None:
        self.box.destroy()


class Pyroute2:
    """pyroute2, tuned: sockets stay open, few requests, the index is known."""

    def __init__(self, link: str) -> None:
        make_link(link)
        self.link = link
        self.index = socket.if_nametoindex(link)
        self.home = namespace.open_namespace(namespace.OWN)
        self.host = pyroute2()

    def create(self) -> None:
        netns.create(self.link)
        self.box: Any = NetNS(self.link)
        self.box.link("set", index=1, state="up")

    def attach(self) -> None:
        self.host.link("set", index=self.index, net_ns_fd=self.link, ifname=NAME, address=MAC, mtu=MTU)
        self._configure(self.box, self.index)

    def _configure(self, box: Any, index: int) -> None:  # noqa: ANN401
        """Configure the link inside the sandbox."""
        for text in ADDRESSES:
            address, length = text.split("/")
            nodad = {"flags": 2} if ":" in text else {}
            box.addr("add", index=index, address=address, prefixlen=int(length), **nodad)
        netns.pushns(self.link)  # sysctls are files: pyroute2 can move the thread into the namespace
        for key, value in SETTINGS.items():
            with open(f"/proc/sys/net/ipv4/conf/{NAME}/{key}", "w", encoding="ascii") as file:  # noqa: PTH123  fast
                file.write(value)
        netns.popns()
        box.link("set", index=index, state="up")
        box.route("add", dst=ROUTE, oif=index, scope="link")
        box.route("add", dst="default", gateway=GATEWAY)

    def remove(self) -> None:
        self._give_back(self.box, self.index)

    def _give_back(self, box: Any, index: int) -> None:  # noqa: ANN401
        box.link("set", index=index, net_ns_fd=self.home, ifname=self.link, address=HOME_MAC, mtu=HOME_MTU)

    def destroy(self) -> None:
        self.box.close()
        netns.remove(self.link)


class Pyroute2AsDocumented(Pyroute2):
    """pyroute2 as documented: links are looked up, and a NetNS is opened for each use."""

    def create(self) -> None:
        netns.create(self.link)
        with NetNS(self.link) as box:
            box.link("set", index=box.link_lookup(ifname="lo")[0], state="up")

    def attach(self) -> None:
        with IPRoute() as host:
            host.link("set", index=host.link_lookup(ifname=self.link)[0], net_ns_fd=self.link)
        with NetNS(self.link) as box:
            index = box.link_lookup(ifname=self.link)[0]
            box.link("set", index=index, ifname=NAME, address=MAC, mtu=MTU)
            self._configure(box, index)

    def remove(self) -> None:
        with NetNS(self.link) as box:
            self._give_back(box, box.link_lookup(ifname=NAME)[0])

    def destroy(self) -> None:
        netns.remove(self.link)


class Ip:
    """ip(8), one command for each change, as in a shell script."""

    def __init__(self, link: str) -> None:
        make_link(link)
        self.link = link

    def create(self) -> None:
        sh(f"ip netns add {self.link}; ip -n {self.link} link set lo up")

    def attach(self) -> None:
        ip = f"ip -n {self.link}"
        settings = "; ".join(f"echo {value} >/proc/sys/net/ipv4/conf/{NAME}/{key}" for key, value in SETTINGS.items())
        sh(f"""
            ip link set dev {self.link} netns {self.link} name {NAME} address {MAC} mtu {MTU}
            {ip} address add {ADDRESSES[0]} dev {NAME}
            {ip} address add {ADDRESSES[1]} dev {NAME} nodad
            {ip} address add {ADDRESSES[2]} dev {NAME}
            ip netns exec {self.link} sh -c '{settings}'
            {ip} link set dev {NAME} up
            {ip} route add {ROUTE} dev {NAME}
            {ip} route add default via {GATEWAY}
        """)

    def remove(self) -> None:
        """Move the link back; $$ is the PID of the shell, which is on the host."""
        sh(f"ip -n {self.link} link set dev {NAME} netns $$ name {self.link} address {HOME_MAC} mtu {HOME_MTU}")

    def destroy(self) -> None:
        sh(f"ip netns delete {self.link}")


class IpBatch(Ip):
    """ip(8), tuned: one ip -batch for all changes inside, and nsenter(1)."""

    def attach(self) -> None:
        settings = "; ".join(f"echo {value} >/proc/sys/net/ipv4/conf/{NAME}/{key}" for key, value in SETTINGS.items())
        sh(f"""
            ip link set dev {self.link} netns {self.link} name {NAME} address {MAC} mtu {MTU}
            ip -n {self.link} -batch - <<.
                address add {ADDRESSES[0]} dev {NAME}
                address add {ADDRESSES[1]} dev {NAME} nodad
                address add {ADDRESSES[2]} dev {NAME}
                link set dev {NAME} up
                route add {ROUTE} dev {NAME}
                route add default via {GATEWAY}
.
            nsenter --net=/run/netns/{self.link} sh -c '{settings}'
        """)


WAYS: dict[str, type[Raw | Ours | Pyroute2 | Ip]] = {
    "pre-encoded datagrams": Raw,
    "netsandbox": Ours,
    "pyroute2, tuned": Pyroute2,
    "pyroute2, as documented": Pyroute2AsDocumented,
    "ip -batch": IpBatch,
    "ip, a command each": Ip,
}
