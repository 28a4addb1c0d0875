"""The commands that create, adopt, show, destroy and prune sandboxes."""

import click

from netsandbox import _bulk
from netsandbox.cli import bulk, console, render_text
from netsandbox.cli.app import DRY_PRUNE, DRY_RUN, JSON, Settings, command, complete_sandbox, sandbox_argument, usage
from netsandbox.sandbox import Sandbox


@command(DRY_RUN, JSON)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--replace", is_flag=True, help="First destroy the sandbox that has this name.")
def create(settings: Settings, names: tuple[str, ...], *, replace: bool) -> int:
    """Create sandboxes.

    Each is a new network namespace, pinned under NAME, where "ip netns" finds it. NAME may be an absolute path instead.
    A sandbox that fails does not stop the others.
    """
    requests = _bulk.parse((name, ()) for name in names)
    if settings.dry_run:
        settings.show_plans(*(Sandbox.plan_create(name, replace=replace) for name in requests))
        return 0
    if len(names) == 1:
        with Sandbox.create(*names, replace=replace) as box:
            _show_created(settings, box)
        return 0

    def work(name: str, _: object) -> dict[str, str]:
        with Sandbox.create(name, replace=replace) as box:  # closed at once, to keep few descriptors open
            return _json(box)

    with bulk.watched("creating", len(requests), settings) as progress:
        made = _bulk.each("create sandboxes", requests, work, progress)
    return bulk.conclude(settings, made, dict)


@command(DRY_RUN, JSON)
@click.argument("path")
@click.argument("name", required=False)
def adopt(settings: Settings, path: str, name: str | None) -> None:
    """Adopt a network namespace of another program.

    PATH is the file of the namespace, such as /proc/4242/ns/net or /run/netns/x. With NAME, pin it under that name too.
    When you destroy the sandbox, the links that you attached return to the host; the namespace remains as long as
    another program uses it.
    """
    if settings.dry_run:
        settings.show_plans(Sandbox.plan_adopt(path, name))
        return
    with Sandbox.adopt(path, name) as box:
        _show_created(settings, box)


def _show_created(settings: Settings, box: Sandbox) -> None:
    if settings.json:
        console.data(_json(box))


def _json(box: Sandbox) -> dict[str, str]:
    return {"name": box.name, "path": box.path}


@command(JSON)
@sandbox_argument
def inspect(settings: Settings, sandbox: str) -> None:
    """Show a sandbox.

    Print its interfaces, gateways, routes and neighbors; with --json, as a list of one object.
    """
    with settings.open(sandbox) as box:
        if settings.json:
            from netsandbox.cli import render_json  # noqa: PLC0415

            console.data([render_json.sandbox(box)])
        else:
            render_text.sandbox(box)


@command(DRY_RUN, JSON)
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=complete_sandbox)
@click.option("-a", "--all", "everything", is_flag=True, help="Destroy all sandboxes.")
def destroy(settings: Settings, names: tuple[str, ...], *, everything: bool) -> int:
    """Destroy sandboxes and return their links to the host.

    Delete the links that attach created. If a NAME does not exist, destroy nothing. A sandbox that fails does not stop
    the others.
    """
    if everything == bool(names):
        usage("Give the names of sandboxes, or --all.")
    wanted = Sandbox.list() if everything else list(dict.fromkeys(names))
    if settings.dry_run:
        plans = []
        for name in wanted:
            with settings.open(name) as box:
                plans.append(box.plan(box.destroy))
        settings.show_plans(*plans)
        return 0
    if len(names) == 1:
        with settings.open(*names) as box:
            box.destroy(wait=True)
        return 0
    if not everything:  # reports a wrong name before anything is destroyed
        for name in wanted:
            settings.open(name).close()
    with bulk.watched("destroying", len(wanted), settings) as progress:
        gone = Sandbox.destroy_many(wanted, wait=True, progress=progress)
    for line in (line for box in gone for line in box.recovered):
        console.message(line)
    return bulk.conclude(settings, gone, lambda box: {"name": box.name})


@command(DRY_PRUNE, JSON)
def prune(settings: Settings) -> None:
    """Clean up after crashes and reboots.

    Recover interrupted operations. Delete the records of sandboxes whose namespace is gone, and the drafts and locks of
    killed processes. Change nothing that netsandbox has no record of. Print what was done.
    """
    settings.show(Sandbox.prune(dry_run=settings.dry_run), str, lambda lines: console.text(*lines))
