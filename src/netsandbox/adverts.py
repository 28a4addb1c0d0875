"""How often an interface is advertised, as a request; and the result, as a value.

An advert tells the neighbors of an interface which link-layer address its IP addresses have now: a gratuitous ARP or an
unsolicited Neighbor Advertisement. Without it, they keep sending to the link that had the address before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from netsandbox._checks import is_int
from netsandbox.errors import Problem, SpecError

COUNT_MAX = 3  # RFC 5227 (PROBE_NUM) and RFC 4861 (MAX_NEIGHBOR_ADVERTISEMENT)
INTERVAL_MIN, INTERVAL_MAX = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Advertise:
    """How often the addresses of an interface are advertised after it is attached.

    Attributes:
        count: How many rounds, 0..3; 0: none.
        interval: Seconds between two rounds, 0.1..2.

    Raises:
        SpecError: One of them is out of range; both are in its `problems` if both are.

    Source: ``WithAdvertiseAddrNMsgs`` and ``WithAdvertiseAddrInterval`` of moby's osl.
    """

    count: int = COUNT_MAX
    interval: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that are out of range."""
        problems = []
        if not is_int(self.count, 0, COUNT_MAX):
            problems.append(Problem("advertise", self.count, f"the count is not a number from 0 to {COUNT_MAX}"))
        given: object = self.interval
        if not isinstance(given, (int, float)) or isinstance(given, bool) or not INTERVAL_MIN <= given <= INTERVAL_MAX:
            reason = f"the interval is not from {INTERVAL_MIN} to {INTERVAL_MAX:g} seconds"
            problems.append(Problem("advertise", given, reason))
        if problems:
            raise SpecError(problems)
        object.__setattr__(self, "interval", float(self.interval))


NEVER, USUAL = Advertise(0), Advertise()
AdvertiseLike = Advertise | int | tuple[int, float] | Mapping[str, float]


def parse_advertise(value: object) -> Advertise:
    """Return the value of a count, of a pair of count and interval, or of a mapping with one or both."""
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
    return Advertise(value)  # type: ignore[arg-type]  # Advertise checks it


@dataclass(frozen=True, slots=True)
class Adverts:
    """The result of the adverts that this process sends for an interface.

    Attributes:
        sent: How many rounds were sent.
        due: How many rounds remain.
        error: Why the last round that failed has failed; None if none has.
    """

    sent: int = 0
    due: int = 0
    error: str | None = None
