"""Links to make, as they are asked for on the command line: a kind, its SOURCE, and KEY=VALUE."""

from collections.abc import Iterable

import click

from netsandbox._checks import keyword_problems
from netsandbox.errors import Problem, SpecError
from netsandbox.links import KINDS, Kind


def make(word: str, source: str | None, settings: Iterable[str]) -> Kind:
    """Return the link that is asked for.

    Args:
        word: Its kind.
        source: The field of the kind that SOURCE is.
        settings: Its options, as KEY=VALUE.

    Raises:
        SpecError: Something is not valid; all that is wrong is in it.
    """
    kind = KINDS[word]
    field = kind.source_field
    given = [item.partition("=") for item in settings]
    problems = keyword_problems([key for key, _, _ in given], _options(kind))
    problems += [Problem("set", key, "is not of the form KEY=VALUE") for key, equals, _ in given if not equals]
    if source is None and field:
        problems.append(Problem("source", source, f"is required: the {field} of the {word}"))
    elif source is not None and not field:
        problems.append(Problem("source", source, f"is not for --type {word}: --name is its name inside"))
    if problems:
        raise SpecError(problems)
    texts = {key: text for key, _, text in given} | ({field: source or ""} if field else {})
    return kind(**{name: kind.declared[name].parse(text) for name, text in texts.items()})


def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the options of the kind that was named before which begin with *incomplete*."""
    kind = KINDS.get(ctx.params.get("kind", ""), Kind)
    return [f"{name}=" for name in _options(kind) if name.startswith(incomplete)]


def _options(kind: type[Kind]) -> list[str]:
    """Return the options that are not given as SOURCE."""
    return [name for name in kind.declared if name != kind.source_field]
