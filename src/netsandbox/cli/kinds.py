"""Links to make, as they are asked for on the command line: a kind, what it is known by, and KEY=VALUE."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_type_hints

import click

from netsandbox._checks import keyword_problems
from netsandbox.errors import Problem, SpecError
from netsandbox.links import Bridge, Dummy, Ifb, Ipvlan, Kind, Macvlan, Tap, Veth, Vlan, Vxlan

# By the word of ip-link(8): the kind, and which of its fields SOURCE says.
KINDS: dict[str, tuple[type[Kind], str | None]] = {
    "veth": (Veth, "host"),
    "bridge": (Bridge, "name"),
    "macvlan": (Macvlan, "link"),
    "ipvlan": (Ipvlan, "link"),
    "vlan": (Vlan, "link"),
    "vxlan": (Vxlan, "id"),
    "dummy": (Dummy, None),
    "ifb": (Ifb, None),
    "tap": (Tap, None),
}
_SWITCH = {
    word: value for value, words in ((True, "on true yes 1"), (False, "off false no 0")) for word in words.split()
}
_PAIRS, _RANGE = re.compile(r"[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*"), re.compile("[0-9]+-[0-9]+")


def make(word: str, source: str | None, settings: Iterable[str]) -> Kind:
    """Return the link that is asked for.

    Args:
        word: Its kind.
        source: What it is known by.
        settings: Its options, as KEY=VALUE.

    Raises:
        SpecError: Something of it makes no sense; all that is wrong is in it.
    """
    kind, first = KINDS[word]
    known = [item.name for item in fields(kind) if item.name != first]
    given = [item.partition("=") for item in settings]
    problems = keyword_problems([key for key, _, _ in given], known)
    problems += [Problem("set", key, "is not of the form KEY=VALUE") for key, equals, _ in given if not equals]
    if (source is None) != (first is None):
        reason = (
            f"is not for --type {word}: --name is its name inside"
            if first is None
            else f"is needed: the {first} of the {word}"
        )
        problems.append(Problem("source", source, reason))
    if problems:
        raise SpecError(problems)
    hints = get_type_hints(kind)
    values: dict[str, Any] = {key: _value(text, str(hints[key])) for key, _, text in given}
    return kind(**({first: _value(source or "", str(hints[first]))} if first else {}), **values)


def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the options of the kind that was named before which begin with *incomplete*."""
    kind, first = KINDS.get(ctx.params.get("kind", ""), (Kind, None))
    return [f"{item.name}=" for item in fields(kind) if item.name != first and item.name.startswith(incomplete)]


def _value(text: str, hint: str) -> object:
    """Return what *text* says, if it says a value of the type *hint*; what it does not is refused later, as text."""
    if "bool" in hint:
        return _SWITCH.get(text, text)
    if "Iterable[str]" in hint:
        return text.split(",")
    if "Mapping" in hint and _PAIRS.fullmatch(text):
        return [tuple(map(int, pair.split(":"))) for pair in text.split(",")]
    if "tuple" in hint and _RANGE.fullmatch(text):
        return tuple(map(int, text.split("-")))
    return int(text) if "int" in hint and text.isdecimal() and text.isascii() else text
