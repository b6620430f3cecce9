"""Strategies for spaces of every kind, nested at will, and what their elements are compared by."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import GraphInstance
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

_SHAPES = stn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
_DTYPES = st.sampled_from(
    [np.bool_, np.int8, np.uint8, np.uint16, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64]
)


def _box(shape: tuple[int, ...], dtype: Any, unbounded: bool) -> spaces.Box:
    if np.dtype(dtype).kind == "f":
        bound = np.inf if unbounded else 2.0
        return spaces.Box(-bound, bound, shape, dtype)
    if np.dtype(dtype).kind == "b":
        return spaces.Box(0, 1, shape, dtype)
    return spaces.Box(0, 100, shape, dtype)


def _dict(fields: dict[Any, Any]) -> spaces.Dict[Any]:
    return spaces.Dict(fields)


def _multi_discrete(counts: np.ndarray[Any, Any]) -> spaces.MultiDiscrete:
    return spaces.MultiDiscrete(counts, start=counts - 3)


_FLAT: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    st.builds(_box, _SHAPES, _DTYPES, st.booleans()),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-9, 9)),
    st.builds(spaces.MultiBinary, st.integers(1, 4) | stn.array_shapes(max_dims=3, max_side=3)),
    st.builds(
        _multi_discrete,
        stn.arrays(np.int64, stn.array_shapes(max_dims=2, max_side=3), elements=st.integers(1, 9)),
    ),
    st.builds(spaces.Text, st.integers(1, 9)),
    st.just(spaces.Graph(spaces.Box(-1, 1, (2,)), spaces.Discrete(3))),
    st.just(spaces.Graph(spaces.Discrete(3), None)),
)

#: Spaces of every kind.
SPACES: st.SearchStrategy[spaces.Space[Any]] = st.recursive(
    _FLAT,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
        .filter(lambda fields: len({str(key) for key in fields}) == len(fields))
        .map(_dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.OneOf),
        inner.map(spaces.Sequence),
    ),
    max_leaves=6,
)


def equal(one: Any, other: Any) -> bool:
    """Compare elements of a space: in structure, in type and to the last bit."""
    if isinstance(one, GraphInstance):
        return all(equal(*parts) for parts in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(equal(*parts) for parts in zip(one, other, strict=True))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)
