"""What crosses a relay: where messages end, who waits for whom, and what another worker must read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.placement.conversation import MOST_KEPT, Conversation
from gymtwist.placement.frame_counter import NoFrame, counter_for
from gymtwist.protocol import make_messages, messages, websocket
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import ProtocolName

FRAMED = (ProtocolName.NETSTRING, ProtocolName.INT32)
WEBSOCKET = (ProtocolName.TEXT, ProtocolName.BINARY)


def framed(protocol: ProtocolName, payload: bytes) -> bytes:
    """Return a payload in the frame of a protocol."""
    if protocol is ProtocolName.NETSTRING:
        return b"%d:%b," % (len(payload), payload)
    if protocol is ProtocolName.INT32:
        return len(payload).to_bytes(4, "big") + payload
    return websocket.frame_header(websocket.OPCODES[protocol], len(payload)) + payload


def request(protocol: ProtocolName, message: make_messages.Make | messages.Reset) -> bytes:
    """Return the frame of a request."""
    return b"".join(MessageCodec(protocol).encode_request(message))


def error(protocol: ProtocolName) -> bytes:
    """Return the frame of an error."""
    return b"".join(MessageCodec(protocol).encode_reply(messages.Error("bad", "make", "request")))


def made(protocol: ProtocolName) -> bytes:
    """Return the beginning of the reply to a make request, as a whole frame."""
    if protocol is ProtocolName.NETSTRING:
        return framed(protocol, b'{"op":"make","id":1}')
    return framed(protocol, b"\x82\xa2op\xa4make\xa2id\x01")


def begun(protocol: ProtocolName) -> tuple[Conversation, bytes]:
    """Return a conversation whose environment is made, and the payload of the make message."""
    make = request(protocol, make_messages.Make("CartPole-v1"))
    conversation = Conversation(protocol, make)
    conversation.replied(memoryview(made(protocol)))
    payload = make[4:] if protocol is ProtocolName.INT32 else make.partition(b":")[2][:-1]
    return conversation, payload


@pytest.mark.parametrize("protocol", [*FRAMED, *WEBSOCKET])
@given(payloads=st.lists(st.binary(min_size=1, max_size=400), max_size=6), cuts=st.lists(st.integers(0, 2000)))
def test_ends_of_messages_are_found_however_they_are_cut(
    protocol: ProtocolName, payloads: list[bytes], cuts: list[int]
) -> None:
    """Each once, at its place."""
    frames = [framed(protocol, payload) for payload in payloads]
    data = b"".join(frames)
    counter = counter_for(protocol)
    assert counter is not None
    found, start = [], 0
    for cut in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        found += [start + end for end in counter.ends(memoryview(data[start:cut]))]
        start = cut
    assert found == [len(b"".join(frames[: index + 1])) for index in range(len(frames))]
    assert not counter.is_partial


@pytest.mark.parametrize("protocol", FRAMED)
@given(payload=st.binary(min_size=1, max_size=300), extra=st.binary(max_size=3))
def test_one_message_is_recognised(protocol: ProtocolName, payload: bytes, extra: bytes) -> None:
    """Only if it is all."""
    counter = counter_for(protocol)
    assert counter is not None
    frame = framed(protocol, payload)
    assert counter.is_one(memoryview(frame + extra)) == (not extra)
    assert not counter.is_one(memoryview(frame[:-1]))


@pytest.mark.parametrize(
    ("protocol", "data"),
    [(ProtocolName.NETSTRING, b"x"), (ProtocolName.NETSTRING, b":"), (ProtocolName.INT32, bytes(4))],
)
def test_what_is_no_frame_is_refused(protocol: ProtocolName, data: bytes) -> None:
    """The rest of the stream then has no meaning."""
    counter = counter_for(protocol)
    assert counter is not None
    with pytest.raises(NoFrame):
        counter.ends(memoryview(data))


@pytest.mark.parametrize("protocol", WEBSOCKET)
def test_control_frames_are_no_messages(protocol: ProtocolName) -> None:
    """Nor are the fragments before the last."""
    counter = counter_for(protocol)
    assert counter is not None
    opcode = websocket.OPCODES[protocol]
    assert counter.ends(memoryview(bytes([0x80 | 9, 1]) + b"p")) == []
    assert counter.ends(memoryview(bytes([opcode, 1]) + b"a")) == []
    assert counter.is_partial
    assert counter.ends(memoryview(bytes([0x80 | 9, 0]))) == []
    assert counter.ends(memoryview(bytes([0x80, 0x80 | 1]) + b"maskb")) == [7]
    assert not counter.is_partial


@pytest.mark.parametrize("protocol", FRAMED)
def test_the_make_message_that_is_answered_is_kept(protocol: ProtocolName) -> None:
    """And not one that was refused before."""
    refused = request(protocol, make_messages.Make("NoSuch-v0"))
    conversation = Conversation(protocol, refused)
    conversation.replied(memoryview(error(protocol)))
    assert (conversation.make, conversation.is_owed_reply) == (b"", False)
    make = request(protocol, make_messages.Make("CartPole-v1"))
    for byte in range(len(make)):
        conversation.requested(memoryview(make)[byte : byte + 1])
    reply = memoryview(made(protocol))
    conversation.replied(reply[:7])
    assert conversation.has_part_of_reply
    conversation.replied(reply[7:])
    assert conversation.make in make
    assert len(conversation.make) > len(make) - 8
    assert conversation.can_go_on


@pytest.mark.parametrize("protocol", FRAMED)
def test_a_usual_request_is_counted(protocol: ProtocolName) -> None:
    """Its bytes are not needed again."""
    conversation, make = begun(protocol)
    assert conversation.make == make
    step = request(protocol, messages.Reset())
    for _ in range(3):
        conversation.requested(memoryview(step))
        assert (conversation.is_owed_reply, conversation.unread()) == (True, b"")
        conversation.replied(memoryview(error(protocol)))
        assert (conversation.is_owed_reply, conversation.unread()) == (False, b"")


@pytest.mark.parametrize("protocol", FRAMED)
def test_requests_behind_the_first_unanswered_one_are_kept(protocol: ProtocolName) -> None:
    """With the part of the last one, as another worker must read them."""
    conversation, _ = begun(protocol)
    steps = [request(protocol, messages.Reset(seed=seed)) for seed in range(4)]
    conversation.requested(memoryview(steps[0]))
    conversation.requested(memoryview(steps[1] + steps[2] + steps[3][:3]))
    assert conversation.unread() == steps[1] + steps[2] + steps[3][:3]
    conversation.replied(memoryview(error(protocol)))
    assert conversation.unread() == steps[2] + steps[3][:3]
    conversation.requested(memoryview(steps[3][3:]))
    for _ in range(2):
        conversation.replied(memoryview(error(protocol)))
    assert conversation.unread() == b""
    assert conversation.is_owed_reply


def test_no_more_is_kept_than_a_bound() -> None:
    """A client that sends without end and reads nothing takes no memory of the front."""
    conversation, _ = begun(ProtocolName.INT32)
    conversation.requested(memoryview((2**24).to_bytes(4, "big") + bytes(MOST_KEPT)))
    assert not conversation.can_go_on
    assert conversation.unread() == b""


@pytest.mark.parametrize("protocol", WEBSOCKET)
def test_the_handshake_of_websocket_has_no_frame(protocol: ProtocolName) -> None:
    """Its payload is the make message; that of a later make is masked, and nobody can go on."""
    payload = b'{"op":"make","id":"CartPole-v1"}'
    reply = b'{"op":"make"}' if protocol is ProtocolName.TEXT else b"\x81\xa2op\xa4make"
    conversation = Conversation(protocol, payload)
    conversation.replied(memoryview(framed(protocol, reply)))
    assert conversation.make == payload
    other = Conversation(protocol, payload)
    other.replied(memoryview(framed(protocol, b"\x81\xa2op\xa5error")))
    other.requested(memoryview(framed(protocol, payload)))
    other.replied(memoryview(framed(protocol, reply)))
    assert not other.can_go_on


def test_a_classic_session_cannot_go_on() -> None:
    """Its messages have no length that a relay could read."""
    conversation = Conversation(ProtocolName.CLASSIC, b"")
    conversation.requested(memoryview(b"x"))
    conversation.replied(memoryview(b"y"))
    assert not conversation.can_go_on
    assert conversation.has_spoken
