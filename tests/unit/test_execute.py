"""All of it or none of it: every kernel call of every operation is made to fail, in every way in which it can."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from netsandbox import Bridge, InterfaceSpec, KernelError, Route
from tests.unit.rig import Rig, everywhere, furnished

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = InterfaceSpec(
    "v0",
    mac="02:42:ac:11:00:02",
    mtu=1450,
    addresses=["172.17.0.2/16", "fd01::2/64", "169.254.7.7/32", "fe80::7/64"],
    master="br",
    routes=["192.168.2.1/32", Route("10.8.0.0/16", via="172.17.0.1", metric=7), "fd08::/32"],
    sysctls={"net.ipv4.conf.IFNAME.rp_filter": "1", "net.ipv6.conf.IFNAME.accept_ra": "0"},
)
BRIDGE = InterfaceSpec(Bridge("br"), mac="02:42:ac:11:00:01", mtu=1400, addresses=["172.18.0.1/16"])
V4_ONLY = InterfaceSpec("v2", prefix="lan", addresses=["172.19.0.2/16"])
IN_PLACE = InterfaceSpec("v2", mtu=1400, addresses=["172.19.0.2/16", "fd02::2/64"], routes=["10.7.0.0/16"])


def _with_bridge() -> Rig:
    rig = furnished()
    rig.add(BRIDGE)
    return rig


def _full() -> Rig:
    rig = _with_bridge()
    rig.add(FULL, V4_ONLY)
    return rig


def _full_on_host() -> Rig:
    rig = furnished(is_host=True)
    rig.add(IN_PLACE)
    return rig


OPERATIONS: dict[str, tuple[Callable[[], Rig], Callable[[Rig], object]]] = {
    "add a link": (_with_bridge, lambda rig: rig.add(FULL)),
    "add a bridge": (furnished, lambda rig: rig.add(BRIDGE)),
    "add three": (furnished, lambda rig: rig.add(BRIDGE, FULL, V4_ONLY)),
    "add on the host": (lambda: furnished(is_host=True), lambda rig: rig.add(IN_PLACE)),
    "remove a link": (_full, lambda rig: rig.remove(rig.plugged[1])),
    "remove a bridge with its port": (_full, lambda rig: rig.remove(rig.plugged[0])),
    "remove three": (_full, lambda rig: rig.remove()),
    "remove on the host": (_full_on_host, lambda rig: rig.remove()),
    "destroy": (_full, lambda rig: rig.destroy()),
}
FLAVOURS = {
    "refused": {"answered": True},
    "not carried out, and no answer": {"answered": False},
    "carried out, and no answer": {"answered": False, "carried_out": True},
}


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whichever_call_fails_nothing_or_everything_is_done(operation: str, flavour: str) -> None:
    make, act = OPERATIONS[operation]
    finished = make()
    act(finished)
    for n in range(1, everywhere(make, act) + 1):
        rig = make()
        before = rig.state()
        rig.faults.fail(n, errno.ENOBUFS, **FLAVOURS[flavour])
        call = len(rig.faults.calls) + n - 1
        error = _failure(rig, act)
        if error is None:
            assert rig.changes(finished.state()) == {}, rig.faults.calls[call]
        else:
            assert rig.changes(before) == {}, rig.faults.calls[call]
            assert (type(error), error.errno, error.left) == (KernelError, errno.ENOBUFS, ())


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_interrupt_in_the_middle_undoes_what_was_done(operation: str, *, carried_out: bool) -> None:
    make, act = OPERATIONS[operation]
    for n in range(1, everywhere(make, act) + 1):
        rig = make()
        before = rig.state()
        rig.faults.fail(n, KeyboardInterrupt(), carried_out=carried_out)
        call = len(rig.faults.calls) + n - 1
        with pytest.raises(KeyboardInterrupt):
            act(rig)
        assert rig.changes(before) == {}, rig.faults.calls[call]


def _failure(rig: Rig, act: Callable[[Rig], object]) -> KernelError | None:
    try:
        act(rig)
    except KernelError as error:
        return error
    return None
