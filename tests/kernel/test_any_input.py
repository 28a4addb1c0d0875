"""The API and the command line accept or refuse any input, and a refused call changes nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netsandbox import Bridge, NetSandboxError, Sandbox, SpecError
from netsandbox.cli import main
from netsandbox.cli.app import COMMANDS
from tests.kernel import lab

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
TEXT = st.text("ab0 ./:%=-\0\t\xa0é\ud800\udc80", max_size=20)
WORDS = "eth0 10.0.0.2/24 10.0.0.1 fd00::2 default via dev lladdr 02:00:00:00:00:09 veth1 --json -n web /".split()
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=9), TEXT, st.sampled_from(WORDS)
)
NESTED = (
    ANYTHING | st.lists(ANYTHING, max_size=3) | st.dictionaries(TEXT | st.sampled_from(WORDS), ANYTHING, max_size=3)
)
VERBS: dict[str, Callable[..., object]] = {
    "create": lambda _, one, two: Sandbox.create(one, host=two),
    "create many": lambda _, one, two: Sandbox.destroy_many(Sandbox.create_many(one, host=two)),
    "add many": lambda _, one, two: Sandbox.add_many({str(one): two}).raise_for_failures(),
    "destroy many": lambda _, one, two: Sandbox.destroy_many([one, two]).raise_for_failures(),
    "open": lambda _, one, two: Sandbox.open(one, host=two),
    "adopt": lambda _, one, two: Sandbox.adopt(one, two),
    "add": lambda box, one, two: box.add_interface(one, mtu=two),
    "add several": lambda box, one, _: box.add_interfaces([one]),
    "remove": lambda box, one, _: box.remove_interface(one),
    "remove several": lambda box, one, two: box.remove_interfaces([one, two]),
    "plan": lambda box, one, two: box.plan(box.add_address, one, two),
    "add address": lambda box, one, two: box.add_address(one, two),
    "remove address": lambda box, one, two: box.remove_address(one, two),
    "gateway": lambda box, one, two: box.set_gateway(one, two),
    "no gateway": lambda box, one, two: box.set_gateway(None, one, family=two),
    "unset": lambda box, one, _: box.unset_gateway(one),
    "add route": lambda box, one, _: box.add_route(one),
    "remove route": lambda box, one, _: box.remove_route(one),
    "add neighbor": lambda box, one, _: box.add_neighbor(one),
    "remove neighbor": lambda box, one, _: box.remove_neighbor(one),
    "arp": lambda box, one, _: box.disable_arp_for_vip(one),
    "tweaks": lambda box, one, _: box.apply_os_tweaks(one),
}


@pytest.mark.usefixtures("host")
@SETTINGS
@given(TEXT | st.text(max_size=70))
@example("x" * 64)
def test_any_text_is_a_valid_sandbox_name_or_is_refused(name: str) -> None:
    if name.startswith("/"):
        return  # a path
    try:
        made = Sandbox.create(name)
    except SpecError:
        assert Sandbox.list(all=True) == []
        return
    with made, Sandbox.open(name) as again:
        assert [made.name] == [again.name] == Sandbox.list() == [name]
        made.destroy()


@SETTINGS
@given(TEXT | st.text(max_size=16))
def test_any_text_is_a_valid_link_name_or_is_refused(box: Sandbox, name: str) -> None:
    with suppress(SpecError):
        made = box.add_interface(Bridge("b"), name=name)
        assert made.name == name
        box.remove_interface(name)
    assert box.interfaces == ()


@pytest.mark.parametrize(
    ("verb", "one", "two", "field"),
    [
        ("create", "web", 7, "host"),
        ("create", "/\ud800", None, "name"),
        ("adopt", b"/x", None, "path"),
        ("add several", "v0", None, "spec"),
        ("remove", "\ud800", None, "interface"),
        ("add address", 7, "10.0.0.2/24", "interface"),
        ("unset", [], None, "family"),
        ("add route", "10.0.0.0/8", None, "route"),
        ("remove route", None, None, "route"),
        ("add neighbor", "10.0.0.1", None, "neighbor"),
        ("remove neighbor", 7, None, "neighbor"),
        ("tweaks", 7, None, "tweaks"),
        ("tweaks", {"net.ipv4.conf.\ud800.forwarding": "1"}, None, "sysctl"),
        ("tweaks", {"net.ipv4.conf.all.forwarding": None}, None, "sysctl"),
    ],
    ids=range(14),
)
def test_an_invalid_argument_is_refused_and_named(
    box: Sandbox, verb: str, one: object, two: object, field: str
) -> None:
    """A method refuses an invalid argument with a SpecError that names the argument."""
    with lab.fails(box, SpecError) as info:
        VERBS[verb](box, one, two)
    assert [problem.field for problem in info.value.problems] == [field]


def test_a_path_with_two_slashes_is_the_same_sandbox(box: Sandbox) -> None:
    with Sandbox.open(f"/{box.path}") as again:
        assert (again.name, again.path) == (box.name, box.path)


@pytest.mark.parametrize("verb", VERBS)
def test_any_argument_of_a_method_is_accepted_or_refused(box: Sandbox, verb: str) -> None:
    """A method accepts any argument or raises NetSandboxError, and the host stays unchanged."""
    box.add_interface(Bridge("b"), addresses=["10.0.0.9/24"])

    @settings(SETTINGS, max_examples=30)
    @given(NESTED, NESTED)
    def holds(one: object, two: object) -> None:
        with suppress(NetSandboxError):
            made = VERBS[verb](box, one, two)
            if isinstance(made, Sandbox):
                made.destroy()

    with lab.comes_back():
        holds()


@pytest.mark.usefixtures("host")
def test_any_command_line_ends_with_an_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """With --dry-run any command line exits with 0, 1 or 2, reports its error, and changes nothing."""
    commands = sorted({*COMMANDS, "list"} - {"exec", "demo", "doctor", "prune"})

    @settings(SETTINGS, max_examples=150)
    @given(st.sampled_from(commands), st.lists(st.text("ab0 ./:%=-\xa0é\udc80") | st.sampled_from(WORDS), max_size=6))
    def holds(command: str, words: list[str]) -> None:
        dry = [] if command in {"ls", "list", "inspect", "stats", "completion"} else ["--dry-run"]
        with pytest.raises(SystemExit) as end:
            main([command, *dry, *words])
        said: Any = capsys.readouterr()
        assert end.value.code in {0, 1, 2}
        assert end.value.code == 0 or said.err or said.out.startswith('{"error"')

    lab.veth("veth1")
    with lab.comes_back():
        holds()
    assert Sandbox.list(all=True) == []
