"""The demo, in a process of its own: ``python -m netsandbox.cli.scene``."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from netsandbox._system.echo import echo
from netsandbox._system.isolation import isolate
from netsandbox._system.kernel import LinuxKernel
from netsandbox.cli import console, discard_output, render_json, render_text
from netsandbox.errors import NetSandboxError
from netsandbox.links import Bridge
from netsandbox.netlink import link_requests
from netsandbox.netlink.constants import AF_INET, AF_INET6
from netsandbox.routes import Route
from netsandbox.sandbox import Sandbox

HOSTS = {"alice": ("10.7.0.2", "fd07::2"), "bob": ("10.7.0.3", "fd07::3")}


def main(arguments: list[str]) -> int:
    """Run the demo, and return the exit status: 0 if everything happened as expected."""
    scene = Scene(as_json="--json" in arguments)
    try:
        good = scene.play()
    except NetSandboxError as error:
        console.show_error(error, as_json=scene.as_json)
        return 1
    except BrokenPipeError:
        discard_output()
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if good else 1


class Scene:
    """The demo: prints what it does, or collects the results for one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.found: dict[str, Any] = {"interfaces": {}, "pings": [], "statistics": {}}

    def heading(self, words: str) -> None:
        """Print a heading, unless the output is JSON."""
        if not self.as_json:
            console.heading(words)

    def text(self, *lines: str) -> None:
        """Print lines, unless the output is JSON."""
        if not self.as_json:
            console.text(*(f"  {line}" for line in lines))

    def play(self) -> bool:
        """Run all parts; return whether everything happened as expected."""
        self.heading("A host of its own")
        self.found["namespaces"] = f"in new {isolate()}, which end with this program"
        self.text(self.found["namespaces"])
        host = LinuxKernel.own()
        with contextlib.closing(host):
            for name in (*HOSTS, "spare"):
                host.send(link_requests.create("veth", f"port-{name}", data=link_requests.peer(f"veth-{name}")))
            links = " ".join(f"veth-{name}/port-{name}" for name in (*HOSTS, "spare"))
            self.found["links"] = f"pairs of veth links: {links}"
            self.text(self.found["links"])
            with self.sandboxes("switch", *HOSTS) as boxes:
                good = self.join(boxes) and self.roll_back(boxes["alice"], host)
            return self.look_back(host) and good

    @contextlib.contextmanager
    def sandboxes(self, *names: str) -> Iterator[dict[str, Sandbox]]:
        """Create sandboxes, and destroy them at the end."""
        boxes: dict[str, Sandbox] = {}
        try:
            for name in names:
                boxes[name] = Sandbox.create(name)
            yield boxes
        finally:
            for box in reversed(boxes.values()):
                box.destroy()

    def join(self, boxes: dict[str, Sandbox]) -> bool:
        """Connect two sandboxes through a bridge in a third, and ping from each to the other."""
        self.heading("The plan: attaching veth-alice, in ip(8) commands")
        addresses = {name: [f"{ipv4}/24", f"{ipv6}/64"] for name, (ipv4, ipv6) in HOSTS.items()}
        plan = boxes["alice"].plan_interface("veth-alice", addresses=addresses["alice"], mtu=1400)
        self.found["plan"] = list(plan.commands)
        self.text(*plan.commands)

        self.heading("A bridge in the sandbox switch connects the sandboxes alice and bob")
        switch = boxes["switch"]
        switch.add_interface(Bridge("br0"), name="br0", mtu=1400)
        for name in HOSTS:
            boxes[name].add_interface(f"veth-{name}", addresses=addresses[name], mtu=1400)
            switch.add_interface(f"port-{name}", prefix="port", master="br0", mtu=1400)
        for name, box in boxes.items():
            interfaces = box.interfaces
            self.found["interfaces"][name] = [render_json.interface(item) for item in interfaces]
            self.text(*(f"{name}: {render_text.line(item)}" for item in interfaces))

        self.heading("Pings between alice and bob, over IPv4 and IPv6")
        (one, ones), (two, twos) = HOSTS.items()
        trips = [(one, two, address) for address in twos] + [(two, one, address) for address in ones]
        for start, end, address in trips:
            time = boxes[start].run(echo, address)
            self.found["pings"].append({"from": start, "to": end, "address": address, "ms": time})
            self.text(f"{start} -> {end} {address}: " + ("NO ANSWER" if time is None else f"{time:.2f} ms"))

        self.heading("The counters of the interfaces")
        for name in HOSTS:
            self.show_statistics(name, boxes[name])
        return all(ping["ms"] is not None for ping in self.found["pings"])

    def show_statistics(self, name: str, box: Sandbox) -> None:
        """Show the counters of the interface of a sandbox."""
        for item in box.interfaces:
            counters = item.statistics()
            self.found["statistics"][name] = render_json.statistics(item, counters)
            words = f"{counters.rx_packets} packets ({counters.rx_bytes} bytes) in"
            words += f", {counters.tx_packets} packets ({counters.tx_bytes} bytes) out"
            self.text(f"{name} {item.name}: {words}, {counters.rx_errors + counters.tx_errors} errors")

    def roll_back(self, box: Sandbox, host: LinuxKernel) -> bool:
        """Let an attach fail at its last step, and check that the original state is back."""
        self.heading("An attach that fails at its last step, and is rolled back")
        before, inside = state(host, "veth-spare"), box.interfaces
        routes = [Route("10.99.0.0/16", via="192.0.2.1")]  # the kernel rejects it: no route reaches the next hop
        try:
            box.add_interface("veth-spare", mac="02:00:00:00:00:99", addresses=["10.8.0.2/24"], routes=routes)
        except NetSandboxError as error:
            self.found["rollback"] = console.report(error)
            self.text(error.message, *(f"undone: {command}" for command in error.undone))
        same = state(host, "veth-spare") == before and box.interfaces == inside
        words = "as before: name, index, MAC, MTU, state, settings" if same else "NOT as before"
        self.found["rolled_back"] = same
        self.text(f"veth-spare on the host and the interfaces of {box.name} are {words}")
        return same

    def look_back(self, host: LinuxKernel) -> bool:
        """Check that nothing is left."""
        self.heading("Everything destroyed")
        names = sorted(link.name for link in host.links())
        left = self.found["left"] = Sandbox.list(all=True)
        expected = {"lo", *(f"{end}-{name}" for end in ("veth", "port") for name in (*HOSTS, "spare"))}
        self.text(f"sandboxes left: {' '.join(left) or 'none'}; on the host: {' '.join(names)}")
        if self.as_json:
            console.data(self.found)
        return not left and {*names} == expected


def state(kernel: LinuxKernel, name: str) -> object:
    """Return the state of a link that rolling back an attach restores."""
    link = kernel.link(name)
    if link is None:
        return None
    settings = link.conf(AF_INET), link.conf(AF_INET6)
    return link.index, link.name, link.mac, link.mtu, link.flags, link.master, settings, kernel.addresses(link.index)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
