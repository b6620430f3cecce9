"""Actions that are not elements of their space: each is refused with what was sent and what to send."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.errors import InvalidAction
from gymtwist.spaces.gymnasium_spaces import value_codec
from tests.support.space_samples import BITS, IMAGE, PAIR, action, keyed, unbounded

NESTED_ACTION = keyed(
    {"left": spaces.Tuple([spaces.Discrete(3, start=1), PAIR]), "right": spaces.MultiDiscrete([2, 3])}
)


@pytest.mark.parametrize(
    ("space", "value", "says"),
    [
        (PAIR, [0, 1.5], "action[1] is 1.5: send a number from -1.0 to 1.0"),
        (PAIR, [0, "NaN"], "action[1] is NaN: send a number from -1.0 to 1.0"),
        (PAIR, [0, "0"], 'action[1] is "0": send a number, "NaN", "Infinity" or "-Infinity"'),
        (PAIR, [0, True], 'action[1] is true: send a number, "NaN", "Infinity" or "-Infinity"'),
        (PAIR, [0], "action has 1 elements: send 2 (lists of shape [2])"),
        (PAIR, 0, "action is 0: send numbers in lists of shape [2]"),
        (IMAGE, [[0, 1], 2], "action[1] is 2: send numbers in lists of shape [2, 2]"),
        (IMAGE, [[0, 1], [2, 256]], "action[1][1] is 256: send an integer from 0 to 255"),
        (IMAGE, [[0, 1], [2, 2.5]], "action[1][1] is 2.5: send an integer from 0 to 255"),
        (unbounded((2,)), [0, 1e39], "action[1] is 1e+39: send a number that fits float32"),
        (unbounded((2,)), ["NaN", 0], "action[0] is NaN: send a number from -Infinity to Infinity"),
        (spaces.Discrete(3, start=-1), 2, "action is 2: send an integer from -1 to 1"),
        (spaces.Discrete(3), True, "action is true: send an integer from 0 to 2"),
        (spaces.Discrete(3), 1.5, "action is 1.5: send an integer from 0 to 2"),
        (spaces.MultiBinary(2), [0, 2], "action[1] is 2: send an integer from 0 to 1"),
        (NESTED_ACTION, [], 'action is []: send an object with ["left", "right"]'),
        (NESTED_ACTION, {"left": [1, [0, 0]]}, 'send an object with ["left", "right"]'),
        (NESTED_ACTION, {"left": [1], "right": [0, 0]}, "action.left is [1]: send a list of 2 parts"),
        (NESTED_ACTION, {"left": [0, [0, 0]], "right": [0, 0]}, "action.left[0] is 0: send an integer from 1 to 3"),
        (NESTED_ACTION, {"left": [1, [0, 2]], "right": [0, 0]}, "action.left[1][1] is 2.0: send a number from"),
        (NESTED_ACTION, {"left": [1, [0, 0]], "right": [0, 3]}, "action.right[1] is 3: send an integer from 0 to 2"),
        (spaces.Text(3, charset="ab"), "abab", 'action is "abab", 4 characters long: send from 1 to 3'),
        (spaces.Text(3, charset="ab"), "abc", 'action is "abc": send characters of "ab"'),
        (spaces.Text(3), 3, "action is 3: send a string"),
        (spaces.Sequence(PAIR), [[0, 0], [0, 2]], "action[1][1] is 2.0: send a number from"),
        (spaces.Sequence(PAIR), 3, "action is 3: send a list"),
        (spaces.Sequence(PAIR, stack=True), [[0, 0], [0, 2]], "action[1][1] is 2.0: send a number from"),
        (spaces.Sequence(PAIR, stack=True), [[0, 0], [0]], "action[1] has 1 elements: send 2 (lists of shape [n, 2])"),
        (
            spaces.Sequence(spaces.Tuple([PAIR, spaces.Discrete(2)]), stack=True),
            [[[0, 0]], [0, 1]],
            "with parts of [1, 2] elements: send equally many of each",
        ),
        (spaces.OneOf([PAIR]), [1, [0, 0]], "action[0] is 1: send an integer from 0 to 0"),
        (spaces.OneOf([PAIR]), [0, [0, 2]], "action[1][1] is 2.0: send a number from"),
        (spaces.OneOf([PAIR]), [0], "action is [0]: send a list of a choice and its value"),
        (spaces.Graph(PAIR, None), {}, 'action is {}: send an object with "nodes"'),
        (spaces.Graph(PAIR, None), {"nodes": [[0, 2]]}, "action.nodes[0][1] is 2.0: send a number from"),
        (
            spaces.Graph(PAIR, None),
            {"nodes": [[0, 0]], "edges": [], "edge_links": []},
            "action has edges: its space has none",
        ),
        (spaces.Graph(PAIR, PAIR), {"nodes": [[0, 0]], "edges": []}, 'send both "edges" and "edge_links"'),
        (
            spaces.Graph(PAIR, spaces.Discrete(2)),
            {"nodes": [[0, 0]], "edges": [0, 1], "edge_links": [[0, 0]]},
            "action has 1 edge links and 2 edges",
        ),
        (
            spaces.Graph(PAIR, spaces.Discrete(2)),
            {"nodes": [[0, 0]], "edges": [1], "edge_links": [[0, 1]]},
            "action.edge_links[0][1] is 1: send the index of a node, from 0 to 0",
        ),
    ],
)
def test_an_invalid_action_in_json(space: spaces.Space[Any], value: Any, says: str) -> None:
    """Is said with its path, what is there and what to send."""
    with pytest.raises(InvalidAction) as caught:
        action(space).from_json(value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("space", "value", "says"),
    [
        (PAIR, bytes(7), "action is 7 bytes long: send 8 bytes, as the layout of its space says"),
        (PAIR, None, "action is null: send 8 bytes, as the layout of its space says"),
        (PAIR, struct.pack("<ff", 0, 2), "action[1] is 2.0: send a number from -1.0 to 1.0"),
        (PAIR, struct.pack("<ff", 0, np.nan), "action[1] is NaN: send a number from -1.0 to 1.0"),
        (unbounded((100,)), np.full(100, np.nan, "<f4").tobytes(), "action[0] is NaN: send a number"),
        (spaces.Discrete(3), struct.pack("<q", 3), "action is 3: send an integer from 0 to 2"),
        (spaces.MultiBinary((2, 2)), b"\0\0\2\0", "action[1][0] is 2: send an integer from 0 to 1"),
        (spaces.MultiDiscrete([200] * 40), bytes(312) + struct.pack("<q", 200), "action[39] is 200: send an integer"),
        (BITS, b"\1\2", "action[1] is 2: send an integer from 0 to 1"),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), struct.pack("<qq", 1, 2), "action[1] is 2: send"),
        (spaces.Sequence(PAIR), bytes(7), "action is 7 bytes: send a list"),
        (spaces.Sequence(PAIR), [[0, 0], "x"], 'action[1] is "x": send an array as {"dtype", "shape", "data"}'),
        (spaces.Sequence(PAIR), [{"dtype": "float64", "shape": [2], "data": bytes(16)}], 'has dtype "float64": send'),
        (spaces.Sequence(PAIR), [{"dtype": "float32", "shape": [2, 1], "data": bytes(8)}], "send one of shape [2]"),
        (spaces.Sequence(PAIR), [{"dtype": "float32", "shape": 2, "data": bytes(8)}], "send a list of sizes"),
        (spaces.Sequence(PAIR), [{"dtype": "float32", "shape": [2], "data": bytes(9)}], "9 bytes as its data: send 8"),
        (
            spaces.Sequence(spaces.Box(0, 1, (0,)), stack=True),
            {"dtype": "float32", "shape": [10**12, 0], "data": b""},
            "send 10000 at most",
        ),
    ],
)
def test_an_invalid_action_in_messagepack(space: spaces.Space[Any], value: Any, says: str) -> None:
    """Is said with its path, what is there and what to send."""
    with pytest.raises(InvalidAction) as caught:
        action(space).unpack(value)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["AAAA", "AAAAAAAAAA", "!!!!", "é", 3, None, "AAAAAAAAAAA=\n"])
def test_invalid_base64(text: Any) -> None:
    """Or of another length."""
    with pytest.raises(InvalidAction, match="action is "):
        value_codec(PAIR, name="action", base64=True).from_json(text)
