"""Elements of spaces: observations out, actions in."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.errors import EnvironmentFault, InvalidAction
from gymtwist.protocol.dynamic_values import encode_value
from gymtwist.spaces.classic_codecs import check_shape, decoder, encoder
from gymtwist.spaces.space_codecs import CutReport
from gymtwist_conformance.reference_client import strict_json
from tests.support.space_strategies import SPACES, equal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**300, 10**310) | st.floats(allow_nan=False) | st.text(),
    lambda each: (
        st.lists(each, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "nodes", "edges", "edge_links"]), each, max_size=4)
    ),
    max_leaves=12,
)
PAIR = spaces.Box(-1, 1, (2,), np.float32)
DEEP: Any = 1
for _ in range(990):
    DEEP = [DEEP]


def keyed(fields: dict[Any, spaces.Space[Any]]) -> spaces.Dict[Any]:
    """A Dict whose keys need not be strings."""
    return spaces.Dict(fields)


def sent(space: spaces.Space[Any], element: Any) -> Any:
    """Encode an element, and decode what a client gets."""
    return strict_json(encode_value(encoder(space)(element)).decode())


def refused(space: spaces.Space[Any], action: Any) -> str:
    """Send a value that is not an action; return the message."""
    with pytest.raises(InvalidAction) as caught:
        decoder(space)(action)
    return str(caught.value)


@given(SPACES, st.integers(0, 2**31))
def test_an_element_comes_back_as_it_was(space: spaces.Space[Any], seed: int) -> None:
    """Of any space: in type, in shape and to the last bit."""
    space.seed(seed)
    element = space.sample()
    returned = decoder(space)(sent(space, element))
    assert equal(element, returned)
    assert space.contains(returned)


@given(SPACES, JSON)
def test_any_json_is_an_action_or_an_invalid_one(space: spaces.Space[Any], value: Any) -> None:
    """Nothing else is raised, and the message stays short."""
    with warnings.catch_warnings():
        # A number too large for the dtype of a Box becomes infinite.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            decoder(space)(value)
        except InvalidAction as error:
            assert str(error).startswith("action")
            assert len(str(error)) < 10_000


@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("feature", [spaces.Discrete(3), PAIR, spaces.Dict(a=spaces.Discrete(2), b=PAIR)])
@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_sequence_is_a_list(feature: spaces.Space[Any], stack: bool, length: int) -> None:
    """Of its elements' own JSON, stacked or not."""
    space = spaces.Sequence(feature, stack=stack, seed=1)
    each = encoder(feature)(feature.sample())
    element = decoder(space)([each] * length)
    assert sent(space, element) == [each] * length


@pytest.mark.parametrize(
    ("space", "element", "expected"),
    [
        (spaces.Discrete(5, start=3), np.int64(4), 4),
        (spaces.MultiBinary((2, 2)), np.eye(2, dtype=np.int8), [[1, 0], [0, 1]]),
        (spaces.MultiDiscrete([3, 4]), np.array([2, 3]), [2, 3]),
        (PAIR, np.array([0.1, 1], np.float32), [float(np.float32(0.1)), 1.0]),
        (PAIR, [0.5, 1], [0.5, 1]),
        (PAIR, np.array([0.5, 1], ">f4"), [0.5, 1]),
        (PAIR, np.array([0.5, 9, 1, 9])[::2], [0.5, 1]),
        (PAIR, np.array([np.nan, -np.inf]), [None, -1.7976931348623157e308]),
        (PAIR, np.array([0.5, 1], object), [0.5, 1]),
        (spaces.Box(-1, 1, (), np.float64), np.float64(0.5), 0.5),
        (spaces.Box(-1, 1, (2, 0)), np.zeros((2, 0)), [[], []]),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([1, 255], np.uint8), [1, 255]),
        (spaces.Text(3), "größe", "größe"),
        (spaces.Tuple([spaces.Discrete(3), PAIR]), [np.int32(2), (0, 1)], [2, [0, 1]]),
        (spaces.Dict(b=PAIR, a=spaces.Discrete(2)), {"a": 1, "b": [0, 1], "more": 1}, {"a": 1, "b": [0, 1]}),
        (keyed({1: spaces.Discrete(2)}), {1: 1}, {"1": 1}),
        (spaces.OneOf([spaces.Discrete(2), PAIR]), (np.int64(1), [0, 1]), [1, [0, 1]]),
    ],
)
def test_an_observation_is_json(space: spaces.Space[Any], element: Any, expected: Any) -> None:
    """As the protocol lays it out, whatever an environment makes it of."""
    assert sent(space, element) == expected


@pytest.mark.parametrize(
    ("space", "element"),
    [
        (PAIR, np.zeros(3)),
        (PAIR, np.zeros((2, 1))),
        (PAIR, None),
        (PAIR, [[1], [2, 3]]),
        (spaces.Discrete(3), "x"),
        (spaces.Discrete(3), None),
        (spaces.Discrete(3), np.zeros(2)),
        (spaces.Tuple([PAIR]), (np.zeros(2), 1)),
        (spaces.Tuple([PAIR]), ()),
        (spaces.Dict(a=PAIR), {"b": np.zeros(2)}),
        (spaces.Dict(a=PAIR), np.zeros(2)),
        (spaces.OneOf([PAIR]), (1, np.zeros(2))),
    ],
)
def test_an_observation_of_another_structure(space: spaces.Space[Any], element: Any) -> None:
    """Is an error of Python's own kind, which the session makes a fault of."""
    with pytest.raises((ValueError, TypeError, LookupError)):
        encoder(space)(element)


def test_an_array_of_one_number_for_a_number() -> None:
    """Is that number; framed clients get an error."""
    told: list[str] = []
    assert encoder(spaces.Discrete(3), CutReport(told.append))(np.array([2])) == 2
    assert not told


def test_an_array_of_another_shape_is_a_fault() -> None:
    """The message says both shapes and where it came from."""
    with pytest.raises(
        EnvironmentFault, match=r"an array of shape \[3\] from step where its space has \[2\]"
    ) as caught:
        check_shape(np.zeros(3), PAIR, "step")
    assert caught.value.operation == "step"
    check_shape(np.zeros(2), PAIR, "step")
    check_shape(np.zeros(3), spaces.Text(2), "step")


@pytest.mark.parametrize(
    ("text", "space", "expected"),
    [
        ("-0", spaces.Discrete(1), 0),
        ("[5, -7]", PAIR, np.array([5, -7], np.float32)),
        ("[1e20, 100000000000000000000]", PAIR, np.array([1e20, 1e20], np.float32)),
        ("100000000000000000000", spaces.Box(-1, 1, (), np.float64), np.array(1e20)),
        ("[18446744073709551615, -1]", PAIR, np.array([2.0**64, -1], np.float32)),
        ("0.5", spaces.Box(-1, 1, (), np.float32), np.array(0.5, np.float32)),
        ("[]", spaces.Box(-1, 1, (0,), np.float64), np.zeros(0)),
        ("[300, -1]", spaces.Box(0, 9, (2,), np.int16), np.array([300, -1], np.int16)),
        ("[true, 0]", spaces.Box(0, 9, (2,), np.uint8), np.array([1, 0], np.uint8)),
        ("[true, false]", spaces.Box(0, 9, (2,), np.uint64), np.array([1, 0], np.uint64)),
        ("[18446744073709551615, 0]", spaces.Box(0, 9, (2,), np.uint64), np.array([2**64 - 1, 0], np.uint64)),
        ('{"1": 2}', keyed({1: spaces.Discrete(3)}), {1: 2}),
        ('{"(1, 2)": 2}', keyed({(1, 2): spaces.Discrete(3)}), {(1, 2): 2}),
        ("5.0", spaces.Discrete(3, start=5), 5),
        ("[0.0, true]", spaces.MultiBinary(2), np.array([0, 1], np.int8)),
        ("{}", spaces.Sequence(PAIR), ()),
        ('{"b": 1, "a": 0}', spaces.Dict(a=spaces.Discrete(2), b=spaces.Discrete(2)), {"a": 0, "b": 1}),
    ],
)
def test_an_action_at_the_edge(text: str, space: spaces.Space[Any], expected: Any) -> None:
    """What clients may well send: the bounds of a Box are not enforced, and Go writes 1e20 with all its digits."""
    assert equal(expected, decoder(space)(json.loads(text)))


WRONG: list[tuple[spaces.Space[Any], list[Any], str]] = [
    (
        spaces.Discrete(3, start=5),
        [4, 8, 5.5, "5", None, True, [5], {}, 2**70, 10**400, -(10**400), DEEP],
        "send an integer from 5 to 7",
    ),
    (
        PAIR,
        [
            *(1, [1], [1, 2, 3], [[1, 2]], [[1], [2, 3]], ["1", "2"], [None, 1], [True, False], None, "ab", {}, DEEP),
            *([10**400, 1], [10**30, "x"], [10**30, None]),
        ],
        "send ",
    ),
    (spaces.Box(-1, 1, ()), [[1], "1", None, {}, []], "send a number"),
    (
        spaces.Box(0, 9, (2,), np.uint8),
        [[0.5, 1], [1.0, 2.5], 1, [1], ["1", "2"], [None, 1], [10**30, 1.5], DEEP],
        "send ",
    ),
    (
        spaces.Box(0, 9, (2,), np.uint8),
        [[256, 0], [-1, 0], [2**63, 0], [2**64 - 1, 0], [10**30, 1], [10**400, 1]],
        "send an integer from 0 to 255 or a boolean",
    ),
    (
        spaces.Box(0, 9, (1,), np.int64),
        [[2**63], [2**64 - 1]],
        "send an integer from -9223372036854775808 to 9223372036854775807",
    ),
    (
        spaces.MultiBinary(2),
        [1, [1], [1, 0, 1], [[1, 0]], [0.0, 0.5], ["1", "0"], [None, 1], {}, DEEP],
        "send ",
    ),
    (
        spaces.MultiBinary(2),
        [[2, 0], [-1, 0], [256, 1], [257, 1], [2**63, 1], [10**30, 1]],
        "send an integer from ",
    ),
    (
        spaces.MultiDiscrete([3, 4], start=[0, 1]),
        [[3, 1], [0, 0], [0, 5], [-1, 1], [2**63, 1], [10**30, 1]],
        "send an integer from ",
    ),
    (spaces.Tuple([PAIR, PAIR]), [1, [], [[0, 0]], {}, "ab", None, DEEP], ": send a list of 2 parts"),
    (
        spaces.Dict({"b": PAIR, "a": PAIR}),
        [1, [], {}, {"a": [0, 0]}, {"a": [0, 0], "b": [0, 0], "c": 1}, None],
        ': send an object with ["a", "b"]',
    ),
    (keyed({1: PAIR, "a": PAIR}), [{}], ': send an object with ["1", "a"]'),
    (spaces.Sequence(PAIR), [1, "", {"a": 1}, None], ": send a list"),
    (
        spaces.OneOf([PAIR, PAIR]),
        [0, [], [0], [0, [0, 0], 0], {}, "ab"],
        ": send a list of a choice and its value",
    ),
    (spaces.Text(3, charset="ab"), ["", "abab", "c", 1, None, ["a"]], "send "),
    (spaces.Graph(PAIR, None), [1, [], {}, None, {"nodes": 1}, DEEP], ", which is not in Graph("),
]


@pytest.mark.parametrize(
    ("space", "action", "hint"),
    [
        pytest.param(space, action, hint, id=f"{type(space).__name__}-{number}")
        for space, actions, hint in WRONG
        for number, action in enumerate(actions)
    ],
)
def test_a_wrong_action_is_invalid(space: spaces.Space[Any], action: Any, hint: str) -> None:
    """The message says what to send, and stays short."""
    message = refused(space, action)
    assert message.startswith("action")
    assert hint in message
    assert len(message) <= 250


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (spaces.Tuple([spaces.Discrete(2), PAIR]), [2, [0, 0]], "action[0] is 2: send an integer from 0 to 1"),
        (spaces.Dict(a=PAIR), {"a": [0]}, "action.a has 1 elements: send 2 (lists of shape [2])"),
        (spaces.Sequence(spaces.Discrete(2)), [0, 5], "action[1] is 5"),
        (
            spaces.Sequence(spaces.Tuple([spaces.Discrete(2), PAIR]), stack=True),
            [[0, [0, 0]], [0, [0, "x"]]],
            'action[1][1][1] is "x"',
        ),
        (spaces.OneOf([PAIR, PAIR]), [2, [0, 0]], "action[0] is 2: send an integer from 0 to 1"),
    ],
)
def test_a_wrong_part_is_what_the_message_shows(space: spaces.Space[Any], action: Any, message: str) -> None:
    """Not the whole action."""
    assert refused(space, action).startswith(message)


def test_a_large_action_is_shown_in_part() -> None:
    """However large it is."""
    assert len(refused(PAIR, [1.5] * 1_000_000)) < 200
    assert len(refused(PAIR, "x" * 1_000_000)) < 200
