"""What ``netsandbox demo`` plays, in a process of its own: ``python -m netsandbox.cli.scene``."""

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
    """Play, and return the exit status: 0 if all went as it should."""
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
    """The demo: tells what it does as it goes along, or collects it for one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.found: dict[str, Any] = {}

    def play(self) -> bool:
        """Play it all; return whether it went as it should."""
        self.say("A host of its own")
        self.tell("namespaces", f"in new {isolate()}, which end with this program")
        host = LinuxKernel.own()
        with contextlib.closing(host):
            for name in (*HOSTS, "spare"):
                host.send(link_requests.create("veth", f"port-{name}", data=link_requests.peer(f"veth-{name}")))
            links = " ".join(f"veth-{name}/port-{name}" for name in (*HOSTS, "spare"))
            self.tell("links", f"pairs of veth links: {links}")
            with self.sandboxes("switch", *HOSTS) as boxes:
                good = self.join(boxes) and self.roll_back(boxes["alice"], host)
            return self.look_back(host) and good

    @contextlib.contextmanager
    def sandboxes(self, *names: str) -> Iterator[dict[str, Sandbox]]:
        """Make sandboxes, and destroy them at the end, whatever happened."""
        boxes: dict[str, Sandbox] = {}
        try:
            for name in names:
                boxes[name] = Sandbox.create(name)
            yield boxes
        finally:
            for box in reversed(boxes.values()):
                box.destroy()

    def join(self, boxes: dict[str, Sandbox]) -> bool:
        """Join two sandboxes by a bridge in a third, and ping from each to the other."""
        self.say("The plan: what attaching veth-alice would do, in ip(8) commands")
        wishes = {name: [f"{ipv4}/24", f"{ipv6}/64"] for name, (ipv4, ipv6) in HOSTS.items()}
        plan = boxes["alice"].plan_interface("veth-alice", addresses=wishes["alice"], mtu=1400)
        self.tell("plan", *plan.commands, value=list(plan.commands))

        self.say("A bridge in the sandbox switch, and the sandboxes alice and bob plugged into it")
        switch = boxes["switch"]
        switch.add_interface(Bridge("br0"), name="br0", mtu=1400)
        for name, addresses in wishes.items():
            boxes[name].add_interface(f"veth-{name}", addresses=addresses, mtu=1400)
            switch.add_interface(f"port-{name}", prefix="port", master="br0", mtu=1400)
        for name, box in boxes.items():
            self.show_interfaces(name, box)

        self.say("Pings across, IPv4 and IPv6")
        (one, ones), (two, twos) = HOSTS.items()
        trips = [(one, two, address) for address in twos] + [(two, one, address) for address in ones]
        times = [self.ping(boxes[start], end, address) for start, end, address in trips]

        self.say("What the interfaces counted")
        for name in HOSTS:
            self.show_statistics(name, boxes[name])
        return all(time is not None for time in times)

    def roll_back(self, box: Sandbox, host: LinuxKernel) -> bool:
        """Let an attach fail at its last step, and look whether all is as before."""
        self.say("An attach that fails at its last step, and is rolled back")
        before, inside = state(host, "veth-spare"), box.interfaces
        routes = [Route("10.99.0.0/16", via="192.0.2.1")]  # reached by nothing: the kernel refuses it
        try:
            box.add_interface("veth-spare", mac="02:00:00:00:00:99", addresses=["10.8.0.2/24"], routes=routes)
        except NetSandboxError as error:
            lines = [error.message, *(f"undone: {command}" for command in error.undone)]
            self.tell("rollback", *lines, value=console.report(error))
        same = state(host, "veth-spare") == before and box.interfaces == inside
        words = "as before: name, index, MAC, MTU, state, settings" if same else "NOT as before"
        self.tell("rolled_back", f"veth-spare on the host and the interfaces of {box.name} are {words}", value=same)
        return same

    def look_back(self, host: LinuxKernel) -> bool:
        """Look whether anything is left."""
        self.say("Everything destroyed")
        names = sorted(link.name for link in host.links())
        left = Sandbox.list(all=True)
        whole = {"lo", *(f"{end}-{name}" for end in ("veth", "port") for name in (*HOSTS, "spare"))}
        good = not left and {*names} == whole
        self.tell("left", f"sandboxes left: {' '.join(left) or 'none'}; on the host: {' '.join(names)}", value=left)
        if self.as_json:
            console.data(self.found)
        return good

    # --- showing ---

    def say(self, heading: str) -> None:
        """Begin a part."""
        if not self.as_json:
            console.heading(heading)

    def tell(self, key: str, *lines: str, value: object = None) -> None:
        """Tell lines, or note the value under a key."""
        if self.as_json:
            self.found[key] = lines[0] if value is None else value
        else:
            for line in lines:
                console.text(f"  {line}")

    def show_interfaces(self, name: str, box: Sandbox) -> None:
        """Show the interfaces of a sandbox."""
        if self.as_json:
            self.found.setdefault("interfaces", {})[name] = [render_json.interface(item) for item in box.interfaces]
        else:
            for item in box.interfaces:
                console.text(f"  {name}: {render_text.line(item)}")

    def ping(self, box: Sandbox, end: str, address: str) -> float | None:
        """Ping an address from a sandbox."""
        time = box.run(echo, address)
        if self.as_json:
            self.found.setdefault("pings", []).append({"from": box.name, "to": end, "address": address, "ms": time})
        else:
            console.text(f"  {box.name} -> {end} {address}: " + ("NO ANSWER" if time is None else f"{time:.2f} ms"))
        return time

    def show_statistics(self, name: str, box: Sandbox) -> None:
        """Show what the interfaces of a sandbox counted."""
        for item in box.interfaces:
            counted = item.statistics()
            if self.as_json:
                self.found.setdefault("statistics", {})[name] = render_json.statistics(item, counted)
            else:
                words = f"{counted.rx_packets} packets ({counted.rx_bytes} bytes) in"
                words += f", {counted.tx_packets} packets ({counted.tx_bytes} bytes) out"
                console.text(f"  {name} {item.name}: {words}, {counted.rx_errors + counted.tx_errors} errors")


def state(kernel: LinuxKernel, name: str) -> object:
    """Return what must be as before when an attach was rolled back."""
    link = kernel.link(name)
    if link is None:
        return None
    settings = link.conf(AF_INET), link.conf(AF_INET6)
    return link.index, link.name, link.mac, link.mtu, link.flags, link.master, settings, kernel.addresses(link.index)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
