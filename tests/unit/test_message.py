"""Netlink messages, and the conversation as a generator: requests, answers, acknowledgements and errors."""

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
CHANGE, GET, DUMP = link.change(7, name="eth0"), link.get("eth0"), link.dump()
DONE_OK = struct.pack("=i", 0)
ALREADY = "add address 10.0.0.4/32 to v0, which is there: refused"


class Starved(Exception):  # noqa: N818  a signal, as Overrun is
    """The conversation waits for a datagram that the test does not provide."""


def converse(request: Request, *answers: bytes | Overrun) -> tuple[list[Message], list[bytes]]:
    """Run a conversation; return its result and the datagrams that it sent."""
    exchange = message.converse(request, iter(range(1, ATTEMPTS + 1)))  # sequence numbers for ATTEMPTS requests
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


# Requests


@pytest.mark.parametrize(
    ("request_", "flags"),
    [(CHANGE, 0x5), (link.create("bridge", "br0", index=5), 0x605), (GET, 0x1), (DUMP, 0x301)],
    ids=["change", "create", "get", "list"],
)
def test_only_a_change_asks_for_an_acknowledgement(request_: Request, flags: int) -> None:
    length = HEADER_SIZE + len(request_.body)
    assert message.pack(request_, 9) == struct.pack("=IHHII", length, request_.kind, flags, 9, 0) + request_.body


def test_replace_and_excl_do_not_make_a_dump() -> None:
    """A request with NLM_F_REPLACE and NLM_F_EXCL, which are the bits of NLM_F_DUMP, is not a dump."""
    request = Request("replace", route.NEWROUTE, b"", F_REPLACE | F_EXCL)
    assert not request.is_dump
    assert DUMP.is_dump


# Parsing


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=9))))
def test_datagram_is_split_into_its_messages(items: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(reply(kind, body, sequence=sequence) for kind, sequence, body in items)
    assert list(message.unpack(data)) == [Message(kind, 0, sequence, body) for kind, sequence, body in items]


@given(st.binary(max_size=80))
@example(reply(ERROR, bytes(4))[:-1])
def test_random_bytes_give_messages_or_protocol_error(data: bytes) -> None:
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
def test_truncated_message_is_refused(data: bytes, text: str) -> None:
    """A truncated message raises ProtocolError with its length."""
    with pytest.raises(ProtocolError) as info:
        list(message.unpack(data))
    assert str(info.value) == text


# Acknowledgements


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
def test_recorded_acknowledgements_are_decoded(caption: str, code: int, text: str | None) -> None:
    """Recorded acknowledgements decode to their errno and the kernel's extack message."""
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
def test_malformed_acknowledgement_is_refused(answer: Message, text: str) -> None:
    with pytest.raises(ProtocolError) as info:
        message.verdict(answer)
    assert str(info.value) == text


@given(st.sampled_from([ERROR, DONE]), st.integers(0, 2**16 - 1), st.binary(max_size=64))
def test_random_acknowledgement_is_decoded_or_refused(kind: int, flags: int, body: bytes) -> None:
    """A random acknowledgement decodes to an errno and an extack message, or raises ProtocolError."""
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


def test_dump_continues_over_datagrams_until_done() -> None:
    """A dump is read over several datagrams until NLMSG_DONE."""
    found, sent = converse(DUMP, links(b"1", b"2"), links(b"3"), done())
    assert bodies(found) == [b"1", b"2", b"3"]
    assert sent == [message.pack(DUMP, 1)]


def test_done_may_share_a_datagram_with_the_last_part() -> None:
    """NLMSG_DONE may arrive in the same datagram as the last part of a dump."""
    found, _ = converse(DUMP, links(b"1") + done())
    assert bodies(found) == [b"1"]


@pytest.mark.parametrize("request_", [CHANGE, GET, DUMP], ids=["change", "get", "list"])
def test_conversation_waits_for_its_own_answer(request_: Request) -> None:
    """A conversation goes on until an answer with its own sequence number arrives."""
    with pytest.raises(Starved):
        converse(request_, reply(NOOP), ack(sequence=7), done(sequence=7))


def test_other_answers_and_noop_are_ignored() -> None:
    """A conversation ignores NLMSG_NOOP and answers with another sequence number."""
    found, _ = converse(
        DUMP, ack(errno.EPERM, sequence=0), links(b"late", sequence=9), reply(NOOP) + links(b"1") + done()
    )
    assert bodies(found) == [b"1"]


@pytest.mark.parametrize("place", ["part", "end"])
def test_interrupted_dump_is_requested_again(place: str) -> None:
    """A dump with NLM_F_DUMP_INTR is requested again, and its partial result is dropped."""
    torn = F_MULTI | F_DUMP_INTR
    part, end = (torn, F_MULTI) if place == "part" else (F_MULTI, torn)
    first = links(b"old", flags=part), done(flags=end)
    found, sent = converse(DUMP, *first, links(b"new", sequence=2), done(sequence=2))
    assert bodies(found) == [b"new"]
    assert sent == [message.pack(DUMP, 1), message.pack(DUMP, 2)]


def test_dump_over_the_size_limit_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump of more than LIMIT bytes raises KernelError with EMSGSIZE."""
    part = links(b"1", b"2")
    monkeypatch.setattr(message, "LIMIT", 2 * len(part))
    with pytest.raises(Starved):  # as long as the limit: the conversation waits for more
        converse(DUMP, part, part)
    with pytest.raises(KernelError, match=f"the list is longer than {2 * len(part)} bytes") as info:
        converse(DUMP, part, part, part)
    assert info.value.errno == errno.EMSGSIZE


def test_dump_interrupted_five_times_is_abandoned() -> None:
    """A dump that is interrupted in each of five attempts raises KernelError with EINTR."""
    answers = [done(sequence=number, flags=F_MULTI | F_DUMP_INTR) for number in range(1, ATTEMPTS + 2)]
    with pytest.raises(KernelError) as info:
        converse(DUMP, *answers[:ATTEMPTS])
    assert info.value.errno == errno.EINTR
    assert str(info.value) == "list links: EINTR (the list changed under each of 5 readings)"


def test_dump_interrupted_four_times_succeeds() -> None:
    torn = [done(sequence=number, flags=F_MULTI | F_DUMP_INTR) for number in range(1, ATTEMPTS)]
    found, sent = converse(DUMP, *torn, links(b"1", sequence=ATTEMPTS), done(sequence=ATTEMPTS))
    assert bodies(found) == [b"1"]
    assert len(sent) == ATTEMPTS


def test_overrun_dump_is_read_to_its_end_and_repeated() -> None:
    """After an overrun (ENOBUFS), a dump is read to its end and requested again."""
    found, sent = converse(DUMP, links(b"1"), Overrun(), done(), links(b"2", sequence=2) + done(sequence=2))
    assert bodies(found) == [b"2"]
    assert len(sent) == 2


@pytest.mark.parametrize(("request_", "answer"), [(CHANGE, ack()), (GET, links(b"eth0"))], ids=["change", "get"])
def test_overrun_does_not_repeat_a_change_or_a_lookup(request_: Request, answer: bytes) -> None:
    """After an overrun (ENOBUFS), a change or a lookup waits for its answer and is not sent again."""
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
def test_kernel_error_has_the_request_and_the_reason(request_: Request, answer: bytes, code: int, text: str) -> None:
    """A KernelError of a refused request has the request, the errno and the kernel's extack message."""
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
def test_random_answers_never_break_a_conversation(request: Request, answers: list[bytes | Overrun]) -> None:
    """With random answers, a conversation fails only in known ways and sends at most ATTEMPTS requests."""
    with suppress(Starved, KernelError, ProtocolError):
        found, _ = converse(request, *answers)
        assert all(item.kind == request.kind - 2 for item in found)
