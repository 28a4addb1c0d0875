"""The base class of all kinds of link: a kind has options, which it checks, and says how it differs from other kinds.

A kind is one class in one file here: a frozen dataclass that declares each option once (see options.py). Plans, steps
and the command line use its class attributes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from netsandbox._checks import Checks, keyword_problems
from netsandbox.links import options as _options
from netsandbox.links.options import Option
from netsandbox.netlink.attrs import pack_u32
from netsandbox.netlink.options import Options


@dataclass(frozen=True, slots=True)
class Kind:
    """A link to create; see its subclasses.

    Raises:
        SpecError: An option is not valid; its `problems` list all that are not.
    """

    kind: ClassVar[str]  # the kernel's name of the kind
    module: ClassVar[str] = ""  # the kernel's module, if it has another name
    source_field: ClassVar[str | None] = None  # the field that SOURCE of the command line sets
    key_field: ClassVar[str | None] = None  # the field that is its source name, unique in a sandbox
    keeps_name: ClassVar[bool] = False  # on the host its name is its source name
    takes_ports: ClassVar[bool] = False  # it can be a master
    cycles_ports: ClassVar[bool] = False  # the kernel sets a new port down and up: it loses its IPv6 addresses
    port_settings: ClassVar[bool] = False  # the settings of a port can be changed
    takes_port_mac: ClassVar[bool] = False  # it takes the MAC of a port, unless it has one of its own
    mtu_at_creation: ClassVar[bool] = True  # the request to create it sets its MTU
    unique_mac: ClassVar[bool] = False  # no two on one lower link may have the same MAC
    lower_attr: ClassVar[int] = 0  # the attribute in IFLA_INFO_DATA that names the lower link; 0: IFLA_LINK does
    uses_host: ClassVar[bool] = False  # it sends through the namespace of the socket of that request
    has_host_end: ClassVar[bool] = False  # its key is the name of a link on the host that is created with it
    by_request: ClassVar[bool] = True  # one netlink request creates it
    declared: ClassVar[Mapping[str, Option]] = {}  # its options, by their names
    required: ClassVar[frozenset[str]] = frozenset()  # those that have no default
    optional: ClassVar[frozenset[str]] = frozenset()  # those that may be None
    ordered: ClassVar[tuple[str, ...]] = ()  # those of the request to create the link, as ip(8) takes them

    def __init_subclass__(cls) -> None:
        """Take the options from the annotations, which keep the plain types, and document them."""
        if "declared" in cls.__dict__:
            return  # the copy of a dataclass that has slots
        notes = cls.__annotations__
        cls.declared = {name: note.__metadata__[0] for name, note in notes.items() if hasattr(note, "__metadata__")}
        ordered: list[str] = []
        for name, option in cls.declared.items():
            notes[name] = notes[name].__origin__
            option.set_name(name)
            if option.attr is not None:
                ordered.insert(ordered.index(option.before) if option.before else len(ordered), name)
        defaults = {name: cls.__dict__[name] for name in cls.declared if name in cls.__dict__}
        cls.ordered = tuple(ordered)
        cls.required = frozenset(cls.declared.keys() - defaults)
        cls.optional = frozenset(name for name, usual in defaults.items() if usual is None or name in ordered)
        lines = "\n".join(f"        {name}: {option.help}" for name, option in cls.declared.items())
        raises = "    Raises:\n        SpecError: An option is not valid; its `problems` list all that are not."
        if lines and cls.__doc__:
            cls.__doc__ = f"{cls.__doc__.rstrip()}\n\n    Attributes:\n{lines}\n\n{raises}\n    "

    def __new__(cls, *given: object, **options: object) -> Self:
        """Refuse options of another kind, and the lack of one that is required."""
        known = tuple(cls.declared)
        check = Checks(keyword_problems(options, known))
        if given or options:  # copies are made without
            for name in known[len(given) :]:
                if name in cls.required and name not in options:
                    check.wrong(name, None, "is required")
        check.finish()
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Refuse options that are not valid, all at once: first those that the others may depend on."""
        check = Checks()
        for name, option in self.declared.items():
            if option.attr is None:
                self._check_option(name, option, check)
        self._check(check)
        for name, option in self.declared.items():
            if option.attr is not None:
                self._check_option(name, option, check)
        check.finish()

    def _check_option(self, name: str, option: Option, check: Checks) -> None:
        value = getattr(self, name)
        if value is not None or name not in self.optional:
            object.__setattr__(self, name, option.check(check, value))

    def _check(self, check: Checks) -> None:
        """Collect what is wrong with options that depend on one another."""

    @property
    def options(self) -> Options:
        """The options that are set and are part of the request to create the link."""
        return tuple((name, value) for name in self.ordered if (value := getattr(self, name)) is not None)

    @property
    def lower(self) -> str | None:
        """Name, on the host, of the lower link."""
        return getattr(self, "link", None)

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """Field and name of each link that has to be on the host."""
        return (("link", self.lower),) if self.lower else ()

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names of the link that is created on the host with it, and of those on the host that it needs."""
        return (*((self.key,) if self.has_host_end and self.key else ()), *(name for _, name in self.needs))

    @property
    def mac_rule(self) -> str | None:
        """Why its MAC cannot be chosen; None: it can."""
        return None

    @property
    def key(self) -> str | None:
        """Its source name, unique in a sandbox, if it has one."""
        return getattr(self, self.key_field) if self.key_field else None

    @property
    def source_name(self) -> str:
        """The value of `Interface.source`: its key, or its kind and the lower link."""
        return self.key or self.kind + (f"@{self.lower}" if self.lower else "")

    @classmethod
    def fits(cls, options: Options) -> bool:
        """Whether all options are known and valid."""
        known = cls.declared
        return all(name in known and not known[name].problem(value) for name, value in options)

    @classmethod
    def pack(cls, options: Options, *, lower: int = 0) -> bytes:
        """Return IFLA_INFO_DATA; *lower* is the index of the lower link."""
        below = pack_u32(cls.lower_attr, lower) if cls.lower_attr and lower else b""
        return b"".join(_options.pack(cls.declared, options)) + below

    @classmethod
    def words(cls, options: Options) -> str:
        """Return options in the words of ip-link(8), each after a space."""
        return _options.words(cls.declared, options)
