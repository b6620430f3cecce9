"""Elements of spaces in messages, both ways."""

from __future__ import annotations

import base64
import struct
import warnings
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import GraphInstance
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from gymtwist.errors import InvalidAction
from gymtwist.spaces.gymnasium_spaces import value_codec
from gymtwist.spaces.layout import SMALL
from tests.support.nested_spaces import ANYTHING, FIXED, NESTED
from tests.support.space_samples import (
    NOT_FINITE,
    PAIR,
    action,
    keyed,
    relaxed,
    sample,
    sent,
    sent_in_json,
    unbounded,
)
from tests.support.space_strategies import equal


@relaxed
@given(NESTED, st.booleans(), st.booleans())
def test_an_element_comes_back(space: spaces.Space[Any], checked: bool, in_base64: bool) -> None:
    """In structure, in type and to the last bit; whatever the space, the encoding and the reader."""
    values = value_codec(space, name="action", checked=checked, base64=in_base64)
    value = sample(space)
    assume(not checked or space.contains(value))  # Gymnasium before 1.3 draws other nodes of a Graph
    assert equal(values.unpack(sent(values.pack(value))), value)
    assert equal(values.from_json(sent_in_json(values.to_json(value))), value)


@relaxed
@given(FIXED)
def test_a_layout_says_where_the_numbers_are(space: spaces.Space[Any]) -> None:
    """Each leaf at its path."""
    values = action(space)
    value = sample(space)
    packed = bytes(values.pack(value))
    assert values.layout is not None
    assert len(packed) == values.layout.size
    for leaf in values.layout.leaves:
        part = value
        for key in leaf.path:
            named = {str(name): each for name, each in part.items()} if isinstance(part, dict) else part
            part = named[key]
        expected = np.asarray(part)
        assert (leaf.dtype, leaf.shape) == (expected.dtype.name, expected.shape)
        assert packed[leaf.offset : leaf.offset + leaf.size] == expected.tobytes()


@relaxed
@given(NESTED, ANYTHING)
def test_anything_from_outside(space: spaces.Space[Any], anything: Any) -> None:
    """Is an action, or is refused as one; a reader of observations refuses it as a value."""
    for in_base64 in (False, True):
        for checked, refused in ((True, InvalidAction), (False, ValueError)):
            values = value_codec(space, name="it", checked=checked, base64=in_base64)
            for read in (values.unpack, values.from_json):
                try:
                    value = read(anything)
                except refused as error:
                    assert str(error).startswith("it")
                    assert len(str(error)) < 1000
                else:
                    assert not checked or is_within(space, value)


@relaxed
@given(FIXED, st.data())
def test_any_bytes_of_the_right_length(space: spaces.Space[Any], data: st.DataObject) -> None:
    """Are an action of the space, or are refused."""
    values = action(space)
    assert values.layout is not None
    packed = data.draw(st.binary(min_size=values.layout.size, max_size=values.layout.size))
    try:
        value = values.unpack(packed)
    except InvalidAction:
        return
    assert is_within(space, value)
    assert values.pack(value) == packed


@relaxed
@given(NESTED, NESTED, st.booleans())
def test_an_action_of_another_space(space: spaces.Space[Any], other: spaces.Space[Any], in_base64: bool) -> None:
    """Is one of this space too, or is refused."""
    value = sample(other)
    theirs, values = (value_codec(each, name="action", base64=in_base64) for each in (other, space))
    for read, message in (
        (values.unpack, sent(theirs.pack(value))),
        (values.from_json, sent_in_json(theirs.to_json(value))),
    ):
        try:
            taken = read(message)
        except InvalidAction:
            continue
        assert is_within(space, taken)


@relaxed
@given(NESTED, ANYTHING)
def test_anything_from_an_environment(space: spaces.Space[Any], anything: Any) -> None:
    """Is packed, or is not a value of the space."""
    values = value_codec(space, name="observation", checked=False)
    for write in (values.pack, values.to_json):
        try:
            written = write(anything)
        except ValueError as error:
            assert str(error).startswith("observation")
        else:
            msgspec.msgpack.encode(written)


def is_within(space: spaces.Space[Any], value: Any) -> bool:
    """Ask Gymnasium, which has words of its own for arrays of integers that it was not given as such."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return space.contains(value)


@given(stn.arrays(np.float32, (3,), elements=st.floats(width=32)))
def test_a_float32_is_exact_in_json(array: np.ndarray[Any, Any]) -> None:
    """To the last bit, but for the payload of a NaN."""
    values = value_codec(unbounded((3,)), name="observation", checked=False)
    again = values.from_json(sent_in_json(values.to_json(array)))
    assert np.array_equal(again.view(np.uint32)[~np.isnan(array)], array.view(np.uint32)[~np.isnan(array)])
    assert np.array_equal(np.isnan(again), np.isnan(array))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_are_exact(dtype: Any) -> None:
    """To the last digit, beyond what a float64 holds."""
    limits = np.iinfo(dtype)
    space = spaces.Box(limits.min, limits.max, (4,), dtype)
    value = np.array([limits.min, limits.max, 2**53 + 1, limits.max - 1], dtype)
    values = action(space)
    assert equal(values.unpack(sent(values.pack(value))), value)
    assert equal(values.from_json(sent_in_json(values.to_json(value))), value)
    for beyond in (int(limits.min) - 1, int(limits.max) + 1):
        with pytest.raises(InvalidAction, match=r"action\[1\] is .*: send an integer from"):
            values.from_json([0, beyond, 0, 0])


def test_numbers_that_are_not_finite() -> None:
    """Are exact in MessagePack, and have names in JSON."""
    values = value_codec(unbounded((6,)), name="observation", checked=False)
    assert values.unpack(sent(values.pack(NOT_FINITE))).tobytes() == NOT_FINITE.tobytes()
    assert values.to_json(NOT_FINITE)[:3] == ["NaN", "Infinity", "-Infinity"]
    assert values.from_json(sent_in_json(values.to_json(NOT_FINITE)))[1:].tobytes() == NOT_FINITE[1:].tobytes()


def test_a_large_array_as_it_should_be_is_not_copied() -> None:
    """The reader of observations does not copy it either."""
    values = value_codec(spaces.Box(0, 255, (2, SMALL), np.uint8), name="observation", checked=False)
    array = np.zeros((2, SMALL), np.uint8)
    packed = values.pack(array)
    array[0, 1] = 7
    assert packed[1] == 7
    assert np.shares_memory(values.unpack(packed), array)


def test_an_action_is_the_environment_s_own() -> None:
    """It may keep it while the next is received, and write to it."""
    for read, message in ((action(PAIR).unpack, bytearray(8)), (action(PAIR).from_json, [0, 0])):
        taken = read(message)
        taken[0] = 1
        assert message in (bytearray(8), [0, 0])


@pytest.mark.parametrize(
    ("space", "value", "packed"),
    [
        (PAIR, [0.5, 1], struct.pack("<ff", 0.5, 1)),
        (PAIR, np.array([0.5, 1]), struct.pack("<ff", 0.5, 1)),
        (PAIR, np.array([0.5, 1], ">f4"), struct.pack("<ff", 0.5, 1)),
        (PAIR, np.array([0.5, 0, 1], np.float32)[::2], struct.pack("<ff", 0.5, 1)),
        (PAIR, np.array([5, 1]), struct.pack("<ff", 5, 1)),
        (spaces.Discrete(3), 2, struct.pack("<q", 2)),
        (spaces.Discrete(3), np.int8(2), struct.pack("<q", 2)),
        (spaces.Discrete(3), np.array(2, ">i2"), struct.pack("<q", 2)),
        (spaces.Discrete(3), 2.0, struct.pack("<q", 2)),
        (spaces.Discrete(3, dtype=np.uint8), np.int64(2), b"\2"),
        (spaces.Tuple([spaces.Discrete(3, dtype=np.int8), PAIR]), [1, (1, 0)], b"\1" + struct.pack("<ff", 1, 0)),
        (keyed({7: spaces.MultiBinary(2)}), {7: [True, False], "more": 1}, b"\1\0"),
        (spaces.Box(-1, 1, (0, 2)), np.zeros((0, 2)), b""),
    ],
)
def test_what_an_environment_returns_is_cast(space: spaces.Space[Any], value: Any, packed: bytes) -> None:
    """As Gymnasium's shared memory does: to the dtype of the space, even beyond its bounds."""
    assert value_codec(space, name="observation").pack(value) == packed


@pytest.mark.parametrize(
    ("space", "value", "says"),
    [
        (PAIR, np.zeros(3), r"observation is an array of shape \[3\] where its space has \[2\]"),
        (spaces.Discrete(3), np.array([1]), r"observation is an array of shape \[1\]"),
        (spaces.Discrete(3), "two", "observation is a str that does not fit an array of int64"),
        (spaces.Discrete(3), 2**70, "observation is a int that does not fit an array of int64"),
        (spaces.Tuple([PAIR]), PAIR, "observation is a Box: its space is of tuples with 1 parts"),
        (spaces.Tuple([PAIR]), np.array(1), "observation is a ndarray"),
        (spaces.Tuple([PAIR]), (), "observation has 0 parts"),
        (spaces.Tuple([PAIR, PAIR]), ([0, 0], [0]), r"observation\[1\] is an array of shape \[1\]"),
        (keyed({"a": PAIR}), [1], "observation is a list: its space is of dictionaries"),
        (keyed({"a": PAIR}), {"b": 1}, "observation has no 'a'"),
        (keyed({"a": spaces.Tuple([PAIR])}), {"a": [[0]]}, r"observation.a\[0\] is an array of shape \[1\]"),
        (spaces.Text(3), 3, "observation is 3 where its space has text"),
        (spaces.Text(3), "\ud800", "which UTF-8 cannot carry"),
        (spaces.Sequence(PAIR), ([0, 0], [0]), r"observation\[1\] is an array of shape \[1\]"),
        (spaces.Sequence(PAIR), 3, "observation is a int: its space is of tuples"),
        (spaces.Sequence(PAIR, stack=True), [0, 0], r"observation is an array .* where its space has \[n, 2\]"),
        (spaces.OneOf([PAIR]), [1, [0, 0]], r"observation\[0\] is 1"),
        (spaces.OneOf([PAIR]), [0, [0]], r"observation\[1\] is an array of shape \[1\]"),
        (spaces.OneOf([PAIR]), 0, "observation is 0: its space is of pairs"),
        (spaces.Graph(PAIR, None), 0, "observation is 0: its space is of graphs"),
        (spaces.Graph(PAIR, None), ([[0, 0]], [[0, 0]], [[0, 0]]), "observation has edges: its space has none"),
        (
            spaces.Graph(PAIR, PAIR),
            ([[0, 0]], [[0, 0]], [0, 0]),
            r"observation.edge_links is an array .* its space has \[n, 2\]",
        ),
    ],
)
def test_values_outside_the_space(space: spaces.Space[Any], value: Any, says: str) -> None:
    """Is said with its path, what is there and what should be."""
    values = value_codec(space, name="observation")
    for write in (values.pack, values.to_json):
        with pytest.raises(ValueError, match=says):
            write(value)


def test_base64_is_of_the_same_bytes() -> None:
    """Where there is a layout; else of each array's."""
    value = np.array([0.5, 1], np.float32)
    text = base64.b64encode(value.tobytes()).decode()
    assert value_codec(PAIR, name="action", base64=True).to_json(value) == text
    assert value_codec(spaces.Sequence(PAIR), name="action", base64=True).to_json((value,)) == [
        {"dtype": "float32", "shape": (2,), "data": text}
    ]


def test_an_observation_may_be_outside_its_space() -> None:
    """Environments do not always keep within it, and their observations are to be read all the same."""
    space = spaces.Tuple([PAIR, spaces.Discrete(3), spaces.MultiBinary(1), spaces.Text(3)])
    values = value_codec(space, name="observation", checked=False)
    value = (np.array([np.inf, 7], np.float32), np.int64(9), np.array([4], np.int8), "four!")
    assert equal(values.unpack(sent(values.pack(value))), value)
    assert equal(values.from_json(sent_in_json(values.to_json(value))), value)


def test_values_of_each_kind_have_gymnasium_s_types() -> None:
    """What an environment is given is in its space."""
    space = spaces.Graph(PAIR, spaces.Discrete(2))
    value = GraphInstance(np.zeros((2, 2), np.float32), np.array([1]), np.array([[0, 1]], np.int32))
    assert space.contains(action(space).unpack(sent(action(space).pack(value))))
    taken = action(spaces.Discrete(3)).unpack(struct.pack("<q", 2))
    assert type(taken) is np.int64


def test_a_message_of_a_huge_value_is_short() -> None:
    """Whatever was sent."""
    for value in (bytes(10**6), 10**5000, [0] * 10**5, "a" * 10**6, {"a": [[[0]]] * 1000}):
        with pytest.raises(InvalidAction) as caught:
            action(spaces.Sequence(spaces.Text(3))).unpack([value])
        assert len(str(caught.value)) < 200


def test_strings_among_numbers_take_no_memory() -> None:
    """NumPy would make room for the longest of them at each place."""
    with pytest.raises(InvalidAction):
        action(unbounded((10**5,))).from_json([0.0] * (10**5 - 1) + ["0" * 10**6])
