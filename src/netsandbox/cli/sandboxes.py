"""Commands that make, name, show and destroy sandboxes."""

import contextlib
import os
import shlex

import click

from netsandbox._system.store import Store
from netsandbox.cli import output, text
from netsandbox.cli.app import Settings, complete_sandbox, dry_run_option, json_option, pass_settings, sandbox_argument
from netsandbox.cli.opening import opened
from netsandbox.errors import SandboxExistsError
from netsandbox.sandbox import Sandbox


@click.command
@click.argument("name")
@click.option("--replace", is_flag=True, help="Destroy a sandbox that has this name first; its links go back.")
@dry_run_option
@json_option
@pass_settings
def create(settings: Settings, name: str, *, replace: bool) -> None:
    """Make a sandbox: a new network namespace, pinned under NAME.

    NAME may also be an absolute path, where it is pinned then. Under its name, ip netns sees it too.
    """
    if settings.dry_run:
        plan = Sandbox.plan_create(name)
        old = _to_replace(name, replace=replace) if os.path.lexists(_pin(name)) else ()
        settings.show_plan((*old, *plan.commands))
        return
    with Sandbox.create(name, replace=replace) as box:
        _show_made(settings, box)


def _to_replace(name: str, *, replace: bool) -> tuple[str, ...]:
    """Return the commands that take away what has the name of a sandbox that is to be made."""
    if not replace:
        raise SandboxExistsError(f"create sandbox {name}", "the name is in use")
    with opened(name) as box:
        return box.plan(box.destroy).commands


def _pin(name: str) -> str:
    """Return where a namespace of this name is pinned; an absolute path stands for itself."""
    return Store().path(name)


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
        settings.show_plan(_adoption(path, name))
        return
    with Sandbox.adopt(path, name) as box:
        _show_made(settings, box)


def _adoption(path: str, name: str | None) -> tuple[str, ...]:
    """Return the commands that adopting comes to."""
    if name is None:
        return (f"nsenter --net={shlex.quote(path)} ip link set dev lo up",)
    if os.path.lexists(_pin(name)):
        raise SandboxExistsError(f"adopt {path} as sandbox {name}", "the name is in use")
    Sandbox.plan_create(name)  # refuses what is no name
    directory, pin = (shlex.quote(item) for item in (_pin(name).rpartition("/")[0], _pin(name)))
    make = f"mkdir -p {directory} && touch {pin} && mount --bind {shlex.quote(path)} {pin}"
    return make, f"nsenter --net={pin} ip link set dev lo up"


def _show_made(settings: Settings, box: Sandbox) -> None:
    if settings.json:
        output.data({"name": box.name, "path": box.path})


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
            from netsandbox.cli import view  # noqa: PLC0415

            output.data([view.sandbox(box)])
        else:
            text.sandbox(box)


@click.command
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_sandbox)
@dry_run_option
@json_option
@pass_settings
def destroy(settings: Settings, names: tuple[str, ...]) -> None:
    """Destroy sandboxes; links of the host go back to it.

    What was born inside dies with the sandbox. If one of the names is wrong, nothing is done.
    """
    plans: list[str] = []
    with contextlib.ExitStack() as stack:
        boxes = [stack.enter_context(opened(name)) for name in dict.fromkeys(names)]
        for box in boxes:
            if settings.dry_run:
                plans += box.plan(box.destroy).commands
            else:
                box.destroy(wait=True)
    if settings.dry_run:
        settings.show_plan(tuple(plans))
