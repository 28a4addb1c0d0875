"""A fake host and a fake sandbox, and what `Sandbox` does with plans: read the facts, plan, execute, record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netsandbox._kernel import HOST, Kernel
from netsandbox._plan.attach import plan_attach
from netsandbox._plan.detach import plan_detach
from netsandbox._plan.lifecycle import leaving, plan_destroy
from netsandbox._plan.model import Plan, Target
from netsandbox._plan.state import Facts, attach_facts, classify, detach_facts
from netsandbox._run.execute import execute
from netsandbox.adverts import Adverts
from netsandbox.interface import Interface, Snapshot, read_interfaces
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink import neighbor, route
from netsandbox.testing import FakeKernel, Faults
from tests.unit.values import forwarding, neighbor_entry, route_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netsandbox import InterfaceSpec
    from netsandbox._record import Attachment


PIN = "/run/netns/web"


class Rig:
    """A pinned sandbox "web" and its host; with *is_host*, the host's own namespace as the sandbox."""

    def __init__(self, *, is_host: bool = False, ipv6: bool = True) -> None:
        self.faults = Faults()
        self.host = FakeKernel("host", self.faults, ipv6=ipv6)
        self.box = self.host if is_host else FakeKernel("box", self.faults, ipv6=ipv6)
        self.target = Target("host", HOST) if is_host else Target("web", "web")
        self.world: dict[str, Kernel] = {HOST: self.host, self.target.netns: self.box}
        self.attached: tuple[Attachment, ...] = ()
        if not is_host:
            self.box.pin(PIN)

    @property
    def name(self) -> str:
        return self.target.name

    def _kernel(self) -> Kernel:
        return self.box

    def _adverts(self, interface: Interface) -> Adverts:
        return Adverts(sent=interface.id)

    def remove_interface(self, interface: Interface) -> None:
        self.remove(*(item for item in self.attached if item.id == interface.id))

    def snapshot(self, *, neighbors: bool = False) -> Snapshot:
        return Snapshot.read(self, self.box, self.host, self.attached, neighbors=neighbors)

    def state(self) -> dict[str, object]:
        """Return the whole state of the host and the sandbox, item by item."""
        found: dict[str, object] = {}
        for side in (self.host, self.box):
            for what, value in side.state().items():
                items = value.items() if isinstance(value, dict) else [("", value)]
                found |= {f"{side.name} {what} {key}": item for key, item in items}
        return found

    def changes(self, before: dict[str, object]) -> dict[str, tuple[object, object]]:
        """Return the items that differ from an earlier state, with the earlier and the current value."""
        now = self.state()
        keys = [key for key in before | now if before.get(key) != now.get(key)]
        return {key: (before.get(key), now.get(key)) for key in keys}

    def facts(self, *specs: InterfaceSpec) -> Facts:
        return attach_facts(self.host, self.box, specs, is_host=self.target.is_host)

    def plan(self, *specs: InterfaceSpec) -> tuple[Plan, tuple[Attachment, ...]]:
        next_id = max((item.id for item in self.attached), default=0) + 1
        return plan_attach(specs, self.target, self.facts(*specs), self.attached, next_id=next_id)

    def commands(self, *specs: InterfaceSpec) -> list[str]:
        """Return the commands of a plan to attach, without the comments about what the move drops."""
        return [text for text in self.plan(*specs)[0].commands if not text.startswith("#")]

    def add(self, *specs: InterfaceSpec) -> tuple[Interface, ...]:
        plan, made = self.plan(*specs)
        found = execute(plan, self.world, lambda: read_interfaces(self, self.box, made))
        self.attached += made
        return found

    def detach_facts(self, items: Sequence[Attachment]) -> Facts:
        return detach_facts(self.host, self.box, items, self.attached)

    def remove(self, *items: Attachment) -> None:
        items = items or self.attached
        self.carry_out(plan_detach(items, self.target, self.detach_facts(items)))
        self.attached = tuple(item for item in self.attached if item not in items)

    def plan_destroy(self, path: str | None = PIN, *, stays: bool = False) -> Plan:
        items = leaving(self.attached, classify(self.host, self.box, self.attached), stays=stays)
        return plan_destroy(items, self.target, self.detach_facts(items), path, self.box.identity)

    def destroy(self) -> None:
        self.carry_out(self.plan_destroy())

    def carry_out(self, plan: Plan) -> None:
        execute(plan, self.world, self.box.links)  # links() replaces the record, which `Sandbox` writes last


def furnished(*, is_host: bool = False) -> Rig:
    """Return a host whose link v0 has all that a move can drop; v1 to v3 are plain, v4 is down with addresses."""
    rig = Rig(is_host=is_host)
    host = rig.host
    host.add_link("lan", kind="bridge", index=3, up=True)
    host.add_link(
        "v0",
        index=7,
        addresses=["10.0.0.1/24", "10.0.0.2/24", "169.254.9.9/16", "fd00::1/64", "fd00::2/64"],
        altnames=("first",),
        alias="of the user",
        group=4,
        up=True,
    )
    send(host, requests.modify(7, master=3), requests.modify(7, port=("bridge", b"\x05\0\x04\0\x01\0\0\0")))
    send(host, route.add(route_entry("10.9.0.0/16", 7, "10.0.0.254")), route.add(route_entry("fd09::/32", 7)))
    send(host, neighbor.replace(neighbor_entry("10.0.0.9", 7)), neighbor.replace(forwarding(7)))
    host.set_sysctl("ipv4/conf/v0/rp_filter", "2")
    host.set_sysctl("ipv6/conf/v0/accept_ra", "2")
    for index in (8, 9, 10):
        host.add_link(f"v{index - 7}", index=index, up=index == 9)
    host.add_link("v4", index=11, addresses=["10.4.0.1/24", "fd04::1/64", "fd04::2/64"])
    return rig


def send(kernel: Kernel, *requests: object) -> None:
    """Send requests to a fake kernel, as another program would."""
    for request in requests:
        kernel.send(request)  # type: ignore[arg-type]


def everywhere(rig: Callable[[], Rig], operation: Callable[[Rig], object]) -> int:
    """Return how many kernel calls an operation makes."""
    made = rig()
    before = len(made.faults.calls)
    operation(made)
    return len(made.faults.calls) - before
