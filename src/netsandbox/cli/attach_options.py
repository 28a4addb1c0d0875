"""The options of attach, on the command line and in each line of a batch, and the interface that they request."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netsandbox._checks import keyword_problems
from netsandbox.cli import advertise, parse_ip
from netsandbox.cli.app import complete_link, completion, usage
from netsandbox.errors import Problem, SpecError
from netsandbox.links import KINDS, Dummy, Kind
from netsandbox.netlink.settings import TABLE
from netsandbox.spec import InterfaceSpec

if TYPE_CHECKING:
    from netsandbox.routes import Route

Function = TypeVar("Function", bound=Callable[..., Any])


def _options(kind: type[Kind]) -> list[str]:
    """Return the options of a kind that --set takes: all but the one that is SOURCE."""
    return [name for name in kind.declared if name != kind.source_field]


@completion
def _complete_option(ctx: click.Context) -> Iterable[str]:
    return [f"{name}=" for name in _options(KINDS.get(ctx.params.get("kind", ""), Kind))]


def _several(*names: str, text: str, **attributes: Any) -> Callable[[Function], Function]:  # noqa: ANN401  click's
    return click.option(*names, multiple=True, help=f"{text}; repeatable.", **attributes)


_PARAMETERS = (
    click.argument("source", required=False, shell_complete=complete_link),
    click.option("--type", "kind", type=click.Choice(list(KINDS)), help="Create a link of this kind."),
    click.option("--bridge", "kind", flag_value="bridge", help="Same as --type bridge."),
    _several(
        "--set",
        "options",
        metavar="K=V",
        text="Set an option of the kind, such as master=br0",
        shell_complete=_complete_option,
    ),
    click.option("--prefix", metavar="P", help="Name the interface P plus the lowest free number [eth]."),
    click.option("--name", metavar="N", help="Name the interface N; overrides --prefix."),
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
    _several("--address", "addresses", metavar="A", text="Add an IP address with its prefix length"),
    click.option(
        "--master", metavar="S", help="Make the interface a port of the bridge or vrf with the source name S."
    ),
    _several("--route", "routes", metavar="R", text="Add a route: a network, or 'NET via IP metric N'"),
    _several("--sysctl", "sysctls", metavar="K=V", text="Set a sysctl, such as net.ipv4.conf.IFNAME.rp_filter=2"),
    click.option(
        "--on-conflict",
        type=click.Choice(["error", "ignore"]),
        help="Reject or accept an address that overlaps an existing route [error].",
    ),
    click.option("--advertise", metavar="N[,S]", help="Send N rounds of adverts, 0..3, every S seconds, 0.1..2 [3,1]."),
    click.option(
        "--wait", type=click.Choice(["up"]), help="Wait until the interface passes packets; roll back on timeout."
    ),
    click.option("--wait-limit", metavar="S", type=float, help="Set the timeout of --wait, in seconds [5]."),
)


def attach_parameters(function: Function) -> Function:
    """Give a command the argument SOURCE and the options of attach."""
    for parameter in reversed(_PARAMETERS):
        function = parameter(function)
    return function


def parse(source: str | None, options: dict[str, Any]) -> tuple[str | Kind, dict[str, Any]]:
    """Return the source and the keywords for `Sandbox.add_interface`; raise SpecError with everything invalid."""
    keywords = {key: value for key, value in options.items() if value not in (None, ())}
    word, given = keywords.pop("kind", None), keywords.pop("options", ())
    if word is None and (source is None or given):
        usage("--set needs --type" if given else "Missing argument 'SOURCE'.")
    if "advertise" in keywords:
        keywords["advertise"] = advertise.parse(keywords["advertise"])
    problems: list[Problem] = []
    routes: list[Route | str] = []
    for text in keywords.pop("routes", ()):
        parts = text.split()
        try:
            routes.append(text if len(parts) == 1 and text != "default" else parse_ip.route(parts, {}))
        except SpecError as error:
            reasons = (problem.reason if problem.field == "to" else str(problem) for problem in error.problems)
            problems += (Problem("route", text, reason) for reason in reasons)
    keywords["routes"] = routes
    link: str | Kind = source or ""
    try:
        link = _link(word, source, given) if word else link
    except SpecError as error:
        problems += error.problems
    if problems:
        try:
            InterfaceSpec(link or Dummy(), **keywords)
        except SpecError as error:
            problems += (problem for problem in error.problems if problem not in problems)
        raise SpecError(problems)
    return link, keywords


def _link(word: str, source: str | None, given: Iterable[str]) -> Kind:
    """Return the link to create: its kind, its SOURCE, and its options as KEY=VALUE."""
    kind = KINDS[word]
    field = kind.source_field
    pairs = [item.partition("=") for item in given]
    problems = keyword_problems([key for key, _, _ in pairs], _options(kind))
    problems += [Problem("set", key, "is not of the form KEY=VALUE") for key, equals, _ in pairs if not equals]
    if source is None and field:
        problems.append(Problem("source", source, f"is required with --type {word}, as its {field}"))
    elif source is not None and not field:
        problems.append(Problem("source", source, f"cannot be given with --type {word}; --name names the interface"))
    if problems:
        raise SpecError(problems)
    texts = {key: text for key, _, text in pairs} | ({field: source or ""} if field else {})
    return kind(**{name: kind.declared[name].parse(text) for name, text in texts.items()})
