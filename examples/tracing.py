"""Print OpenTelemetry spans: each operation, its duration, and its failure.

Run it as root in namespaces of your own: unshare -nm python examples/tracing.py
It needs opentelemetry-sdk.
"""

import subprocess

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from netsandbox import KernelError, Sandbox

memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)  # netsandbox traces if the program has imported opentelemetry

subprocess.run("ip link add veth-web type veth peer name web-host".split(), check=True)

with Sandbox.temporary() as box:
    box.add_interface("veth-web", addresses=["10.0.0.2/24"]).remove()
    try:
        box.add_interface("veth-web", routes=["192.0.2.0/24", "192.0.2.0/24"])
    except KernelError as error:
        print("failed:", error.errno_name)

depth = {0: -1}
for span in sorted(memory.get_finished_spans(), key=lambda span: span.start_time or 0):
    number, parent = (span.context.span_id if span.context else 0), (span.parent.span_id if span.parent else 0)
    depth[number] = depth[parent] + 1
    took = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    print(
        f"{took:7.3f} ms {'  ' * depth[number]}{span.name} {dict(span.attributes or {})} {span.status.status_code.name}"
    )

subprocess.run("ip link delete veth-web".split(), check=True)
