"""Spans, if the program uses OpenTelemetry.

Nothing is imported here: a program that traces has imported ``opentelemetry.trace`` itself. Another one pays for the
look-up of one name per span. The names and attributes are those of moby's osl.
"""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

PREFIX = "libnetwork.osl."
OFF: AbstractContextManager[object] = nullcontext()


def is_on() -> bool:
    """Whether the program uses OpenTelemetry."""
    return "opentelemetry.trace" in sys.modules


def span(name: str, attributes: Mapping[str, str] | None = None) -> AbstractContextManager[object]:
    """Return a context that is traced as one span; an error that leaves it is recorded on the span.

    Args:
        name: Name of the span, without the prefix ``libnetwork.osl.``.
        attributes: Its attributes; those of the span around it if left out.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return OFF
    if attributes is None:
        attributes = getattr(trace.get_current_span(), "attributes", None)
    tracer = trace.get_tracer("netsandbox")
    context: AbstractContextManager[object] = tracer.start_as_current_span(PREFIX + name, attributes=attributes)
    return context
