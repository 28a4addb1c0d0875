"""Whether an address answers: by the system's ping, or, where there is none, by an echo request of our own."""

import os
import re
import shutil
import socket
import struct
import time

from netsandbox.sandbox import Sandbox

LIMIT, AGAIN = 5.0, 0.2  # seconds: until we give up, until we ask again


def ping(box: Sandbox, address: str) -> float | None:
    """Return after how many milliseconds an address answered to a sandbox; None: it did not."""
    program = shutil.which("ping")
    if program is None:
        return box.run(echo, address)
    # -c with -w: until one answer has come (ping(8)); the first request may be lost to a port that is not ready
    command = [program, "-n", "-c", "1", "-w", str(round(LIMIT)), "-i", str(AGAIN), address]
    done = box.exec(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    found = re.search(r"time[=<]([\d.]+)", done.stdout)
    return float(found[1]) if found and done.returncode == 0 else None


def echo(address: str) -> float | None:
    """Ask an address for an echo (RFC 792, RFC 4443); return how many milliseconds it took, None if none came."""
    v6 = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    ask, answer = (128, 129) if v6 else (8, 0)
    me = os.getpid() & 0xFFFF
    tail = struct.pack("!HH", me, 1) + b"netsandbox"
    request = struct.pack("!BBH", ask, 0, 0 if v6 else checksum(bytes((ask, 0, 0, 0)) + tail)) + tail
    end = time.monotonic() + LIMIT
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(AGAIN)
        while (sent := time.monotonic()) < end:
            sock.sendto(request, (address, 0))
            try:
                while True:
                    reply = sock.recv(2048)
                    if not v6:
                        reply = reply[(reply[0] & 15) * 4 :]  # behind the IP header, whose length is in words
                    if reply[0] == answer and reply[4:6] == tail[:2]:
                        return (time.monotonic() - sent) * 1000
            except TimeoutError:
                continue
    return None


def checksum(data: bytes) -> int:
    """Return the Internet checksum of an even number of bytes (RFC 1071); of ICMPv6 the kernel makes it."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
