"""Commands that make, name, show and destroy sandboxes."""

import click

from netsandbox import _bulk
from netsandbox.cli import bulk, console, render_text
from netsandbox.cli.app import (
    Settings,
    complete_sandbox,
    dry_run_option,
    json_option,
    opened,
    pass_settings,
    sandbox_argument,
    usage,
)
from netsandbox.sandbox import Sandbox


@click.command
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--replace", is_flag=True, help="Destroy a sandbox that has this name first; its links go back.")
@dry_run_option
@json_option
@pass_settings
def create(settings: Settings, names: tuple[str, ...], *, replace: bool) -> int:
    """Make sandboxes: new network namespaces, pinned under NAME.

    NAME may also be an absolute path, where it is pinned then. Under its name, ip netns sees it too. Of several, one
    that fails keeps no other from being made.
    """
    wishes = _bulk.parse((name, ()) for name in names)
    if settings.dry_run:
        plans = (Sandbox.plan_create(name, replace=replace) for name in wishes)
        settings.show_plan(tuple(command for plan in plans for command in plan.commands))
        return 0
    if len(names) == 1:
        with Sandbox.create(*names, replace=replace) as box:
            _show_made(settings, box)
        return 0

    def make(name: str, _: object) -> dict[str, str]:
        with Sandbox.create(name, replace=replace) as box:  # closed at once: thousands need no more than one
            return _made(box)

    with bulk.watched("creating", len(wishes), settings) as progress:
        made = _bulk.each("create sandboxes", wishes, make, progress)
    return bulk.conclude(settings, made, dict)


@click.command
@click.argument("path")
@click.argument("name", required=False)
@dry_run_option
@json_option
@pass_settings
def adopt(settings: Settings, path: str, name: str | None) -> None:
    """Use a network namespace that someone else made.

    It is at PATH, such as /proc/4242/ns/net or /run/netns/x. With NAME it is pinned under that name, otherwise it is
    used where it is. When it is destroyed, our links come back and it is forgotten; the namespace itself stays if
    something else holds it.
    """
    if settings.dry_run:
        settings.show_plan(Sandbox.plan_adopt(path, name).commands)
        return
    with Sandbox.adopt(path, name) as box:
        _show_made(settings, box)


def _show_made(settings: Settings, box: Sandbox) -> None:
    if settings.json:
        console.data(_made(box))


def _made(box: Sandbox) -> dict[str, str]:
    return {"name": box.name, "path": box.path}


@click.command
@sandbox_argument
@json_option
@pass_settings
def inspect(settings: Settings, sandbox: str) -> None:
    """Show a sandbox and what is in it.

    That is its interfaces, gateways, routes and neighbors; under --json, a list of one object.
    """
    with opened(sandbox) as box:
        if settings.json:
            from netsandbox.cli import render_json  # noqa: PLC0415

            console.data([render_json.sandbox(box)])
        else:
            render_text.sandbox(box)


@click.command
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=complete_sandbox)
@click.option("-a", "--all", "everything", is_flag=True, help="All sandboxes, instead of those named.")
@dry_run_option
@json_option
@pass_settings
def destroy(settings: Settings, names: tuple[str, ...], *, everything: bool) -> int:
    """Destroy sandboxes; links of the host go back to it.

    What was born inside dies with the sandbox. If one of the names is wrong, nothing is done; one that cannot be
    destroyed keeps no other from it.
    """
    if everything == bool(names):
        usage("Give the names of sandboxes, or --all.")
    wanted = Sandbox.list() if everything else list(dict.fromkeys(names))
    if settings.dry_run:
        settings.show_plan(tuple(command for name in wanted for command in _destruction(name)))
        return 0
    if len(names) == 1:
        with opened(*names) as box:
            box.destroy(wait=True)
        return 0
    if not everything:  # names that are wrong are told before anything is done
        for name in wanted:
            opened(name).close()
    with bulk.watched("destroying", len(wanted), settings) as progress:
        gone = Sandbox.destroy_many(wanted, wait=True, progress=progress)
    for words in (words for box in gone for words in box.recovered):
        console.complain(words)
    return bulk.conclude(settings, gone, lambda box: {"name": box.name})


def _destruction(name: str) -> tuple[str, ...]:
    """Return the commands that destroying a sandbox comes to."""
    with opened(name, dry_run=True) as box:
        return box.plan(box.destroy).commands
