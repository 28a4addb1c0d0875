"""Messages, and the protocol as a generator: what is sent, what ends it, and what is made of every answer."""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netsandbox.errors import KernelError, ProtocolError
from netsandbox.netlink import address, attrs, link, message, route
from netsandbox.netlink import link_requests as requests
from netsandbox.netlink.message import (
    ATTEMPTS,
    DONE,
    ERROR,
    F_DUMP_INTR,
    F_EXCL,
    F_MULTI,
    F_REPLACE,
    HEADER_SIZE,
    NOOP,
    Message,
    Overrun,
    Request,
)
from tests.unit.recorded import datagrams, reply

NEWLINK, NEWROUTE = link.NEWLINK, route.NEWROUTE
CHANGE, GET, DUMP = requests.modify(7, name="eth0"), requests.get("eth0"), requests.dump()
DONE_OK = struct.pack("=i", 0)
ALREADY = "add address 10.0.0.4/32 to v0, which is there: refused"


class Starved(Exception):  # noqa: N818  a signal, as Overrun is
    """The conversation waits for more than there is."""


def converse(request: Request, *answers: bytes | Overrun) -> tuple[list[Message], list[bytes]]:
    """Hold a conversation; return its result and what was sent."""
    exchange = message.converse(request, iter(range(1, ATTEMPTS + 1)))  # a sixth number is not to be had
    coming = iter(answers)
    sent: list[bytes] = []
    datagram = next(exchange)
    while True:
        try:
            if datagram is not None:
                sent.append(datagram)
                datagram = next(exchange)
                continue
            answer = next(coming, None)
            if answer is None:
                raise Starved
            datagram = exchange.throw(answer) if isinstance(answer, Overrun) else exchange.send(answer)
        except StopIteration as end:
            return end.value, sent


def ack(code: int = 0, *, sequence: int = 1) -> bytes:
    return reply(ERROR, struct.pack("=i", -code) + bytes(HEADER_SIZE), flags=0x100, sequence=sequence)


def links(*bodies: bytes, sequence: int = 1, flags: int = F_MULTI) -> bytes:
    return b"".join(reply(NEWLINK, body, flags=flags, sequence=sequence) for body in bodies)


def done(*, sequence: int = 1, flags: int = F_MULTI) -> bytes:
    return reply(DONE, DONE_OK, flags=flags, sequence=sequence)


def bodies(found: list[Message]) -> list[bytes]:
    return [item.body for item in found]


# What is sent


@pytest.mark.parametrize(
    ("request_", "flags"),
    [(CHANGE, 0x5), (requests.create("bridge", "br0", index=5), 0x605), (GET, 0x1), (DUMP, 0x301)],
    ids=["change", "create", "get", "list"],
)
def test_only_a_change_asks_for_an_acknowledgement(request_: Request, flags: int) -> None:
    length = HEADER_SIZE + len(request_.body)
    assert message.pack(request_, 9) == struct.pack("=IHHII", length, request_.kind, flags, 9, 0) + request_.body


def test_a_change_with_the_bits_of_a_list_is_none() -> None:
    request = Request("replace", route.NEWROUTE, b"", F_REPLACE | F_EXCL)
    assert not request.is_dump
    assert DUMP.is_dump


# What comes


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=9))))
def test_the_messages_of_a_datagram_are_told_apart(items: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(reply(kind, body, sequence=sequence) for kind, sequence, body in items)
    assert list(message.unpack(data)) == [Message(kind, 0, sequence, body) for kind, sequence, body in items]


@given(st.binary(max_size=80))
@example(reply(ERROR, bytes(4))[:-1])
def test_noise_gives_messages_or_a_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        assert sum(HEADER_SIZE + len(item.body) for item in message.unpack(data)) <= len(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(15), "message header of 15 bytes where 16 were due"),
        (bytes(16), "message of 0 bytes at offset 0 of 16"),
        (struct.pack("=I", 17) + bytes(12), "message of 17 bytes at offset 0 of 16"),
        (reply(NOOP) + struct.pack("=I", 15) + bytes(12), "message of 15 bytes at offset 16 of 32"),
    ],
)
def test_a_message_cut_short_is_refused_with_its_place(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        list(message.unpack(data))
    assert str(info.value) == text


# Verdicts


@pytest.mark.parametrize(
    ("caption", "code", "text"),
    [
        (ALREADY, errno.EEXIST, "ipv4: Address already assigned"),
        (
            "the same, on a socket without NETLINK_CAP_ACK: it quotes the whole request",
            errno.EEXIST,
            "ipv4: Address already assigned",
        ),
        ("the same, on a socket without NETLINK_EXT_ACK: it does not explain itself", errno.EEXIST, None),
        ('look up the link "nowhere"', errno.ENODEV, None),
        ("set the alias of v0: done", 0, None),
        (
            "list links with a flag in the header, which strict checking refuses",
            errno.EINVAL,
            "Invalid values in header for link dump request",
        ),
        ("list the addresses of a link that is not there: the end of the list carries the error", errno.ENODEV, None),
    ],
)
def test_the_kernels_verdicts_are_understood(caption: str, code: int, text: str | None) -> None:
    (data,) = datagrams("refusals", caption)
    (answer,) = message.unpack(data)
    assert message.verdict(answer) == (code, text)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Message(ERROR, 0, 1, b"\0\0\0"), "acknowledgement of 3 bytes"),
        (Message(DONE, 0, 1, b""), "acknowledgement of 0 bytes"),
        (Message(ERROR, 0, 1, bytes(19)), "acknowledgement of 19 bytes"),
        (Message(ERROR, 0, 1, struct.pack("=i", -(2**31)) + bytes(16)), "acknowledgement with the errno 2147483648"),
        (Message(DONE, 0, 1, struct.pack("=i", 1)), "acknowledgement with the errno -1"),
        (Message(ERROR, 0x300, 1, bytes(20) + b"\3\0\0\0"), "attribute of 3 bytes at offset 20 of 24"),
    ],
)
def test_a_verdict_that_is_none_is_refused(answer: Message, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        message.verdict(answer)
    assert str(info.value) == text


@given(st.sampled_from([ERROR, DONE]), st.integers(0, 2**16 - 1), st.binary(max_size=64))
def test_noise_gives_a_verdict_or_a_protocol_error(kind: int, flags: int, body: bytes) -> None:
    with suppress(ProtocolError):
        code, text = message.verdict(Message(kind, flags, 1, body))
        assert os.strerror(code)
        assert text is None or "\0" not in text


# Conversations


def test_a_change_ends_with_its_acknowledgement() -> None:
    assert converse(CHANGE, ack()) == ([], [message.pack(CHANGE, 1)])


def test_a_single_answer_ends_a_look_up() -> None:
    found, _ = converse(GET, links(b"eth0", flags=0))
    assert bodies(found) == [b"eth0"]


def test_a_list_goes_on_over_datagrams_until_its_end() -> None:
    found, sent = converse(DUMP, links(b"1", b"2"), links(b"3"), done())
    assert bodies(found) == [b"1", b"2", b"3"]
    assert sent == [message.pack(DUMP, 1)]


def test_the_end_of_a_list_may_come_with_its_last_part() -> None:
    found, _ = converse(DUMP, links(b"1") + done())
    assert bodies(found) == [b"1"]


@pytest.mark.parametrize("request_", [CHANGE, GET, DUMP], ids=["change", "get", "list"])
def test_an_answer_that_has_not_come_is_waited_for(request_: Request) -> None:
    with pytest.raises(Starved):
        converse(request_, reply(NOOP), ack(sequence=7), done(sequence=7))


def test_answers_to_other_requests_and_fillers_are_not_heard() -> None:
    found, _ = converse(
        DUMP, ack(errno.EPERM, sequence=0), links(b"late", sequence=9), reply(NOOP) + links(b"1") + done()
    )
    assert bodies(found) == [b"1"]


@pytest.mark.parametrize("place", ["part", "end"])
def test_an_interrupted_list_is_asked_for_again_and_its_half_forgotten(place: str) -> None:
    torn = F_MULTI | F_DUMP_INTR
    part, end = (torn, F_MULTI) if place == "part" else (F_MULTI, torn)
    first = links(b"old", flags=part), done(flags=end)
    found, sent = converse(DUMP, *first, links(b"new", sequence=2), done(sequence=2))
    assert bodies(found) == [b"new"]
    assert sent == [message.pack(DUMP, 1), message.pack(DUMP, 2)]


def test_a_list_longer_than_the_limit_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    part = links(b"1", b"2")
    monkeypatch.setattr(message, "LIMIT", 2 * len(part))
    with pytest.raises(Starved):  # as long as it may be, and waited for
        converse(DUMP, part, part)
    with pytest.raises(KernelError, match=f"the list is longer than {2 * len(part)} bytes") as info:
        converse(DUMP, part, part, part)
    assert info.value.errno == errno.EMSGSIZE


def test_a_list_that_is_interrupted_each_time_is_given_up_after_five_readings() -> None:
    answers = [done(sequence=number, flags=F_MULTI | F_DUMP_INTR) for number in range(1, ATTEMPTS + 2)]
    with pytest.raises(KernelError) as info:
        converse(DUMP, *answers[:ATTEMPTS])
    assert info.value.errno == errno.EINTR
    assert str(info.value) == "list links: EINTR (the list changed under each of 5 readings)"


def test_four_interruptions_are_borne() -> None:
    torn = [done(sequence=number, flags=F_MULTI | F_DUMP_INTR) for number in range(1, ATTEMPTS)]
    found, sent = converse(DUMP, *torn, links(b"1", sequence=ATTEMPTS), done(sequence=ATTEMPTS))
    assert bodies(found) == [b"1"]
    assert len(sent) == ATTEMPTS


def test_an_overrun_list_is_read_to_its_end_and_asked_for_again() -> None:
    found, sent = converse(DUMP, links(b"1"), Overrun(), done(), links(b"2", sequence=2) + done(sequence=2))
    assert bodies(found) == [b"2"]
    assert len(sent) == 2


@pytest.mark.parametrize(("request_", "answer"), [(CHANGE, ack()), (GET, links(b"eth0"))], ids=["change", "get"])
def test_an_overrun_is_no_answer_and_nothing_is_asked_twice(request_: Request, answer: bytes) -> None:
    _, sent = converse(request_, Overrun(), answer)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("request_", "answer", "code", "text"),
    [
        (
            CHANGE,
            datagrams("refusals", ALREADY)[0],
            errno.EEXIST,
            "set link 7: name eth0: EEXIST (ipv4: Address already assigned)",
        ),
        (
            GET,
            datagrams("refusals", 'look up the link "nowhere"')[0],
            errno.ENODEV,
            "look up link eth0: ENODEV (No such device)",
        ),
        (
            DUMP,
            links(b"1") + reply(DONE, struct.pack("=i", -errno.ENOMEM)),
            errno.ENOMEM,
            "list links: ENOMEM (Cannot allocate memory)",
        ),
        (
            CHANGE,
            ack(errno.EPERM),
            errno.EPERM,
            "set link 7: name eth0: EPERM (Operation not permitted; it needs CAP_NET_ADMIN)",
        ),
        (
            CHANGE,
            reply(ERROR, struct.pack("=i", -1) + bytes(HEADER_SIZE) + attrs.pack_text(1, "not you"), flags=0x300),
            errno.EPERM,
            "set link 7: name eth0: EPERM (not you)",
        ),
    ],
)
def test_a_refusal_says_what_was_asked_and_what_came_back(
    request_: Request, answer: bytes, code: int, text: str
) -> None:
    with pytest.raises(KernelError) as info:
        converse(request_, answer)
    assert (info.value.errno, str(info.value), info.value.answered) == (code, text, True)


@pytest.mark.parametrize("request_", [GET, DUMP, CHANGE], ids=["get", "list", "change"])
def test_an_answer_of_another_type_is_refused(request_: Request) -> None:
    with pytest.raises(ProtocolError) as info:
        converse(request_, reply(NEWROUTE, bytes(12)))
    assert str(info.value) == f"{request_.text}: an answer of type 24"


MESSAGES = st.builds(
    lambda kind, body, flags, sequence: reply(kind, body, flags=flags, sequence=sequence),
    st.sampled_from([NOOP, ERROR, DONE, 4, NEWLINK, NEWROUTE]) | st.integers(0, 2**16 - 1),
    st.binary(max_size=48) | st.just(DONE_OK) | st.just(DONE_OK + bytes(HEADER_SIZE)),
    st.sampled_from([0, F_MULTI, F_MULTI | F_DUMP_INTR, 0x100, 0x200, 0x300]) | st.integers(0, 2**16 - 1),
    st.integers(1, ATTEMPTS + 1),
)
ANSWERS = st.lists(MESSAGES, max_size=4).map(b"".join) | st.binary(max_size=64) | st.builds(Overrun)


@given(st.sampled_from([CHANGE, GET, DUMP, address.dump(), route.dump()]), st.lists(ANSWERS, max_size=24))
def test_whatever_comes_a_conversation_ends_and_asks_five_times_at_most(
    request: Request, answers: list[bytes | Overrun]
) -> None:
    with suppress(Starved, KernelError, ProtocolError):
        found, _ = converse(request, *answers)
        assert all(item.kind == request.kind - 2 for item in found)
