"""A network namespace in dicts, with the kernel's own refusals, for tests that need neither root nor Linux.

    faults = Faults()
    host, box = FakeKernel("host", faults), FakeKernel("box", faults)
    host.add_link("veth1", addresses=["10.0.0.1/24"], up=True)
    faults.fail(3)  # the third call from here on, whichever of the two it asks

The fake is verified: tests/contract asks the same of it and of the running kernel, and compares what comes of it. Left
out are the other end of a veth (it has carrier whenever it is up), the local routing tables, and what takes time.
"""

from netsandbox.testing._faults import Faults
from netsandbox.testing._kernel import FakeKernel

__all__ = ["FakeKernel", "Faults"]
