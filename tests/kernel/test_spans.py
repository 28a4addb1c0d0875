"""Spans: names and attributes are those of osl, if the program uses OpenTelemetry."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from netsandbox import Bridge, InterfaceSpec, KernelError, Sandbox
from netsandbox._system.kernel import LinuxKernel
from tests.kernel.lab import ip, veth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from netsandbox.netlink.message import Request

P = "libnetwork.osl."


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Make the SDK keep finished spans; a process can set its provider only once."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture
def traced(exporter: InMemorySpanExporter, box: Sandbox) -> Iterator[InMemorySpanExporter]:
    """Create a veth, attach a bridge, and clear the finished spans."""
    veth()
    box.add_interface(Bridge("b"), prefix="br")
    exporter.clear()
    yield exporter
    exporter.clear()


def tree(exporter: InMemorySpanExporter) -> dict[str, str | None]:
    """Return the names of the finished spans in the order they began, each with that of its parent."""
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {span.name: names.get(span.parent.span_id) if span.parent else None for span in spans}


def attributes(exporter: InMemorySpanExporter) -> dict[str, dict[str, object]]:
    return {span.name.removeprefix(P): dict(span.attributes or {}) for span in exporter.get_finished_spans()}


def failed(exporter: InMemorySpanExporter) -> list[str]:
    """Return the spans on which an error is recorded."""
    spans: list[ReadableSpan] = list(exporter.get_finished_spans())
    return [span.name.removeprefix(P) for span in spans if span.status.status_code is StatusCode.ERROR]


EVERYTHING = InterfaceSpec(
    "v0",
    mac="02:00:00:00:00:11",
    addresses=["10.0.0.2/24", "fd00::2/64", "169.254.1.1/16"],
    master="b",
    routes=["10.7.0.0/24"],
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "2"},
)


def test_attach_has_the_spans_of_osl(box: Sandbox, traced: InMemorySpanExporter) -> None:
    box.add_interface(EVERYTHING)
    found = tree(traced)
    assert [name for name, parent in found.items() if parent is None] == [P + "AddInterface"]
    assert {name.removeprefix(P) for name, parent in found.items() if parent == P + "configureInterface"} == {
        "setInterfaceIP",
        "setInterfaceIPv6",
        "setInterfaceMaster",
        "setInterfaceLinkLocalIPs",
        "setSysctls",
    }
    assert {name.removeprefix(P) for name, parent in found.items() if parent == P + "AddInterface"} == {
        "moveLink",
        "configureInterface",
        "setInterfaceRoutes",
    }
    assert found[P + "setInterfaceName"] == P + "moveLink"  # one request moves, renames and sets the MAC
    assert found[P + "setInterfaceMAC"] == P + "setInterfaceName"
    assert failed(traced) == []


def test_attach_has_the_span_attributes_of_osl(box: Sandbox, traced: InMemorySpanExporter) -> None:
    box.add_interface(EVERYTHING)
    names = {"i.SrcName": "v0", "i.DstName": "eth0"}
    assert attributes(traced) == {
        "AddInterface": {"srcName": "v0", "dstPrefix": "eth"},
        "moveLink": {"ifaceName": "eth0"},
        "configureInterface": {"ifaceName": "eth0"},
        "setInterfaceName": {"ifaceName": "eth0"},
        "setInterfaceMAC": names,
        "setInterfaceIP": names,
        "setInterfaceIPv6": {**names, "i.AddressIPv6": "fd00::2/64"},
        "setInterfaceMaster": names,
        "setInterfaceLinkLocalIPs": names,
        "setSysctls": {"ifName": "eth0"},
        "setInterfaceRoutes": names,
    }


def test_an_option_that_is_not_given_has_no_span(box: Sandbox, traced: InMemorySpanExporter) -> None:
    box.add_interface("v0")
    assert set(attributes(traced)) == {
        "AddInterface",
        "moveLink",
        "setInterfaceName",
        "configureInterface",
        "setInterfaceIPv6",
    }


def test_each_of_several_interfaces_has_its_own_span(box: Sandbox, traced: InMemorySpanExporter) -> None:
    box.add_interfaces([InterfaceSpec("v0"), InterfaceSpec(Bridge("b2"))])
    spans = [span for span in traced.get_finished_spans() if span.name == P + "AddInterface"]
    assert [(span.attributes or {})["srcName"] for span in spans] == ["v0", "b2"]


def test_an_error_is_recorded_on_the_failed_spans(box: Sandbox, traced: InMemorySpanExporter) -> None:
    """An error is recorded on each failed span, and the rollback has a span."""
    with pytest.raises(KernelError):
        box.add_interface("v0", addresses=["10.0.0.2/24"], sysctls={"net.ipv4.conf.IFNAME.no_such": "1"})
    assert failed(traced) == ["setSysctls", "configureInterface", "AddInterface"]
    (span,) = (span for span in traced.get_finished_spans() if span.name == P + "setSysctls")
    (event,) = span.events
    assert event.name == "exception"
    assert "no_such to 1: ENOENT" in str((event.attributes or {})["exception.message"])
    assert P + "rollback" in tree(traced)


def test_a_refusal_before_any_change_has_no_rollback_span(box: Sandbox, traced: InMemorySpanExporter) -> None:
    ip("link add wan0 type bridge", netns=box.path)
    with pytest.raises(KernelError):
        box.add_interface("v0", name="wan0")
    assert P + "rollback" not in tree(traced)


@pytest.mark.parametrize("times", [1, 3])
def test_every_retry_of_link_up_is_a_span(
    box: Sandbox, traced: InMemorySpanExporter, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, left = LinuxKernel.send, [times]

    def busy(kernel: LinuxKernel, request: Request) -> None:
        if request.text.endswith(" up") and left[0]:
            left[0] -= 1
            raise KernelError(errno.EBUSY, request.text)
        send(kernel, request)

    monkeypatch.setattr(LinuxKernel, "send", busy)
    box.add_interface("v0")
    spans = [span for span in traced.get_finished_spans() if span.name == P + "retryingLinkUp"]
    assert [dict(span.attributes or {}) for span in spans] == [{"srcName": "v0", "dstPrefix": "eth"}] * times
    assert failed(traced) == ["retryingLinkUp"] * (times - 1)


def test_detach_has_a_span(box: Sandbox, traced: InMemorySpanExporter) -> None:
    box.add_interface("v0", name="wan0")
    traced.clear()
    box.remove_interface("wan0")
    assert attributes(traced)["RemoveInterface"] == {"srcName": "v0", "dstName": "wan0"}


PROGRAM = """
import sys, netsandbox
netsandbox.Sandbox.create("x").destroy()
print([name for name in sys.modules if "telemetry" in name])
"""


def test_a_program_without_tracing_imports_no_telemetry(host: None) -> None:  # noqa: ARG001
    """A program that does not use OpenTelemetry imports no telemetry module but netsandbox.telemetry."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['netsandbox.telemetry']"
