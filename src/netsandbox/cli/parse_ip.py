"""Parses routes and neighbors in the syntax of ip(8), such as ``10.0.0.0/8 via 10.0.0.1 metric 5``."""

from collections.abc import Mapping, Sequence
from typing import Any

from netsandbox.cli.app import usage
from netsandbox.routes import Route

_ROUTE = {"via": "via", "dev": "interface", "metric": "metric", "src": "source", "onlink": None}
_NEIGHBOR = {"lladdr": "mac", "mac": "mac", "dev": "interface"}


def route(words: Sequence[str], options: Mapping[str, Any]) -> Route:
    """Return the route that words and options describe; exit with a usage error if they cannot be parsed."""
    to, values = _read("route", words, _ROUTE, options)
    if to == "default":
        to = "::/0" if ":" in str(values.get("via") or values.get("source") or "") else "0.0.0.0/0"
    metric = values.get("metric")
    if isinstance(metric, str):
        values["metric"] = int(metric) if metric.isdecimal() else usage(f"the metric {metric!r} is not a number")
    return Route(to or "", **values)


def neighbor(words: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `Neighbor` that words and options give, without checking that they are complete."""
    first, values = _read("neighbor", words, _NEIGHBOR, options)
    return {"ip": first, "mac": "", "interface": ""} | values


def _read(
    what: str, words: Sequence[str], known: Mapping[str, str | None], options: Mapping[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """Return the first word, and the values of the other words and the options, by keyword."""
    values = {key: value for key, value in options.items() if value}
    rest = list(words)
    first = rest.pop(0) if rest and rest[0] not in known else None
    while rest:
        word = rest.pop(0)
        if word not in known:
            usage(f"{word!r} is not understood in {what} {' '.join(words)!r}; keywords are {', '.join(known)}")
        key = known[word]
        if key is None:
            values[word] = True
        elif not rest:
            usage(f"{word!r} needs a value in {what} {' '.join(words)!r}")
        elif key in values:
            usage(f"{word!r} is given twice in {what} {' '.join(words)!r}")
        else:
            values[key] = rest.pop(0)
    return first, values
