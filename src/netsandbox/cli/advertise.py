"""Telling neighbors the addresses of interfaces: the command, and what attach does of it."""

import time
from collections.abc import Iterator, Sequence

import click

from netsandbox.adverts import COUNT_MAX, AdvertiseLike
from netsandbox.cli import console
from netsandbox.cli.app import (
    Settings,
    complete_interface,
    dry_run_option,
    json_option,
    opened,
    pass_settings,
    sandbox_argument,
)
from netsandbox.interface import Interface
from netsandbox.sandbox import Sandbox

FIRST_LIMIT = 1  # seconds for the first round, of which nobody asked to hear
LIMIT = 10  # seconds for all rounds
_FAILED = 1


@click.command
@sandbox_argument
@click.argument("interface", required=False, shell_complete=complete_interface)
@click.option("--count", metavar="N", type=int, help="How many times, 1..3 [as attached].")
@click.option("--interval", metavar="S", type=float, help="Seconds between two times, 0.1..2 [1].")
@dry_run_option
@json_option
@pass_settings
def advertise(
    settings: Settings, /, sandbox: str, interface: str | None, *, count: int | None, interval: float | None
) -> int:
    """Tell neighbors the addresses of interfaces again.

    By gratuitous ARP and unsolicited Neighbor Advertisements, as often as when it was attached. Says how often it was
    done; exit status 1 if an interface could not be advertised at all.
    """
    given = {key: value for key, value in (("count", count), ("interval", interval)) if value is not None}
    with opened(sandbox, dry_run=settings.dry_run) as box:
        settings.change(box, box.advertise, interface, given or None)
        if settings.dry_run:
            return 0
        box.wait_for_adverts()
        found = [(item.name, item.adverts) for item in box.interfaces if item.adverts.sent or item.adverts.error]
    if settings.json:
        console.data([{"ifname": name, "sent": told.sent, "error": told.error} for name, told in found])
    else:
        console.table(("NAME", "SENT", "ERROR"), [(name, told.sent, told.error or "-") for name, told in found])
    return 0 if all(told.sent for _, told in found) else _FAILED


def parse(text: str) -> AdvertiseLike:
    """Return what COUNT or COUNT,SECONDS says; what is no number is left for the library to refuse."""
    first, *others = map(_number, text.split(","))
    return (first, *others) if others else first  # type: ignore[return-value]  # it may be wrong


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def finish(several: Sequence[tuple[Sandbox, Interface, bool]]) -> Iterator[tuple[Sandbox, str]]:
    """Wait until interfaces were advertised, and if that was asked for, yield why not; otherwise once is enough.

    The limits are those of all together. What is due ends with this process.
    """
    begin = time.monotonic()
    for box, _, asked in several:
        rounds, limit = (COUNT_MAX, LIMIT) if asked else (1, FIRST_LIMIT)
        box.wait_for_adverts(rounds, limit=max(begin + limit - time.monotonic(), 0))
    for box, made, asked in several:
        if asked and made.adverts.error:
            yield box, f"{made.name} was advertised {made.adverts.sent} times: {made.adverts.error}"
