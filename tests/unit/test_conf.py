"""Per-interface sysctls: which ones are written to restore them, in which files and in which units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox.netlink import conf

NOW = (0,) * 60
TABLES = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=70).map(tuple)


def with_(**settings: int) -> tuple[int, ...]:
    """Return a table with the settings n0=..., n5=... ."""
    return tuple(settings.get(f"n{number}", 0) for number in range(len(NOW)))


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        (NOW, []),
        (with_(n0=1), [("forwarding", "1")]),
        (with_(n1=64, n59=1), [("hop_limit", "64"), ("force_forwarding", "1")]),
        (with_(n7=-1), [("router_solicitations", "-1")]),
        (with_(n8=4000, n9=1000), [("router_solicitation_interval", "4"), ("router_solicitation_delay", "1")]),
        (
            with_(n20=60000, n43=3600000),
            [("router_probe_interval", "60"), ("router_solicitation_max_interval", "3600")],
        ),
        (with_(n30=10000), [("mldv1_unsolicited_report_interval", "10000")]),
        (with_(n3=1, n26=1), [("disable_ipv6", "1"), ("accept_ra", "1")]),
        (with_(n2=1400, n25=1, n36=1, n55=1), []),
        (with_(n47=1), [("addr_gen_mode", "1")]),
        (with_(n47=2), []),
    ],
)
def test_changed_ipv6_sysctls_are_written(wanted: tuple[int, ...], written: list[tuple[str, str]]) -> None:
    """IPv6 sysctls that differ are written in the unit of their file, disable_ipv6 first."""
    assert conf.ipv6_changes(NOW, wanted) == written


@pytest.mark.parametrize(
    ("now", "wanted", "written"),
    [
        ((0, 0, 0), (0, 0, 0), {}),
        ((1, 0, 0), (0, 0, 1), {1: 0, 3: 1}),
        ((0, 0), (0, 1), {}),  # mc_forwarding
        ((), (1,), {}),
    ],
)
def test_changed_ipv4_sysctls_are_set_by_number(
    now: tuple[int, ...], wanted: tuple[int, ...], written: dict[int, int]
) -> None:
    """IPv4 sysctls that differ are set by their number, except for mc_forwarding."""
    assert conf.ipv4_changes(now, wanted) == written


@given(TABLES, TABLES)
def test_only_sysctls_in_both_tables_are_compared(now: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Of two tables of different lengths, only the sysctls that are in both are compared."""
    common = min(len(now), len(wanted))
    assert conf.ipv6_changes(now, wanted) == conf.ipv6_changes(now[:common], wanted[:common])
    assert conf.ipv4_changes(now, wanted) == conf.ipv4_changes(now[:common], wanted[:common])
    assert conf.ipv6_changes(now, now) == []
    assert conf.ipv4_changes(now, now) == {}
