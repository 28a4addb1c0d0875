"""The steps of a plan: each holds what undoing it needs, stands beside its inverse, and prints the command it equals.

A step that changes a setting holds the *old* and the *new* value; its inverse is the same step with the two exchanged.
`Dropped` stands for what the kernel drops by itself: there is nothing to do, but something to restore.
"""

from netsandbox._steps.base import Dropped, Step
from netsandbox._steps.create import CreateLink, DeleteLink
from netsandbox._steps.ip import Conf, RestoreConf, SetAddress, SetNeighbor, SetRoute, SetSysctl
from netsandbox._steps.link import Port, SetAltnames, SetLink, SetMaster, SetUp
from netsandbox._steps.move import Move, Place, place
from netsandbox._steps.pin import Pin, Unpin
from netsandbox._steps.veth import CreateVeth, DeleteVeth, HostEnd, delete_links, delete_veths
from netsandbox._steps.wait import WaitUp

__all__ = [
    "Conf",
    "CreateLink",
    "CreateVeth",
    "DeleteLink",
    "DeleteVeth",
    "Dropped",
    "HostEnd",
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
    "delete_veths",
    "place",
]
