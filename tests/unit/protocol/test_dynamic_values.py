"""Values that no space describes: whatever an environment puts into an info, a client can read it."""

from __future__ import annotations

import datetime
import enum
import math
import sys
from collections import Counter, UserDict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from gymtwist.errors import InvalidField
from gymtwist.protocol import dynamic_values, messages, received_values
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.dynamic_values import MAX_DEPTH
from gymtwist.protocol.framing import ProtocolName
from gymtwist.protocol.make_messages import Made, Make, Spec
from gymtwist.protocol.messages import Reset, ResetDone, Stepped
from gymtwist.spaces.descriptions import Discrete
from tests.support.codec_samples import CODECS, EACH_CODEC, INT32, NETSTRING, decoded, payload_of
from tests.unit.protocol.test_json_text import ANYTHING, DTYPES, Broken, Unspeakable

LARGEST = sys.float_info.max


def sent(codec: MessageCodec, info: Any) -> Any:
    """Return an info as another decoder reads it."""
    return decoded(codec, payload_of(codec.encode_reply(ResetDone(0, info)))).get("info", {})


def received(codec: MessageCodec, info: Any) -> Any:
    """Return an info as the client of gymtwist reads it."""
    reply = codec.decode_reply(payload_of(codec.encode_reply(Stepped(0, 1.0, False, False, info))))
    assert isinstance(reply, Stepped)
    return reply.info


@given(st.sampled_from(CODECS), st.dictionaries(st.text() | st.integers(), ANYTHING, max_size=6) | ANYTHING)
def test_an_info_is_always_an_object(codec: MessageCodec, info: Any) -> None:
    """Whatever it is made of, however deep, for every client; and its keys are strings."""
    read = sent(codec, info)
    assert isinstance(read, dict)
    assert all(type(key) is str for key in read)
    assert received(codec, info).keys() == read.keys()


@pytest.mark.parametrize(
    ("value", "in_json", "in_messagepack"),
    [
        (math.nan, "NaN", math.nan),
        (math.inf, "Infinity", math.inf),
        (np.float32("-inf"), "-Infinity", -math.inf),
        ([1.5, {"x": math.nan}], [1.5, {"x": "NaN"}], [1.5, {"x": math.nan}]),
        (None, None, None),
        ("null", "null", "null"),
        (np.float32(0.1), float(np.float32(0.1)), float(np.float32(0.1))),
        (np.int8(-3), -3, -3),
        (np.bool_(True), True, True),
        (np.array(2.5), 2.5, 2.5),
        (np.longdouble(1.5), 1.5, 1.5),
        (np.array([1, 2], ">i2"), [1, 2], {"dtype": "int16", "shape": [2], "data": b"\1\0\2\0"}),
        (np.array([[np.nan], [1]], "f2"), [["NaN"], [1.0]], {"dtype": "float16", "shape": [2, 1], "data": b"\0~\0<"}),
        (np.array([True, False]), [True, False], {"dtype": "bool", "shape": [2], "data": b"\1\0"}),
        (np.zeros((2, 0)), [[], []], {"dtype": "float64", "shape": [2, 0], "data": b""}),
        (np.array(["a", "b"]), ["a", "b"], ["a", "b"]),
        (np.array([1, None, "x"], object), [1, None, "x"], [1, None, "x"]),
        (np.ma.masked_array([1, 2], [False, True]), [1, None], [1, None]),
        (np.array([np.longdouble(1)]), [1.0], [1.0]),
        ((1, (2,)), [1, [2]], [1, [2]]),
        ({3}, [3], [3]),
        (UserDict(a=1), {"a": 1}, {"a": 1}),
        (Counter("aa"), {"a": 2}, {"a": 2}),
        ({1: {None: 2}}, {"1": {"None": 2}}, {"1": {"None": 2}}),
        (2**64, str(2**64), str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1), str(-(2**63) - 1)),
        (np.array([2**70, 1], object), [str(2**70), 1], [str(2**70), 1]),
        (10**400, str(10**400), str(10**400)),
        (2**64 - 1, 2**64 - 1, 2**64 - 1),
        (b"abc", "YWJj", b"abc"),
        (datetime.date(2024, 2, 29), "2024-02-29", "2024-02-29"),
        ("\ud800", "?", "?"),
    ],
)
@pytest.mark.parametrize("beside", [{}, {"beside": object()}, {"beside": math.nan}])
def test_a_value_has_its_form_whatever_is_beside_it(
    value: Any, in_json: Any, in_messagepack: Any, beside: dict[str, Any]
) -> None:
    """What takes the slower way, or is left out, changes nothing about the others."""
    for codec, expected in ((NETSTRING, in_json), (INT32, in_messagepack)):
        read = sent(codec, {"value": value, **beside})["value"]
        # Not by == alone: 1 is True, and NaN is not itself.
        assert repr(read) == repr(expected)


@EACH_CODEC
@pytest.mark.parametrize("value", [object(), 1j, lambda: None, Unspeakable(), iter([1]), Broken(a=1), np.void])
def test_an_info_leaves_out_only_what_cannot_be_carried(codec: MessageCodec, value: object) -> None:
    """An entry at any depth is left out alone, or is None in a list, and the reply says where."""
    info = {"left out": value, "kept": 1, "list": [1, value, 2], "deep": {"left out": value, "kept": 3}}
    places: list[messages.Omitted] = []
    telling = MessageCodec(ProtocolName(codec.framing.value), places.append)
    reply = decoded(codec, payload_of(telling.encode_reply(ResetDone(0, info))))
    assert reply["info"] == {"kept": 1, "list": [1, None, 2], "deep": {"kept": 3}}
    assert reply["omitted"] == ["info.left out", "info.list[1]", "info.deep.left out"]
    assert places == [tuple(reply["omitted"])]


@EACH_CODEC
def test_only_some_of_what_is_left_out_is_named(codec: MessageCodec) -> None:
    """The field is no longer than a person wants to read."""
    info = {"x" * 1000: object(), **{str(index): [object()] for index in range(100)}}
    reply = decoded(codec, payload_of(codec.encode_reply(Stepped(0, 1.0, False, False, info))))
    assert len(reply["omitted"]) == dynamic_values.MAX_OMITTED
    assert len(reply["omitted"][0]) < 1000


class Position(enum.Enum):
    """Values of several kinds, as trading environments have them."""

    SHORT = 0
    LONG = "long"
    BOTH = (0, "long")


class Step(enum.IntEnum):
    """Numbers."""

    LAST = 2


@EACH_CODEC
@pytest.mark.parametrize("beside", [{}, {"beside": math.nan}, {"beside": object()}])
def test_an_enumeration_is_its_value(codec: MessageCodec, beside: dict[str, Any]) -> None:
    """Also as a key, and in an array of objects."""
    info = {"short": Position.SHORT, "step": Step.LAST, "both": Position.BOTH, "keys": {Position.LONG: 1, Step.LAST: 2}}
    read = sent(codec, {**info, "all": np.array([Position.LONG, Step.LAST, None], object), **beside})
    assert (read["short"], read["step"], read["both"]) == (0, 2, [0, "long"])
    assert (read["keys"], read["all"]) == ({"long": 1, "2": 2}, ["long", 2, None])


@EACH_CODEC
@pytest.mark.parametrize("beside", [{}, {"beside": math.nan}, {"beside": object()}])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_a_date_and_time_of_numpy_is_text(codec: MessageCodec, unit: Any, beside: dict[str, Any]) -> None:
    """Whatever its unit is."""
    time = np.datetime64("2024-01-31T12:30:00", unit)
    read = sent(codec, {"scalar": time, "array": np.array([time]), "empty": np.array(time), **beside})
    assert [np.datetime64(each) for each in (read["scalar"], *read["array"], read["empty"])] == [time] * 3
    assert read["scalar"].startswith("2024-01-31T12:30:00")


class Lazy:
    """An array that is made when it is asked for, and no more, as those of JAX and of frame stacks."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        """Make it."""
        return np.array([1, 0, 1], np.int8)


@EACH_CODEC
@pytest.mark.parametrize("beside", [{}, {"beside": math.nan}, {"beside": object()}])
def test_an_array_of_another_library_is_an_array(codec: MessageCodec, beside: dict[str, Any]) -> None:
    """Wherever it is, and in the arguments of a client as well."""
    mask = sent(codec, {"mask": np.array([1, 0, 1], np.int8)})["mask"]
    read = sent(codec, {"mask": Lazy(), "list": [Lazy(), 1], "object": np.array([Lazy(), None], object), **beside})
    assert (read["mask"], read["list"], read["object"]) == (mask, [mask, 1], [mask, None])
    request = codec.decode_request(payload_of(codec.encode_request(Make("x", {"a": Lazy()}))))
    assert np.array_equal(request.kwargs["a"], [1, 0, 1])  # type: ignore[union-attr]


@EACH_CODEC
@pytest.mark.parametrize("info", [None, 7, "text", [1], object(), Unspeakable(), Broken(a=1), np.zeros(3)])
def test_a_value_other_than_a_mapping_has_no_entries(codec: MessageCodec, info: Any) -> None:
    """An environment may return anything; all of it is left out, and the reply says so."""
    reply = decoded(codec, payload_of(codec.encode_reply(ResetDone(0, info))))
    assert reply.get("info", {}) == {}
    assert reply.get("omitted") == (None if info is None else ["info"])


@EACH_CODEC
def test_an_info_that_contains_itself_is_cut(codec: MessageCodec) -> None:
    """And so is one that is too deep."""
    info: dict[str, Any] = {"kept": 1}
    info["itself"] = info
    assert sent(codec, info) == {"kept": 1}
    deep: dict[str, Any] = {}
    innermost = deep
    for _ in range(2 * MAX_DEPTH):
        innermost["deeper"] = innermost = {"array": np.zeros(2)}
    assert received(codec, deep)["deeper"]["deeper"]["array"] is not None


@given(stn.arrays(DTYPES, stn.array_shapes(min_dims=0, min_side=0)))
def test_an_array_comes_back_in_messagepack(array: np.ndarray[Any, Any]) -> None:
    """With its dtype and its shape, in any byte order, to the bit; at any depth; and it can be written to."""
    for info in ({"array": array}, {"deep": {"list": [array, {"array": array}]}}):
        back = received(INT32, info)
        found = back.get("array", back.get("deep", {}).get("list", [None])[0])
        if not array.ndim or array.dtype.itemsize > 8:
            assert np.array_equal(np.array(found, array.dtype), array, equal_nan=array.dtype.kind == "f")
            continue
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.shape == array.shape
        assert found.tobytes() == array.astype(found.dtype).tobytes()
        assert found.flags.writeable


@pytest.mark.parametrize(
    "value",
    [
        {"dtype": "object", "shape": [1], "data": b"12345678"},
        {"dtype": "f8,i4", "shape": [1], "data": b"12345678"},
        {"dtype": "float32", "shape": [3], "data": b"12345678"},
        {"dtype": "float32", "shape": [-1], "data": b"12345678"},
        {"dtype": "float32", "shape": [2**70, 0], "data": b""},
        {"dtype": "float32", "shape": 2, "data": b"12345678"},
        {"dtype": "float32", "shape": [2], "data": 7},
        {"dtype": "float32", "shape": [2], "data": "not base64"},
        {"dtype": ["float32"], "shape": [2], "data": b"12345678"},
        {"dtype": "float32", "shape": [1] * 65, "data": b"1234"},
        {"dtype": "float32", "shape": [2], "data": b"12345678", "more": 1},
    ],
)
def test_what_only_looks_like_an_array_stays_as_it_is(value: dict[str, Any]) -> None:
    """It is a map like any other."""
    assert received_values.restored({"x": [value]}) == {"x": [value]}


@given(st.dictionaries(st.text(), ANYTHING | stn.arrays(DTYPES, stn.array_shapes(min_dims=0, max_dims=3, min_side=0))))
def test_a_shallow_value_is_read_in_one_pass(info: dict[str, Any]) -> None:
    """And is what it would be otherwise; what has more to it is left to the other way."""
    fields = sent(INT32, info)
    shallow, restored = received_values.restored_shallow(fields), received_values.restored(fields)
    if shallow is None:
        assert any(type(each) in (dict, list) for each in fields.values())
        return
    assert shallow.keys() == restored.keys()
    for key, each in shallow.items():
        assert type(each) is type(restored[key])
        if isinstance(each, np.ndarray):
            assert (each.dtype, each.shape) == (restored[key].dtype, restored[key].shape)
            assert each.tobytes() == restored[key].tobytes()
            assert each.flags.writeable
        else:
            assert not isinstance(each, (dict, list))


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "int32", "shape": [-1], "data": bytes(8)},
        {"dtype": "int32", "shape": [3], "data": bytes(8)},
        {"dtype": "int32", "shape": [1], "data": bytes(8)},
        {"dtype": "int32", "shape": [2**40, 2**40], "data": bytes(8)},
        {"dtype": "int32", "shape": [2**70], "data": bytes(8)},
        {"dtype": "int32", "shape": [True, 2], "data": bytes(8)},
        {"dtype": "int32", "shape": [2.0], "data": bytes(8)},
        {"dtype": "object", "shape": [1], "data": bytes(8)},
        {"dtype": "int32", "shape": [2], "data": 8},
        {"dtype": "int32", "shape": [0, -1], "data": b""},
    ],
)
def test_a_map_that_is_not_an_array_stays_a_map(fields: dict[str, Any]) -> None:
    """It stays the map that it is."""
    assert received_values.restored_shallow({"x": fields}) is None
    assert received_values.restored({"x": fields}) == {"x": fields}


@EACH_CODEC
def test_keyword_arguments_and_options_come_back(codec: MessageCodec) -> None:
    """Of a request, however short: in MessagePack with arrays."""
    for request, name in (
        (Make("x", {"a": np.zeros(1, np.int8)}), "kwargs"),
        (Reset(None, {"a": np.int8(0)}), "options"),
    ):
        back = codec.decode_request(payload_of(codec.encode_request(request)))
        assert np.array_equal(getattr(back, name)["a"], getattr(request, name)["a"])
        assert isinstance(getattr(back, name)["a"], np.ndarray) == (codec is INT32 and name == "kwargs")


@EACH_CODEC
@pytest.mark.parametrize("value", [object(), [1, {"x": 1j}], lambda: None, 2**64])
def test_a_keyword_argument_that_cannot_be_carried_is_an_error(codec: MessageCodec, value: object) -> None:
    """Of the client's own: nothing is left out of what is asked."""
    with pytest.raises(InvalidField, match="the kwargs of make cannot be sent"):
        codec.encode_request(Make("x", {"a": value}))
    with pytest.raises(InvalidField, match="the options of reset cannot be sent"):
        codec.encode_request(Reset(None, {"a": value}))
    with pytest.raises(InvalidField, match="expected a dictionary"):
        codec.encode_request(Reset(None, [1]))  # type: ignore[arg-type]


@EACH_CODEC
def test_metadata_and_the_spec_are_cleaned_as_infos_are(codec: MessageCodec) -> None:
    """They are whatever the author of the environment wrote down."""
    spec = Spec("x-v0", kwargs={"kept": np.int64(1), "left out": object()})
    made = Made(Discrete(2), Discrete(2), "s", spec=spec, metadata={"render_fps": np.float32(30), "left out": print})
    back = codec.decode_reply(payload_of(codec.encode_reply(made)))
    assert isinstance(back, Made)
    assert back.metadata == {"render_fps": 30.0}
    assert back.omitted == ("metadata.left out", "spec.kwargs.left out")
    assert back.spec is not None
    assert back.spec.kwargs == {"kept": 1}


@pytest.mark.parametrize("is_inner", [False, True])
def test_a_dictionary_that_is_written_to_meanwhile_is_sent_as_it_was(
    is_inner: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MessagePack has the number of its entries before them, and other threads run while arrays are converted."""
    written: dict[str, Any] = {"numbers": np.arange(3)}
    convert = dynamic_values._binary

    def write_and_convert(value: Any) -> object:
        written["late"] = np.arange(2)
        return convert(value)

    monkeypatch.setattr(dynamic_values, "_binary", write_and_convert)
    encoded = dynamic_values.to_messagepack({"inner": written} if is_inner else written)
    decoded = msgspec.msgpack.decode(encoded)
    assert list(decoded["inner"] if is_inner else decoded) == ["numbers"]
    assert "late" in written
