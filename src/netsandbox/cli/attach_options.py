"""The options of attach, on the command line or in a line of a batch, and the interface they ask for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netsandbox.cli import advertise, kinds, parse_ip
from netsandbox.cli.app import complete_link, usage
from netsandbox.errors import Problem, SpecError
from netsandbox.links import KINDS, Dummy, Kind
from netsandbox.netlink.settings import TABLE
from netsandbox.spec import InterfaceSpec

if TYPE_CHECKING:
    from netsandbox.routes import Route

Function = TypeVar("Function", bound=Callable[..., Any])
_OPTIONS = (
    click.argument("source", required=False, shell_complete=complete_link),
    click.option("--type", "kind", type=click.Choice(list(KINDS)), help="Make a link of this kind, in its place."),
    click.option("--bridge", "kind", flag_value="bridge", help="The same as --type bridge."),
    click.option(
        "--set",
        "settings_",
        metavar="K=V",
        multiple=True,
        shell_complete=kinds.complete,
        help="Option of the kind, as master=br0; repeatable.",
    ),
    click.option("--prefix", metavar="P", help="The name inside is P and the lowest free number [eth]."),
    click.option("--name", metavar="N", help="The name inside, verbatim."),
    *(
        click.option(
            *(name, f"--{name}", *(f"--{word}" for word in row.spellings)),
            metavar="N" if row.form is int else name[0].upper(),
            type=row.form,
            help=row.doc,
        )
        for name, row in TABLE.items()
        if row.when != "never"
    ),
    click.option(
        "--address", "addresses", metavar="A", multiple=True, help="IP address with prefix length; repeatable."
    ),
    click.option("--master", metavar="S", help="Source name of a bridge or vrf that was attached before."),
    click.option(
        "--route", "routes", metavar="R", multiple=True, help="Network, or 'NET via IP metric N'; repeatable."
    ),
    click.option(
        "--sysctl",
        "sysctls",
        metavar="K=V",
        multiple=True,
        help="Such as net.ipv4.conf.IFNAME.rp_filter=2; repeatable.",
    ),
    click.option(
        "--on-conflict", type=click.Choice(["error", "ignore"]), help="What an overlap with an existing route means."
    ),
    click.option("--advertise", metavar="N[,S]", help="Tell neighbors its addresses N times, S seconds apart [3,1]."),
    click.option("--wait", type=click.Choice(["up"]), help="Wait until packets go through; if they do not, undo all."),
    click.option("--wait-limit", metavar="S", type=float, help="How long at most, in seconds [5]."),
)


def wish_options(function: Function) -> Function:
    """Give a command the argument SOURCE and the options that say how it is plugged in."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asked(source: str | None, options: dict[str, Any]) -> tuple[str | Kind, dict[str, Any]]:
    """Return what is asked for as `Sandbox.add_interface` takes it.

    Raises:
        SpecError: A route or the link to make makes no sense; all else that is wrong is in it as well.
    """
    keywords = {key: value for key, value in options.items() if value not in (None, ())}
    kind, told = keywords.pop("kind", None), keywords.pop("settings_", ())
    if kind is None and (source is None or told):
        usage("--set needs --type" if told else "Missing argument 'SOURCE'.")
    if "advertise" in keywords:
        keywords["advertise"] = advertise.parse(keywords["advertise"])
    problems: list[Problem] = []
    routes: list[Route | str] = []
    for given in keywords.pop("routes", ()):
        parts = given.split()
        try:
            routes.append(given if len(parts) == 1 and given != "default" else parse_ip.route(parts, {}))
        except SpecError as error:
            problems += (Problem("route", given, _reason(problem)) for problem in error.problems)
    keywords["routes"] = routes
    wish: str | Kind = source or ""
    try:
        wish = kinds.make(kind, source, told) if kind else wish
    except SpecError as error:
        problems += error.problems
    if problems:
        try:
            InterfaceSpec(wish or Dummy(), **keywords)
        except SpecError as error:
            problems += (problem for problem in error.problems if problem not in problems)
        raise SpecError(problems)
    return wish, keywords


def _reason(problem: Problem) -> str:
    return problem.reason if problem.field == "to" else str(problem)
