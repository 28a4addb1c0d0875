"""Adverts: the command that sends them again, and the wait for them before attach exits."""

import time
from collections.abc import Iterator, Sequence

import click

from netsandbox.adverts import COUNT_MAX, AdvertiseLike
from netsandbox.cli import FAILED, console
from netsandbox.cli.app import DRY_RUN, JSON, Settings, command, complete_interface, sandbox_argument
from netsandbox.interface import Interface
from netsandbox.sandbox import Sandbox

FIRST_LIMIT = 1  # seconds for the first round, if --advertise is not given
LIMIT = 10  # seconds for all rounds


@command(DRY_RUN, JSON)
@sandbox_argument
@click.argument("interface", required=False, shell_complete=complete_interface)
@click.option("--count", metavar="N", type=int, help="Send N rounds, 1..3 [as in attach].")
@click.option("--interval", metavar="S", type=float, help="Wait S seconds between rounds, 0.1..2 [1].")
def advertise(
    settings: Settings, /, sandbox: str, interface: str | None, *, count: int | None, interval: float | None
) -> int:
    """Advertise the addresses of interfaces again.

    Send gratuitous ARP and unsolicited Neighbor Advertisements for INTERFACE, or for every interface. Print how many
    rounds were sent. Exit with 1 if no round could be sent for an interface.
    """
    given = {key: value for key, value in (("count", count), ("interval", interval)) if value is not None}
    with settings.open(sandbox) as box:
        settings.change(box, box.advertise, interface, given or None)
        if settings.dry_run:
            return 0
        box.wait_for_adverts()
        found = [(item.name, item.adverts) for item in box.interfaces if item.adverts.sent or item.adverts.error]
    if settings.json:
        console.data([{"ifname": name, "sent": made.sent, "error": made.error} for name, made in found])
    else:
        console.table(("NAME", "SENT", "ERROR"), [(name, made.sent, made.error) for name, made in found])
    return 0 if all(made.sent for _, made in found) else FAILED


def parse(text: str) -> AdvertiseLike:
    """Return the value of COUNT or COUNT,SECONDS; the library rejects what is not a number."""
    first, *others = map(_number, text.split(","))
    return (first, *others) if others else first  # type: ignore[return-value]  # it may be invalid


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def finish(several: Sequence[tuple[Sandbox, Interface, bool]]) -> Iterator[tuple[Sandbox, str]]:
    """Wait until interfaces have been advertised; adverts end with this process, and the limits are for all together.

    For an interface attached with --advertise, wait for all rounds, and yield the error if there was one. For others,
    wait for the first round.
    """
    begin = time.monotonic()
    for box, _, requested in several:
        rounds, limit = (COUNT_MAX, LIMIT) if requested else (1, FIRST_LIMIT)
        box.wait_for_adverts(rounds, limit=max(begin + limit - time.monotonic(), 0))
    for box, made, requested in several:
        if requested and made.adverts.error:
            yield box, f"{made.name} was advertised {made.adverts.sent} times: {made.adverts.error}"
