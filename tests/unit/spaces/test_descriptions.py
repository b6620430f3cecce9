"""Descriptions of spaces, as messages carry them."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.spaces import descriptions
from gymtwist.spaces.descriptions import Description, check, for_json, layout_of
from gymtwist.spaces.gymnasium_spaces import build, describe, value_codec
from gymtwist.spaces.layout import Leaf
from tests.support.nested_spaces import ANYTHING

PAIR = descriptions.Box((2,), "float32", -1.0, 1.0)
TWO = descriptions.Discrete(2)
TEXT = descriptions.Text(1, 3, "ab")


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (PAIR, {"kind": "Box", "shape": [2], "dtype": "float32", "low": -1.0, "high": 1.0}),
        (
            descriptions.Box((2,), "uint64", bytes(16), b"\xff" * 16),
            {"kind": "Box", "shape": [2], "dtype": "uint64", "low": [0, 0], "high": [2**64 - 1, 2**64 - 1]},
        ),
        (TWO, {"kind": "Discrete", "n": 2, "start": 0, "dtype": "int64"}),
        (descriptions.MultiBinary(3), {"kind": "MultiBinary", "n": 3}),
        (descriptions.MultiBinary((2, 3)), {"kind": "MultiBinary", "n": [2, 3]}),
        (
            descriptions.MultiDiscrete([[2, 3]], [[0, 1]], "int64"),
            {"kind": "MultiDiscrete", "nvec": [[2, 3]], "start": [[0, 1]], "dtype": "int64"},
        ),
        (TEXT, {"kind": "Text", "min_length": 1, "max_length": 3, "characters": "ab"}),
        (
            descriptions.Tuple((descriptions.MultiBinary(3),)),
            {"kind": "Tuple", "spaces": [{"kind": "MultiBinary", "n": 3}]},
        ),
        (
            descriptions.Dict((("b", descriptions.MultiBinary(3)), ((1, "a"), descriptions.Tuple(())))),
            {
                "kind": "Dict",
                "spaces": [["b", {"kind": "MultiBinary", "n": 3}], [[1, "a"], {"kind": "Tuple", "spaces": []}]],
            },
        ),
        (
            descriptions.Sequence(descriptions.MultiBinary(3), stack=True),
            {"kind": "Sequence", "space": {"kind": "MultiBinary", "n": 3}, "stack": True},
        ),
        (
            descriptions.Graph(descriptions.MultiBinary(3)),
            {"kind": "Graph", "node_space": {"kind": "MultiBinary", "n": 3}, "edge_space": None},
        ),
        (
            descriptions.OneOf((descriptions.MultiBinary(3),)),
            {"kind": "OneOf", "spaces": [{"kind": "MultiBinary", "n": 3}]},
        ),
    ],
)
def test_a_description_in_json(description: Description, text: dict[str, Any]) -> None:
    """Is an object whose `kind` is the name of the space's class."""
    assert json.loads(msgspec.json.encode(for_json(description))) == text


def test_a_layout_names_the_leaves_by_their_paths() -> None:
    """The fields of a Dict in its own order."""
    description = descriptions.Dict(
        (
            ("b", descriptions.Tuple((TWO, PAIR))),
            ("a", descriptions.MultiDiscrete([2, 3], [0, 0], "int16")),
            (1, descriptions.MultiBinary((2, 2))),
            ("c", descriptions.Tuple(())),
        )
    )
    layout = layout_of(description)
    assert layout is not None
    assert layout.leaves == (
        Leaf(("b", 0), "int64", (), 0),
        Leaf(("b", 1), "float32", (2,), 8),
        Leaf(("a",), "int16", (2,), 16),
        Leaf(("1",), "int8", (2, 2), 20),
    )
    assert layout.size == 24


@pytest.mark.parametrize(
    "description",
    [TEXT, descriptions.Sequence(TWO), descriptions.Graph(PAIR), descriptions.OneOf((TWO,))],
    ids=lambda each: str(each)[:9],
)
def test_what_fixes_no_layout(description: Description) -> None:
    """Has none, nor has what holds it."""
    assert layout_of(description) is None
    assert layout_of(descriptions.Tuple((TWO, descriptions.Dict((("a", description),))))) is None


def nested(depth: int) -> Description:
    """Nests Tuples."""
    description: Description = descriptions.Tuple(())
    for _ in range(depth - 1):
        description = descriptions.Tuple((description,))
    return description


@pytest.mark.parametrize(
    "description", [nested(descriptions.MAX_DEPTH), descriptions.Tuple((TWO,) * descriptions.MAX_LEAVES)]
)
def test_descriptions_within_the_limits(description: Description) -> None:
    """Just so."""
    check(description)


@pytest.mark.parametrize(
    ("description", "says"),
    [
        (nested(descriptions.MAX_DEPTH + 1), "nested more than 32 deep"),
        (descriptions.Tuple((TWO,) * (descriptions.MAX_LEAVES + 1)), "more than 10000 leaves"),
        (descriptions.Tuple((descriptions.Tuple(()),) * (descriptions.MAX_LEAVES + 1)), "more than 10000 leaves"),
        (descriptions.Box((10**9, 10**9), "float32", 0, 1), "more than 1073741824 bytes"),
        (descriptions.Box((0, 10**30), "float32", 0, 1), "more than 1073741824 bytes"),
        (descriptions.Box((-1,), "float32", 0, 1), "a shape that no array has"),
        (descriptions.Box((1,) * 33, "float32", 0, 1), "a shape that no array has"),
        (descriptions.Box((2,), "complex64", 0, 1), "a dtype that is not one of bool, int8"),
        (descriptions.Box((2,), "O", 0, 1), "a dtype that is not one of"),
        (descriptions.Box((2,), "float32", bytes(7), 1), "a bound of 7 bytes for an array of 2 float32"),
        (descriptions.Box((2,), "float32", [0], 1), "a bound of 1 numbers for an array of 2"),
        (descriptions.Box((2,), "float32", "zero", 1), "a bound that is not a number: 'zero'"),
        (descriptions.Box((2,), "float32", None, 1), "a bound that is not a number: None"),
        (descriptions.Box((2,), "float32", 0, 10**400), "do not fit an array of float32"),
        (descriptions.Box((2,), "uint8", 0, 256), "a bound that is not of type uint8: 256"),
        (descriptions.Box((2,), "uint8", 0.5, 2), "a bound that is not of type uint8: 0.5"),
        (descriptions.Box((2,), "uint8", "NaN", 2), "a bound that is not of type uint8: 'NaN'"),
        (descriptions.Discrete(2, 0, "float32"), "a dtype that is not one of int8"),
        (descriptions.Discrete(0), "not positive"),
        (descriptions.Discrete(2**63), "not of type int64"),
        (descriptions.MultiBinary(0), "not positive"),
        (descriptions.MultiBinary((2, 10**10)), "more than 1073741824 bytes"),
        (descriptions.MultiDiscrete([2, [3]], [0, 0], "int64"), "do not fit an array of int64"),
        (descriptions.MultiDiscrete([2, 3], [0], "int64"), "nvec has shape"),
        (descriptions.MultiDiscrete([2, 0], [0, 0], "int64"), "not positive"),
        (descriptions.MultiDiscrete([2, 3.0], [0, 0], "int64"), "not of type int64: 3.0"),
        (descriptions.MultiDiscrete([True], [0], "int64"), "not of type int64: True"),
        (descriptions.MultiDiscrete("2", 0, "int64"), "not of type int64: '2'"),
        (descriptions.MultiDiscrete([], [], "int64", (0, -1)), "a shape that no array has"),
        (descriptions.Text(3, 2, "a"), "a Text of 3 to 2 characters"),
        (descriptions.Text(-1, 2, "a"), "a Text of -1 to 2 characters"),
        (descriptions.OneOf(()), "a OneOf without spaces"),
        (descriptions.Dict((("1", TWO), (1, TWO))), "keys that are the same"),
        (descriptions.Dict((({}, TWO),)), "a key that no message can carry"),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else "",
)
def test_a_description_of_no_space(description: Description, says: str) -> None:
    """Is refused by everything that reads one, before anything is allocated."""
    for read in (check, layout_of, build):
        with pytest.raises(ValueError, match=says):
            read(description)


@given(ANYTHING, ANYTHING, st.sampled_from(["float32", "uint64", "bool"]))
def test_any_bound(low: Any, high: Any, dtype: str) -> None:
    """Is one, or is refused."""
    description = descriptions.Box((2,), dtype, low, high)
    try:
        check(description)
    except ValueError:
        return
    layout_of(description)
    check(for_json(description))


@given(ANYTHING, ANYTHING)
def test_any_counts(nvec: Any, start: Any) -> None:
    """Are some, or are refused."""
    description = descriptions.MultiDiscrete(nvec, start, "int16")
    try:
        check(description)
    except ValueError:
        return
    layout_of(description)


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Are no description, as a rule."""
    for decode in (msgspec.msgpack.decode, msgspec.json.decode):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
            decode(data, type=Description)


def test_a_bound_of_floats_is_exact_in_json() -> None:
    """To the last bit, of float32 too."""
    bound = np.array([0.1, 1 / 3, -0.0, np.inf, 1e-45, 3.4028235e38], "<f4")
    description = descriptions.Box((6,), "float32", "-Infinity", bound.tobytes())
    received = msgspec.json.decode(msgspec.json.encode(for_json(description)), type=Description)
    assert isinstance(received, descriptions.Box)
    assert received.bound(received.high).tobytes() == bound.tobytes()


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("float32", "-Infinity", 0.5), ("int64", "-Infinity", 7), ("bool", 0, 1), ("float64", 0.0, 1)],
)
def test_a_large_box_takes_no_memory(dtype: str, low: Any, high: Any) -> None:
    """If its bounds are the same everywhere; it is equal to Gymnasium's own, and can be used like that."""
    large, small = (descriptions.Box((2, size), dtype, low, high) for size in (1 << 25, 1 << 19))
    tracemalloc.start()
    try:
        assert build(large).shape == (2, 1 << 25)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    built = build(small)
    bounds = {"-Infinity": -np.inf}
    expected = spaces.Box(bounds.get(low, low), bounds.get(high, high), (2, 1 << 19), np.dtype(dtype).type)
    assert built == expected
    assert repr(built) == repr(expected)
    assert describe(built) == small
    assert copy.deepcopy(built) == pickle.loads(pickle.dumps(built)) == expected
    built.seed(1)
    expected.seed(1)
    element = built.sample()
    assert (element == expected.sample()).all()
    assert built.contains(element)


@pytest.mark.parametrize("kind", ["build", "codec"])
def test_it_is_too_late_for_a_space(kind: str) -> None:
    """Nothing more is made of a description."""
    description = descriptions.Tuple((descriptions.Discrete(2),))
    with pytest.raises(TimeoutError):
        if kind == "build":
            build(description, deadline=0.0)
        else:
            value_codec(build(description), name="observation", description=description, deadline=0.0)
