"""The oracle itself: a snapshot shows every kind of change, and nothing that the kernel changes by itself."""

from __future__ import annotations

import pytest

from tests.kernel.lab import KINDS_A_KERNEL_MAY_LACK, NO_KIND, ip, is_allowed, snapshot, sysctl, veth

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def _links(host: None) -> None:  # noqa: ARG001
    veth(up=True)
    ip("link add br0 type bridge")
    ip("address add 10.0.0.1/24 dev v0")
    ip("address add fd00::1/64 dev v0 nodad")
    ip("route add 10.9.0.0/16 via 10.0.0.9")
    ip("neighbor add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0")


@pytest.mark.usefixtures("_links")
@pytest.mark.parametrize(
    "change",
    [
        "link set v0 down",
        "link set v0 mtu 1499",
        "link set v0 address 02:00:00:00:00:01",
        "link set v0 txqueuelen 9",
        "link set v0 alias x",
        "link set v0 group 7",
        "link set v0 master br0",
        "link set v0 promisc on",
        "link set v0 arp off",
        "link set v0 addrgenmode none",
        "link property add dev v0 altname other",
        "link delete br0",
        "link add v9 type bridge",
        "address add 10.0.0.2/24 dev v0",
        "address delete 10.0.0.1/24 dev v0",
        "address add fd00::2/64 dev v0",
        "address add fe80::1/64 dev v0",
        "address change fd00::1/64 dev v0 preferred_lft 0",
        "route add 10.8.0.0/16 dev v0",
        "route add 10.8.0.0/16 dev v0 table 100",
        "route add unreachable 10.8.0.0/16",
        "route add fd09::/64 dev v0",
        "route change 10.9.0.0/16 via 10.0.0.8",
        "route add local fd0a::/64 dev lo",
        "neighbor delete 10.0.0.9 dev v0",
        "neighbor add proxy 10.0.0.8 dev v0",
        "neighbor change 10.0.0.9 lladdr 02:00:00:00:00:08 dev v0",
        "rule add from 10.0.0.1 table 100",
    ],
)
def test_a_snapshot_shows_a_change(change: str) -> None:
    before = snapshot()
    assert snapshot() == before
    ip(change)
    assert snapshot() != before


@pytest.mark.parametrize("setting", ["ipv4/conf/v0/arp_ignore", "ipv6/conf/v0/accept_ra", "ipv4/conf/all/forwarding"])
def test_a_snapshot_shows_a_changed_sysctl(setting: str) -> None:
    veth()
    before = snapshot()
    sysctl(setting, "0" if sysctl(setting) != "0" else "1")
    assert snapshot() != before


def test_a_snapshot_ignores_the_carrier() -> None:
    veth()
    ip("link set v0 up")
    before = snapshot()["links"]["v0"]
    ip("link set p0 up")
    assert snapshot()["links"]["v0"] == before


def test_only_listed_kinds_of_links_may_be_skipped() -> None:
    assert all(is_allowed(f"Skipped: {NO_KIND}{kind}") for kind in KINDS_A_KERNEL_MAY_LACK)
    assert not is_allowed(f"Skipped: {NO_KIND}veth")
    assert not is_allowed("Skipped: not today")
