"""Spaces described for clients, as the classic protocol's clients decode them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from gymtwist.protocol.dynamic_values import encode_value
from gymtwist.spaces.box_space import CLASSIC_BOUND
from gymtwist.spaces.classic_codecs import classic_description
from gymtwist_conformance.reference_client import strict_json
from tests.support.space_strategies import SPACES


class Own(spaces.Space[int]):
    """A kind of space that nobody has heard of."""


class OwnBox(spaces.Box):
    """A kind of Box."""


def box(low: float, high: float, shape: tuple[int, ...], dtype: Any) -> spaces.Box:
    """A Box; Gymnasium's types know none of a dtype that is neither float nor integer."""
    return spaces.Box(low, high, shape, dtype)


def described(space: spaces.Space[Any]) -> Any:
    """Describe a space, encodes and decode that."""
    return strict_json(encode_value(classic_description(space)).decode())


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Discrete(5), {"type": "Discrete", "n": 5, "start": 0}),
        (spaces.Discrete(5, start=-2), {"type": "Discrete", "n": 5, "start": -2}),
        (spaces.MultiBinary(3), {"type": "MultiBinary", "n": 3, "shape": [3]}),
        (spaces.MultiBinary((2, 3)), {"type": "MultiBinary", "n": 6, "shape": [2, 3]}),
        (spaces.MultiDiscrete([3, 4]), {"type": "MultiDiscrete", "low": [0, 0], "high": [2, 3], "shape": [2]}),
        (
            spaces.MultiDiscrete(np.array([[2, 3]]), start=np.array([[-1, 5]])),
            {"type": "MultiDiscrete", "low": [-1, 5], "high": [0, 7], "shape": [1, 2]},
        ),
        (
            spaces.Box(np.array([[0.5, -1]]), np.array([[1, 2.5]]), dtype=np.float64),
            {"type": "Box", "shape": [1, 2], "low": [0.5, -1], "high": [1, 2.5], "dtype": "float64"},
        ),
        (
            spaces.Box(0, 255, (2,), np.uint8),
            {"type": "Box", "shape": [2], "low": [0, 0], "high": [255, 255], "dtype": "uint8"},
        ),
        (box(0, 1, (), np.bool_), {"type": "Box", "shape": [], "low": [0], "high": [1], "dtype": "bool"}),
        (
            spaces.Box(-1, 1, (0, 2), np.float32),
            {"type": "Box", "shape": [0, 2], "low": [], "high": [], "dtype": "float32"},
        ),
        (
            OwnBox(-1, 1, (1,), np.float32),
            {"type": "Box", "shape": [1], "low": [-1], "high": [1], "dtype": "float32"},
        ),
        (spaces.Tuple([]), {"type": "Tuple", "subspaces": []}),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.MultiBinary(1)])]),
            {
                "type": "Tuple",
                "subspaces": [
                    {"type": "Discrete", "n": 2, "start": 0},
                    {"type": "Tuple", "subspaces": [{"type": "MultiBinary", "n": 1, "shape": [1]}]},
                ],
            },
        ),
        (
            spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Dict({})}),
            {
                "type": "Dict",
                "spaces": {"a": {"type": "Discrete", "n": 2, "start": 0}, "b": {"type": "Dict", "spaces": {}}},
            },
        ),
        (
            spaces.Text(3, min_length=0, charset="ba"),
            {"type": "Text", "min_length": 0, "max_length": 3, "characters": "ab"},
        ),
        (
            spaces.Sequence(spaces.Discrete(2)),
            {"type": "Sequence", "feature": {"type": "Discrete", "n": 2, "start": 0}},
        ),
        (spaces.Graph(spaces.Discrete(2), None), {"type": "Graph"}),
        (spaces.OneOf([spaces.Discrete(2)]), {"type": "OneOf"}),
        (Own(), {"type": "Own"}),
    ],
)
def test_a_space_is_described(space: spaces.Space[Any], expected: dict[str, Any]) -> None:
    """By its class, and by the fields that its class has."""
    assert described(space) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_bounds_of_a_box_are_clipped(dtype: Any) -> None:
    """Infinite or just very large, none is beyond 1e30: JSON has no infinity."""
    unbounded = described(spaces.Box(-np.inf, np.inf, (2,), dtype))
    assert unbounded["low"] == [-CLASSIC_BOUND] * 2
    assert unbounded["high"] == [CLASSIC_BOUND] * 2


def test_large_bounds_are_clipped() -> None:
    """As gym-socket-api did."""
    assert described(spaces.Box(-1e300, 1e30, (1,), np.float64)).items() >= {"low": [-1e30], "high": [1e30]}.items()


@pytest.mark.parametrize(("key", "name"), [(1, "1"), ((1, 2), "(1, 2)")])
def test_a_key_that_is_no_string(key: Any, name: str) -> None:
    """Becomes one."""
    assert list(described(spaces.Dict({key: spaces.Discrete(2)}))["spaces"]) == [name]


@given(SPACES)
def test_any_space_is_described_in_json(space: spaces.Space[Any]) -> None:
    """However it is nested; the Go client's fields have the types that it decodes them to."""
    check(described(space))


def check(description: dict[str, Any]) -> None:
    """Check the types of the fields that the Go client knows."""
    kinds = {"n": int, "low": list, "high": list, "shape": list, "subspaces": list, "type": str}
    for field, kind in kinds.items():
        assert type(description.get(field, kind())) is kind
    assert all(type(size) is int for size in description.get("shape", []))
    for inner in description.get("subspaces", []):
        check(inner)
