"""The lower bound: netlink datagrams encoded beforehand and answers not decoded, without netsandbox's codec.

Source: rtnetlink(7); include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h.
"""

import os
import socket
import struct
from ipaddress import ip_address, ip_interface, ip_network

_NEWLINK, _DELLINK, _GETLINK, _SETLINK, _NEWADDR, _NEWROUTE, _GETROUTE = 16, 17, 18, 19, 20, 24, 26
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_ERROR, _DONE = struct.pack("=H", 2), struct.pack("=H", 3)  # NLMSG_*
_UP, _NODAD = 0x1, 0x02
_MAIN, _BOOT, _LINK, _UNICAST = 254, 3, 253, 1
_SIZE = 65536


class Socket:
    """A netlink socket in the namespace of the thread that creates it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(270, 12, 1)  # SOL_NETLINK, NETLINK_GET_STRICT_CHK: the kernel filters dumps

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, datagram: bytes) -> bytes:
        """Send a request and return the answer, one datagram."""
        self._socket.send(datagram)
        answer = self._socket.recv(_SIZE)
        if answer[4:6] == _ERROR and (code := -struct.unpack_from("=i", answer, 16)[0]):
            raise OSError(code, os.strerror(code))
        return answer

    def dump(self, datagram: bytes) -> int:
        """Request a dump and return its size in bytes."""
        self._socket.send(datagram)
        size = 0
        while True:
            answer = self._socket.recv(_SIZE)
            size += len(answer)
            if answer[-16:-14] == _DONE:  # a dump ends with NLMSG_DONE: struct nlmsghdr and an errno
                return size


def _message(kind: int, flags: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, 1, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) & 3)


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _link(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags)


def get_link(name: str) -> bytes:
    """Request one link, without its counters."""
    return _message(_GETLINK, 0, _link(), _text(3, name), _u32(29, 8))


def dump_routes() -> bytes:
    """Request the IPv4 routes of the main table."""
    return _message(_GETROUTE, _DUMP, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 0, 0, 0, 0, 0), _u32(15, _MAIN))


def move(index: int, fd: int, name: str, mac: str, mtu: int) -> bytes:
    """Move a link to the namespace *fd*, and set its index, name, MAC and MTU there."""
    address = _attribute(1, bytes.fromhex(mac.replace(":", "")))
    return _message(_SETLINK, _ACK, _link(index), _u32(28, fd), _u32(49, index), _text(3, name), address, _u32(4, mtu))


def up(index: int) -> bytes:
    """Bring a link up."""
    return _message(_SETLINK, _ACK, _link(index, _UP))


def veth(index: int, name: str, mac: str, host: str, fd: int) -> bytes:
    """Create a veth with an index, name and MAC, whose peer is named *host* and is in the namespace *fd*."""
    peer = _attribute(1, _link() + _text(3, host) + _u32(28, fd))
    info = _attribute(18, _text(1, "veth") + _attribute(2, peer))
    address = _attribute(1, bytes.fromhex(mac.replace(":", "")))
    return _message(_NEWLINK, _ACK | _CREATE | _EXCL, _link(index), _text(3, name), address, info)


def port(name: str, bridge: int) -> bytes:
    """Make a link a port of a bridge and bring it up."""
    return _message(_SETLINK, _ACK, _link(0, _UP), _text(3, name), _u32(10, bridge))


def set_ipv4(index: int, number: int, value: int) -> bytes:
    """Set an IPv4 devconf value of a link, by its number."""
    return _message(_SETLINK, _ACK, _link(index), _attribute(26, _attribute(2, _attribute(1, _u32(number, value)))))


def delete(index: int) -> bytes:
    """Delete a link."""
    return _message(_DELLINK, _ACK, _link(index))


def add_address(index: int, text: str) -> bytes:
    """Add an address; IPv6 without duplicate address detection."""
    address = ip_interface(text)
    v4 = address.version == 4
    header = struct.pack("=BBBBI", 2 if v4 else 10, address.network.prefixlen, 0 if v4 else _NODAD, 0, index)
    return _message(
        _NEWADDR, _ACK | _CREATE | _EXCL, header, _attribute(2, address.packed), _attribute(1, address.packed)
    )


def add_route(index: int, text: str, via: str = "") -> bytes:
    """Add an IPv4 route through a link, optionally via a gateway."""
    network = ip_network(text)
    header = struct.pack("=BBBBBBBBI", 2, network.prefixlen, 0, 0, _MAIN, _BOOT, 0 if via else _LINK, _UNICAST, 0)
    gateway = _attribute(5, ip_address(via).packed) if via else b""
    destination = _attribute(1, network.network_address.packed)
    return _message(_NEWROUTE, _ACK | _CREATE | _EXCL, header, destination, _u32(4, index), gateway)
