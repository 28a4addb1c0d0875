"""How often an interface is advertised, as a wish; and what came of it, as a value.

An advert tells the neighbors of an interface which link-layer address its IP addresses have now: a gratuitous ARP or an
unsolicited Neighbor Advertisement. Without it, they go on sending to whoever had the address before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from netsandbox._checks import is_int
from netsandbox.errors import Problem, SpecError

COUNT_MAX = 3  # RFC 5227 (PROBE_NUM) and RFC 4861 (MAX_NEIGHBOR_ADVERTISEMENT)
INTERVAL_MIN, INTERVAL_MAX = 0.1, 2.0


def _is_interval(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and INTERVAL_MIN <= value <= INTERVAL_MAX


@dataclass(frozen=True, slots=True)
class Advertise:
    """How often the addresses of an interface are advertised once it is plugged in.

    Attributes:
        count: How many times, 0..3; 0: not at all.
        interval: How many seconds lie between two times, 0.1..2.

    Raises:
        SpecError: One of them is out of range; both are in its `problems` if both are.

    Source: ``WithAdvertiseAddrNMsgs`` and ``WithAdvertiseAddrInterval`` of moby's osl.
    """

    count: int = COUNT_MAX
    interval: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        problems = []
        if not is_int(self.count, 0, COUNT_MAX):
            problems.append(Problem("advertise", self.count, f"the count is not a number from 0 to {COUNT_MAX}"))
        if not _is_interval(self.interval):
            reason = f"the interval is not from {INTERVAL_MIN} to {INTERVAL_MAX:g} seconds"
            problems.append(Problem("advertise", self.interval, reason))
        if problems:
            raise SpecError(problems)
        object.__setattr__(self, "interval", float(self.interval))


NEVER, USUAL = Advertise(0), Advertise()
AdvertiseLike = Advertise | int | tuple[int, float] | Mapping[str, float]


def parse_advertise(value: object) -> Advertise:
    """Return what *value* says: a count, a pair of count and interval, or both by name.

    Raises:
        SpecError: It says nothing of the kind.
    """
    if isinstance(value, Advertise):
        return value
    if isinstance(value, Mapping):
        if value.keys() - {"count", "interval"}:
            raise SpecError([Problem("advertise", dict(value), "has keys besides count and interval")])
        return Advertise(**value)
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise SpecError([Problem("advertise", value, "is not a pair of count and interval")])
        return Advertise(*value)
    return Advertise(value)  # type: ignore[arg-type]  # what it is, is checked there


@dataclass(frozen=True, slots=True)
class Adverts:
    """What came of the adverts of an interface, as far as this process sends them.

    Attributes:
        sent: How many times its addresses were advertised.
        due: How many times they will be tried to be yet.
        error: Why it was not done the last time it was not, in words; None if it always was.
    """

    sent: int = 0
    due: int = 0
    error: str | None = None
