"""Strategies for spaces of all kinds, with everything in which two of a kind can differ."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

_SHAPES = stn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
_INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_FLOATS = ["float16", "float32", "float64"]


@st.composite
def _boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from([*_INTEGERS, *_FLOATS, "bool"])))
    shape = draw(_SHAPES)
    if dtype.kind == "f":
        numbers = st.floats(-100, 100, width=16) | st.sampled_from([-np.inf, 0.0, -0.0])
        widths = st.floats(0, 100, width=16) | st.just(np.inf)
    elif dtype.kind == "b":
        numbers, widths = st.just(0), st.integers(0, 1)
    else:
        numbers, widths = st.integers(-20 if dtype.kind == "i" else 0, 20), st.integers(0, 100)
    if draw(st.booleans()):
        low: Any = draw(numbers)
        high: Any = low + draw(widths) if np.isfinite(low) else draw(st.sampled_from([1.0, np.inf]))
        if dtype.kind == "i" and draw(st.booleans()):
            low = -np.inf
        return spaces.Box(low, high, shape, dtype)
    low = np.array(draw(st.lists(numbers, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))))
    high = np.where(np.isfinite(low), low, 0) + draw(widths)
    kept: Any = np.uint8 if dtype.kind == "b" else dtype
    return spaces.Box(low.astype(kept).reshape(shape), high.astype(kept).reshape(shape), shape, dtype)


def _multi_discrete(counts: np.ndarray[Any, Any], dtype: Any) -> spaces.MultiDiscrete:
    return spaces.MultiDiscrete(counts, dtype, start=counts + 3)


#: Without NUL: at the end of a text that Gymnasium samples, NumPy drops it, so that what is left may be too short.
#: Each once: Gymnasium before 1.3 cannot sample others.
_CHARACTERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=9).map(
    lambda characters: "".join(dict.fromkeys(characters))
)


def _text(least: int, more: int, characters: str) -> spaces.Text:
    return spaces.Text(least + more, min_length=least, charset=characters)


_LEAVES: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    _boxes(),
    st.builds(
        lambda n, start, dtype: spaces.Discrete(n, start=start, dtype=dtype),
        st.integers(1, 9),
        st.integers(0, 9),
        st.sampled_from(_INTEGERS),
    ),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 2**62), st.integers(-(2**62), 0)),
    st.builds(spaces.MultiBinary, st.integers(1, 4) | stn.array_shapes(max_dims=3, max_side=3)),
    st.builds(
        _multi_discrete,
        stn.arrays(np.int64, _SHAPES, elements=st.integers(1, 9)),
        st.sampled_from([np.dtype(name).type for name in _INTEGERS]),
    ),
    st.builds(_text, st.integers(0, 3), st.integers(0, 9), _CHARACTERS),
)
_ARRAYS = _LEAVES.filter(lambda space: isinstance(space, (spaces.Box, spaces.Discrete)))
_GRAPHS = st.builds(spaces.Graph, _ARRAYS, st.none() | _ARRAYS)

_KEYS = st.text(max_size=5) | st.integers(0, 9) | st.tuples(st.integers(0, 9), st.text(max_size=2))


def _dict(fields: list[tuple[Any, spaces.Space[Any]]]) -> spaces.Dict[Any]:
    return spaces.Dict(OrderedDict(fields))


#: Spaces of every kind but those that fix no layout.
FIXED: st.SearchStrategy[spaces.Space[Any]] = st.recursive(
    _LEAVES.filter(lambda space: not isinstance(space, spaces.Text)),
    lambda inner: (
        st.lists(inner, max_size=3).map(spaces.Tuple)
        | st.lists(st.tuples(_KEYS, inner), max_size=3, unique_by=lambda field: str(field[0])).map(_dict)
    ),
    max_leaves=6,
)


def _is_stackable(space: spaces.Space[Any]) -> bool:
    """Tell whether Gymnasium can take a stack apart again: not of nothing, nor of arrays without a dimension."""
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        return space.shape != ()
    if isinstance(space, spaces.Dict):
        return bool(space.spaces) and all(map(_is_stackable, space.spaces.values()))
    if isinstance(space, spaces.Tuple):
        return bool(space.spaces) and all(map(_is_stackable, space.spaces))
    return True


#: Spaces of every kind.
NESTED: st.SearchStrategy[spaces.Space[Any]] = st.recursive(
    _LEAVES | _GRAPHS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(spaces.Tuple),
        st.lists(st.tuples(_KEYS, inner), max_size=3, unique_by=lambda field: str(field[0])).map(_dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.OneOf),
        st.builds(lambda space: spaces.Sequence(space, stack=False), inner),
        st.builds(lambda space: spaces.Sequence(space, stack=True), FIXED.filter(_is_stackable)),
    ),
    max_leaves=6,
)

#: Whatever JSON and MessagePack can carry.
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(["NaN", "Infinity", "float32", "int64"]),
    lambda each: (
        st.lists(each, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "b", "nodes", "edges", "edge_links", "dtype", "shape", "data"]), each, max_size=4
        )
    ),
    max_leaves=12,
)
