"""Plans and their commands, and how the link of an interface is recognized."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netsandbox._kernel import HOST
from netsandbox._plan.model import Draft, Plan, Target, plan_of
from netsandbox._record import Attachment
from netsandbox._steps import CreateLink, Dropped, Move, Place, SetLink, SetUp
from netsandbox.netlink.link import Link
from netsandbox.netlink.settings import Settings

UP = SetUp("web", 7, "eth0", old=False, new=True)
MTU = SetLink("web", 7, "eth0", Settings(mtu=1500), Settings(mtu=1400))
WEB = Target("web", "web")
LINK = Link(7, "eth0", kind="veth", lower=8, lower_netns=3)
ITEM = Attachment(1, "v0", 7, "eth0", "veth", created=False, lower=8)


def test_draft_keeps_steps_in_order_with_their_spans() -> None:
    """A draft becomes a plan of its steps in order, each with the spans that were open; its text is the commands."""
    draft = Draft(WEB)
    with draft.span("outer", {"a": "b"}):
        draft.add(UP)
        with draft.span("inner", {}):
            draft.add(MTU)
    draft.add(Dropped(UP))
    plan = draft.plan("do it", None)
    assert [[span.name for span in spans] for spans in plan.spans] == [["outer"], ["outer", "inner"], []]
    assert plan.steps == tuple(plan) == (UP, MTU, Dropped(UP))
    assert len(plan) == 3
    assert plan.commands == (
        "ip -n web link set dev eth0 up",
        "ip -n web link set dev eth0 mtu 1400",
        "# dropped by the kernel, restored on undo: ip -n web link set dev eth0 up",
    )
    assert str(plan) == "\n".join(plan.commands)


def test_plan_of_a_few_steps_has_no_span() -> None:
    plan = plan_of(WEB, "bring eth0 up", "eth0", UP)
    assert plan == Plan("bring eth0 up", "web", "eth0", (UP,))
    assert plan.spans == ((),)
    assert str(plan_of(WEB, "do nothing", None)) == ""


def test_only_the_host_namespace_is_the_host_target() -> None:
    assert Target("host", HOST).is_host
    assert not WEB.is_host


def test_original_place_is_the_target_of_the_move_back() -> None:
    """The original place of a link is the target of its recorded move back; without a move there is none."""
    there = Place(HOST, 5, "v0", settings=Settings(mtu=1500))
    moved = replace(ITEM, teardown=(UP, Move(Place("web", 7, "eth0", settings=Settings(mtu=1500)), there)))
    assert moved.host_place == there
    assert replace(ITEM, teardown=(UP,)).host_place is None


@pytest.mark.parametrize(
    ("kind", "created", "expected"), [("bridge", True, True), ("bridge", False, False), ("veth", True, False)]
)
def test_only_a_bridge_created_here_counts_as_a_bridge(kind: str, *, created: bool, expected: bool) -> None:
    """An interface counts as a bridge only if its kind is bridge and it was created for the sandbox."""
    made = replace(ITEM, kind=kind, created=created, teardown=(CreateLink("web", 7, "eth0", kind=kind).inverse(),))
    assert made.is_bridge is expected


def test_link_of_another_kind_does_not_match() -> None:
    """An interface matches a link of its own kind, but neither one of another kind nor a missing one."""
    assert ITEM.matches_kind(LINK)
    assert not ITEM.matches_kind(replace(LINK, kind="macvlan"))
    assert not ITEM.matches_kind(None)


PEER = Link(8, "p0", kind="veth", lower=7, lower_netns=2)


@pytest.mark.parametrize(
    ("item", "link", "lower", "expected"),
    [
        (replace(ITEM, lower=None), LINK, None, True),
        (ITEM, LINK, PEER, True),
        (ITEM, LINK, replace(PEER, lower=9), False),
        (ITEM, LINK, replace(PEER, lower_netns=None), False),
        (ITEM, replace(LINK, lower_netns=None), None, False),
        (ITEM, replace(LINK, lower=20, lower_netns=None), None, True),
        (ITEM, LINK, None, True),
        (ITEM, replace(LINK, lower=9), None, True),
        (replace(ITEM, kind="macvlan"), replace(LINK, kind="macvlan"), replace(PEER, kind="bridge"), True),
        (replace(ITEM, kind="macvlan"), replace(LINK, kind="macvlan", lower=9), replace(PEER, kind="bridge"), False),
        (replace(ITEM, kind="macvlan"), replace(LINK, kind="macvlan", lower=9), None, False),
    ],
    ids=range(11),
)
def test_link_matches_if_its_peer_is_the_recorded_one(
    item: Attachment, link: Link, lower: Link | None, *, expected: bool
) -> None:
    """A link matches an interface unless its peer or lower link is known not to be the recorded one."""
    assert item.matches_identity(link, lower, {20, 21}) is expected
