"""A network namespace in memory, with the kernel's own refusals, for tests that need neither root nor Linux.

    faults = Faults()
    host, box = FakeKernel("host", faults), FakeKernel("box", faults)
    host.add_link("veth1", addresses=["10.0.0.1/24"], up=True)
    faults.fail(3)  # the third call from here on, of either namespace

The fake is verified: tests/contract sends the same requests to it and to the running kernel, and compares the results.
Left out are the carrier of a veth (it has one whenever it is up), the local routing tables, and everything that takes
time.
"""

from netsandbox.testing._faults import Faults
from netsandbox.testing._kernel import FakeKernel

__all__ = ["FakeKernel", "Faults"]
