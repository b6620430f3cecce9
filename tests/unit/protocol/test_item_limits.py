"""How many parts a request may have, and what memory that costs."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.errors import MalformedMessage
from gymtwist.protocol.codec import MAX_PARTS, MessageCodec, json_has_more, messagepack_has_more
from gymtwist.protocol.make_messages import Make
from gymtwist.protocol.messages import Step
from tests.support.codec_samples import EACH_CODEC, INT32, NETSTRING, payload_of

STEP = b"\x82\xa2op\xa4step\xa6action"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=300)
    | st.binary(min_size=1, max_size=300).map(lambda data: msgspec.msgpack.Ext(1, data)),
    lambda each: st.lists(each, max_size=20) | st.dictionaries(st.text(max_size=40), each, max_size=20),
)


def parts_of(value: Any) -> int:
    """Count the parts of a value, as they are defined."""
    if isinstance(value, dict):
        return 1 + sum(1 + parts_of(each) for each in value.values())
    return 1 + sum(map(parts_of, value)) if isinstance(value, list) else 1


@given(VALUES)
def test_the_parts_of_messagepack_are_counted(value: Any) -> None:
    """Every value and every key is one, whatever it is and however long."""
    payload, count = msgspec.msgpack.encode(value), parts_of(value)
    assert not messagepack_has_more(payload, count)
    assert messagepack_has_more(payload, count - 1)


@pytest.mark.parametrize("size", [70_000, 300, 20])
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_long_item_counts_once(kind: type, size: int) -> None:
    """With a length of any width."""
    value: Any = [kind(b"x" * size) if kind is bytes else "x" * size] * 3
    assert not messagepack_has_more(msgspec.msgpack.encode(value), 4)
    assert messagepack_has_more(msgspec.msgpack.encode(value), 3)


@given(st.lists(st.integers() | st.lists(st.dictionaries(st.text("abc"), st.none()))))
def test_the_parts_of_json_are_counted(value: Any) -> None:
    """By its punctuation: never fewer than there are, and no message that is too short is looked at."""
    payload, count = json.dumps(value).encode(), parts_of(value)
    assert json_has_more(payload, count - 1) or len(payload) <= count - 1
    assert not json_has_more(payload, len(payload))


@given(st.binary(max_size=100), st.integers(0, 20))
def test_random_bytes_have_some_number_of_parts(payload: bytes, most: int) -> None:
    """Whatever they are."""
    assert messagepack_has_more(payload, most) in (True, False)
    assert not messagepack_has_more(payload, len(payload))


#: Those that cost the most for their bytes, in MessagePack and in JSON, and others.
UNITS = [b"\x80", b"\xc4\0", b"\x81\xa0\x80", b"{}"]
CHEAPER = [b"\x90", b"\xa0", b"\x91\x90", b"[]", b'""', b"1.5"]


# Too many of whatever is refused by the same count.
@pytest.mark.parametrize(
    ("count", "unit"),
    [
        *((150_000, unit) for unit in UNITS),
        *((600_000, unit) for unit in UNITS[::3]),
        *(pytest.param(150_000, unit, marks=pytest.mark.sweep) for unit in CHEAPER),
    ],
)
def test_small_parts_in_great_number_take_bounded_memory(unit: bytes, count: int) -> None:
    """What costs the most in Python for a byte on the wire; a frame could hold 16 Mi of them."""
    if unit in (b"[]", b"{}", b'""', b"1.5"):
        codec, payload = NETSTRING, b'{"op":"step","action":[' + b",".join([unit] * count) + b"]}"
    else:
        codec, payload = INT32, STEP + b"\xdd" + count.to_bytes(4, "big") + unit * count
    tracemalloc.start()
    try:
        codec.decode_request(payload)
        assert count < MAX_PARTS
    except MalformedMessage as error:
        assert f"more than {MAX_PARTS} parts" in str(error)
        assert count > MAX_PARTS or len(unit) > 1
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100 * MAX_PARTS + len(payload)


@EACH_CODEC
def test_a_large_request_of_few_parts_is_read(codec: MessageCodec) -> None:
    """It is the parts that are counted, not the bytes."""
    text = "x" * 4_000_000
    assert codec.decode_request(payload_of(codec.encode_request(Make("x", {"a": text})))) == Make("x", {"a": text})
    assert INT32.decode_request(payload_of(INT32.encode_request(Step(bytes(4_000_000))))) == Step(bytes(4_000_000))
