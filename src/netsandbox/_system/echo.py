"""ICMP echo: whether an address answers, and after what time.

Source: RFC 792, RFC 4443.
"""

import os
import socket
import struct
import time

from netsandbox._frames import checksum

LIMIT, AGAIN = 5.0, 0.2  # seconds until it gives up, and between two requests


def echo(address: str) -> float | None:
    """Send echo requests from this thread's namespace; return the round-trip time in ms, None without a reply."""
    v6 = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    kind, answer = (128, 129) if v6 else (8, 0)
    tail = struct.pack("!HH", os.getpid() & 0xFFFF, 1) + b"netsandbox"
    total = 0 if v6 else checksum(bytes((kind, 0, 0, 0)) + tail)  # the kernel computes the one of ICMPv6
    request = struct.pack("!BBH", kind, 0, total) + tail
    end = time.monotonic() + LIMIT
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(AGAIN)
        while (sent := time.monotonic()) < end:
            sock.sendto(request, (address, 0))
            try:
                while True:
                    reply = sock.recv(2048)
                    if not v6:
                        reply = reply[(reply[0] & 15) * 4 :]  # after the IP header, whose length is in words
                    if reply[0] == answer and reply[4:6] == tail[:2]:
                        return (time.monotonic() - sent) * 1000
            except TimeoutError:
                continue
    return None
