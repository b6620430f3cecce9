"""The codec: messages to bytes and back, whatever bytes come."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gymtwist.errors import InvalidField, MalformedMessage, RequestError
from gymtwist.protocol.all_messages import Reply, Request
from gymtwist.protocol.codec import GATHERED, MessageCodec
from gymtwist.protocol.dynamic_values import MAX_DEPTH
from gymtwist.protocol.framing import FrameReader, Framing, ProtocolName
from gymtwist.protocol.make_messages import Make
from gymtwist.protocol.messages import (
    Close,
    Error,
    Rendered,
    Reset,
    ResetDone,
    Sample,
    Step,
    StepMany,
    Stepped,
    SteppedMany,
)
from tests.support.codec_samples import CODECS, EACH_CODEC, INT32, NETSTRING, decoded, payload_of

#: How many times its own size a payload may take when it is decoded: an empty map is one byte, and 64 in Python.
GROWTH = 100
FINITE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=6,
)
ENTRIES = st.dictionaries(st.text(max_size=5), FINITE, max_size=3)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.builds(Make, st.text(min_size=1, max_size=20), ENTRIES, num_envs=st.none() | st.integers(1, 10_000)),
    st.builds(Reset, st.none() | st.integers(0, 2**64 - 1) | st.lists(st.none() | st.integers(0, 9)), ENTRIES),
    st.builds(Step, FINITE),
    st.builds(StepMany, st.lists(FINITE, min_size=1, max_size=3)),
    st.builds(Sample, st.none() | st.integers(0, 2**64 - 1)),
    st.just(Close()),
)
REWARDS = st.floats() | st.lists(st.floats(), max_size=3)
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.builds(ResetDone, FINITE, ENTRIES),
    st.builds(Stepped, FINITE, REWARDS, st.booleans(), st.lists(st.booleans(), max_size=3), ENTRIES),
    st.builds(SteppedMany, FINITE, REWARDS, st.booleans(), st.booleans(), st.integers(1, 10), ENTRIES),
    st.builds(Error, st.text(), st.text(), st.sampled_from(["request", "environment", "protocol", "server"])),
)
EITHER = st.sampled_from(CODECS)


def nested(depth: int, *, framing: Framing) -> bytes:
    """Return a step whose action is nested, in the encoding of a framing."""
    if framing is Framing.NETSTRING:
        return b'{"op":"step","action":' + b"[" * depth + b"]" * depth + b"}"
    return b"\x82\xa2op\xa4step\xa6action" + b"\x91" * (depth - 1) + b"\x90"


def attempt(codec: MessageCodec, payload: bytes) -> Request | None:
    """Decode a request; nothing but what a client may be told is raised, and memory is bounded by the payload."""
    tracemalloc.start()
    try:
        return codec.decode_request(memoryview(payload))
    except (MalformedMessage, RequestError) as error:
        assert 0 < len(str(error)) < 1000
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < GROWTH * len(payload) + 100_000


@given(EITHER, REQUESTS)
def test_a_request_comes_back_as_it_was(codec: MessageCodec, request: Request) -> None:
    """In both encodings."""
    assert codec.decode_request(payload_of(codec.encode_request(request))) == request


def same(one: Any, other: Any) -> bool:
    """Tell whether rewards are the same to the bit, NaN as well."""
    return np.array_equal(np.array(one, float), np.array(other, float), equal_nan=True) and type(one) is type(other)


@given(EITHER, REPLIES)
@example(NETSTRING, Stepped(0, math.nan, False, False))
@example(NETSTRING, Stepped(0, [math.inf, -math.inf, 1.0], False, False))
@example(NETSTRING, SteppedMany(0, [[math.nan, 1.0]], False, False, 1))
def test_a_reply_comes_back_as_it_was(codec: MessageCodec, reply: Reply) -> None:
    """In both encodings, with rewards that JSON has no number for."""
    back = codec.decode_reply(payload_of(codec.encode_reply(reply)))
    assert type(back) is type(reply)
    for name in reply.__struct_fields__:
        one, other = getattr(back, name), getattr(reply, name)
        assert same(one, other) if name in ("reward", "rewards") else one == other


@given(EITHER, st.binary(max_size=100))
def test_random_bytes_are_a_message_or_an_error(codec: MessageCodec, payload: bytes) -> None:
    """For a server and for a client."""
    attempt(codec, payload)
    try:
        codec.decode_reply(payload)
    except MalformedMessage as error:
        assert 0 < len(str(error)) < 1000


@given(EITHER, REQUESTS | REPLIES, st.data())
def test_a_mutated_message_is_a_message_or_an_error(codec: MessageCodec, message: Any, data: st.DataObject) -> None:
    """A few bytes changed at will, left out, or put in; or the end cut off."""
    payload = payload_of(codec.encode_reply(message))
    place = data.draw(st.integers(0, len(payload)))
    mutated = payload[:place] + data.draw(st.binary(max_size=6))
    mutated += data.draw(st.sampled_from([b"", payload[place:], payload[place + 1 :]]))
    attempt(codec, mutated)
    try:
        codec.decode_reply(mutated)
    except MalformedMessage as error:
        assert 0 < len(str(error)) < 1000


@given(st.integers(0, 2**32 - 1), st.sampled_from([b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"]), st.integers(1, 60))
def test_a_false_length_allocates_nothing(length: int, code: bytes, levels: int) -> None:
    """MessagePack announces how much comes; what did not come is not believed."""
    announced = (code + length.to_bytes(4, "big")) * levels
    attempt(INT32, b"\x82\xa2op\xa4step\xa6action" + announced)


@EACH_CODEC
@pytest.mark.parametrize("depth", [1, MAX_DEPTH, MAX_DEPTH + 1, 500, 2000, 100_000])
def test_too_deep_nesting_is_refused(codec: MessageCodec, depth: int) -> None:
    """The message says so, and how deep it may be if it could be read."""
    payload = nested(depth, framing=codec.framing)
    if depth <= MAX_DEPTH:
        assert type(codec.decode_request(payload)) is Step
        return
    with pytest.raises(MalformedMessage, match=f"nested deeper than {MAX_DEPTH}|nested too deep"):
        codec.decode_request(payload)


@EACH_CODEC
@pytest.mark.parametrize(
    "request_",
    [
        Make("x", {"a": eval("[" * 70 + "]" * 70)}),
        Reset(options={"a": [0, {"b": eval("[" * 70 + "]" * 70)}]}),
        StepMany([0, eval("[" * 70 + "]" * 70)]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_every_field_has_a_limit_of_depth(codec: MessageCodec, request_: Request) -> None:
    """That of any type above all."""
    payload = codec._encode(request_)
    with pytest.raises(MalformedMessage, match=f"nested deeper than {MAX_DEPTH}"):
        codec.decode_request(payload)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 400, 800, 5000])
@pytest.mark.parametrize("field", ["info", "reward"])
@EACH_CODEC
def test_a_server_cannot_make_a_client_fail_by_depth(codec: MessageCodec, field: str, depth: int) -> None:
    """A client has its own errors, too."""
    deep = b"[" * depth + b"]" * depth
    text = b'{"op":"step","observation":0,"terminated":false,"truncated":false,"reward":'
    text += deep + b"}" if field == "reward" else b'1,"info":{"a":' + deep + b"}}"
    payload = text
    if codec is INT32:
        shell = {"op": "step", "observation": 0, "terminated": False, "truncated": False}
        packed = msgspec.Raw(b"\x91" * (depth - 1) + b"\x90")
        rest: dict[str, Any] = {"reward": packed} if field == "reward" else {"reward": 1.0, "info": {"a": packed}}
        payload = msgspec.msgpack.encode({**shell, **rest})
    try:
        codec.decode_reply(payload)
    except MalformedMessage:
        return
    assert (codec, field) == (NETSTRING, "info")  # which is left as it is


@pytest.mark.parametrize(
    "payload",
    [
        b"\x82\xa2op\xa4step\xa6action\xd4\x05\0",
        b"\x82\xa2op\xa4step\xa6action\xc1",
        b"\x82\xa2op\xa4step\xa6action\x01\x02",
        b"\x82\xa2op\xa4step\xa6action\xd7\xff" + b"\xff" * 8,
        b"\x82\xa2op\xa4step\xa6action\x81\x80\x01",
    ],
)
def test_messagepack_that_the_protocol_has_not(payload: bytes) -> None:
    """Extensions, bytes that mean nothing, what follows a message, keys that cannot be."""
    with pytest.raises((MalformedMessage, InvalidField)):
        INT32.decode_request(payload)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "truncated"),
        (b'{"op":"step","action":1', "truncated"),
        (b'{"op":"step","action":NaN}', 'no NaN in it; send the string "NaN"'),
        (b'{"op":"step","action":"\xff"}', "the byte 0xff, which is not UTF-8"),
        (b'{"op":"step","action":1}x', "trailing characters"),
    ],
)
def test_invalid_json(payload: bytes, words: str) -> None:
    """The message says where it is wrong."""
    with pytest.raises(MalformedMessage, match=f"not valid JSON: .*{words}"):
        NETSTRING.decode_request(payload)


def test_a_large_observation_is_not_copied() -> None:
    """It is sent from where it lies; the message is the same as if it were copied."""
    frame = np.arange(210 * 160 * 3, dtype=np.float32).reshape(210, 160, 3)
    info = {"lives": 3}
    large: list[tuple[Reply, Reply]] = [
        (ResetDone(frame.data), ResetDone(frame.tobytes())),
        (ResetDone(frame.data, info), ResetDone(frame.tobytes(), info)),
        (Stepped(frame.data, 1.5, False, True, info), Stepped(frame.tobytes(), 1.5, False, True, info)),
        (SteppedMany(frame.data, b"", False, True, 1), SteppedMany(frame.tobytes(), b"", False, True, 1)),
    ]
    for gathered, copied in large:
        parts = INT32.encode_reply(gathered)
        assert any(np.shares_memory(np.frombuffer(part, np.uint8), frame) for part in parts)
        assert all(len(part) == memoryview(part).nbytes for part in parts)
        assert INT32.decode_reply(payload_of(parts)) == copied


def test_a_small_message_is_one_part() -> None:
    """One copy costs less than one more part to send."""
    for codec in CODECS:
        assert len(codec.encode_reply(Stepped(b"x" * 100, 1.0, False, False))) == 1
        assert len(codec.encode_reply(Stepped(b"x" * GATHERED, 1.0, False, False))) > 1


@EACH_CODEC
def test_frames_are_cut_and_decoded_out_of_one_buffer(codec: MessageCodec) -> None:
    """What is decoded does not lie in the buffer any more."""
    requests: list[Request] = [Step(b"x" * 10 if codec is INT32 else "x" * 10), Reset(1), Step([1, "y"])]
    reader = FrameReader(codec.framing, b"".join(b"".join(codec.encode_request(each)) for each in requests))
    read = []
    while (payload := reader.next_frame()) is not None:
        read.append(codec.decode_request(payload))
        payload[:] = bytes(len(payload))
    assert read == requests


@EACH_CODEC
def test_what_was_rendered_comes_back(codec: MessageCodec) -> None:
    """An array with its dtype and its shape, in JSON as well; a list of them; text; nothing."""
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    back = codec.decode_reply(payload_of(codec.encode_reply(Rendered(frame))))
    assert isinstance(back, Rendered)
    assert back.frame.dtype == np.uint8
    assert np.array_equal(back.frame, frame)
    back.frame[0] = 0
    several = codec.decode_reply(payload_of(codec.encode_reply(Rendered([frame, frame]))))
    assert isinstance(several, Rendered)
    assert np.array_equal(several.frame, [frame, frame])
    for other in ("text", None):
        assert codec.decode_reply(payload_of(codec.encode_reply(Rendered(other)))) == Rendered(other)


def test_the_classic_protocol_has_no_codec() -> None:
    """It has its own."""
    with pytest.raises(ValueError, match="classic"):
        MessageCodec(ProtocolName.CLASSIC)


@pytest.mark.parametrize("reward", ['"nan"', '"1"', "null", "{}", "[true]", "1e999", "1" * 400])
def test_a_reward_that_is_no_number_is_refused(reward: str) -> None:
    """Text is one only if it is one of the three."""
    text = f'{{"op":"step","observation":0,"terminated":false,"truncated":false,"reward":{reward}}}'
    with pytest.raises(MalformedMessage):
        NETSTRING.decode_reply(text.encode())


@EACH_CODEC
def test_a_reward_may_be_an_integer(codec: MessageCodec) -> None:
    """In JSON another encoder writes 1.0 as 1."""
    fields = {"op": "step", "observation": 0, "terminated": False, "truncated": False, "reward": 1}
    assert codec.decode_reply(codec._encode(fields)) == Stepped(0, 1.0, False, False)
    assert decoded(codec, codec._encode(fields)) == fields
