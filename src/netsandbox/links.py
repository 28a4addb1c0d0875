"""The kinds of link that can be born in a sandbox.

A kind is a wish: it says what to make, and refuses nonsense when it is made.
"""

import re
from dataclasses import dataclass

from netsandbox.errors import Problem, SpecError

NAME_MAX = 15  # IFNAMSIZ without the final NUL
_SPACE = re.compile(rb"[\s\xa0]")  # what the kernel's isspace() calls white space


def name_problem(field: str, name: object, *, longest: int = NAME_MAX) -> Problem | None:
    """Say what is wrong with *name* as the name of a link, or return None.

    Source: dev_valid_name() in net/core/dev.c; "all" and "default" are taken in /proc/sys/net. A ``%`` would make the
    kernel choose a number.
    """
    if not isinstance(name, str):
        return Problem(field, name, "a link name is a string")
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return Problem(field, name, "cannot be written as bytes")
    if not raw:
        reason = "a link name may not be empty"
    elif len(raw) > longest:
        reason = f"has {len(raw)} bytes, at most {longest} are possible"
    elif name in {".", "..", "all", "default"}:
        reason = "is a name that the kernel refuses"
    elif _SPACE.search(raw) or not {*"/:%\0"}.isdisjoint(name):
        reason = "may not hold white space, '/', ':', '%' or NUL"
    else:
        return None
    return Problem(field, name, reason)


@dataclass(frozen=True, slots=True)
class Bridge:
    """An Ethernet bridge, born inside the sandbox and deleted when it is removed.

    Attributes:
        name: Its source name: what ``master=`` of other interfaces refers to. Inside it is called by the prefix or
            name of its interface, as any other.

    Raises:
        SpecError: The name is none that the kernel takes.

    Source: ``AddInterface`` with ``WithIsBridge`` in moby's osl; ip-link(8).
    """

    name: str

    def __post_init__(self) -> None:
        """Refuse a name that the kernel would refuse."""
        problem = name_problem("source", self.name)
        if problem:
            raise SpecError([problem])

    @property
    def kind(self) -> str:
        """The kernel's name of the kind."""
        return "bridge"
