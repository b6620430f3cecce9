"""Replies to steps that the worker makes without the codec: what leaves it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from gymtwist.protocol import dynamic_values
from gymtwist.protocol.codec import GATHERED, MessageCodec
from gymtwist.protocol.messages import Stepped
from gymtwist.spaces.layout import DTYPES as DTYPES_BY_NAME
from gymtwist.worker.reply_writer import ReplyWriter
from tests.support.codec_samples import EACH_CODEC, INT32, payload_of
from tests.unit.protocol.test_json_text import ANYTHING, DTYPES

OBSERVATIONS = pytest.mark.parametrize("observation", [b"few", bytes(GATHERED)], ids=["small", "large"])
ARRAYS = stn.arrays(DTYPES, stn.array_shapes(min_dims=0, max_dims=3, min_side=0))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
NUMBERS = stn.arrays(DTYPES, ()).map(lambda array: array[()])


class Sent:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def receive(self) -> None:
        """Receive nothing."""

    def send(self, frame: bytes | bytearray) -> None:
        """Keep a frame."""
        self.parts.append(bytes(frame))

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Keep the parts of a reply."""
        self.parts.extend(map(bytes, parts))


def made(observation: bytes, info: dict[Any, Any]) -> bytes:
    """Make a frame as the worker does for infos that take the short way."""
    sent = Sent()
    replies = ReplyWriter(INT32)
    replies.transport = sent
    replies.send(Stepped(memoryview(observation), 1.5, False, True, info))
    return b"".join(sent.parts)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    observation=st.sampled_from([b"few", bytes(GATHERED)]),
    info=st.dictionaries(st.text(), SCALARS | NUMBERS | ARRAYS) | st.dictionaries(st.text() | st.integers(), ANYTHING),
)
def test_the_short_way_leads_where_the_long_one_does(observation: bytes, info: dict[Any, Any]) -> None:
    """For whatever info may take it; what MessagePack has not is an error, and takes the long way after all."""
    assume(dynamic_values.is_flat(info) or dynamic_values.shallow_copy(info) is not None)
    reply = Stepped(memoryview(observation), 1.5, False, True, info)
    try:
        short = made(observation, info)
    except (ValueError, OverflowError):
        return
    assert short == b"".join(INT32.encode_reply(reply))


@pytest.mark.parametrize(
    "info",
    [
        {"lives": np.arange(8, dtype=np.int32)},
        {"ended": np.array([True, False]), "return": np.array([[1.5], [np.nan]]), "count": 3},
        {"strided": np.arange(12.0).reshape(3, 4)[:, ::2], "none": np.zeros((0, 2), np.uint8)},
        {"big": np.arange(3, dtype=">i2")},
        {name: dtype.type(1) for name, dtype in DTYPES_BY_NAME.items()},
        {"nan": np.float32(np.nan), "negative": np.float64(-0.0), "least": np.int64(-(2**63))},
    ],
)
@OBSERVATIONS
def test_infos_with_numpy_s_values_take_it(observation: bytes, info: dict[str, Any]) -> None:
    """As those of vector environments, and of MuJoCo, have them."""
    is_shallow = dynamic_values.shallow_copy(info) is not None
    assert is_shallow == ("big" not in info)
    if is_shallow:
        reply = Stepped(memoryview(observation), 1.5, False, True, info)
        assert made(observation, info) == b"".join(INT32.encode_reply(reply))


@pytest.mark.parametrize(
    "info",
    [
        {"scalar": np.array(1.5)},
        {"complex": np.complex128(1.5)},
        {"longdouble": np.longdouble(1.5)},
        {"text": np.str_("text")},
        {"objects": np.array([None, 1], dtype=object)},
        {"masked": np.ma.array([1, 2], mask=[True, False])},
        {"nested": {"x": 1}},
        {"list": [1]},
        {3: np.arange(3)},
        {"time": np.array(["2020-01-01"], dtype="datetime64[D]")},
    ],
)
def test_what_needs_care_does_not(info: dict[Any, Any]) -> None:
    """It would arrive as something else."""
    assert not dynamic_values.is_flat(info)
    assert dynamic_values.shallow_copy(info) is None


@OBSERVATIONS
@EACH_CODEC
def test_a_warning_is_sent_once(codec: MessageCodec, observation: bytes) -> None:
    """With the next reply, also one of a step; then a step takes the short way again."""
    carried = observation if codec is INT32 else "text"
    reply = Stepped(carried, 1.5, False, True)
    frames = []
    replies = ReplyWriter(codec)
    for warnings in ([], ["a", "b", "a"], ["a"], ["c"], []):
        replies.transport = sent = Sent()
        replies.warn(warnings)
        replies.send(reply)
        frames.append(codec.decode_reply(payload_of([*sent.parts])))
    assert [each.warnings for each in frames] == [(), ("a", "b"), (), ("c",), ()]


def test_warnings_have_an_end() -> None:
    """However many fields a client invents."""
    replies = ReplyWriter(INT32)
    replies.warn(map(str, range(1000)))
    replies.transport = sent = Sent()
    replies.send(Stepped(b"", 1.5, False, True))
    assert len(INT32.decode_reply(payload_of([*sent.parts])).warnings) == 100
