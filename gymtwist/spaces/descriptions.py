"""Spaces described in messages: each of Gymnasium's ten kinds as a struct, told apart by its field ``kind``.

A description says everything that makes two spaces equal. The same structs are read by server and client; what turns
Gymnasium's spaces into them and back is :mod:`gymtwist.spaces.gymnasium_spaces`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias, Union

import msgspec
import numpy as np

from gymtwist.spaces.layout import DTYPES, MAX_DIMENSIONS, MAX_SIZE, Array, Layout, Path, lay_out
from gymtwist.spaces.numbers import jsonable, read_bound, read_integers

#: How deep spaces may be nested, and how many there may be that hold no others.
MAX_DEPTH = 32
MAX_LEAVES = 10_000


class Box(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """Arrays of numbers between bounds.

    A bound is one number if it is the same everywhere (or ``"Infinity"`` or ``"-Infinity"``, also of integers: those
    are bounded by their dtype alone); else all of them in C order: little-endian bytes of the dtype, or a flat list.
    """

    shape: tuple[int, ...]
    dtype: str
    low: Any
    high: Any


class Discrete(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """The integers from ``start`` on, ``n`` of them."""

    n: int
    start: int = 0
    dtype: str = "int64"


class MultiBinary(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """Arrays of zeros and ones (int8): ``n`` of them, or of the shape ``n``."""

    n: int | tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its arrays."""
        return (self.n,) if isinstance(self.n, int) else self.n


class MultiDiscrete(msgspec.Struct, frozen=True, tag_field="kind", tag=True, omit_defaults=True):
    """Arrays of integers, each with its own ``nvec`` and ``start``, which are nested lists of the arrays' shape.

    ``shape`` is there only if the lists do not say it: nothing is in them.
    """

    nvec: Any
    start: Any
    dtype: str
    shape: tuple[int, ...] | None = None


class Text(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """Strings of certain characters, with a least and a greatest length in characters (code points)."""

    min_length: int
    max_length: int
    characters: str


class Tuple(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """An element of each of the spaces."""

    spaces: tuple[Description, ...]


class Dict(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """An element of each of the spaces, under a key: a string as a rule; a list stands for a tuple."""

    spaces: tuple[tuple[Any, Description], ...]


class Sequence(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """Any number of elements of a space, in a list or (``stack``) stacked in arrays."""

    space: Description
    stack: bool = False


class Graph(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """Nodes, and perhaps edges between them, with elements of a space each."""

    node_space: Description
    edge_space: Description | None = None


class OneOf(msgspec.Struct, frozen=True, tag_field="kind", tag=True):
    """An element of one of the spaces, and which of them that is."""

    spaces: tuple[Description, ...]


# Unions of structs that are in quotes in each other must be one object that msgspec can read.
Description: TypeAlias = Union[  # noqa: UP007
    Box, Discrete, MultiBinary, MultiDiscrete, Text, Tuple, Dict, Sequence, Graph, OneOf
]


def key_of(key: Any) -> Any:
    """Turn a key as a message carries it into the key of the Dict: a list into a tuple.

    Raises:
        ValueError: A Dict that can be described has no such key.
    """
    if isinstance(key, (list, tuple)):
        return tuple(key_of(each) for each in key)
    if key is None or type(key) in (str, bool) or (type(key) is int and -(2**63) <= key < 2**64):
        return key
    if type(key) is float and math.isfinite(key):
        return key
    raise ValueError(f"a key that no message can carry: {key!r:.80}")


def names_of(description: Dict) -> tuple[str, ...]:
    """Name the fields of a Dict as messages do: by their keys, as strings.

    Raises:
        ValueError: Two keys have the same name, or one cannot be a key.
    """
    names = tuple(str(key_of(key)) for key, _ in description.spaces)
    if len(set(names)) < len(names):
        raise ValueError(f"a Dict with keys that are the same in a message: {', '.join(sorted(names)):.200}")
    return names


def inner(description: Description) -> Iterator[tuple[str | int, Description]]:
    """Go through the spaces that are directly in one, with their place in it."""
    if isinstance(description, (Tuple, OneOf)):
        yield from enumerate(description.spaces)
    elif isinstance(description, Dict):
        yield from zip(names_of(description), (each for _, each in description.spaces), strict=True)
    elif isinstance(description, Sequence):
        yield "space", description.space
    elif isinstance(description, Graph):
        yield "node_space", description.node_space
        if description.edge_space is not None:
            yield "edge_space", description.edge_space


def check(description: Description) -> None:
    """Check that a description is within the limits and can be of a space: to be done before anything is made of it.

    Raises:
        ValueError: It is not, or cannot be.
    """
    leaves = size = 0
    ahead = [(description, 1)]
    while ahead:
        each, depth = ahead.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"a space nested more than {MAX_DEPTH} deep")
        within = [(space, depth + 1) for _, space in inner(each)]
        leaves += not within
        if leaves > MAX_LEAVES:
            raise ValueError(f"a space of more than {MAX_LEAVES} leaves")
        ahead += within
        _check_one(each)
        if isinstance(each, (Box, MultiBinary)):
            # Each alone is within the limit: a few bytes must not ask for many of them.
            size += _size_of(each.shape, each.dtype if isinstance(each, Box) else "int8")
            if size > MAX_SIZE:
                raise ValueError(f"a space whose arrays have more than {MAX_SIZE} bytes in all")


def _check_one(description: Description) -> None:
    if isinstance(description, Box):
        _check_dtype(description.dtype, "biuf")
        _check_shape(description.shape, description.dtype)
        for bound in (description.low, description.high):
            bound_of(description, bound)
    elif isinstance(description, Discrete):
        _check_dtype(description.dtype, "iu")
        _check_counts(read_integers([description.n, description.start], DTYPES[description.dtype])[:1])
    elif isinstance(description, MultiBinary):
        _check_shape(description.shape, "int8")
        _check_counts(np.array(description.shape))
    elif isinstance(description, MultiDiscrete):
        _check_dtype(description.dtype, "iu")
        _check_shape(description.shape or (), description.dtype)
        _check_counts(counts_of(description)[0])
    elif isinstance(description, Text) and not 0 <= description.min_length <= description.max_length:
        raise ValueError(f"a Text of {description.min_length} to {description.max_length} characters")
    elif isinstance(description, OneOf) and not description.spaces:
        raise ValueError("a OneOf of no spaces")


def _check_dtype(dtype: str, kinds: str) -> None:
    if dtype not in DTYPES or DTYPES[dtype].kind not in kinds:
        names = ", ".join(name for name, each in DTYPES.items() if each.kind in kinds)
        raise ValueError(f"a dtype that is not one of {names}: {dtype!r:.40}")


def _check_counts(counts: Array) -> None:
    if not (counts > 0).all():
        raise ValueError(f"a count that is not positive among {counts.tolist()!s:.80}")


def _check_shape(shape: tuple[int, ...], dtype: str) -> None:
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise ValueError(f"a shape that no array has: {shape!s:.80}")
    if _size_of(shape, dtype) > MAX_SIZE:
        raise ValueError(f"an array of more than {MAX_SIZE} bytes: {dtype}, of shape {shape!s:.80}")


def _size_of(shape: tuple[int, ...], dtype: str) -> int:
    # A size of zero hides the others.
    return math.prod(size or 1 for size in shape) * DTYPES[dtype].itemsize


def bound_of(box: Box, bound: Any) -> Array:
    """Read a bound of a Box.

    Returns:
        An array of the Box's dtype: flat, or of shape ``()`` if the bound is the same everywhere.

    Raises:
        ValueError: It is no bound of that Box.
    """
    return read_bound(bound, DTYPES[box.dtype], math.prod(box.shape))


def counts_of(description: MultiDiscrete) -> tuple[Array, Array]:
    """Read how many integers each element of a MultiDiscrete can be, and the first of them.

    Returns:
        Two arrays of its shape and dtype.

    Raises:
        ValueError: They are no integers, or of different shapes.
    """
    dtype = DTYPES[description.dtype]
    nvec, start = (read_integers(each, dtype) for each in (description.nvec, description.start))
    if description.shape is not None and not nvec.size and 0 in description.shape:
        nvec = start = np.empty(description.shape, dtype)
    if nvec.shape != start.shape:
        raise ValueError(f"a MultiDiscrete whose nvec has shape {nvec.shape} and start {start.shape}")
    return nvec, start


def arrays_of(description: Description, path: Path = ()) -> Iterator[tuple[Path, str, tuple[int, ...]]]:
    """Go through the arrays and integers of a space: path, dtype and shape of each."""
    if isinstance(description, Box):
        yield path, description.dtype, description.shape
    elif isinstance(description, Discrete):
        yield path, description.dtype, ()
    elif isinstance(description, MultiBinary):
        yield path, "int8", description.shape
    elif isinstance(description, MultiDiscrete):
        yield path, description.dtype, counts_of(description)[0].shape
    else:
        for key, each in inner(description):
            yield from arrays_of(each, (*path, key))


def _is_fixed(description: Description) -> bool:
    variable = isinstance(description, (Text, Sequence, Graph, OneOf))
    return not variable and all(_is_fixed(each) for _, each in inner(description))


def layout_of(description: Description) -> Layout | None:
    """Lay out the elements of a space.

    Returns:
        The layout; None if there is a Text, Sequence, Graph or OneOf in the space: it fixes none.

    Raises:
        ValueError: The description is beyond the limits, or of no space.
    """
    check(description)
    return lay_out(arrays_of(description)) if _is_fixed(description) else None


def for_json(description: Description) -> Description:
    """Give a description the form that JSON carries: bounds that are bytes become lists."""
    if isinstance(description, Box):
        return msgspec.structs.replace(
            description, low=_listed(description, description.low), high=_listed(description, description.high)
        )
    if isinstance(description, (Tuple, OneOf)):
        return type(description)(tuple(for_json(each) for each in description.spaces))
    if isinstance(description, Dict):
        return Dict(tuple((key, for_json(each)) for key, each in description.spaces))
    if isinstance(description, Sequence):
        return Sequence(for_json(description.space), description.stack)
    if isinstance(description, Graph):
        edges = description.edge_space
        return Graph(for_json(description.node_space), None if edges is None else for_json(edges))
    return description


def _listed(box: Box, bound: Any) -> Any:
    return jsonable(bound_of(box, bound)) if isinstance(bound, (bytes, bytearray, memoryview)) else bound
