"""Settings of a port of a bridge: which can be set, and what bridge(8) and ip-link(8) call them.

Source: IFLA_BRPORT_* in include/uapi/linux/if_link.h, br_setport() in net/bridge/br_netlink.c.
"""

import sys
from collections.abc import Mapping

from netsandbox.netlink import attrs

STATE = 1  # IFLA_BRPORT_STATE
STATES = ("DISABLED", "LISTENING", "LEARNING", "FORWARDING", "BLOCKING")  # BR_STATE_*; if_bridge.h
# Which can be set. The kernel reports more, and refuses the whole request for one of the others
# (IFLA_BRPORT_MCAST_N_GROUPS); the state of a port follows from others.
SETTABLE = frozenset((*range(2, 13), 25, *range(27, 35), 37, 39, 40, 42, 43, 44))
# Of these, those that ip-link(8) can set (bridge_slave), and their defaults; None: that depends on the link.
_SWITCHES = {"hairpin": 4, "guard": 5, "root_block": 6, "fastleave": 7, "learning": 8, "flood": 9, "proxy_arp": 10}
_SWITCHES |= {"proxy_arp_wifi": 12, "mcast_flood": 27, "mcast_to_unicast": 28, "vlan_tunnel": 29}
_SWITCHES |= {"bcast_flood": 30, "neigh_suppress": 32, "isolated": 33, "locked": 39}
_ON = {"learning", "flood", "mcast_flood", "bcast_flood"}
_NUMBERS = {"priority": (2, 32), "cost": (3, None), "mcast_router": (25, 1), "group_fwd_mask": (31, 0)}


def pack(settings: Mapping[str, bool]) -> bytes:
    """Return settings, by their names in bridge(8), as the kernel encodes them."""
    return b"".join(attrs.pack_u8(_SWITCHES[name], value) for name, value in settings.items())


def words(settings: bytes) -> str:
    """Return those of the settings that differ from the default, in the words of ip-link(8)."""
    found = {kind: int.from_bytes(value, sys.byteorder) for kind, value in attrs.unpack(settings).items()}
    shown = [f"{name} {found[kind]}" for name, (kind, usual) in _NUMBERS.items() if found.get(kind, usual) != usual]
    shown += [
        f"{name} {'on' if found[kind] else 'off'}"
        for name, kind in _SWITCHES.items()
        if kind in found and bool(found[kind]) != (name in _ON)
    ]
    return " ".join(shown)


def state(settings: bytes) -> bytes | None:
    """Return the state among the settings, as the kernel encodes it; None if they do not hold it."""
    return attrs.unpack(settings).get(STATE)
