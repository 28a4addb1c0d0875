"""The pings of the demo: ICMP echo requests from inside a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netsandbox._system import echo
from tests.kernel import lab

if TYPE_CHECKING:
    import pytest

    from netsandbox import Sandbox


def test_echo_returns_the_time_or_none(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`echo` returns the round-trip time of an address that answers, and None for an address that does not."""
    for address in ("127.0.0.1", "::1"):
        took = box.run(echo.echo, address)
        assert took is not None
        assert took > 0
    monkeypatch.setattr(echo, "LIMIT", 1.0)
    lab.veth()
    box.add_interface("v0", addresses=["10.0.0.2/24", "fd00::2/64"])
    assert box.run(echo.echo, "10.0.0.9") is None
    assert box.run(echo.echo, "fd00::9") is None
