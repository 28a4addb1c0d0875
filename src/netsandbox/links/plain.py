"""Dummy and Ifb: links without options."""

from dataclasses import dataclass

from netsandbox.links.base import Kind


@dataclass(frozen=True, slots=True)
class Dummy(Kind):
    """A link that drops what is sent to it, to hold addresses.

    Source: ip-link(8).
    """

    kind = "dummy"


@dataclass(frozen=True, slots=True)
class Ifb(Kind):
    """A link to which traffic can be redirected so that it can be shaped.

    Source: ip-link(8), tc-mirred(8).
    """

    kind = "ifb"
