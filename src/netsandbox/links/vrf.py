"""Vrf: a routing table for the interfaces that are its ports."""

from dataclasses import dataclass
from typing import Annotated

from netsandbox.links.base import Kind
from netsandbox.links.options import Name, Number


@dataclass(frozen=True, slots=True)
class Vrf(Kind):
    """Virtual routing and forwarding: interfaces whose ``master=`` it is route by a table of their own.

    The kernel keeps the routes of their addresses in that table; those of ``routes=`` are in the main one. A link of
    the host that stays there and is up loses its IPv6 addresses and its routes when it becomes a port; they are
    restored when it is detached.

    Source: Documentation/networking/vrf.rst, ip-link(8).
    """

    name: Annotated[str, Name("Its source name, which ``master=`` of other interfaces refers to", field="source")]
    table: Annotated[int, Number(1, "Number of its routing table", least=1)]
    kind = "vrf"
    source_field = key_field = "name"
    keeps_name = takes_ports = cycles_ports = True
