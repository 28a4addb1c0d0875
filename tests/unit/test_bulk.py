"""Many at once: a summary of what became of each, and refusals all together before the first."""

from __future__ import annotations

import pytest

from netsandbox import Bridge, InterfaceSpec, NetSandboxError, SandboxExistsError, SpecError, Summary, _bulk

FULL = SandboxExistsError("create sandbox b", "a sandbox of this name exists")


def upper(name: str, wish: object) -> str:
    """Do something with a sandbox, all but b."""
    if name == "b":
        raise FULL
    if wish == "interrupt":
        raise KeyboardInterrupt
    return name.upper()


def test_what_fails_keeps_no_other_from_its_turn() -> None:
    told: list[tuple[str, NetSandboxError | None]] = []
    found = _bulk.each("do", dict.fromkeys("abc"), upper, lambda *what: told.append(what))
    assert (dict(found.done), dict(found.failed)) == ({"a": "A", "c": "C"}, {"b": FULL})
    assert told == [("a", None), ("b", FULL), ("c", None)]
    assert (list(found), len(found), found.ok, str(found)) == (["A", "C"], 2, False, "2 done, 1 failed: b")


def test_failures_are_raised_on_demand() -> None:
    Summary({"a": "A"}, {}).raise_for_failures()
    with pytest.raises(SandboxExistsError) as one:
        Summary({}, {"b": FULL}).raise_for_failures()
    assert one.value is FULL
    with pytest.raises(NetSandboxError) as info:
        Summary({"a": "A"}, {"b": FULL, "d": NetSandboxError("full")}).raise_for_failures()
    assert str(info.value) == f"1 done, 2 failed: b, d: {FULL}; full"
    assert info.value.__cause__ is FULL


def test_an_interrupt_says_what_was_done_until_then() -> None:
    with pytest.raises(KeyboardInterrupt) as info:
        _bulk.each("destroy sandboxes", {"a": "", "b": "", "c": "interrupt", "d": ""}, upper)
    assert info.value.__notes__ == ["destroy sandboxes was interrupted; done: a; failed: b; not done: c, d"]


def test_an_interrupt_before_the_first_says_so() -> None:
    with pytest.raises(KeyboardInterrupt) as info:
        _bulk.each("destroy sandboxes", {"c": "interrupt"}, upper)
    assert info.value.__notes__ == ["destroy sandboxes was interrupted; not done: c"]


def test_all_that_is_wrong_is_refused_at_once() -> None:
    a, b = InterfaceSpec("veth-a"), InterfaceSpec(Bridge("b"))
    with pytest.raises(SpecError) as info:
        _bulk.parse([("web", [a, b]), ("no/name", ()), (7, ()), ("db", [a, b]), ("db", ["veth-b"]), ("web", ())])
    assert [(item.field, item.value) for item in info.value.problems] == [
        ("name", "no/name"),
        ("name", 7),
        ("source", "veth-a"),
        ("spec", "veth-b"),
        ("name", "web"),
    ]
    assert "source 'veth-a': cannot go to web and to db" in str(info.value)
    assert "name 'web': is given twice" in str(info.value)


def test_one_interface_is_a_list_of_one() -> None:
    one = InterfaceSpec("veth-a")
    assert _bulk.parse([("web", one), ("/run/netns/db", ())]) == {"web": (one,), "db": ()}
