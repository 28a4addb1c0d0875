"""How a kind declares its options: each once, as ``name: Annotated[type, Option(...)] = default``.

From that follow the check and its message, the attribute in IFLA_INFO_DATA, the words of ip(8), the values of
``--set``, the docstring of the class, and docs/kinds.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, TypedDict, Unpack

from netsandbox._checks import Checks, is_int, name_problem
from netsandbox.netlink import attrs
from netsandbox.netlink import options as _options
from netsandbox.netlink.settings import mac_problem

U32 = 2**32 - 1
MOST = 1000  # values of one option: an attribute holds 64 KiB
_SWITCH = {
    word: value for value, words in ((True, "on true yes 1"), (False, "off false no 0")) for word in words.split()
}


class More(TypedDict, total=False):
    """What few options need; see `Option`."""

    size: int
    order: str
    word: str
    before: str


class Option(ABC):
    """One option of a kind."""

    name = ""  # of the field
    word = ""  # what ip(8) calls it; if left out, the name of the field
    before = ""  # the option that ip(8) has to read after it
    rule = ""  # what is wrong with an invalid value
    values = ""  # the valid values, for the documentation
    size, order = 4, "="  # of the number in the attribute: in bytes, and as in the struct module

    def __init__(self, attr: int | None, doc: str, **more: Unpack[More]) -> None:
        self.attr = attr  # number of its attribute in IFLA_INFO_DATA; None: the request to create the link has none
        self.doc = doc  # one line without a full stop
        self.__dict__.update(more)

    def set_name(self, name: str) -> None:
        """Take the name of the field."""
        self.name, self.word = name, self.word or name

    @property
    def help(self) -> str:
        """What it means, and the valid values."""
        return f"{self.doc} ({self.values})." if self.values else f"{self.doc}."

    def check(self, check: Checks, value: object) -> object:
        """Return a value in its usual form; collect what is wrong with it."""
        kept = self.normalize(value)
        reason = self.problem(kept)
        if reason:
            check.wrong(self.name, value, reason)
        return kept

    def normalize(self, value: object) -> object:
        """Return a value in its usual form."""
        return value

    @abstractmethod
    def problem(self, value: Any) -> str | None:  # noqa: ANN401  what a user gave
        """Return what is wrong with a value."""

    def pack(self, value: Any) -> bytes:  # noqa: ANN401  a valid one
        """Return the attribute."""
        return _options.pack_number(self.attr or 0, self.number(value), self.size, self.order)

    def number(self, value: Any) -> int:  # noqa: ANN401  a valid one
        """Return the number that stands for a value."""
        return int(value)

    def words(self, value: Any) -> str:  # noqa: ANN401  a valid one
        """Return what ip(8) calls it with a value."""
        return f"{self.word} {value}".strip()

    def parse(self, text: str) -> object:
        """Return the value of *text* on the command line; invalid text as it is, to be refused later."""
        return text


class Name(Option):
    """The name of a link; errors call it *field*."""

    def __init__(self, doc: str, *, field: str | None = None) -> None:
        super().__init__(None, doc)
        self.field = field

    def set_name(self, name: str) -> None:
        super().set_name(self.field or name)

    def problem(self, value: object) -> str | None:
        found = name_problem(self.name, value)
        return found.reason if found else None


class Mac(Option):
    """The link-layer address of a host, in lower case."""

    values = "unicast MAC"

    def normalize(self, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    def problem(self, value: object) -> str | None:
        return mac_problem(value)


class Number(Option):
    """A number from *least* to *most*."""

    def __init__(self, attr: int | None, doc: str, *, least: int = 0, most: int = U32, **more: Unpack[More]) -> None:
        super().__init__(attr, doc, **more)
        self.least, self.most = least, most
        self.rule = f"is not a number from {least} to {most}"
        self.values = f"{least}..{most}"

    def problem(self, value: object) -> str | None:
        return None if is_int(value, self.least, self.most) else self.rule

    def parse(self, text: str) -> object:
        return parse_number(text)


class Switch(Option):
    """An option that is on or off; ip(8) takes 1 or 0 after its word."""

    rule = "is neither True nor False"
    styles = "{} 1", "{} 0"
    size = 1

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, bool) else self.rule

    def words(self, value: bool) -> str:  # noqa: FBT001  a valid one
        return self.styles[0 if value else 1].format(self.word)

    def parse(self, text: str) -> object:
        return _SWITCH.get(text, text)


class NoSwitch(Switch):
    """A switch that ip(8) takes as the word, or as the word after "no"."""

    styles = "{}", "no{}"


class Flag(Switch):
    """A switch that is on if its attribute is there (NLA_FLAG); ip(8) takes the word, or nothing."""

    styles = "{}", ""

    def pack(self, value: bool) -> bytes:  # noqa: FBT001  a valid one
        return attrs.pack(self.attr or 0) if value else b""


class Bit(Switch):
    """A switch that is one *bit* of an attribute."""

    def __init__(self, attr: int, bit: int, doc: str) -> None:
        super().__init__(attr, doc)
        self.bit = bit

    @staticmethod
    def pack_all(attr: int, on: int, mask: int) -> bytes:
        """Return the attribute of the bits that are *on*, of those in *mask*."""
        return _options.pack_bits(attr, on, mask)


class Choice(Option):
    """One of several words, each of which is a number to the kernel."""

    size = 2

    def __init__(self, attr: int, doc: str, choices: Mapping[str, int], **more: Unpack[More]) -> None:
        super().__init__(attr, doc, **more)
        self.choices = choices
        self.values = ", ".join(choices)
        self.rule = f"is not one of {self.values}"

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, str) and value in self.choices else self.rule

    def number(self, value: str) -> int:
        return self.choices[value]


class Address(Option):
    """An IPv4 or IPv6 address, each in its own attribute."""

    def __init__(self, attr: int, attr6: int, doc: str, *, multicast: bool = False) -> None:
        super().__init__(attr, doc)
        self.attr6, self.multicast = attr6, multicast
        self.values = f"address of a {'multicast group' if multicast else 'host'}"
        self.rule = f"is not the {self.values}"

    def problem(self, value: object) -> str | None:
        try:
            fits = isinstance(value, str) and "%" not in value and ip_address(value).is_multicast == self.multicast
        except ValueError:
            fits = False
        return None if fits else self.rule

    def pack(self, value: str) -> bytes:
        return _options.pack_address(self.attr or 0, self.attr6, value)


def words(known: Mapping[str, Option], options: _options.Options) -> str:
    """Return options in the words of ip(8), each after a space."""
    found = (known[name].words(value) for name, value in options)
    return "".join(f" {text}" for text in found if text)


def pack(known: Mapping[str, Option], options: _options.Options) -> Iterable[bytes]:
    """Yield the attributes of options; those that are bits of one attribute together."""
    bits: dict[int, list[tuple[Bit, bool]]] = {}
    for name, value in options:
        option = known[name]
        if isinstance(option, Bit):
            bits.setdefault(option.attr or 0, []).append((option, bool(value)))
        else:
            yield option.pack(value)
    for attr, given in bits.items():
        on, mask = sum(option.bit for option, value in given if value), sum(option.bit for option, _ in given)
        yield given[0][0].pack_all(attr, on, mask)


def parse_number(text: str) -> object:
    """Return a number in decimal digits; other text as it is."""
    return int(text) if text.isdecimal() and text.isascii() else text
