"""Veth: a pair of links, one end inside and one on the host. `_steps/veth.py` creates it."""

from dataclasses import dataclass
from typing import Annotated

from netsandbox._checks import Checks, is_int
from netsandbox.links.base import Kind
from netsandbox.links.options import Mac, Name, Number, Switch
from netsandbox.netlink.settings import MTU_MAX, MTU_MIN


@dataclass(frozen=True, slots=True)
class Veth(Kind):
    """A pair of links, each of which receives what the other one sends: one end inside, the other on the host.

    Both are made in one request, the inside end in its place with its name, MAC and MTU. The host end carries an alias
    that marks it as netsandbox's, and is up. When either is deleted, so is the other.

    Source: veth(4), ip-link(8), bridge(8); ``WithCreatedInContainer`` of moby's osl.
    """

    host: Annotated[str, Name("Name of the end on the host; it is the interface's `source`")]
    master: Annotated[
        str | None, Name("Name, on the host, of the bridge or other master that the host end becomes a port of")
    ] = None
    host_mac: Annotated[
        str | None,
        Mac(
            None,
            "Link-layer address of the host end; by default one that begins with fe, which a bridge never takes for"
            " its own",
        ),
    ] = None
    host_mtu: Annotated[
        int | None,
        Number(None, "MTU of the host end, in bytes; by default that of the interface", least=MTU_MIN, most=MTU_MAX),
    ] = None
    ipv6: Annotated[bool, Switch(None, "Give the host end IPv6; without, it sends nothing of its own")] = False
    hairpin: Annotated[bool, Switch(None, "Let frames leave the bridge by the port they came in")] = False
    isolated: Annotated[bool, Switch(None, "Let the port reach only ports that are not isolated")] = False
    learning: Annotated[bool, Switch(None, "Let the bridge learn addresses from the port")] = True
    kind = "veth"
    source_field = key_field = "host"
    has_host_end = True

    def _check(self, check: Checks) -> None:
        if self.ipv6 is True and is_int(self.host_mtu, MTU_MIN, MTU_MAX):
            check.mtu(self.host_mtu, ipv6=True, field="host_mtu")
        if self.master is None and (self.hairpin is True or self.isolated is True or self.learning is False):
            check.wrong("master", None, "is required for hairpin, isolated and learning: they are settings of its port")

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        return (("master", self.master),) if self.master is not None else ()
