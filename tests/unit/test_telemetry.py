"""OpenTelemetry spans: only for programs that trace."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from netsandbox import KernelError, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Collect spans without replacing the tracer provider of the process."""
    collected, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(collected))
    own = SimpleNamespace(get_tracer=provider.get_tracer, get_current_span=trace.get_current_span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", own)
    yield collected
    provider.shutdown()


def test_importing_netsandbox_imports_no_opentelemetry() -> None:
    program = "import sys, netsandbox; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_span_is_a_shared_no_op_without_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span is one shared no-op context unless the program has imported OpenTelemetry."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert telemetry.span("AddInterface", {"srcName": "veth1"}) is telemetry.OFF
    with telemetry.span("AddInterface"), telemetry.span("moveLink"):
        assert "opentelemetry.trace" not in sys.modules


def test_spans_have_the_names_of_osl_and_are_nested(exporter: InMemorySpanExporter) -> None:
    """Spans have the names and attributes that osl gives them, are nested, and inherit attributes."""
    with telemetry.span("AddInterface", {"srcName": "veth1", "dstPrefix": "eth"}), telemetry.span("moveLink"):
        pass
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, outer.name) == ("libnetwork.osl.moveLink", "libnetwork.osl.AddInterface")
    assert dict(outer.attributes or {}) == {"srcName": "veth1", "dstPrefix": "eth"} == dict(inner.attributes or {})
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id
    assert outer.instrumentation_scope is not None
    assert outer.instrumentation_scope.name == "netsandbox"
    assert outer.status.status_code is not StatusCode.ERROR


def test_exception_is_recorded_on_its_span(exporter: InMemorySpanExporter) -> None:
    """An exception that leaves a span is recorded on that span, with the status ERROR."""
    with pytest.raises(KernelError), telemetry.span("moveLink"):
        raise KernelError(17, "move link 7")
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "move link 7: EEXIST (File exists)"
