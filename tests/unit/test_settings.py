"""The table of link settings: words, differences, and the form in which ip shows them."""

from __future__ import annotations

from netsandbox.netlink import settings
from netsandbox.netlink.settings import TABLE, Settings


def test_settings_are_shown_as_ip_shows_them() -> None:
    """The group 0 has a name, others are numbers as text; a link without alias has no such key."""
    assert settings.shown(Settings(mtu=1400, alias="", group=0)) == {"mtu": 1400, "group": "default"}
    assert settings.shown(Settings(alias="x", group=5, txqlen=7, numtxqueues=2)) == {
        "ifalias": "x",
        "group": "5",
        "txqlen": 7,
        "num_tx_queues": 2,
    }


def test_settings_are_split_by_when_the_kernel_takes_them() -> None:
    """The alias, and what the caller says, has to be set after the creation."""
    given = Settings(mtu=1400, alias="x", group=5)
    assert settings.split(given) == (Settings(mtu=1400, group=5), Settings(alias="x"))
    assert settings.split(given, "mtu") == (Settings(group=5), Settings(mtu=1400, alias="x"))
    assert settings.split(Settings(group=5)) == (Settings(group=5), None)


def test_each_attribute_and_word_is_that_of_one_setting() -> None:
    assert len({row.number for row in TABLE.values()}) == len({row.word for row in TABLE.values()}) == len(TABLE)


def test_only_differences_remain() -> None:
    """What is not wanted, or is so already, is no difference; merging takes what is given."""
    now = Settings(mtu=1500, group=0)
    assert settings.differing(Settings(mtu=1500), now) is None
    assert settings.differing(Settings(mtu=1400, group=0), now) == Settings(mtu=1400)
    assert settings.merged(now, Settings(mtu=1400)) == Settings(mtu=1400, group=0)
    assert settings.among(now, Settings(mtu=1)) == Settings(mtu=1500)
