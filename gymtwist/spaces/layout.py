"""Where the numbers of a value lie in the bytes of a message.

A space fixes the layout of its elements, so that a message carries no dtype, shape or nesting: the leaves of the
space, packed without gaps, little-endian, in C order. Server and client share this; it knows arrays, not spaces.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

#: An array of whatever dtype.
Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
#: What a value is packed to and unpacked from.
Buffer: TypeAlias = "bytes | bytearray | memoryview"
#: Where something lies in a value: the keys of Dicts and the indices of Tuples and arrays, from the outside in.
Path: TypeAlias = "tuple[str | int, ...]"

#: The dtypes that the protocol knows, by name, as they lie in a message.
DTYPES: dict[str, np.dtype[Any]] = {
    np.dtype(name).name: np.dtype(name).newbyteorder("<")
    for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}
#: The most bytes of a value that anyone is asked to allocate: a description of a few bytes can ask for any number.
MAX_SIZE = 1 << 30
#: The most dimensions of an array that every NumPy has.
MAX_DIMENSIONS = 32

_NATIVE = sys.byteorder == "little"


class ValueMismatch(ValueError):
    """A value is not of its space; raised where that is found, and told its path on the way out.

    Args:
        text: What is wrong and what would be right, to be read after the path: ``is 7: send ...``.
        path: Where in the value.
    """

    def __init__(self, text: str, path: Path = ()) -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def within(self, key: str | int) -> ValueMismatch:
        """Note that the value lies in another, under a key; returns the same error, to be raised again."""
        self.path = (key, *self.path)
        return self

    def told(self, name: str) -> str:
        """Tell what is wrong in the value of that name, as in ``action.left[2] is 7: send ...``."""
        return f"{name}{path_text(self.path)} {self.text}"


def path_text(path: Path) -> str:
    """Write a path as one would in Python: ``.left[2]``; keys that are no names in brackets, too."""
    return "".join(
        f".{key}"
        if isinstance(key, str) and key.isidentifier()
        else f"[{str(key)[:40]!r}]"
        if isinstance(key, str)
        else f"[{key}]"
        for key in path
    )


class Leaf(msgspec.Struct, frozen=True):
    """One array of a layout, or one number: that has the shape ``()``.

    ``offset`` is in bytes from the beginning of the value.
    """

    path: tuple[str | int, ...]
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


class Layout(msgspec.Struct, frozen=True):
    """The leaves of a space in their order, and how many bytes they take together."""

    leaves: tuple[Leaf, ...]
    size: int


def lay_out(leaves: Iterable[tuple[Path, str, tuple[int, ...]]]) -> Layout:
    """Lay leaves, given as path, dtype and shape, one behind the other.

    Raises:
        ValueError: They take more than :data:`MAX_SIZE` bytes.
    """
    placed = []
    size = 0
    for path, dtype, shape in leaves:
        placed.append(Leaf(path, dtype, shape, size))
        size += placed[-1].size
        if size > MAX_SIZE:
            raise ValueError(f"a value of more than {MAX_SIZE} bytes: its leaf {path_text(path)!r} has shape {shape}")
    return Layout(tuple(placed), size)


def cast(value: Any, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> Array:
    """Make an array of what an environment returned, of the dtype of its space, as Gymnasium's shared memory does.

    Args:
        value: Anything.
        dtype: Of the leaf.
        shape: Of the leaf, or None for any.

    Raises:
        ValueMismatch: It has another shape, or is no array.
    """
    try:
        array: Array = np.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueMismatch(f"is a {type(value).__name__} that makes no array of {dtype.name}: {error}") from error
    if shape is not None and array.shape != shape:
        raise ValueMismatch(f"is an array of shape {array.shape} where its space has {shape}")
    return array


def array_packer(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Callable[[Any], bytes | memoryview]:
    """Make the function that packs an array of that dtype and shape.

    Returns:
        A function that returns the array's own memory where that already is as it should be, so it is valid for as
        long as the array stays as it is; else a copy. It raises :class:`ValueMismatch` as :func:`cast` does.
    """

    def pack(value: Any) -> bytes | memoryview:
        if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
            value = cast(value, dtype, shape)
        try:
            return memoryview(value).cast("B")
        except TypeError:  # it is not contiguous, or there is nothing in it
            copied: bytes = value.tobytes()
            return copied

    return pack


def array_at(buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int = 0) -> Array:
    """View a part of a buffer as an array; it can be written to if the buffer can."""
    # Not np.frombuffer, which allows no view of nothing.
    array: Array = np.ndarray(shape, dtype, buffer, offset) if 0 not in shape else np.empty(shape, dtype)
    return array if _NATIVE else array.astype(dtype.newbyteorder("="))


def check_size(buffer: Any, size: int) -> None:
    """Check that what came is bytes, and how many.

    Raises:
        ValueMismatch: It is something else, or there are more or fewer of them.
    """
    if not isinstance(buffer, (bytes, bytearray, memoryview)):
        raise ValueMismatch(f"is a {type(buffer).__name__}: send {size} bytes, as the layout of its space says")
    length = buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
    if length != size:
        raise ValueMismatch(f"is {length} bytes long: send {size} bytes, as the layout of its space says")


def pack(layout: Layout, values: Sequence[Any]) -> bytes | memoryview:
    """Pack one value for each leaf of a layout.

    Raises:
        ValueError: A value is none of its leaf's, or there are not as many as leaves.
    """
    parts = []
    for leaf, value in zip(layout.leaves, values, strict=True):
        try:
            parts.append(array_packer(DTYPES[leaf.dtype], leaf.shape)(value))
        except ValueMismatch as error:
            raise ValueError(ValueMismatch(error.text, leaf.path).told("value")) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unpack(layout: Layout, buffer: Buffer) -> list[Array]:
    """View each leaf of a packed value as an array, without a copy.

    Raises:
        ValueError: The buffer is not as long as the layout.
    """
    check_size(buffer, layout.size)
    return [array_at(buffer, DTYPES[leaf.dtype], leaf.shape, leaf.offset) for leaf in layout.leaves]
