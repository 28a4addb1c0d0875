"""Fuzz the netlink decoders, guided by coverage: any bytes must give a value or a ProtocolError.

The seeds are datagrams recorded from the kernel (tests/data/*.hex). The first byte of an input chooses the reader of
the rest: the decoder of one kind of message, of attributes or of a whole datagram, or the request protocol, which takes
the rest as a received datagram. A decoded address, route or neighbor must be the same after packing and decoding again.
The first input that fails is written to the working directory, and ends the program.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

with atheris.instrument_imports(include=["netsandbox"]):
    from netsandbox import stats
    from netsandbox.errors import KernelError, ProtocolError
    from netsandbox.netlink import address, attrs, conf, link, message, neighbor, route

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent.parent / "tests" / "data"
REQUESTS = (link.get(7), link.dump(), address.dump(), route.dump(), neighbor.dump(), link.delete(7))


def read_link(body: bytes) -> None:
    found = link.unpack(message.Message(link.NEWLINK, 0, 0, body))
    settings = found.conf(link.AF_INET), found.conf(link.AF_INET6)
    conf.ipv4_changes((), settings[0])
    conf.ipv6_changes((0,) * len(settings[1]), settings[1])
    stats.unpack(found.stats)
    link.change(7, port=(found.port_kind or "bridge", found.port), alias=found.alias, mac=found.mac)


def read_address(body: bytes) -> None:
    found = address.unpack(message.Message(address.NEWADDR, 0, 0, body))
    again = address.unpack(message.Message(address.NEWADDR, 0, 0, found.pack()))
    assert again == found, (found, again)


def read_route(body: bytes) -> None:
    found = route.unpack(message.Message(route.NEWROUTE, 0, 0, body))
    again = route.unpack(message.Message(route.NEWROUTE, 0, 0, found.pack()))
    assert again == found, (found, again)


def read_neighbor(body: bytes) -> None:
    found = neighbor.unpack(message.Message(neighbor.NEWNEIGH, 0, 0, body))
    again = neighbor.unpack(message.Message(neighbor.NEWNEIGH, 0, 0, found.pack()))
    assert (again.ip, again.mac, again.rest) == (found.ip, found.mac, found.rest), (found, again)


def read_attributes(body: bytes) -> None:
    assert attrs.unpack(body) == dict(attrs.walk(body))


def read_datagram(body: bytes) -> None:
    for item in message.unpack(body):
        if item.kind in {message.ERROR, message.DONE}:
            message.verdict(item)
        for decode in DECODERS[:4]:
            with suppress(ProtocolError):
                decode(item.body)


def converse(body: bytes) -> None:
    for request in REQUESTS:
        exchange = message.converse(request, count(1))
        with suppress(KernelError, ProtocolError, StopIteration):
            next(exchange)
            next(exchange)
            while exchange.send(body) is not None:  # an inconsistent dump is requested again, under a new number
                next(exchange)
            # a request for one object is complete; a dump still waits for NLMSG_DONE
            exchange.close()


DECODERS: tuple[Callable[[bytes], None], ...] = (
    read_link,
    read_address,
    read_route,
    read_neighbor,
    read_attributes,
    read_datagram,
    converse,
)


def one(data: bytes) -> None:
    """Decode one input."""
    with suppress(ProtocolError):
        DECODERS[data[0] % len(DECODERS) if data else 0](data[1:])


def seeds() -> set[bytes]:
    """Return the recorded datagrams and message bodies, once for each decoder."""
    found = set()
    for file in DATA.glob("*.hex"):
        for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
            lines = (line for line in paragraph.splitlines() if not line.startswith("#"))
            datagram = bytes.fromhex("".join(lines))
            items = [datagram, *(item.body for item in message.unpack(datagram))]
            found |= {bytes([number]) + item for number in range(len(DECODERS)) for item in items if item}
    return found


def main() -> None:
    """Fuzz for as many seconds as the first argument says; pass the other arguments to libFuzzer."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(sorted(seeds())):
            Path(corpus, f"seed-{number}").write_bytes(data)
        words = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-print_final_stats=1", *sys.argv[2:]]
        atheris.Setup([sys.argv[0], *words, corpus], one)
        atheris.Fuzz()


main()
