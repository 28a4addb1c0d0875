"""The operations of the crash and fault matrices, each with the setup that it needs, and the state to compare."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netsandbox import Bridge, InterfaceSpec, Macvlan, Neighbor, Route, Sandbox, Summary, Tap, Veth
from tests.kernel import faults, lab

if TYPE_CHECKING:
    from collections.abc import Callable

BRIDGE_MAC = "02:00:00:00:00:99"
SPEC = InterfaceSpec(
    "v0",
    mac="02:00:00:00:00:42",
    mtu=1400,
    addresses=["10.1.0.2/24", "fd01::2/64", "169.254.7.7/32"],
    routes=["192.168.77.0/24", Route("10.9.0.0/16", via="10.1.0.1")],
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"},
    advertise=0,  # faults are injected by call number: no other thread may make calls
)
BORN = [
    InterfaceSpec(
        Veth("veth-box", master="hostbr", hairpin=True),
        mac="02:00:00:00:00:43",
        addresses=["10.1.0.2/24", "fd01::2/64"],
        routes=["192.168.77.0/24"],
        advertise=0,
    ),
    InterfaceSpec(Macvlan("v1"), mac="02:00:00:00:00:44", advertise=0),
    InterfaceSpec(Tap(), mac="02:00:00:00:00:45", advertise=0),
]
PAIRED = [
    BORN[0],
    InterfaceSpec("v1", advertise=0),
    InterfaceSpec(Veth("veth-two"), mac="02:00:00:00:00:46", advertise=0),
]
BRIDGE = InterfaceSpec(Bridge("br"), mac=BRIDGE_MAC, advertise=0)
PORT = InterfaceSpec("v1", master="br", advertise=0)


class Operation(NamedTuple):
    """An operation: *prepare* sets up a fresh host for *act*; recovery may also complete *act* as *instead*."""

    prepare: Callable[[], None]
    act: Callable[[], object]
    instead: Callable[[], object] | None = None


def links() -> None:
    """Create a fully configured link, and a plain link."""
    lab.ip_batch(
        "link add v0 address 02:00:00:00:01:00 type veth peer name p0 address 02:00:00:00:01:01",
        "link add v1 address 02:00:00:00:01:02 type veth peer name p1 address 02:00:00:00:01:03",
        "link add hostbr address 02:00:00:00:01:04 type bridge",
        "link set p0 up",
        "link set v0 up",
        "address add 10.5.0.1/24 dev v0",
        "address add fd05::1/64 dev v0",
        "route add 10.6.0.0/16 via 10.5.0.9",
        "neighbor add 10.5.0.7 lladdr 02:00:00:00:00:07 dev v0 nud permanent",
        "link set v0 master hostbr",
    )
    lab.sysctl("ipv4/conf/v0/rp_filter", "1")


def box() -> None:
    """Create the links, and a sandbox."""
    links()
    Sandbox.create("box").close()


def plugged() -> None:
    """Create a sandbox with a fully configured interface, and a bridge."""
    box()
    with Sandbox.open("box") as made:
        made.add_interface(SPEC)
        made.add_interface(Bridge("br"), mac=BRIDGE_MAC, addresses=["10.3.0.1/24"], advertise=0)
        made.set_gateway("10.1.0.1")


def foreign() -> None:
    """Create links, and a namespace that ip(8) owns."""
    links()
    lab.ip("netns add foreign")


def adopted() -> None:
    """Adopt the namespace that ip(8) owns, and attach a link and a bridge."""
    foreign()
    with Sandbox.adopt("/run/netns/foreign", "box") as made:
        made.add_interfaces([BRIDGE, PORT])


def born() -> None:
    """Create a sandbox with links that are created inside."""
    box()
    with Sandbox.open("box") as made:
        made.add_interfaces(BORN)


def paired() -> None:
    """Create a sandbox with two own veths, whose host ends are then reconfigured, and a link of the host."""
    box()
    with Sandbox.open("box") as made:
        made.add_interfaces(PAIRED)
    lab.ip_batch(
        "address add 10.2.0.1/24 dev veth-two",
        "route add 10.4.0.0/16 via 10.2.0.2",
        "neighbor add 10.2.0.7 lladdr 02:00:00:00:00:07 dev veth-two nud permanent",
        "link set veth-box mtu 1400 nomaster",
        "address add 10.1.0.1/24 dev veth-box",
    )


def within(act: Callable[[Sandbox], object]) -> Callable[[], object]:
    """Return a function that calls *act* with the open sandbox."""

    def body() -> object:
        with Sandbox.open("box") as made:
            return act(made)

    return body


def each(many: Summary[Sandbox]) -> None:
    """Expect that no sandbox failed, and close all sandboxes."""
    many.raise_for_failures()
    for made in many:
        made.close()


def remove(made: Sandbox) -> None:
    """Detach the fully configured interface."""
    made.interfaces[0].remove()


OPERATIONS = {
    "create": Operation(links, lambda: Sandbox.create("box").close()),
    "create with interfaces": Operation(links, lambda: each(Sandbox.create_many({"box": [BRIDGE, SPEC]}))),
    "create born": Operation(links, lambda: each(Sandbox.create_many({"box": BORN}))),
    "replace": Operation(
        plugged, lambda: Sandbox.create("box", replace=True).close(), within(lambda made: made.destroy())
    ),
    "adopt": Operation(foreign, lambda: Sandbox.adopt("/run/netns/foreign", "box").close()),
    "add": Operation(box, within(lambda made: made.add_interface(SPEC))),
    "add several": Operation(
        box,
        within(lambda made: made.add_interfaces([BRIDGE, SPEC, PORT])),
    ),
    "add born": Operation(box, lambda: Sandbox.add_many({"box": BORN}).raise_for_failures()),
    "remove born": Operation(born, within(remove)),
    "remove several born": Operation(paired, within(lambda made: made.remove_interfaces(made.interfaces))),
    "destroy born": Operation(born, within(lambda made: made.destroy(wait=True))),
    "remove": Operation(plugged, within(remove)),
    "remove several": Operation(plugged, within(lambda made: made.remove_interfaces(made.interfaces))),
    "destroy many": Operation(plugged, lambda: each(Sandbox.destroy_many(["box"]))),
    "destroy": Operation(plugged, within(lambda made: made.destroy())),
    "release": Operation(adopted, within(lambda made: made.destroy())),
    "gateway": Operation(plugged, within(lambda made: made.set_gateway("10.1.0.9"))),
    "route": Operation(plugged, within(lambda made: made.add_route(Route("10.8.0.0/16", via="10.1.0.1")))),
    "neighbor": Operation(
        plugged, within(lambda made: made.add_neighbor(Neighbor("10.1.0.5", "02:00:00:00:00:05", "eth0")))
    ),
    "address": Operation(plugged, within(lambda made: made.add_address("eth0", "10.1.0.99/24"))),
    "tweaks": Operation(plugged, within(lambda made: made.disable_arp_for_vip("eth0"))),
}


def state() -> str:
    """Return the state of the host and of the sandboxes."""
    Sandbox.prune(dry_run=True)  # waits until the kernel has finished destroying namespaces
    found: list[object] = [lab.snapshot(), Sandbox.list()]
    for name in Sandbox.list():
        with Sandbox.open(name) as made:
            plugged_in = [(item.id, item.source, item.name, item.index) for item in made.interfaces]
            found.append([lab.snapshot(made.path), plugged_in])
    # The kernel allocates indexes in ascending order: a veth that is created again gets another index on the host.
    ends = {link["ifindex"]: name for name, link in lab.links().items() if name.startswith("veth-")}
    return re.sub(
        r'"(ifindex|link_index)": (\d+)\b',
        lambda found: f'"{found[1]}": "{ends.get(int(found[2]), found[2])}"',
        json.dumps(found, sort_keys=True),
    )


def fresh(prepare: Callable[[], None]) -> str:
    """Destroy all sandboxes, enter a new host namespace, call *prepare*, and return the state."""
    for name in Sandbox.list():
        with Sandbox.open(name) as made:
            made.destroy()
    for file in Path("/run/netns").glob("*"):
        lab.ip(f"netns delete {file.name}")
    lab.libc("unshare", lab.CLONE_NEWNET)
    lab.ip("link set lo up")
    prepare()
    return state()


def program(act: Callable[[], object]) -> faults.Program:
    """Return *act* as a program whose system calls are counted."""

    def body(arm: faults.Switch, disarm: faults.Switch) -> None:
        arm()
        act()
        disarm()

    return body
