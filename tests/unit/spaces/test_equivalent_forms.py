"""Actions in forms that the specification does not have, line by line: taken where only one meaning is possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.errors import InvalidAction
from tests.support.space_samples import PAIR, action, keyed

SIGNS = spaces.Box(-1.0, 1.0, (2,), np.float64)
FLAGS = spaces.Box(0, 1, (2,), np.uint8)


def taken(space: spaces.Space[Any], value: Any, binary: bool) -> Any:
    """Return what the environment gets."""
    codec = action(space)
    return (codec.unpack if binary else codec.from_json)(value)


each_encoding = pytest.mark.parametrize("binary", [False, True], ids=["json", "messagepack"])


@each_encoding
@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (spaces.Discrete(3), 2.0, 2),
        (spaces.MultiDiscrete([3, 4]), [2.0, 3], [2, 3]),
        (spaces.Box(-9, 9, (2,), np.int32), [-9.0, 0.0], [-9, 0]),
        (spaces.MultiBinary(2), [True, 0.0], [1, 0]),
        (FLAGS, [True, False], [1, 0]),
        (SIGNS, [-0.0, 1], [-0.0, 1.0]),
        (PAIR, {"0": 0.5, "1": -1}, [0.5, -1.0]),
        (spaces.Box(-1, 1, (1,)), 0.5, [0.5]),
        (spaces.Box(-1, 1, (1, 1)), 0.5, [[0.5]]),
        (spaces.Box(-1, 1, (1, 2)), [0.5, 1], [[0.5, 1.0]]),
        (spaces.Box(-1, 1, (2, 1)), [0.5, 1], [[0.5], [1.0]]),
        (spaces.Box(-1, 1, (1, 2, 1)), [[0.5, 1]], [[[0.5], [1.0]]]),
        (spaces.MultiDiscrete([3]), 2, [2]),
        (spaces.MultiBinary(1), True, [1]),
    ],
)
def test_numbers(space: spaces.Space[Any], value: Any, expected: Any, binary: bool) -> None:
    """To the bit, and of the dtype of the space."""
    made = np.asarray(taken(space, value, binary))
    wanted = np.array(expected, space.dtype)
    assert (made.dtype, made.shape, made.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


@each_encoding
@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (keyed({}), [], {}),
        (spaces.Sequence(spaces.Discrete(2)), {}, ()),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), {"0": 1, "1": 0.0}, (1, 0)),
        (spaces.Tuple([spaces.Text(5)]), "north", ("north",)),
        (spaces.OneOf([spaces.Discrete(2)]), [0.0, 1], (0, 1)),
        (keyed({"a": spaces.Discrete(2), "b": spaces.Text(5)}), {"a": 1.0, "b": "x"}, {"a": 1, "b": "x"}),
    ],
)
def test_structures(space: spaces.Space[Any], value: Any, expected: Any, binary: bool) -> None:
    """An empty list and an empty object, a list and an object with indices, a lone part."""
    assert taken(space, value, binary) == expected


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (spaces.Discrete(3), "\2" + "\0" * 7, 2),
        (spaces.Text(5), b"north", "north"),
        (keyed({"a": spaces.Text(5)}), {b"a": b"x"}, {"a": "x"}),
    ],
)
def test_text_and_bytes_of_messagepack(space: spaces.Space[Any], value: Any, expected: Any) -> None:
    """Some libraries have one type for both."""
    assert taken(space, value, True) == expected


def test_an_array_with_text_for_its_bytes() -> None:
    """And bytes for its text."""
    array = {b"dtype": b"uint8", b"shape": [2.0], b"data": "ab"}
    (made,) = taken(spaces.Sequence(spaces.Box(0, 255, (2,), np.uint8)), [array], True)
    assert made.tolist() == [97, 98]


@each_encoding
@pytest.mark.parametrize(
    ("space", "value", "says"),
    [
        (spaces.Discrete(3), 1.5, "action is 1.5: send an integer from 0 to 2"),
        (spaces.Discrete(3), True, "action is true: send an integer from 0 to 2"),
        (spaces.Discrete(3), [1], "action is [1]: send an integer from 0 to 2"),
        (spaces.MultiBinary(2), [0, 0.5], "action[1] is 0.5: send an integer from 0 to 1"),
        (spaces.MultiDiscrete([3, 4], start=[1, 2]), [1, "2"], 'action[1] is "2": send an integer from 2 to 5'),
        (spaces.MultiDiscrete([3, 4]), [2**70, 0], "action[0] is 1180591620717411303424: send an integer from 0 to 2"),
        (spaces.Box(0, 2, (2,), np.uint8), [True, 0], "action[0] is true: send an integer from 0 to 2"),
        (PAIR, {}, "action is {}: send numbers in lists of shape [2]"),
        (PAIR, {"0": 1, "2": 1}, 'action is {"0": 1, "2": 1}: send numbers in lists of shape [2]'),
        (spaces.Box(-1, 1, (2, 1)), [0.5], "action has 1 elements: send 2"),
        (spaces.Box(-1, 1, (1, 2)), [0.5, [1]], "action[0][1] is [1]: send a number"),
        (keyed({"a": PAIR}), [], 'action is []: send an object with ["a"]'),
        (PAIR, float("nan"), "action is NaN: send numbers"),
    ],
)
def test_what_could_mean_more_than_one_thing(space: spaces.Space[Any], value: Any, says: str, binary: bool) -> None:
    """Is refused with its place, what it is, and what the space has."""
    with pytest.raises(InvalidAction) as caught:
        taken(space, value, binary)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", ["AACAPwAAgD8=", "left"])
def test_text_for_numbers_in_json(value: str) -> None:
    """The remedy is the form that has base64."""
    with pytest.raises(InvalidAction, match=r'send numbers in lists of shape .2., or .* the `values` "base64"'):
        taken(PAIR, value, False)
