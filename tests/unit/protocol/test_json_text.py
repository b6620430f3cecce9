"""JSON text: whatever an environment returns, every decoder can read it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import sys
from collections import Counter, OrderedDict, UserDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from gymtwist.protocol.dynamic_values import MAX_DEPTH, encode_info, encode_value
from gymtwist_conformance.reference_client import strict_json

LARGEST = sys.float_info.max


class Colour(str, enum.Enum):
    """A string that is an enumeration, too."""

    RED = "red"


class Word(str):
    """A string of its own kind."""


class Unspeakable:
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("unspeakable")

    __repr__ = __str__


class Broken(UserDict[str, Any]):
    """A mapping that cannot be read."""

    def items(self) -> Any:
        """Raise."""
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")


class Pair(NamedTuple):
    """A tuple with names."""

    a: int
    b: int


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: float
    y: Any = 2


def decoded_info(info: Any) -> Any:
    """Encode an info and decode it strictly."""
    return strict_json(encode_info(info).decode())


def decoded_value(value: Any) -> Any:
    """Encode a value and decode it strictly."""
    return strict_json(encode_value(value).decode())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
)
DTYPES = stn.boolean_dtypes() | stn.integer_dtypes(endianness="?") | stn.floating_dtypes(endianness="?")
ARRAYS = stn.arrays(DTYPES | stn.complex_number_dtypes() | stn.datetime64_dtypes(), stn.array_shapes(min_dims=0))
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**320)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.binary()
    | st.dates()
    | st.decimals()
    | st.builds(object)
    | st.builds(Unspeakable)
    | st.builds(Point, st.floats())
    | DTYPES.flatmap(stn.from_dtype)
    | ARRAYS,
    lambda each: (
        st.lists(each, max_size=4)
        | st.lists(each, max_size=4).map(tuple)
        | st.sets(st.integers() | st.floats() | st.text(), max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.tuples(st.floats()), each, max_size=4)
        | st.builds(UserDict, st.dictionaries(st.text(), each, max_size=4))
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text() | st.integers(), ANYTHING, max_size=6) | ANYTHING)
def test_an_info_is_always_an_object(info: Any) -> None:
    """Whatever it is made of, however deep."""
    assert isinstance(decoded_info(info), dict)


@given(ANYTHING)
def test_a_value_is_json_or_an_error(value: Any) -> None:
    """What is encoded can be decoded; what cannot be encoded raises what says so."""
    try:
        text = encode_value(value)
    except (TypeError, ValueError):
        return
    strict_json(text.decode())


@given(JSON)
def test_json_values_are_unchanged(value: Any) -> None:
    """To the last bit of a float, and of integers up to 64 bits."""
    assert decoded_value(value) == value
    assert decoded_info({"value": value}) == {"value": value}


@given(stn.arrays(DTYPES, stn.array_shapes(min_dims=0)))
def test_an_array_comes_back_as_its_numbers(array: np.ndarray[Any, Any]) -> None:
    """Of any shape and byte order; a float of 16 or 32 bits is exact as one of 64."""
    finite = array if array.dtype.kind != "f" else np.where(np.isfinite(array), array, array.dtype.type(0))
    assert np.array_equal(np.array(decoded_value(finite), array.dtype).reshape(array.shape), finite)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, LARGEST),
        (-math.inf, -LARGEST),
        (np.float32("inf"), LARGEST),
        (np.float16("nan"), None),
        ([1.5, [math.nan, {"deep": -math.inf}]], [1.5, [None, {"deep": -LARGEST}]]),
        (np.array([[np.nan, np.inf], [-np.inf, 1]]), [[None, LARGEST], [-LARGEST, 1]]),
        (np.array([np.inf, 1], ">f4"), [LARGEST, 1]),
        ({"null": None, "text": "null", "nan": math.nan}, {"null": None, "text": "null", "nan": None}),
        (np.longdouble(1.5), 1.5),
        (np.array([np.longdouble("inf"), 1]), [LARGEST, 1]),
        (np.zeros((2, 0)), [[], []]),
        (np.array(3, ">i8"), 3),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.ma.masked_array([1, 2], [False, True]), [1, None]),
        (np.array([1, None, "x"], object), [1, None, "x"]),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (Word("x"), "x"),
    ],
)
def test_a_value_without_a_form_of_its_own(value: object, expected: object) -> None:
    """NaN and masked numbers become null, an infinity the largest number of its sign; NumPy's become Python's."""
    if not isinstance(value, Word):
        assert decoded_value(value) == expected
    assert decoded_info({"value": value}) == {"value": expected}
    assert decoded_info({"value": value, "beside": math.nan}) == {"value": expected, "beside": None}


@pytest.mark.parametrize("value", [object(), 1j, lambda: None, np.array([1j]), iter([1])])
def test_a_value_that_json_cannot_carry(value: object) -> None:
    """Is an error where nothing may be left out, beside a number that is not finite as well."""
    for whole in (value, [value], [math.nan, value]):
        with pytest.raises(TypeError):
            encode_value(whole)


@pytest.mark.parametrize("beside", [1, None, math.nan])
@pytest.mark.parametrize(
    "value", [object(), 1j, lambda: None, Unspeakable(), iter([1]), Broken(a=1), {"a": math.nan}.items, np.void]
)
def test_an_info_leaves_out_only_what_json_cannot_carry(value: object, beside: object) -> None:
    """An entry at any depth is left out alone, or is null in a list, and the caller is told where."""
    kept = None if beside != beside else beside
    info = {"left out": value, "kept": beside, "list": [1, value, beside], "deep": {"left out": value, "kept": beside}}
    assert decoded_info(info) == {"kept": kept, "list": [1, None, kept], "deep": {"kept": kept}}
    told: list[list[str]] = []
    encode_info(info, told.append)
    assert told == [[".left out", ".list[1]", ".deep.left out"]]


@pytest.mark.parametrize("beside", [1, None, object()])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"abc", "YWJj"),
        (np.bytes_(b"abc"), "YWJj"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (np.datetime64("2024-02-29"), "2024-02-29"),
        (np.datetime64("NaT", "s"), None),
        (Point(1.0, 2), {"x": 1.0, "y": 2}),
        (Point(math.inf, [math.nan]), {"x": LARGEST, "y": [None]}),
        (Colour.RED, "red"),
        ({3}, [3]),
        (frozenset(), []),
        (Pair(1, 2), [1, 2]),
        (UserDict(a=1), {"a": 1}),
        (OrderedDict(a=Counter("aa")), {"a": {"a": 2}}),
        (np.array([(1, 2.5)], "i4,f4"), [[1, 2.5]]),
    ],
)
def test_an_info_has_the_same_entry_whatever_is_beside_it(value: object, expected: object, beside: object) -> None:
    """The entry that takes the slower way, or that is left out, changes nothing about the others."""
    assert decoded_info({"value": value, "beside": beside})["value"] == expected


@pytest.mark.parametrize("beside", [1, None])
@pytest.mark.parametrize(
    "value",
    [2**64 - 1, -(2**63), 1.2345678901234567e-5, 2**64, -(2**63) - 1, -(2**70), 10**400],
)
def test_an_integer_beyond_64_bits_is_text(value: float, beside: object) -> None:
    """As most decoders make a float of it; a fraction of as many digits stays a number."""
    expected = str(value) if not -(2**63) <= value < 2**64 else value
    assert decoded_info({"value": value, "beside": beside})["value"] == expected


def test_an_integer_that_python_does_not_print() -> None:
    """Is left out."""
    assert decoded_info({"value": 10**5000, "beside": 1}) == {"beside": 1}


@pytest.mark.parametrize(
    ("key", "expected"),
    [(1, "1"), (2.5, "2.5"), (None, "None"), ((1, 2), "(1, 2)"), (np.int64(3), "3"), ("\ud800", "?"), (Word("x"), "x")],
)
@pytest.mark.parametrize("beside", [1, None])
def test_a_key_that_is_no_string_is_written_as_one(key: object, expected: str, beside: object) -> None:
    """As Python writes it."""
    assert decoded_info({key: 5, "beside": beside}) == {expected: 5, "beside": beside}


def test_a_key_that_cannot_be_written_is_left_out() -> None:
    """With its entry."""
    assert decoded_info({Unspeakable(): 1, "kept": 2}) == {"kept": 2}


def test_a_text_that_utf8_cannot_carry_is_replaced() -> None:
    """A lone surrogate becomes a question mark."""
    assert decoded_info({"text": "a\ud800b", "kept": 1}) == {"text": "a?b", "kept": 1}


def test_an_info_may_contain_itself() -> None:
    """It is left out where it does, however often."""
    info: dict[str, Any] = {"kept": 1}
    info |= {"self": info, "again": info, "list": [info, {"deep": info}]}
    assert decoded_info(info) == {"kept": 1, "list": [None, {}]}


def test_a_value_that_occurs_twice_is_kept() -> None:
    """Only a value that contains itself is left out."""
    shared = [1, math.nan]
    assert decoded_info({"a": shared, "b": [shared, shared]}) == {"a": [1, None], "b": [[1, None], [1, None]]}


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"deeper": inner}], ids=["list", "object"])
def test_an_info_of_any_depth(wrap: Any) -> None:
    """What is too deep is left out, and what is beside it is not."""
    value: Any = 1
    for _ in range(100_000):
        value = wrap(value)
    read = decoded_info({"deep": value, "kept": 1})
    assert read["kept"] == 1
    depth, inner = 0, read["deep"]
    while inner and inner != [None]:
        depth, inner = depth + 1, inner[0] if isinstance(inner, list) else inner["deeper"]
    assert depth == MAX_DEPTH - 2


@pytest.mark.parametrize("info", [{}, None, [], [1], 5, "text", np.zeros(2), (1, 2), object(), Broken(a=1)])
def test_an_info_without_entries(info: Any) -> None:
    """A value that is not a mapping has none."""
    assert encode_info(info) == b"{}"


def test_an_info_is_written_without_spaces() -> None:
    """In the order of its entries."""
    assert encode_info({"b": [1, 2], "a": {"c": None}}) == b'{"b":[1,2],"a":{"c":null}}'
