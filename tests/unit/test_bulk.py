"""Operations on many sandboxes: the summary of the results, and the check of all requests before the first one."""

from __future__ import annotations

import pytest

from netsandbox import Bridge, InterfaceSpec, NetSandboxError, SandboxExistsError, SpecError, Summary, _bulk

FULL = SandboxExistsError("create sandbox b", "a sandbox of this name exists")


def upper(name: str, wish: object) -> str:
    """Replace an operation on a sandbox: fail for the sandbox b, and raise KeyboardInterrupt on request."""
    if name == "b":
        raise FULL
    if wish == "interrupt":
        raise KeyboardInterrupt
    return name.upper()


def test_failing_sandbox_does_not_stop_the_others() -> None:
    """A failing sandbox does not stop the others; the callback and the summary report every result."""
    told: list[tuple[str, NetSandboxError | None]] = []
    found = _bulk.each("do", dict.fromkeys("abc"), upper, lambda *what: told.append(what))
    assert (dict(found.done), dict(found.failed)) == ({"a": "A", "c": "C"}, {"b": FULL})
    assert told == [("a", None), ("b", FULL), ("c", None)]
    assert (list(found), len(found), found.ok, str(found)) == (["A", "C"], 2, False, "2 done, 1 failed: b")


def test_raise_for_failures_raises_one_error() -> None:
    """Summary.raise_for_failures() raises a single failure itself, and one NetSandboxError for several."""
    Summary({"a": "A"}, {}).raise_for_failures()
    with pytest.raises(SandboxExistsError) as one:
        Summary({}, {"b": FULL}).raise_for_failures()
    assert one.value is FULL
    with pytest.raises(NetSandboxError) as info:
        Summary({"a": "A"}, {"b": FULL, "d": NetSandboxError("full")}).raise_for_failures()
    assert str(info.value) == f"1 done, 2 failed: b, d: {FULL}; full"
    assert info.value.__cause__ is FULL


def test_interrupt_note_lists_done_failed_and_not_done() -> None:
    """A note on KeyboardInterrupt lists the sandboxes that are done, failed and not done."""
    with pytest.raises(KeyboardInterrupt) as info:
        _bulk.each("destroy sandboxes", {"a": "", "b": "", "c": "interrupt", "d": ""}, upper)
    assert info.value.__notes__ == ["destroy sandboxes was interrupted; done: a; failed: b; not done: c, d"]


def test_interrupt_of_the_first_operation_is_noted() -> None:
    """A note on KeyboardInterrupt in the first operation lists all sandboxes as not done."""
    with pytest.raises(KeyboardInterrupt) as info:
        _bulk.each("destroy sandboxes", {"c": "interrupt"}, upper)
    assert info.value.__notes__ == ["destroy sandboxes was interrupted; not done: c"]


def test_all_problems_are_reported_at_once() -> None:
    """One SpecError reports the problems of the requests for all sandboxes."""
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


def test_single_interface_counts_as_a_list_of_one() -> None:
    """A single InterfaceSpec is accepted in place of a list of one."""
    one = InterfaceSpec("veth-a")
    assert _bulk.parse([("web", one), ("/run/netns/db", ())]) == {"web": (one,), "db": ()}
