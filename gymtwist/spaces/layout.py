"""The layout of a value: the place of each number in the bytes of a message.

A space fixes the layout of its elements, so that a message carries no dtype, shape or nesting: the arrays of the
value in order, packed without gaps, little-endian, in C order.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
import numpy as np

from gymtwist.spaces.value_mismatch import Path, path_text, shown

#: An array of any dtype.
Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
#: The bytes of a value.
Buffer: TypeAlias = "bytes | bytearray | memoryview"

#: The protocol's dtypes by name, in the byte order of messages.
DTYPES: dict[str, np.dtype[Any]] = {
    np.dtype(name).name: np.dtype(np.dtype(name).newbyteorder("<").str)
    for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}
#: The names of dtypes whose arrays need no conversion. Looking up a name here is faster than ``dtype.name``.
DTYPE_NAMES = {dtype.newbyteorder("="): name for name, dtype in DTYPES.items()} if sys.byteorder == "little" else {}
#: The fields of a map that represents an array: the name of its dtype, its shape, and its bytes.
ARRAY_FIELDS = frozenset(("dtype", "shape", "data"))
#: The maximum bytes of a value: even a short description can ask for any amount of memory.
MAX_SIZE = 1 << 30
#: The number of bytes up to which copying an array is faster than viewing its memory.
SMALL = 4096
#: The maximum number of dimensions of an array, which every supported NumPy allows.
MAX_DIMENSIONS = 32

_NATIVE = sys.byteorder == "little"


class Leaf(msgspec.Struct, frozen=True):
    """One array of a layout; a single number has the shape ``()``.

    ``offset`` is in bytes from the start of the value.
    """

    path: tuple[str | int, ...]
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


class Layout(msgspec.Struct, frozen=True):
    """The arrays of a value in order, and the number of bytes that they take together."""

    leaves: tuple[Leaf, ...]
    size: int


def lay_out(leaves: Iterable[tuple[Path, str, tuple[int, ...]]]) -> Layout:
    """Lay out arrays one after another.

    Args:
        leaves: The path, dtype and shape of each array.

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


def array_at(buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int = 0) -> Array:
    """View part of a buffer as an array, which is writable if the buffer is."""
    # Not np.frombuffer, which refuses an empty buffer.
    array: Array = np.ndarray(shape, dtype, buffer, offset) if 0 not in shape else np.empty(shape, dtype)
    return array if _NATIVE else array.astype(dtype.newbyteorder("="))


def array_map(array: Array) -> dict[str, Any]:
    """Convert an array of numbers to its map in MessagePack: ``dtype``, ``shape`` and ``data``."""
    name = DTYPE_NAMES.get(array.dtype)
    if name is not None:
        return {"dtype": name, "shape": array.shape, "data": array.tobytes()}
    dtype = array.dtype.newbyteorder("<")
    return {"dtype": dtype.name, "shape": array.shape, "data": array.astype(dtype, copy=False).tobytes()}


def size_text(buffer: Any, size: int) -> str | None:
    """Return the problem with a buffer that should have this many bytes; None if it has them."""
    if not isinstance(buffer, (bytes, bytearray, memoryview)):
        return f"is {shown(buffer)}: send {size} bytes, as the layout of its space says"
    length = buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
    return None if length == size else f"is {length} bytes long: send {size} bytes, as the layout of its space says"


def check_size(buffer: Any, size: int) -> None:
    """Check that a value from a message is a buffer of this many bytes.

    Raises:
        ValueError: It is something else, or has another length.
    """
    problem = size_text(buffer, size)
    if problem is not None:
        raise ValueError(f"a value {problem}")


def dtype_name(dtype: Any) -> str:
    """Return the name of a Gymnasium space's dtype.

    Raises:
        ValueError: The protocol has no such dtype.
    """
    found = np.dtype(dtype)
    if not found.isnative or found.name not in DTYPES:
        raise ValueError(f"a dtype that is not one of {', '.join(DTYPES)}: {found}")
    return str(found.name)


def native_type(dtype: str) -> Any:
    """Return the scalar type of a described dtype; Gymnasium's annotations accept no computed dtype."""
    return np.dtype(dtype).type


def check_dtype(dtype: str, kinds: str) -> None:
    """Check that a description has a dtype of one of NumPy's kinds, such as ``"iu"``.

    Raises:
        ValueError: It has a different one.
    """
    if dtype not in DTYPES or DTYPES[dtype].kind not in kinds:
        names = ", ".join(name for name, each in DTYPES.items() if each.kind in kinds)
        raise ValueError(f"a dtype that is not one of {names}: {dtype!r:.40}")


def check_shape(shape: tuple[int, ...], dtype: str) -> int:
    """Check the shape of an array in a description before any memory is allocated for it.

    Returns:
        The number of bytes, counting each size of zero as one, because zeros would hide how large the other sizes are.

    Raises:
        ValueError: No array has that shape, or it would be too large.
    """
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise ValueError(f"a shape that no array has: {shape!s:.80}")
    size = math.prod(size or 1 for size in shape) * DTYPES[dtype].itemsize
    if size > MAX_SIZE:
        raise ValueError(f"an array of more than {MAX_SIZE} bytes: {dtype}, of shape {shape!s:.80}")
    return size


def check_counts(counts: Array) -> None:
    """Check that the counts in a description are positive.

    Raises:
        ValueError: One of them is not positive.
    """
    if not (counts > 0).all():
        raise ValueError(f"a count that is not positive among {counts.tolist()!s:.80}")
