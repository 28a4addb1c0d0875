"""The pings of the demo: by the system's program, and by our own where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netsandbox.cli import ping
from tests.kernel import lab

if TYPE_CHECKING:
    from netsandbox import Sandbox


@pytest.fixture(params=["the system's", "ours"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the system's ping, or do not."""
    if request.param == "ours":
        monkeypatch.setattr("shutil.which", lambda _: None)


@pytest.mark.usefixtures("either")
def test_an_address_answers_or_does_not(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.1", "::1"):
        took = ping.ping(box, address)
        assert took is not None
        assert took > 0
    monkeypatch.setattr(ping, "LIMIT", 1.0)
    lab.veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
    assert ping.ping(box, "10.0.0.9") is None
    assert ping.ping(box, "fd00::9") is None


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert ping.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2  # the example of its section 3
