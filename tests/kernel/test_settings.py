"""Settings of links, a row each: given on attach, shown by ``ip -j -d``, and restored on detach and rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from netsandbox import Bridge, Ifb, KernelError, Sandbox, SpecError, Tap, Veth
from netsandbox.netlink.settings import TABLE
from tests.kernel.lab import comes_back, fails, ip, link, veth

if TYPE_CHECKING:
    from netsandbox.spec import InterfaceOptions

pytestmark = pytest.mark.usefixtures("host")
SHOWN: dict[str, tuple[int | str, str, int | str]] = {  # setting: its value, and what ip shows under which key
    "mac": ("02:00:00:00:00:42", "address", "02:00:00:00:00:42"),
    "mtu": (1400, "mtu", 1400),
    "txqlen": (77, "txqlen", 77),
    "group": (7, "group", "7"),
    "alias": ("it's \u00e9 text", "ifalias", "it's \u00e9 text"),
    "numtxqueues": (3, "num_tx_queues", 3),
}
ALWAYS = [name for name in SHOWN if TABLE[name].when == "always"]
BAD = {"net.ipv4.conf.IFNAME.no_such_setting": "1"}


def wish(name: str, **more: object) -> InterfaceOptions:
    return cast("InterfaceOptions", {name: SHOWN[name][0], **more})


def shown(name: str, link_name: str, netns: str | None = None) -> Any:  # noqa: ANN401  JSON
    return link(link_name, netns).get(SHOWN[name][1])


def test_each_setting_that_can_be_given_is_tested() -> None:
    assert SHOWN.keys() == {name for name, row in TABLE.items() if row.when != "never"}


@pytest.mark.parametrize("name", ALWAYS)
def test_setting_of_a_moved_link(box: Sandbox, name: str) -> None:
    """A link that moves gets the setting, and its former one on detach and after a refused attach."""
    veth()
    ip("link set v0 alias before txqueuelen 33 group 4")
    with comes_back(), fails(box, KernelError):
        box.add_interface("v0", **wish(name, sysctls=BAD))
    with comes_back():
        box.add_interface("v0", **wish(name))
        assert shown(name, "eth0", box.path) == SHOWN[name][2]
        box.remove_interface("eth0")


@pytest.mark.parametrize("name", ALWAYS)
def test_setting_of_a_link_of_the_host(name: str) -> None:
    """A link of the host that stays there gets the setting, and its former one on detach and after a refused attach."""
    veth(up=True)
    ip("link set v0 alias before txqueuelen 33 group 4")
    with Sandbox.host() as home:
        with comes_back(), pytest.raises(KernelError):
            home.add_interface("v0", **wish(name, sysctls=BAD))
        with comes_back():
            home.add_interface("v0", **wish(name))
            assert shown(name, "v0") == SHOWN[name][2]
            home.remove_interface("v0")


@pytest.mark.parametrize("kind", [Veth("vh"), Bridge("br"), Ifb(), Tap()], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("name", SHOWN)
def test_setting_of_a_created_link(box: Sandbox, kind: Veth | Bridge | Ifb | Tap, name: str) -> None:
    """A link is created with the setting; a refused attach leaves nothing."""
    if TABLE[name].when == "at creation" and not kind.by_request:
        with pytest.raises(SpecError):
            box.add_interface(kind, **wish(name))
        return
    with comes_back(), comes_back(box.path), fails(box, KernelError):
        box.add_interface(kind, **wish(name, sysctls=BAD))
    with comes_back(), comes_back(box.path):
        box.add_interface(kind, **wish(name))
        assert shown(name, "eth0", box.path) == SHOWN[name][2]
        box.remove_interface("eth0")
