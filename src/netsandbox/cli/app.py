"""The command ``netsandbox``: its subcommands by name, and the options, arguments and completions that they share."""

import difflib
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from netsandbox.cli import console
from netsandbox.errors import InterfaceNotFoundError, NetSandboxError

if TYPE_CHECKING:
    from netsandbox._plan.model import Plan
    from netsandbox.interface import Interface
    from netsandbox.sandbox import Sandbox

P = ParamSpec("P")
T = TypeVar("T")

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
    "prune": "sandboxes.prune",
    "doctor": "doctor.doctor",
    "demo": "demo.demo",
    "completion": "completion.completion",
}
ALIASES = {"list": "ls"}


class Settings:
    """The options that commands share: *json*, print JSON; *dry_run*, print the plan of a change and change nothing."""

    json = False
    dry_run = False

    def open(self, name: str) -> "Sandbox":
        """Open a sandbox, and report on stderr what was recovered; a dry run recovers nothing."""
        from netsandbox.sandbox import Sandbox  # noqa: PLC0415  ls does not need it

        if self.dry_run:
            return Sandbox._open_as_it_is(name)  # noqa: SLF001  a part of the library
        box = Sandbox.open(name)
        for line in box.recovered:
            console.message(line)
        return box

    def change(self, box: "Sandbox", verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call a verb of a sandbox and return its result; in a dry run, print its plan and return None."""
        if not self.dry_run:
            return verb(*args, **kwargs)
        self.show_plans(box.plan(verb, *args, **kwargs))
        return None

    def show_plans(self, *plans: "Plan") -> None:
        """Print the commands of plans: for a shell, or as a JSON list."""
        commands = [line for plan in plans for line in plan.commands]
        self.show(commands, str, lambda lines: console.text(*map(console.command, lines)))

    def show(self, items: Sequence[T], as_json: Callable[[T], object], as_text: Callable[[Sequence[T]], None]) -> None:
        """Print items as a JSON list, or as text."""
        if self.json:
            console.data([as_json(item) for item in items])
        else:
            as_text(items)


def _shared(*names: str, text: str) -> click.Option:
    """Return an option that many commands have, and whose value is kept in `Settings`."""

    def keep(ctx: click.Context, option: click.Parameter, value: bool) -> None:
        if value and option.name:
            setattr(ctx.ensure_object(Settings), option.name, True)

    return click.Option(names, is_flag=True, expose_value=False, callback=keep, help=text)


JSON = _shared("-j", "--json", text="Print JSON.")
DRY_RUN = _shared("-n", "--dry-run", text="Print the equivalent shell commands; change nothing.")
DRY_PRUNE = _shared("-n", "--dry-run", text="Print what prune would do; change nothing.")


def command(*shared: click.Option, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:  # noqa: ANN401
    """Make a command of a function that takes the `Settings` first; the help lists the *shared* options last."""

    def make(function: Callable[..., Any]) -> click.Command:
        made: click.Command = click.command(**attributes)(click.make_pass_decorator(Settings, ensure=True)(function))
        made.params += shared
        return made

    return make


class Commands(click.Group):
    """A group of commands whose modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names of all commands, in the order of a sandbox's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Return the command of that name, or None."""
        place = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, function = place.split(".")
        found: click.Command = getattr(importlib.import_module(f"netsandbox.cli.{module}"), function)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown name, suggest the most similar one."""
        name = args[0]
        if not (name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name)):
            close = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], 1)
            usage(f"No such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)


def usage(message: str) -> NoReturn:
    """Reject the command line."""
    raise click.UsageError(message, click.get_current_context(silent=True))


def find_interface(box: "Sandbox", name: str) -> "Interface":
    """Return the interface of that name."""
    for item in box.interfaces:
        if item.name == name:
            return item
    raise InterfaceNotFoundError(f"look for {name} in sandbox {box.name}", "no interface has this name")


# --- completion ---


def completion(find: Callable[[click.Context], Iterable[str]]) -> Callable[..., list[str]]:
    """Make a completion callback; it offers nothing if *find* fails, and no names with control characters."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [name for name in find(ctx) if name.startswith(incomplete) and name.isprintable()]
        except (NetSandboxError, OSError):
            return []

    return complete


@completion
def complete_sandbox(_: click.Context) -> Iterable[str]:
    """Return the sandboxes."""
    from netsandbox.sandbox import Sandbox  # noqa: PLC0415  needed only when a shell asks

    return Sandbox.list()


@completion
def complete_interface(ctx: click.Context) -> Iterable[str]:
    """Return the interfaces of the sandbox that the command line names."""
    from netsandbox.sandbox import Sandbox  # noqa: PLC0415  as above

    # While the value of an option is completed, click has not assigned the arguments yet: the first is the sandbox.
    with Sandbox.open(ctx.params.get("sandbox") or next(iter(ctx.args), "")) as box:
        return [interface.name for interface in box.interfaces]


@completion
def complete_link(_: click.Context) -> Iterable[str]:
    """Return the links of the host."""
    from netsandbox._system.probes import link_names  # noqa: PLC0415  as above

    return link_names()


sandbox_argument = click.argument("sandbox", shell_complete=complete_sandbox)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  takes long, and is seldom needed

    try:
        found = version("netsandbox")
    except PackageNotFoundError:
        found = "(not installed)"
    console.text(f"netsandbox {found}")
    ctx.exit()


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command(cls=Commands, context_settings=_SETTINGS, params=[JSON])
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
def netsandbox() -> None:
    """Manage network sandboxes on Linux.

    A sandbox is a network namespace with the interfaces that you attach to it. If a change fails, netsandbox rolls all
    of it back. Exit status: 0 success, 1 failure, 2 invalid usage, 130 interrupted; exec exits with the status of the
    program.
    """
