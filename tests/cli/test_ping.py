"""The pings of the demo: by the system's ping program, and by our own code if there is no such program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netsandbox.cli import ping
from tests.kernel import lab

if TYPE_CHECKING:
    from netsandbox import Sandbox


@pytest.fixture(params=["the system's", "ours"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with the system's ping, and with that program hidden."""
    if request.param == "ours":
        monkeypatch.setattr("shutil.which", lambda _: None)


@pytest.mark.usefixtures("either")
def test_ping_returns_the_time_or_none(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ping` returns the round-trip time of an address that answers, and None for an address that does not."""
    for address in ("127.0.0.1", "::1"):
        took = ping.ping(box, address)
        assert took is not None
        assert took > 0
    monkeypatch.setattr(ping, "LIMIT", 1.0)
    lab.veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
    assert ping.ping(box, "10.0.0.9") is None
    assert ping.ping(box, "fd00::9") is None


def test_checksum_matches_the_example_of_rfc_1071() -> None:
    assert ping.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2  # the example in RFC 1071 section 3
