"""Gymnasium's spaces to their descriptions and back, so that both sides of a connection have equal spaces."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import GraphInstance

from gymtwist.errors import EnvironmentFault
from gymtwist.spaces import descriptions as wire
from gymtwist.spaces.layout import DTYPES, Array
from gymtwist.spaces.numbers import NOT_FINITE
from gymtwist.spaces.value_codecs import Codec, codec

#: A space of whatever kind.
Space: TypeAlias = spaces.Space[Any]

_KINDS: tuple[type[spaces.Space[Any]], ...] = (
    spaces.Box,
    spaces.Discrete,
    spaces.MultiBinary,
    spaces.MultiDiscrete,
    spaces.Text,
    spaces.Tuple,
    spaces.Dict,
    spaces.Sequence,
    spaces.Graph,
    spaces.OneOf,
)


def describe(space: spaces.Space[Any]) -> wire.Description:
    """Describe a space, so that :func:`build` makes an equal one.

    Args:
        space: Of one of Gymnasium's ten kinds, or of a subclass that is equal to one of them.

    Raises:
        EnvironmentFault: It is of another kind, or beyond the limits of a description.
    """
    try:
        description = _describe(space, wire.MAX_DEPTH)
        wire.check(description)
        # A subclass may mean more than its kind does.
        if not _is_plain(space) and not build(description) == space:
            raise ValueError(f"a {type(space).__name__} that holds more than a {type(description).__name__}")
    except (ValueError, TypeError, OverflowError) as error:
        raise EnvironmentFault("make", f"the environment has a space that cannot be described: {error}") from error
    return description


def _is_plain(space: spaces.Space[Any]) -> bool:
    return type(space) in _KINDS and all(_is_plain(each) for each in _inner(space))


def _inner(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    if isinstance(space, (spaces.Tuple, spaces.OneOf)):
        return list(space.spaces)
    if isinstance(space, spaces.Dict):
        return list(space.spaces.values())
    if isinstance(space, spaces.Sequence):
        return [space.feature_space]
    if isinstance(space, spaces.Graph):
        return [each for each in (space.node_space, space.edge_space) if each is not None]
    return []


def _describe(space: spaces.Space[Any], depth: int) -> wire.Description:
    if depth == 0:  # a space may be in itself
        raise ValueError(f"a space nested more than {wire.MAX_DEPTH} deep")
    if isinstance(space, (spaces.Tuple, spaces.OneOf)):
        kind = wire.Tuple if isinstance(space, spaces.Tuple) else wire.OneOf
        return kind(tuple(_describe(each, depth - 1) for each in space.spaces))
    if isinstance(space, spaces.Dict):
        return wire.Dict(tuple((_key(key), _describe(each, depth - 1)) for key, each in space.spaces.items()))
    if isinstance(space, spaces.Sequence):
        return wire.Sequence(_describe(space.feature_space, depth - 1), bool(space.stack))
    if isinstance(space, spaces.Graph):
        edges = space.edge_space
        return wire.Graph(
            _describe(space.node_space, depth - 1), None if edges is None else _describe(edges, depth - 1)
        )
    return _describe_leaf(space)


def _describe_leaf(space: spaces.Space[Any]) -> wire.Description:
    if isinstance(space, spaces.Box):
        return wire.Box(
            space.shape,
            _dtype(space),
            _bound(space.low, space.bounded_below, "-Infinity"),
            _bound(space.high, space.bounded_above, "Infinity"),
        )
    if isinstance(space, spaces.Discrete):
        return wire.Discrete(int(space.n), int(space.start), _dtype(space))
    if isinstance(space, spaces.MultiBinary):
        return wire.MultiBinary(space.n if isinstance(space.n, int) else tuple(int(size) for size in space.n))
    if isinstance(space, spaces.MultiDiscrete):
        nvec = space.nvec.tolist()
        shape = None if np.shape(nvec) == space.nvec.shape else space.nvec.shape
        return wire.MultiDiscrete(nvec, space.start.tolist(), _dtype(space), shape)
    if isinstance(space, spaces.Text):
        # In their order, which samples depend on; Gymnasium's `characters` are sorted.
        return wire.Text(space.min_length, space.max_length, _utf8("".join(space.character_list)))
    raise ValueError(f"a {type(space).__name__} is none of Gymnasium's kinds")


def _dtype(space: spaces.Space[Any]) -> str:
    dtype = np.dtype(space.dtype)
    if not dtype.isnative or dtype.name not in DTYPES:
        raise ValueError(f"a dtype that is not one of {', '.join(DTYPES)}: {dtype}")
    return dtype.name


def _bound(bound: Array, bounded: Array, unbounded: str) -> Any:
    """Describe a bound: by one number if it is the same everywhere, which it mostly is, else by its bytes."""
    if not bound.size:
        return 0
    first = bound.flat[0]
    # Zeros of both signs are equal, but not the same.
    alike = (bound == first).all() and (bound.dtype.kind != "f" or (np.signbit(bound) == np.signbit(first)).all())
    if not alike:
        return bound.astype(bound.dtype.newbyteorder("<")).tobytes()
    if bound.dtype.kind == "f":
        number = float(first)
        return number if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"
    # An infinite bound of integers is that of their dtype; samples tell the two apart.
    return int(first) if bounded.any() or bound.dtype.kind != "i" else unbounded


def _key(key: Any) -> Any:
    """Describe a key of a Dict: what a message carries of it must be equal to it."""
    plain: Any = key
    if isinstance(key, tuple):
        plain = tuple(_key(each) for each in key)
    elif isinstance(key, str):
        plain = _utf8(str.__str__(key))
    elif isinstance(key, np.generic):
        plain = key.item()
    if wire.key_of(plain) != key or hash(plain) != hash(key):
        raise ValueError(f"a Dict with a key that no message can carry: {key!r:.80}")
    return plain


def _utf8(text: str) -> str:
    text.encode()  # raises a ValueError for what UTF-8 does not have
    return text


def build(description: wire.Description) -> spaces.Space[Any]:
    """Build the space that a description is of.

    Raises:
        ValueError: The description is beyond the limits, or of no space.
    """
    wire.check(description)
    try:
        return _build(description)
    except (AssertionError, TypeError, OverflowError) as error:
        raise ValueError(f"a description of no space: {error}") from error


def _build(description: wire.Description) -> spaces.Space[Any]:
    if isinstance(description, wire.Tuple):
        return spaces.Tuple([_build(each) for each in description.spaces])
    if isinstance(description, wire.OneOf):
        return spaces.OneOf([_build(each) for each in description.spaces])
    if isinstance(description, wire.Dict):
        # In pairs, which Gymnasium does not sort.
        return spaces.Dict([(wire.key_of(key), _build(each)) for key, each in description.spaces])
    if isinstance(description, wire.Sequence):
        return spaces.Sequence(_build(description.space), stack=description.stack)
    if isinstance(description, wire.Graph):
        edges = description.edge_space
        return spaces.Graph(_build(description.node_space), None if edges is None else _build(edges))
    return _build_leaf(description)


def _build_leaf(
    description: wire.Box | wire.Discrete | wire.MultiBinary | wire.MultiDiscrete | wire.Text,
) -> spaces.Space[Any]:
    if isinstance(description, wire.Box):
        low, high = (_built_bound(description, bound) for bound in (description.low, description.high))
        return spaces.Box(low, high, description.shape, _native(description.dtype))
    if isinstance(description, wire.Discrete):
        return spaces.Discrete(description.n, start=description.start, dtype=_native(description.dtype))
    if isinstance(description, wire.MultiBinary):
        return spaces.MultiBinary(description.n)
    if isinstance(description, wire.MultiDiscrete):
        nvec, start = (each.astype(_native(description.dtype)) for each in wire.counts_of(description))
        return spaces.MultiDiscrete(nvec, dtype=nvec.dtype.type, start=start)
    return spaces.Text(description.max_length, min_length=description.min_length, charset=description.characters)


def _native(dtype: str) -> Any:
    # Gymnasium's types take no dtype that is known at run time only.
    return np.dtype(dtype).type


def _built_bound(box: wire.Box, bound: Any) -> Any:
    if isinstance(bound, str) and box.dtype.startswith("int"):
        return NOT_FINITE[bound]  # Gymnasium's own word for integers without a bound
    array = wire.bound_of(box, bound)
    if not array.ndim:
        return array.item() if array.dtype.kind != "b" else int(array)
    # Gymnasium's checks of bounds know no bool.
    native = np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("=")
    return array.astype(native).reshape(box.shape)


def value_codec(space: spaces.Space[Any], *, name: str, checked: bool = True, base64: bool = False) -> Codec:
    """Make the codec of a space, whose graphs are Gymnasium's; see :func:`gymtwist.spaces.value_codecs.codec`.

    Raises:
        EnvironmentFault: As :func:`describe` does.
    """
    return described_codec(describe(space), name=name, checked=checked, base64=base64)


def described_codec(description: wire.Description, *, name: str, checked: bool = True, base64: bool = False) -> Codec:
    """Make the codec of a space that is described already; else as :func:`value_codec`."""
    return codec(description, name=name, checked=checked, base64=base64, graph=GraphInstance)
