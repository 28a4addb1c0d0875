"""The command ``netsandbox``, its subcommands by name, and the options and completions they share."""

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from netsandbox.cli import console
from netsandbox.errors import NetSandboxError

if TYPE_CHECKING:
    from netsandbox.sandbox import Sandbox

P = ParamSpec("P")
T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

COMMANDS = {  # name -> module.function, imported when it is used
    "create": "sandboxes.create",
    "adopt": "sandboxes.adopt",
    "ls": "ls.ls",
    "inspect": "sandboxes.inspect",
    "attach": "interfaces.attach",
    "detach": "interfaces.detach",
    "gateway": "network.gateway",
    "route": "network.route",
    "neighbor": "network.neighbor",
    "address": "network.address",
    "advertise": "advertise.advertise",
    "stats": "stats.stats",
    "monitor": "monitor.monitor",
    "exec": "execute.execute",
    "destroy": "sandboxes.destroy",
    "prune": "prune.prune",
    "doctor": "doctor.doctor",
    "demo": "demo.demo",
    "completion": "completion.completion",
}
ALIASES = {"list": "ls"}


class Settings:
    """What the options say that most commands have.

    Attributes:
        json: Whether to print JSON.
        dry_run: Whether to print what would be done, and not to do it.
    """

    def __init__(self) -> None:
        self.json = False
        self.dry_run = False

    def change(self, box: "Sandbox", verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call a verb of a sandbox and return what it returns; in a dry run, print its plan and return None."""
        if not self.dry_run:
            return verb(*args, **kwargs)
        self.show_plan(box.plan(verb, *args, **kwargs).commands)
        return None

    def show_plan(self, commands: tuple[str, ...]) -> None:
        """Print the commands of a plan: for a shell, or as a JSON list."""
        console.commands(commands, as_json=self.json)


class Commands(click.Group):
    """A group of commands whose modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names of all commands, in the order of a sandbox's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Return a command by its name; None if there is none."""
        place = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, function = place.split(".")
        found: click.Command = getattr(importlib.import_module(f"netsandbox.cli.{module}"), function)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, or say which one may have been."""
        name = args[0]
        if not (name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name)):
            close = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], 1)
            usage(f"No such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)


def _setting(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            setattr(ctx.ensure_object(Settings), name, True)

    return remember


def opened(name: str, *, dry_run: bool = False) -> "Sandbox":
    """Open a sandbox, and print what was recovered; a dry run recovers nothing."""
    from netsandbox.sandbox import Sandbox  # noqa: PLC0415  ls needs none of it

    if dry_run:
        return Sandbox._open_as_it_is(name)  # noqa: SLF001  a part of the library
    box = Sandbox.open(name)
    for words in box.recovered:
        console.complain(words)
    return box


def json_option(function: Function) -> Function:
    """Give a command the option ``--json``."""
    callback = _setting("json")
    return click.option("-j", "--json", is_flag=True, expose_value=False, callback=callback, help="Print JSON.")(
        function
    )


def dry_run_option(function: Function) -> Function:
    """Give a command the option ``--dry-run``."""
    words = "Print the commands that would do it; change nothing."
    callback = _setting("dry_run")
    return click.option("-n", "--dry-run", is_flag=True, expose_value=False, callback=callback, help=words)(function)


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def usage(message: str) -> NoReturn:
    """Refuse the command line."""
    raise click.UsageError(message, click.get_current_context(silent=True))


# --- completion ---


def complete_sandbox(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of sandboxes that begin with *incomplete*."""
    from netsandbox.sandbox import Sandbox  # noqa: PLC0415  not needed unless a shell asks

    return _matching(Sandbox.list, incomplete)


def complete_interface(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the interfaces, in the sandbox that was named before, that begin with *incomplete*."""
    from netsandbox.sandbox import Sandbox  # noqa: PLC0415  as above

    # Before the value of an option, click has not yet told the arguments apart.
    name = ctx.params.get("sandbox") or next(iter(ctx.args), "")

    def names() -> list[str]:
        with Sandbox.open(name) as box:
            return [interface.name for interface in box.interfaces]

    return _matching(names, incomplete)


def complete_link(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the links of the host that begin with *incomplete*."""
    from netsandbox._system.probes import link_names  # noqa: PLC0415  only for completion

    return _matching(link_names, incomplete)


def _matching(find: Callable[[], list[str]], incomplete: str) -> list[str]:
    """Return names to offer; without the right to look, none. Names that do not print are not offered."""
    try:
        found = find()
    except (NetSandboxError, OSError):
        return []
    return [name for name in found if name.startswith(incomplete) and name.isprintable()]


def sandbox_argument(function: Function) -> Function:
    """Give a command the argument SANDBOX."""
    return click.argument("sandbox", shell_complete=complete_sandbox)(function)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  takes long, and is seldom asked for

    try:
        found = version("netsandbox")
    except PackageNotFoundError:
        found = "(not installed)"
    console.text(f"netsandbox {found}")
    ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@json_option
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
def netsandbox() -> None:
    """Network sandboxes for Linux: all of it or none of it.

    A sandbox is a network namespace. Links are plugged into it and taken out again; when anything fails, all of it is
    undone. Exit status: 0 done, 1 failed, 2 wrong usage; that of the program for exec.
    """
