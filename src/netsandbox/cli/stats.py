"""The command that shows the counters of interfaces, once or repeatedly."""

import itertools
import sys
import time
from collections.abc import Callable, Mapping

import click

from netsandbox.cli import console, render_json
from netsandbox.cli.app import JSON, Settings, command, complete_interface, find_interface, sandbox_argument
from netsandbox.errors import InterfaceNotFoundError
from netsandbox.interface import Interface
from netsandbox.sandbox import Sandbox
from netsandbox.stats import Statistics

Reading = Mapping[int, tuple[Interface, Statistics]]  # by the interface's number in the sandbox
_FIELDS = ("bytes", "packets", "errors", "dropped")
_HEADERS = ("NAME", "SIDE", *map(str.upper, _FIELDS))


@command(JSON)
@sandbox_argument
@click.argument("interface", required=False, shell_complete=complete_interface)
@click.option("-w", "--watch", is_flag=True, help="Read repeatedly and show rates, until interrupted.")
@click.option("--interval", metavar="S", type=click.FloatRange(min=0.01), default=1.0, help="Read every S seconds [1].")
@click.option("-c", "--count", metavar="N", type=click.IntRange(min=1), help="With --watch: end after N readings.")
def stats(  # noqa: PLR0917  click hands them over by name
    settings: Settings, /, sandbox: str, interface: str | None, watch: bool, interval: float, count: int | None
) -> None:
    """Show the counters of interfaces.

    Read INTERFACE, or all interfaces. With --json, print the fields of "ip -j -s -s link", each reading on one line.
    """
    with settings.open(sandbox) as box:
        if watch:
            _watch(settings, lambda: _read(box, interface), interval=interval, count=count)
        else:
            _show(settings, _read(box, interface), {}, 0)


def _read(box: Sandbox, name: str | None) -> Reading:
    """Read the counters of one interface, or of all; skip an interface that vanishes, unless it is named."""
    if name is not None:
        item = find_interface(box, name)
        return {item.id: (item, item.statistics())}
    found = {}
    for item in box.interfaces:
        try:
            found[item.id] = (item, item.statistics())
        except InterfaceNotFoundError:
            continue
    return found


def _watch(settings: Settings, read: Callable[[], Reading], *, interval: float, count: int | None) -> None:
    """Show readings until *count* or an interrupt."""
    before: Reading = {}
    then = time.monotonic()
    screen = None
    if sys.stdout.isatty() and not settings.json:
        from netsandbox.cli import console_rich  # noqa: PLC0415  rich takes longer to import than all the rest

        screen = console_rich.live()
    try:
        for number in itertools.count(1):
            now = read()
            elapsed = time.monotonic() - then
            if screen:
                headers, rows = _table(now, before, elapsed)
                screen.update(console_rich.table(headers, console.escaped(rows)), refresh=True)
            else:
                _show(settings, now, before, elapsed)
            if number == count:
                return
            before, then = now, then + elapsed
            time.sleep(interval)
    finally:
        if screen:
            screen.stop()


def _show(settings: Settings, now: Reading, before: Reading, elapsed: float) -> None:
    if settings.json:
        console.data([render_json.statistics(item, counters) for item, counters in now.values()])
    else:
        console.table(*_table(now, before, elapsed))


def _table(now: Reading, before: Reading, elapsed: float) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return headers and rows, two for each interface; the rate is that since the previous reading, in bytes."""
    rows = []
    for key, (item, counters) in now.items():
        earlier = before[key][1] if key in before else counters
        for side in ("rx", "tx"):
            row = [item.name, side.upper(), *(str(getattr(counters, f"{side}_{field}")) for field in _FIELDS)]
            if elapsed:
                row.append(str(round(getattr(counters - earlier, f"{side}_bytes") / elapsed)))
            rows.append(row)
    return (*_HEADERS, "BYTES/S") if elapsed else _HEADERS, rows
