"""The netlink decoders under a coverage-guided fuzzer: whatever bytes come, the outcome is a value or a ProtocolError.

What was recorded of the kernel (tests/data/*.hex) is where it begins. The first byte of an input chooses what reads the
rest: a decoder, the acknowledgements, or the whole protocol, in which the input is what a socket receives. What a
decoder makes of it has to survive packing and reading again. An input on which it breaks is written to the working
directory, and the program ends with it.
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
    from netsandbox.netlink import link_requests as requests
    from netsandbox.netlink.constants import AF_INET, AF_INET6
from netsandbox.netlink.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent.parent / "tests" / "data"
REQUESTS = (
    requests.get(7),
    requests.dump(),
    address.dump(),
    route.dump(),
    neighbor.dump(),
    requests.delete(7),
)


def read_link(body: bytes) -> None:
    found = link.unpack(message.Message(link.NEWLINK, 0, 0, body))
    settings = found.conf(AF_INET), found.conf(AF_INET6)
    conf.ipv4_changes((), settings[0])
    conf.ipv6_changes((0,) * len(settings[1]), settings[1])
    stats.unpack(found.stats)
    requests.modify(
        7, settings=Settings(alias=found.alias, mac=found.mac), port=(found.port_kind or "bridge", found.port)
    )


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
            while exchange.send(body) is not None:  # the same list again, under another number
                next(exchange)
            # what is one answer is over by now; a list waits for its end
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
    """Read one input."""
    with suppress(ProtocolError):
        DECODERS[data[0] % len(DECODERS) if data else 0](data[1:])


def seeds() -> set[bytes]:
    """Return what was recorded, for each decoder."""
    found = set()
    for file in DATA.glob("*.hex"):
        for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
            lines = (line for line in paragraph.splitlines() if not line.startswith("#"))
            datagram = bytes.fromhex("".join(lines))
            items = [datagram, *(item.body for item in message.unpack(datagram))]
            found |= {bytes([number]) + item for number in range(len(DECODERS)) for item in items if item}
    return found


def main() -> None:
    """Fuzz for a number of seconds: the first argument; the others go to libFuzzer."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(sorted(seeds())):
            Path(corpus, f"seed-{number}").write_bytes(data)
        words = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-print_final_stats=1", *sys.argv[2:]]
        atheris.Setup([sys.argv[0], *words, corpus], one)
        atheris.Fuzz()


main()
