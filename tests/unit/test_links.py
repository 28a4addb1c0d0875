"""Kinds of link that can be born, and the names that links can have."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsandbox import Bridge, SpecError
from netsandbox.errors import Problem
from netsandbox.links import NAME_MAX, name_problem

TAKEN = "is a name that the kernel refuses"
HELD = "may not hold white space, '/', ':', '%' or NUL"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "a link name may not be empty"),
        ("x" * 16, "has 16 bytes, at most 15 are possible"),
        ("é" * 8, "has 16 bytes, at most 15 are possible"),
        (".", TAKEN),
        ("..", TAKEN),
        ("all", TAKEN),
        ("default", TAKEN),
        ("a/b", HELD),
        ("a b", HELD),
        ("a\tb", HELD),
        ("a\vb", HELD),
        ("a\n", HELD),
        ("à", HELD),  # its second byte is a no-break space to the kernel
        ("a:b", HELD),
        ("eth%d", HELD),
        ("a\0b", HELD),
        ("\ud800", "cannot be written as bytes"),
        (None, "a link name is a string"),
        (7, "a link name is a string"),
        (b"eth0", "a link name is a string"),
    ],
)
def test_a_name_that_the_kernel_refuses_is_refused(name: object, reason: str) -> None:
    assert name_problem("name", name) == Problem("name", name, reason)


@pytest.mark.parametrize("name", ["a", "eth0", "eth0.100", "x" * 15, "ü", "all0", "...", "\udcff", "-", "a\x01b"])
def test_a_name_that_the_kernel_takes_is_taken(name: str) -> None:
    assert name_problem("name", name) is None


@given(st.text("ab0 ./:%\0\t\xa0éà\ud800\udc80", max_size=20))
def test_any_text_is_a_name_or_a_problem(name: str) -> None:
    problem = name_problem("source", name)
    if problem is None:
        assert 0 < len(name.encode("utf-8", "surrogateescape")) <= NAME_MAX
    else:
        assert problem[:2] == ("source", name)


def test_a_longer_name_can_be_allowed() -> None:
    assert name_problem("source", "x" * 127, longest=127) is None
    assert name_problem("source", "x" * 128, longest=127) is not None


def test_a_bridge_refuses_a_bad_name() -> None:
    with pytest.raises(SpecError) as info:
        Bridge("a b")
    assert str(info.value) == f"source 'a b': {HELD}"


def test_a_bridge_is_a_value() -> None:
    assert Bridge("br0") == Bridge("br0")
    assert len({Bridge("br0"), Bridge("br0"), Bridge("br1")}) == 2
    assert (Bridge("br0").name, Bridge("br0").kind) == ("br0", "bridge")
    with pytest.raises(FrozenInstanceError):
        Bridge("br0").name = "br1"  # type: ignore[misc]
