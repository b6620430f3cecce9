"""Descriptions of spaces, as messages carry them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.wire import spaces
from gymtwist.wire.layout import Leaf
from gymtwist.wire.spaces import Description, check, for_json, layout_of
from gymtwist.wire.values import codec

from .nested import ANYTHING

PAIR = spaces.Box((2,), "float32", -1.0, 1.0)
TWO = spaces.Discrete(2)
TEXT = spaces.Text(1, 3, "ab")


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (PAIR, {"kind": "Box", "shape": [2], "dtype": "float32", "low": -1.0, "high": 1.0}),
        (
            spaces.Box((2,), "uint64", bytes(16), b"\xff" * 16),
            {"kind": "Box", "shape": [2], "dtype": "uint64", "low": [0, 0], "high": [2**64 - 1, 2**64 - 1]},
        ),
        (TWO, {"kind": "Discrete", "n": 2, "start": 0, "dtype": "int64"}),
        (spaces.MultiBinary(3), {"kind": "MultiBinary", "n": 3}),
        (spaces.MultiBinary((2, 3)), {"kind": "MultiBinary", "n": [2, 3]}),
        (
            spaces.MultiDiscrete([[2, 3]], [[0, 1]], "int64"),
            {"kind": "MultiDiscrete", "nvec": [[2, 3]], "start": [[0, 1]], "dtype": "int64"},
        ),
        (TEXT, {"kind": "Text", "min_length": 1, "max_length": 3, "characters": "ab"}),
        (spaces.Tuple((spaces.MultiBinary(3),)), {"kind": "Tuple", "spaces": [{"kind": "MultiBinary", "n": 3}]}),
        (
            spaces.Dict((("b", spaces.MultiBinary(3)), ((1, "a"), spaces.Tuple(())))),
            {
                "kind": "Dict",
                "spaces": [["b", {"kind": "MultiBinary", "n": 3}], [[1, "a"], {"kind": "Tuple", "spaces": []}]],
            },
        ),
        (
            spaces.Sequence(spaces.MultiBinary(3), stack=True),
            {"kind": "Sequence", "space": {"kind": "MultiBinary", "n": 3}, "stack": True},
        ),
        (
            spaces.Graph(spaces.MultiBinary(3)),
            {"kind": "Graph", "node_space": {"kind": "MultiBinary", "n": 3}, "edge_space": None},
        ),
        (spaces.OneOf((spaces.MultiBinary(3),)), {"kind": "OneOf", "spaces": [{"kind": "MultiBinary", "n": 3}]}),
    ],
)
def test_a_description_in_json(description: Description, text: dict[str, Any]) -> None:
    """Is an object whose `kind` is the name of the space's class."""
    assert json.loads(msgspec.json.encode(for_json(description))) == text


def test_a_layout_names_the_leaves_by_their_paths() -> None:
    """The fields of a Dict in its own order."""
    description = spaces.Dict(
        (
            ("b", spaces.Tuple((TWO, PAIR))),
            ("a", spaces.MultiDiscrete([2, 3], [0, 0], "int16")),
            (1, spaces.MultiBinary((2, 2))),
            ("c", spaces.Tuple(())),
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
    [TEXT, spaces.Sequence(TWO), spaces.Graph(PAIR), spaces.OneOf((TWO,))],
    ids=lambda each: str(each)[:9],
)
def test_what_fixes_no_layout(description: Description) -> None:
    """Has none, nor has what holds it."""
    assert layout_of(description) is None
    assert layout_of(spaces.Tuple((TWO, spaces.Dict((("a", description),))))) is None


def nested(depth: int) -> Description:
    """Nests Tuples."""
    description: Description = spaces.Tuple(())
    for _ in range(depth - 1):
        description = spaces.Tuple((description,))
    return description


@pytest.mark.parametrize("description", [nested(spaces.MAX_DEPTH), spaces.Tuple((TWO,) * spaces.MAX_LEAVES)])
def test_what_is_within_the_limits(description: Description) -> None:
    """Just so."""
    check(description)


@pytest.mark.parametrize(
    ("description", "says"),
    [
        (nested(spaces.MAX_DEPTH + 1), "nested more than 32 deep"),
        (spaces.Tuple((TWO,) * (spaces.MAX_LEAVES + 1)), "more than 10000 leaves"),
        (spaces.Tuple((spaces.Tuple(()),) * (spaces.MAX_LEAVES + 1)), "more than 10000 leaves"),
        (spaces.Box((10**9, 10**9), "float32", 0, 1), "more than 1073741824 bytes"),
        (spaces.Box((0, 10**30), "float32", 0, 1), "more than 1073741824 bytes"),
        (spaces.Box((-1,), "float32", 0, 1), "a shape that no array has"),
        (spaces.Box((1,) * 33, "float32", 0, 1), "a shape that no array has"),
        (spaces.Box((2,), "complex64", 0, 1), "a dtype that is not one of bool, int8"),
        (spaces.Box((2,), "O", 0, 1), "a dtype that is not one of"),
        (spaces.Box((2,), "float32", bytes(7), 1), "a bound of 7 bytes for an array of 2 float32"),
        (spaces.Box((2,), "float32", [0], 1), "a bound of 1 numbers for an array of 2"),
        (spaces.Box((2,), "float32", "zero", 1), "a bound that is no number: 'zero'"),
        (spaces.Box((2,), "float32", None, 1), "a bound that is no number: None"),
        (spaces.Box((2,), "float32", 0, 10**400), "make no array of float32"),
        (spaces.Box((2,), "uint8", 0, 256), "a bound that is no uint8: 256"),
        (spaces.Box((2,), "uint8", 0.5, 2), "a bound that is no uint8: 0.5"),
        (spaces.Box((2,), "uint8", "NaN", 2), "a bound that is no uint8: 'NaN'"),
        (spaces.Discrete(2, 0, "float32"), "a dtype that is not one of int8"),
        (spaces.Discrete(0), "not positive"),
        (spaces.Discrete(2**63), "no int64"),
        (spaces.MultiBinary(0), "not positive"),
        (spaces.MultiBinary((2, 10**10)), "more than 1073741824 bytes"),
        (spaces.MultiDiscrete([2, [3]], [0, 0], "int64"), "make no array"),
        (spaces.MultiDiscrete([2, 3], [0], "int64"), "nvec has shape"),
        (spaces.MultiDiscrete([2, 0], [0, 0], "int64"), "not positive"),
        (spaces.MultiDiscrete([2, 3.0], [0, 0], "int64"), "no int64: 3.0"),
        (spaces.MultiDiscrete([True], [0], "int64"), "no int64: True"),
        (spaces.MultiDiscrete("2", 0, "int64"), "no int64: '2'"),
        (spaces.MultiDiscrete([], [], "int64", (0, -1)), "a shape that no array has"),
        (spaces.Text(3, 2, "a"), "a Text of 3 to 2 characters"),
        (spaces.Text(-1, 2, "a"), "a Text of -1 to 2 characters"),
        (spaces.OneOf(()), "a OneOf of no spaces"),
        (spaces.Dict((("1", TWO), (1, TWO))), "keys that are the same"),
        (spaces.Dict((({}, TWO),)), "a key that no message can carry"),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else "",
)
def test_a_description_of_no_space(description: Description, says: str) -> None:
    """Is refused by everything that reads one, before anything is allocated."""
    for read in (check, layout_of, codec):
        with pytest.raises(ValueError, match=says):
            read(description)


@given(ANYTHING, ANYTHING, st.sampled_from(["float32", "uint64", "bool"]))
def test_any_bound(low: Any, high: Any, dtype: str) -> None:
    """Is one, or is refused."""
    description = spaces.Box((2,), dtype, low, high)
    try:
        check(description)
    except ValueError:
        return
    codec(description)
    check(for_json(description))


@given(ANYTHING, ANYTHING)
def test_any_counts(nvec: Any, start: Any) -> None:
    """Are some, or are refused."""
    description = spaces.MultiDiscrete(nvec, start, "int16")
    try:
        check(description)
    except ValueError:
        return
    codec(description)


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Are no description, as a rule."""
    for decode in (msgspec.msgpack.decode, msgspec.json.decode):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
            decode(data, type=Description)


def test_a_bound_of_floats_is_exact_in_json() -> None:
    """To the last bit, of float32 too."""
    bound = np.array([0.1, 1 / 3, -0.0, np.inf, 1e-45, 3.4028235e38], "<f4")
    description = spaces.Box((6,), "float32", "-Infinity", bound.tobytes())
    received = msgspec.json.decode(msgspec.json.encode(for_json(description)), type=Description)
    assert isinstance(received, spaces.Box)
    assert spaces.bound_of(received, received.high).tobytes() == bound.tobytes()
