"""Tun and tap devices, which no netlink request can create.

Such a device belongs to the namespace of the thread that opens /dev/net/tun.

Source: Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h.
"""

import fcntl
import os
import struct
from collections.abc import Mapping
from typing import cast

from netsandbox._system.errors import Asking
from netsandbox.netlink.options import Value

DEVICE = "/dev/net/tun"
_SETIFF, _SETPERSIST, _SETOWNER, _SETGROUP, _SETIFINDEX = (0x400454C0 + n for n in (0xA, 0xB, 0xC, 0xE, 0x1A))  # TUN*
_MODES = {"tun": 0x1, "tap": 0x2}  # IFF_TUN, IFF_TAP
_MULTI_QUEUE, _NO_PI, _VNET_HDR, _EXCL = 0x100, 0x1000, 0x4000, 0x8000  # IFF_*
_NAME_AND_FLAGS = struct.Struct("=16sH22x")  # struct ifreq


def make(name: str, index: int, options: Mapping[str, Value]) -> None:
    """Create a persistent device in the namespace of the calling thread; *options* are those of the kind "tun"."""
    flags = _MODES[str(options.get("mode", "tap"))] | _EXCL
    flags |= 0 if options.get("packet_info") else _NO_PI
    flags |= _VNET_HDR if options.get("vnet_hdr") else 0
    flags |= _MULTI_QUEUE if options.get("multi_queue") else 0
    with Asking(f"open {DEVICE}", "it takes the module tun"):
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        with Asking(f"create tap {name}"):
            fcntl.ioctl(fd, _SETIFINDEX, struct.pack("=I", index))
            fcntl.ioctl(fd, _SETIFF, _NAME_AND_FLAGS.pack(os.fsencode(name), flags))
            for word, number in (("owner", _SETOWNER), ("group", _SETGROUP)):
                if word in options:
                    fcntl.ioctl(fd, number, cast("int", options[word]))
            fcntl.ioctl(fd, _SETPERSIST, 1)  # until now the kernel deletes the device when the descriptor is closed
    finally:
        os.close(fd)
