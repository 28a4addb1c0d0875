"""Write the reference page of all kinds and options: ``python -m netsandbox.links > docs/kinds.md``."""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from inspect import cleandoc

from netsandbox.links import KINDS, Kind
from netsandbox.links.options import Name, Switch

_HEAD = """<!-- Generated from src/netsandbox/links: python -m netsandbox.links > docs/kinds.md -->

# Kinds of link

A link to create is a value that `add_interface` takes as the source, or `--type` of `netsandbox attach` with an option
in each `--set`. The kernel chooses an option that is left out, unless a default is shown. All invalid options are
refused at once, before anything is changed. If the kernel lacks a kind, the error names its module. For more about an
option, look up its `ip(8)` word in ip-link(8) and ip-tuntap(8).
"""


def page() -> str:
    """Return the page, in Markdown."""
    return "\n".join((_HEAD, *(line for word, kind in sorted(KINDS.items()) for line in _section(word, kind))))


def _section(word: str, kind: type[Kind]) -> Iterator[str]:
    """Yield the lines about one kind."""
    yield f"## {kind.__name__}\n"
    yield cleandoc((kind.__doc__ or "").partition("\n    Attributes:")[0]) + "\n"
    source = f" {kind.source_field.upper()}" if kind.source_field else ""
    settings = " --set OPTION=VALUE" if kind.declared else ""
    yield f"```sh\nnetsandbox attach SANDBOX{source} --type {word}{settings}\n```\n"
    if kind.declared:
        yield "| option | values | default | ip(8) | meaning |\n|---|---|---|---|---|"
        yield from (_row(kind, item.name, item.default) for item in fields(kind))
        yield ""


def _row(kind: type[Kind], name: str, default: object) -> str:
    """Return the row of one option."""
    option = kind.declared[name]
    usual = "required" if default is MISSING else "" if default is None else _value(default)
    values = option.values or ("on, off" if isinstance(option, Switch) else "name of a link")
    word = "" if isinstance(option, Name) or option.attr is None else f"`{option.word}`"
    source = " (SOURCE)" if name == kind.source_field else ""
    return f"| `{name}`{source} | {values} | {usual} | {word} | {option.doc} |"


def _value(default: object) -> str:
    """Return a default as ``--set`` takes it."""
    return f"`{('off', 'on')[default] if isinstance(default, bool) else default}`"


sys.stdout.write(page())
