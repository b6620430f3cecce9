"""Requests as libraries of other languages write them, line by line: taken where only one meaning is possible."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from gymtwist.errors import GymtwistError, InvalidField, MalformedMessage
from gymtwist.protocol.all_messages import Request
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import Framing, ProtocolName
from gymtwist.protocol.make_messages import Make
from gymtwist.protocol.messages import Reset, Sample, Share, Step, StepMany
from tests.support.codec_samples import EACH_CODEC, INT32, NETSTRING, payload_of

packed = msgspec.msgpack.encode
UNDEFINED = msgspec.msgpack.Ext(0, b"\0")


def encoded(codec: MessageCodec, fields: Any) -> bytes:
    """Return fields as another client writes them."""
    return packed(fields) if codec.framing is Framing.INT32 else json.dumps(fields).encode()


def refusal(codec: MessageCodec, payload: bytes) -> str:
    """Return the text of the error."""
    with pytest.raises(GymtwistError) as caught:
        codec.decode_request(payload)
    return str(caught.value)


# null, and undefined


@EACH_CODEC
def test_null_is_as_if_left_out(codec: MessageCodec) -> None:
    """For every field of every request that may be left out."""
    for kind in (Make, Reset, StepMany, Sample, Share):
        fields = {each.name: None for each in msgspec.structs.fields(kind) if not each.required}
        every: dict[Any, dict[str, Any]] = {Make: {"id": "x"}, StepMany: {"actions": ["a"]}}
        needed = every.get(kind, {})
        request: Any = kind(**needed)
        assert codec.decode_request(encoded(codec, {"op": kind.__struct_config__.tag, **fields, **needed})) == request


@EACH_CODEC
def test_null_for_a_field_that_is_needed(codec: MessageCodec) -> None:
    """Is refused, with what to send."""
    assert refusal(codec, encoded(codec, {"op": "make", "id": None})).endswith(
        "is null: send a string of 1 to 255 characters"
    )


def test_undefined_is_null() -> None:
    """An extension of type 0 with a zero byte, which JavaScript's msgpackr writes."""
    assert INT32.decode_request(packed({"op": "make", "id": "x", "kwargs": UNDEFINED, "info": UNDEFINED})) == Make("x")
    assert INT32.decode_request(packed({"op": "reset", "seed": [1, UNDEFINED]})) == Reset([1, None])
    assert "extension type 0" in refusal(INT32, packed({"op": "reset", "options": {"a": UNDEFINED}}))


# Whole numbers as floats


@EACH_CODEC
@pytest.mark.parametrize(
    ("fields", "request_"),
    [
        ({"op": "reset", "seed": 1700000000000.0}, Reset(1_700_000_000_000)),
        ({"op": "reset", "seed": [2.0, None]}, Reset([2, None])),
        ({"op": "reset", "seed": float(2**53)}, Reset(2**53)),
        ({"op": "sample", "seed": 3.0}, Sample(3)),
        ({"op": "step_many", "action": "a", "count": 4.0}, StepMany(action="a", count=4)),
        (
            {"op": "make", "id": "x", "num_envs": 2.0, "max_episode_steps": -1.0, "version": 1.0},
            Make("x", num_envs=2, max_episode_steps=-1),
        ),
        ({"op": "share", "request_room": 4096.0, "reply_room": 8192.0}, Share(4096, 8192)),
    ],
)
def test_a_whole_number_may_be_a_float(codec: MessageCodec, fields: dict[str, Any], request_: Request) -> None:
    """Up to 2**53; the request has the integer."""
    decoded = codec.decode_request(encoded(codec, fields))
    assert repr(decoded) == repr(request_)


@EACH_CODEC
@pytest.mark.parametrize("seed", [1.5, -1.0, 2.0**53 + 2, 1e300])
def test_another_float_is_no_integer(codec: MessageCodec, seed: float) -> None:
    """The error names the field and the value."""
    text = refusal(codec, encoded(codec, {"op": "reset", "seed": seed}))
    assert text.startswith("reset: field `seed` is ")
    assert "send an integer from 0, null or a list" in text


# Strings and bytes


def test_bytes_for_keys_and_names() -> None:
    """As libraries write them that have one type for both."""
    fields = {b"op": b"make", b"id": b"x", b"info": b"none", b"kwargs": {b"a": {b"b": 1}}}
    assert INT32.decode_request(packed(fields)) == Make("x", {"a": {"b": 1}}, info="none")


def test_a_string_for_the_bytes_of_an_action() -> None:
    """Also where it is not UTF-8; strings that are, and bytes, stay as they are."""
    wrong = b"\xff\xfe\x00\x80" * 10
    payload = (
        b"\x83\xa2op\xa9step_many\xa7actions\x92\xd9\x28" + wrong + b"\xa4\xff\0\0\0\xac" + b"observations\xa4last"
    )
    assert INT32.decode_request(payload) == StepMany([wrong, b"\xff\0\0\0"])
    payload = b"\x83\xa2op\xa5reset\xa1x\xa1\xff\xa7options\x82\xa1a\xc4\x01\xff\xa1b\xa1c"
    assert INT32.decode_request(payload) == Reset(options={"a": b"\xff", "b": "c"})


def test_an_operation_that_is_no_text() -> None:
    """Is refused as bytes."""
    assert "field `op` is 1 bytes" in refusal(INT32, b"\x81\xa2op\xa1\xff")


# Lists and objects


@EACH_CODEC
def test_an_empty_list_is_an_empty_object(codec: MessageCodec) -> None:
    """As PHP, R and Lua have one type for both; a list with something in it is refused."""
    assert codec.decode_request(encoded(codec, {"op": "make", "id": "x", "kwargs": []})) == Make("x")
    assert codec.decode_request(encoded(codec, {"op": "reset", "options": []})) == Reset(options={})
    assert "is a list, [1]: send an object or null" in refusal(codec, encoded(codec, {"op": "reset", "options": [1]}))


@EACH_CODEC
def test_an_object_with_indices_is_a_list(codec: MessageCodec) -> None:
    """As JavaScript writes typed arrays; an empty one is an empty list."""
    fields = {"op": "step_many", "actions": {"0": "a", "1": "b"}}
    assert codec.decode_request(encoded(codec, fields)) == StepMany(["a", "b"])
    assert codec.decode_request(encoded(codec, {"op": "reset", "mask": {}})) == Reset(mask=[])
    assert "1 to 10000 steps, not 0" in refusal(codec, encoded(codec, {"op": "step_many", "actions": {}}))


@EACH_CODEC
@pytest.mark.parametrize("mask", [True, [1], [1.0]])
def test_flags_of_one_environment(codec: MessageCodec, mask: Any) -> None:
    """Alone, or as numbers."""
    assert codec.decode_request(encoded(codec, {"op": "reset", "mask": mask})) == Reset(mask=[True])


@EACH_CODEC
def test_flags_as_numbers(codec: MessageCodec) -> None:
    """0 and 1, and no others."""
    assert codec.decode_request(encoded(codec, {"op": "reset", "mask": [1, 0, True]})) == Reset(
        mask=[True, False, True]
    )
    assert "`mask[1]` is 2: send true or false" in refusal(codec, encoded(codec, {"op": "reset", "mask": [1, 2]}))


@EACH_CODEC
def test_an_operation_in_a_list(codec: MessageCodec) -> None:
    """Is refused: it is said that there is a list."""
    text = refusal(codec, encoded(codec, {"op": ["step"]}))
    assert text == 'field `op` is a list, ["step"]: send a string, such as "reset"'


# JSON text


@pytest.mark.parametrize(
    "payload", [b'\xef\xbb\xbf{"op":"reset"}', b'{"op":"reset"}\0', b'\xef\xbb\xbf{"op":"reset"}\n\0\0']
)
def test_a_byte_order_mark_or_nul(payload: bytes) -> None:
    """Are skipped."""
    assert NETSTRING.decode_request(payload) == Reset()


@pytest.mark.parametrize("word", ["NaN", "-Infinity", "Infinity", "Inf", "-inf", "nan", "+inf"])
def test_a_bare_number_that_is_not_finite(word: str) -> None:
    """Is refused with the strings to send, wherever the same word is in strings."""
    text = refusal(NETSTRING, b'{"op":"reset","options":{"NaN \\" inf":[%s]}}' % word.encode())
    assert text.endswith(f'there is no {word} in it; send the string "NaN", "Infinity" or "-Infinity"')


def test_the_sign_of_zero() -> None:
    """Go writes -0.0 as -0, which is an integer to most decoders."""
    payload = b'{"op":"step","action":[-0, -0,0,-0.5,-0e0,1e-0,"\\",-0,"]}'
    request = NETSTRING.decode_request(payload)
    assert isinstance(request, Step)
    assert repr(request.action) == "[-0.0, -0.0, 0, -0.5, -0.0, 1.0, '\",-0,']"
    assert NETSTRING.decode_request(b'{"op":"reset","seed":-0}') == Reset(0)
    many = NETSTRING.decode_request(b'{"op":"step_many","acton":1,"actions":[-0,[-0]]}')
    assert isinstance(many, StepMany)
    assert repr(many.actions) == "[-0.0, [-0.0]]"


@pytest.mark.parametrize(("op", "field"), [('"make","id":"x"', "kwargs"), ('"reset"', "options")])
def test_the_sign_of_zero_in_data(op: str, field: str) -> None:
    """An integer has none in MessagePack, and so none in JSON; a float has."""
    request = NETSTRING.decode_request(b'{"op":%s,"%s":{"a":[-0,-0.0]}}' % (op.encode(), field.encode()))
    assert repr(getattr(request, field)) == "{'a': [0, -0.0]}"


@pytest.mark.parametrize("text", [b'"' * 60_000, b'\\"' * 30_000, b'"\\' + b'\\"' * 30_000])
def test_what_takes_long_to_search(text: bytes) -> None:
    """The server itself reads the first message of a connection: no text may hold it up."""
    before = time.process_time()
    assert "JSON" in refusal(NETSTRING, b'{"op":"make","x":-0' + text)
    assert time.process_time() - before < 5.0


def test_a_number_beyond_float64() -> None:
    """Is refused."""
    assert "does not fit float64" in refusal(NETSTRING, b'{"op":"step","action":[1e400]}')


# Extension types


@pytest.mark.parametrize("code", [0, 1, 18, -2])
def test_an_extension_type(code: int) -> None:
    """Is refused, with the field and the remedy; in a field that nobody knows it means nothing."""
    extension = msgspec.msgpack.Ext(code, b"abc")
    text = refusal(INT32, packed({"op": "step", "action": [extension]}))
    assert text.startswith(
        f"step: field `action` has a value of the extension type {code}; the protocol has none: send"
    )
    assert INT32.decode_request(packed({"op": "reset", "unknown": extension})) == Reset()


@pytest.mark.parametrize("payload", ["d4724091a26f70a57265736574", "d40100", "d4", "c70301616263"])
def test_a_message_of_an_extension_type(payload: str) -> None:
    """As msgpackr has for its records, unless it is told not to use them."""
    assert "message is of the extension type" in refusal(INT32, bytes.fromhex(payload))


@pytest.mark.parametrize("place", ["options", "kwargs"])
def test_a_timestamp(place: str) -> None:
    """Is an extension type, although msgspec knows it."""
    timestamp = msgspec.msgpack.Ext(-1, bytes(4))
    op = {"op": "reset"} if place == "options" else {"op": "make", "id": "x"}
    with pytest.raises(MalformedMessage, match=f"field `{place}` has a timestamp, which is an extension type"):
        INT32.decode_request(packed({**op, place: {"when": [timestamp]}}))


# Data means the same in both encodings


@pytest.mark.parametrize(
    "value",
    [1, 2**63, 0.5, 1.0, -0.0, math.inf, -math.inf, math.nan, "NaN", "-Infinity", "\\NaN", "\\\\Infinity", "\\", "\\x",
     [math.nan, "NaN"], {"a": {"NaN": [math.inf]}}, None, True],
)  # fmt: skip
def test_data_is_the_same_in_both_encodings(value: Any) -> None:
    """As it was given, numbers that are not finite and text that looks like them among them."""
    for request in (Reset(options={"x": value}), Make("x", {"x": value})):
        for codec in (NETSTRING, INT32):
            assert repr(codec.decode_request(payload_of(codec.encode_request(request)))) == repr(request)


def test_the_names_of_numbers_in_json() -> None:
    """A string is a number where MessagePack has one; a backslash makes text of it."""
    options = {"a": "Infinity", "b": ["NaN"], "c": "\\Infinity", "d": "infinity", "Infinity": 1}
    request = NETSTRING.decode_request(json.dumps({"op": "reset", "options": options}).encode())
    assert repr(request) == repr(
        Reset(options={"a": math.inf, "b": [math.nan], "c": "Infinity", "d": "infinity", "Infinity": 1})
    )
    request = INT32.decode_request(packed({"op": "reset", "options": options}))
    assert request == Reset(options=options)


def test_an_integer_beyond_64_bits_in_data() -> None:
    """Is refused in JSON, as MessagePack has none."""
    text = refusal(NETSTRING, b'{"op":"reset","options":{"x":[36893488147419103232]}}')
    assert text == "reset: field `options` has an integer of 66 bits: send it as a string or as a float"


def test_an_array_without_bytes() -> None:
    """The map of an array from a library that has one type for bytes and text."""
    array = {b"dtype": b"uint8", b"shape": [2], b"data": "ab"}
    request = INT32.decode_request(packed({"op": "reset", "options": {"x": array}}))
    assert isinstance(request, Reset) and request.options is not None
    assert np.array_equal(request.options["x"], np.frombuffer(b"ab", np.uint8))


# Unknown fields


@pytest.mark.parametrize("protocol", [ProtocolName.NETSTRING, ProtocolName.INT32])
def test_an_unknown_field_is_noted(protocol: ProtocolName) -> None:
    """With the field that may be meant; the request is as it would be without."""
    noted: list[str] = []
    codec = MessageCodec(protocol, note=noted.extend)
    assert codec.decode_request(encoded(codec, {"op": "reset", "sed": 3, "seed": 4})) == Reset(4)
    assert codec.decode_request(encoded(codec, {"op": "sample", "colour": {"deep": [1]}})) == Sample()
    codec.decode_request(encoded(codec, {"op": "close", "x": 1}))
    assert noted == [
        "reset: unknown field `sed` is ignored; did you mean `seed`?",
        "sample: unknown field `colour` is ignored; there is `seed`",
        "close: unknown field `x` is ignored; there is none",
    ]


@EACH_CODEC
def test_an_unknown_field_in_place_of_one_that_is_needed(codec: MessageCodec) -> None:
    """The error tells of both."""
    with pytest.raises(InvalidField, match=r"missing required field `action`; .*did you mean `action`"):
        codec.decode_request(encoded(codec, {"op": "step", "actoin": 1}))


# Texts that cost the reader time, or look like msgspec's own


@EACH_CODEC
def test_a_text_that_looks_like_the_place_of_an_error_is_text(codec: MessageCodec) -> None:
    """The place is that of msgspec, at the end."""
    text = refusal(codec, encoded(codec, {"op": "make", "id": "x", "info": "a - at `$.foo`"}))
    assert text.startswith('make: field `info` is "a - at `$.foo`": send "all"')


@EACH_CODEC
def test_a_long_run_of_spaces_is_refused_at_once(codec: MessageCodec) -> None:
    """The server reads handshakes while every other client waits."""
    begun = time.process_time()
    text = refusal(codec, encoded(codec, {"op": "make", "id": "x", "info": " " * 60_000}))
    assert text.startswith("make: field `info` is ")
    assert time.process_time() - begun < 1.0


@EACH_CODEC
def test_not_every_unknown_field_is_looked_at(codec: MessageCodec) -> None:
    """To look for similar names takes time, and nobody reads thousands of warnings."""
    notes: list[str] = []
    telling = MessageCodec(ProtocolName(codec.framing.value), note=notes.extend)
    telling.decode_request(encoded(codec, {"op": "make", "id": "x", **{f"a{each}": 1 for each in range(6000)}}))
    assert len(notes) == 100


@pytest.mark.parametrize("digits", [20, 300, 5000])
def test_an_integer_beyond_64_bits_is_refused_alike_however_long_it_is(digits: int) -> None:
    """Python itself reads none of more than 4300 digits."""
    with pytest.raises(MalformedMessage, match="send it as a string or as a float"):
        NETSTRING.decode_request(b'{"op":"reset","options":{"a":' + b"9" * digits + b"}}")
