"""Ways to create the same sandbox with a veth that is created inside it, one or many of them on one bridge.

Each way creates a namespace and, in it, one end of a veth with a name, a MAC, an IPv4 address, optionally an IPv6
address, a route, a sysctl and a gateway. The other end is on the host, a port of a bridge, without IPv6; its name has
the prefix of the way. CNI's plugin does not set the sysctl and leaves loopback down; Mininet does not pin namespaces.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import raw
from benchmarks.ways import PYROUTE2, sh
from netsandbox import InterfaceSpec, Route, Sandbox, Veth
from netsandbox._system import files, libc, namespace

if PYROUTE2:
    from pyroute2 import IPRoute, NetNS, netns

BRIDGE, NAME, ROUTE, GATEWAY = "bench", "eth0", "192.168.2.1/32", "10.0.0.1"
SETTING, NUMBER = "arp_announce", 18  # IPV4_DEVCONF_ARP_ANNOUNCE
HOME = Path("/proc/sys/net/ipv6/conf")
PLUGINS = next((path for path in ("/usr/lib/cni", "/opt/cni/bin") if os.access(f"{path}/bridge", os.X_OK)), "")
MININET = Path("/usr/lib/python3/dist-packages/mininet").is_dir() and bool(shutil.which("mnexec"))


def make_bridge() -> None:
    """Create the bridge whose ports are all host ends."""
    sh(f"""
        ip link add {BRIDGE} address 02:00:00:00:ff:fe type bridge
        echo 1 >/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6
        ip address add {GATEWAY}/16 dev {BRIDGE}
        ip link set dev {BRIDGE} up
    """)


def mac(number: int) -> str:
    """Return the MAC of sandbox *number*."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def addresses(number: int, *, ipv6: bool) -> list[str]:
    """Return the addresses of sandbox *number*."""
    return [f"10.0.{number + 2 >> 8}.{number + 2 & 255}/16", *([f"fd00::{number + 2:x}/64"] if ipv6 else [])]


class Born:
    """One way to create sandboxes, which are identified by number."""

    prefix: str
    limit = 100  # the largest number of sandboxes that is measured
    can_remove = True  # whether `remove` is supported

    def __init__(self, *, ipv6: bool) -> None:
        self.ipv6 = ipv6

    def prepare(self, numbers: Sequence[int]) -> None:
        """Do the work that is not measured."""

    def make(self, number: int) -> None:
        """Create a sandbox."""
        raise NotImplementedError  # each way has its own

    def remove(self, number: int) -> None:
        """Delete the interface of a sandbox."""
        raise NotImplementedError  # not abstract: some ways cannot, see can_remove

    def destroy(self, numbers: Sequence[int]) -> None:
        """Destroy sandboxes."""
        raise NotImplementedError  # each way has its own


class Raw(Born):
    """Requests encoded beforehand: the time that the kernel itself takes."""

    prefix, limit = "r", 1000

    def __init__(self, *, ipv6: bool) -> None:
        super().__init__(ipv6=ipv6)
        files.share("/run/netns")
        self.host, self.home = raw.Socket(), namespace.open_namespace(namespace.OWN)
        self.bridge = socket.if_nametoindex(BRIDGE)
        self.requests: dict[int, tuple[bytes, bytes, tuple[bytes, ...]]] = {}
        self.boxes: dict[int, tuple[raw.Socket, int]] = {}

    def prepare(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            given = (raw.add_address(2, address) for address in addresses(number, ipv6=self.ipv6))
            routes = (raw.add_route(2, ROUTE), raw.add_route(2, "0.0.0.0/0", GATEWAY))
            end = f"{self.prefix}{number}"
            self.requests[number] = (
                raw.veth(2, NAME, mac(number), end, self.home),
                raw.port(end, self.bridge),
                (*given, raw.set_ipv4(2, NUMBER, 2), raw.up(2), *routes),
            )

    def make(self, number: int) -> None:
        veth, port, requests = self.requests[number]
        box, fd, settings = namespace.run_in_new(self._open)
        self.boxes[number] = box, fd
        path = f"/run/netns/{self.prefix}{number}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        libc.mount(f"/proc/self/fd/{fd}", path, libc.MS_BIND)
        box.ask(raw.up(1))
        box.ask(veth)
        (HOME / f"{self.prefix}{number}/disable_ipv6").write_text("1", encoding="ascii")
        self.host.ask(port)
        if not self.ipv6:
            file = os.open(f"{NAME}/disable_ipv6", os.O_WRONLY, dir_fd=settings)
            os.write(file, b"1")
            os.close(file)
            os.close(settings)
        for request in requests:
            box.ask(request)

    def _open(self) -> tuple[raw.Socket, int, int]:
        settings = -1 if self.ipv6 else os.open(HOME, os.O_PATH)
        return raw.Socket(), namespace.open_namespace(namespace.OWN), settings

    def remove(self, number: int) -> None:
        self.boxes[number][0].ask(raw.delete(2))

    def destroy(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            path = f"/run/netns/{self.prefix}{number}"
            libc.unmount(path)
            Path(path).unlink()
            box, fd = self.boxes.pop(number)
            box.close()
            os.close(fd)


class Ours(Born):
    """netsandbox's public API; sandboxes are destroyed one by one."""

    prefix, limit = "n", 1000
    routes: tuple[str | Route, ...] = (ROUTE, Route("0.0.0.0/0", GATEWAY))

    def __init__(self, *, ipv6: bool) -> None:
        super().__init__(ipv6=ipv6)
        self.boxes: dict[int, Sandbox] = {}

    def spec(self, number: int) -> InterfaceSpec:
        """Return the interface to attach."""
        return InterfaceSpec(
            Veth(f"{self.prefix}{number}", master=BRIDGE),
            name=NAME,
            mac=mac(number),
            addresses=addresses(number, ipv6=self.ipv6),
            routes=self.routes,
            sysctls={f"net.ipv4.conf.IFNAME.{SETTING}": "2"},
            advertise=0,  # no other way sends adverts
        )

    def make(self, number: int) -> None:
        self.boxes[number] = Sandbox.create(f"{self.prefix}{number}", interfaces=[self.spec(number)])

    def remove(self, number: int) -> None:
        self.boxes[number].remove_interface(NAME)

    def destroy(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.boxes.pop(number).destroy()


class OursInSteps(Ours):
    """netsandbox, with separate calls to create, attach and set the gateway."""

    prefix, routes = "s", (ROUTE,)

    def make(self, number: int) -> None:
        box = self.boxes[number] = Sandbox.create(f"{self.prefix}{number}")
        box.add_interface(self.spec(number))
        box.set_gateway(GATEWAY)


class OursTogether(Ours):
    """netsandbox; sandboxes are destroyed together."""

    prefix = "m"

    def destroy(self, numbers: Sequence[int]) -> None:
        Sandbox.destroy_many(self.boxes.pop(number) for number in numbers).raise_for_failures()


class Pyroute2(Born):
    """pyroute2, tuned: sockets stay open, links are created inside the namespace, indexes are known."""

    prefix = "p"

    def __init__(self, *, ipv6: bool) -> None:
        super().__init__(ipv6=ipv6)
        self.host = IPRoute()
        self.bridge = socket.if_nametoindex(BRIDGE)
        self.boxes: dict[int, Any] = {}

    def make(self, number: int) -> None:
        name = f"{self.prefix}{number}"
        netns.create(name)
        box = self.boxes[number] = NetNS(name)
        box.link("set", index=1, state="up")
        self._birth(self.host, number)
        (HOME / name / "disable_ipv6").write_text("1", encoding="ascii")
        self.host.link("set", index=socket.if_nametoindex(name), master=self.bridge, state="up")
        self._configure(box, number, 2)

    def _birth(self, host: Any, number: int) -> None:  # noqa: ANN401
        name = f"{self.prefix}{number}"
        peer = {"ifname": NAME, "address": mac(number), "net_ns_fd": name, "index": 2}
        host.link("add", ifname=name, kind="veth", peer=peer)

    def _configure(self, box: Any, number: int, index: int) -> None:  # noqa: ANN401
        """Configure the end inside the sandbox."""
        for text in addresses(number, ipv6=self.ipv6):
            address, length = text.split("/")
            nodad = {"flags": 2} if ":" in text else {}
            box.addr("add", index=index, address=address, prefixlen=int(length), **nodad)
        netns.pushns(f"{self.prefix}{number}")  # sysctls are files: pyroute2 can move the thread into the namespace
        Path(f"/proc/sys/net/ipv4/conf/{NAME}/{SETTING}").write_text("2", encoding="ascii")
        if not self.ipv6:
            (HOME / NAME / "disable_ipv6").write_text("1", encoding="ascii")
        netns.popns()
        box.link("set", index=index, state="up")
        box.route("add", dst=ROUTE, oif=index, scope="link")
        box.route("add", dst="default", gateway=GATEWAY)

    def remove(self, number: int) -> None:
        self.boxes[number].link("del", index=2)

    def destroy(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.boxes.pop(number).close()
            netns.remove(f"{self.prefix}{number}")


class Pyroute2AsDocumented(Pyroute2):
    """pyroute2 as documented: links are looked up, and a NetNS is opened for each use."""

    prefix = "d"

    def make(self, number: int) -> None:
        name = f"{self.prefix}{number}"
        netns.create(name)
        with NetNS(name) as box:
            box.link("set", index=box.link_lookup(ifname="lo")[0], state="up")
        with IPRoute() as host:
            self._birth(host, number)
            (HOME / name / "disable_ipv6").write_text("1", encoding="ascii")
            index, master = (host.link_lookup(ifname=found)[0] for found in (name, BRIDGE))
            host.link("set", index=index, master=master, state="up")
        with NetNS(name) as box:
            self._configure(box, number, box.link_lookup(ifname=NAME)[0])

    def remove(self, number: int) -> None:
        with NetNS(f"{self.prefix}{number}") as box:
            box.link("del", index=box.link_lookup(ifname=NAME)[0])

    def destroy(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            netns.remove(f"{self.prefix}{number}")


class Ip(Born):
    """ip(8), one command for each change, as in a shell script."""

    prefix = "i"

    def make(self, number: int) -> None:
        name = f"{self.prefix}{number}"
        ip = f"ip -n {name}"
        sh(f"""
            ip netns add {name}
            {ip} link set lo up
            ip link add name {name} type veth peer name {NAME} netns {name} address {mac(number)}
            echo 1 >{HOME}/{name}/disable_ipv6
            ip link set dev {name} master {BRIDGE} up
            {"; ".join(f"{ip} address add {text} dev {NAME}{self._nodad(text)}" for text in self._addresses(number))}
            ip netns exec {name} sh -c '{self._settings()}'
            {ip} link set dev {NAME} up
            {ip} route add {ROUTE} dev {NAME}
            {ip} route add default via {GATEWAY}
        """)

    def _addresses(self, number: int) -> list[str]:
        return addresses(number, ipv6=self.ipv6)

    def _settings(self) -> str:
        off = "" if self.ipv6 else f"; echo 1 >{HOME}/{NAME}/disable_ipv6"
        return f"echo 2 >/proc/sys/net/ipv4/conf/{NAME}/{SETTING}{off}"

    def _nodad(self, text: str) -> str:
        return " nodad" if ":" in text else ""

    def remove(self, number: int) -> None:
        sh(f"ip -n {self.prefix}{number} link delete dev {NAME}")

    def destroy(self, numbers: Sequence[int]) -> None:
        sh("; ".join(f"ip netns delete {self.prefix}{number}" for number in numbers))


class IpBatch(Ip):
    """ip(8), tuned: ip -batch for all changes inside, and nsenter(1)."""

    prefix = "b"

    def make(self, number: int) -> None:
        name = f"{self.prefix}{number}"
        lines = (f"address add {text} dev {NAME}{self._nodad(text)}" for text in self._addresses(number))
        sh(f"""
            ip -batch - <<.
                netns add {name}
                link add name {name} type veth peer name {NAME} netns {name} address {mac(number)}
.
            echo 1 >{HOME}/{name}/disable_ipv6
            ip link set dev {name} master {BRIDGE} up
            nsenter --net=/run/netns/{name} sh -c '{self._settings()}'
            ip -n {name} -batch - <<.
                link set lo up
{chr(10).join(lines)}
                link set dev {NAME} up
                route add {ROUTE} dev {NAME}
                route add default via {GATEWAY}
.
        """)

    def destroy(self, numbers: Sequence[int]) -> None:
        lines = "\n".join(f"netns delete {self.prefix}{number}" for number in numbers)
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


class Cni(Born):
    """The bridge plugin of CNI with host-local addresses; the sysctl would need another plugin."""

    prefix = "c"

    def make(self, number: int) -> None:
        sh(f"ip netns add {self.prefix}{number}")
        self._call("ADD", number)

    def _call(self, command: str, number: int) -> None:
        ranges = [[{"subnet": "10.0.0.0/16"}], *([[{"subnet": "fd00::/64"}]] if self.ipv6 else [])]
        routes = [{"dst": ROUTE}, {"dst": "0.0.0.0/0", "gw": GATEWAY}]
        ipam = {"type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": routes}
        config = {"cniVersion": "1.0.0", "name": BRIDGE, "type": "bridge", "bridge": BRIDGE, "ipam": ipam}
        name = f"{self.prefix}{number}"
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}"}
        subprocess.run(
            [f"{PLUGINS}/bridge"],
            input=json.dumps({**config, "runtimeConfig": {"mac": mac(number)}}),
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment, "CNI_IFNAME": NAME, "CNI_PATH": PLUGINS},
        )

    def remove(self, number: int) -> None:
        self._call("DEL", number)

    def destroy(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._call("DEL", number)  # releases the address
        sh("; ".join(f"ip netns delete {self.prefix}{number}" for number in numbers))


class Mininet(Born):
    """Mininet, whose sandbox is a shell in a namespace; it runs in one process of Debian's Python."""

    prefix, can_remove = "h", False

    def __init__(self, *, ipv6: bool) -> None:
        super().__init__(ipv6=ipv6)
        script = Path(__file__).with_name("in_mininet.py")
        self.process = subprocess.Popen(
            ["/usr/bin/python3", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, *words: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        print(*words, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def make(self, number: int) -> None:
        lines = [f"ip address add {text} dev {NAME}" for text in addresses(number, ipv6=self.ipv6)]
        off = [] if self.ipv6 else [f"sysctl -qw net.ipv6.conf.{NAME}.disable_ipv6=1"]
        lines = [*lines, f"sysctl -qw net.ipv4.conf.{NAME}.{SETTING}=2", *off, f"ip link set dev {NAME} up"]
        lines += [f"ip route add {ROUTE} dev {NAME}", f"ip route add default via {GATEWAY}"]
        self._ask("make", f"{self.prefix}{number}", NAME, mac(number), BRIDGE, " && ".join(lines))

    def destroy(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._ask("stop", f"{self.prefix}{number}")


WAYS: dict[str, type[Born]] = {
    "pre-encoded datagrams": Raw,
    "netsandbox": Ours,
    "netsandbox, a call each": OursInSteps,
    "pyroute2, tuned": Pyroute2,
    "pyroute2, as documented": Pyroute2AsDocumented,
    "ip -batch": IpBatch,
    "ip, a command each": Ip,
    "CNI bridge plugin": Cni,
    "Mininet": Mininet,
}
MANY: dict[str, type[Born]] = {
    "pre-encoded datagrams": Raw,
    "netsandbox": Ours,
    "netsandbox, destroy_many": OursTogether,
    **{who: way for who, way in WAYS.items() if way not in {Raw, Ours, OursInSteps}},
}


def is_installed(way: type[Born]) -> bool:
    """Return whether the programs of a way are installed."""
    return {Pyroute2: PYROUTE2, Pyroute2AsDocumented: PYROUTE2, Cni: bool(PLUGINS), Mininet: MININET}.get(way, True)
