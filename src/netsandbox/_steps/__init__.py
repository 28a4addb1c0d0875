"""The steps of a plan: each carries what its undo needs, stands beside its inverse, and prints the command it equals.

A step that changes a setting knows the *old* and the *new* value; None means that there was, or shall be, nothing.
Its inverse is the same step with the two exchanged. `Lost` stands for what the kernel drops by itself when a link
leaves a namespace: nothing to do, but something to bring back.
"""

from netsandbox._steps.base import Lost, Step
from netsandbox._steps.birth import CreateLink, DeleteLink
from netsandbox._steps.ip import Conf, RestoreConf, SetAddress, SetNeighbor, SetRoute, SetSysctl
from netsandbox._steps.link import Port, SetAltnames, SetLink, SetMaster, SetUp
from netsandbox._steps.move import Move, Place, place
from netsandbox._steps.pin import Pin, Unpin
from netsandbox._steps.veth import CreateVeth, CreateVeths, DeleteVeth, DeleteVeths, HostEnd, delete_links
from netsandbox._steps.wait import WaitUp

__all__ = [
    "Conf",
    "CreateLink",
    "CreateVeth",
    "CreateVeths",
    "DeleteLink",
    "DeleteVeth",
    "DeleteVeths",
    "HostEnd",
    "Lost",
    "Move",
    "Pin",
    "Place",
    "Port",
    "RestoreConf",
    "SetAddress",
    "SetAltnames",
    "SetLink",
    "SetMaster",
    "SetNeighbor",
    "SetRoute",
    "SetSysctl",
    "SetUp",
    "Step",
    "Unpin",
    "WaitUp",
    "delete_links",
    "place",
]
