"""The kinds of link that can be created: one class each, in one file for each family; base.py says what it declares.

A kind is listed here twice, for type checkers and for users; its file is imported when it is first used.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from netsandbox.links.base import Kind
    from netsandbox.links.bridge import Bridge
    from netsandbox.links.macvlan import Ipvlan, Macvlan
    from netsandbox.links.plain import Dummy, Ifb
    from netsandbox.links.tap import Tap
    from netsandbox.links.veth import Veth
    from netsandbox.links.vlan import Vlan
    from netsandbox.links.vrf import Vrf
    from netsandbox.links.vxlan import Vxlan

__all__ = ["Bridge", "Dummy", "Ifb", "Ipvlan", "Kind", "Macvlan", "Tap", "Veth", "Vlan", "Vrf", "Vxlan"]
_FILES = {"Kind": "base", "Ipvlan": "macvlan", "Dummy": "plain", "Ifb": "plain"}  # others: the name in lower case
_WORDS = {"tun": "tap"}  # kernel's name: word of ip(8), where they differ


class _Kinds(Mapping[str, "type[Kind]"]):
    """The kinds by their words in ip(8), which are their names in lower case."""

    def __getitem__(self, word: str) -> "type[Kind]":
        if word not in tuple(self):
            raise KeyError(word)
        return cast("type[Kind]", __getattr__(word.capitalize()))

    def __iter__(self) -> Iterator[str]:
        return (name.lower() for name in __all__ if name != "Kind")

    def __len__(self) -> int:
        return len(__all__) - 1


KINDS: Mapping[str, "type[Kind]"] = _Kinds()


def find_kind(name: str | None) -> "type[Kind] | None":
    """Return the kind that the kernel calls *name*, if it can be created here."""
    found = KINDS.get(_WORDS.get(name or "", name or ""))
    return found if found and found.kind == name else None


def __getattr__(name: str) -> object:
    """Import a kind when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_FILES.get(name, name.lower())}"), name)
    return value
