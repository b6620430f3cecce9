"""Box: arrays of numbers between bounds."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from gymtwist.spaces.array_kind import ArrayKind
from gymtwist.spaces.arrays import array_codec
from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.layout import DTYPES, Array, check_dtype, check_shape, dtype_name, native_type
from gymtwist.spaces.numbers import NOT_FINITE, integer_limits, jsonable, number_text, read_bound
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec
from gymtwist.spaces.space_kind import Describe

#: From this many bytes on, uniform bounds are views of one number instead of arrays.
_LARGE = 1 << 20
#: The classic protocol clips a Box's bounds to this, because JSON has no infinity.
CLASSIC_BOUND = 1e30


class Box(ArrayKind, frozen=True):
    """Arrays of numbers between bounds.

    A bound is one number if it is the same everywhere (or ``"Infinity"`` or ``"-Infinity"``, also for integers, which
    only their dtype then limits). Otherwise, it has all values in C order: little-endian bytes of the dtype, or a flat
    list.
    """

    shape: tuple[int, ...]
    dtype: str
    low: Any
    high: Any

    def check(self) -> int:
        """Check the dtype, the shape and the bounds."""
        check_dtype(self.dtype, "biuf")
        size = check_shape(self.shape, self.dtype)
        self.bound(self.low)
        self.bound(self.high)
        return size

    def bound(self, bound: Any) -> Array:
        """Read a bound; see :func:`~gymtwist.spaces.numbers.read_bound`."""
        return read_bound(bound, DTYPES[self.dtype], math.prod(self.shape))

    def array(self) -> tuple[str, tuple[int, ...]]:
        """Return the dtype and the shape."""
        return self.dtype, self.shape

    def for_json(self) -> Box:
        """Return the description with lists for bounds that are bytes."""

        def listed(bound: Any) -> Any:
            return jsonable(self.bound(bound)) if isinstance(bound, (bytes, bytearray, memoryview)) else bound

        return msgspec.structs.replace(self, low=listed(self.low), high=listed(self.high))

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        low, high, dtype = self._built(self.low), self._built(self.high), native_type(self.dtype)
        is_uniform = not (isinstance(low, np.ndarray) or isinstance(high, np.ndarray))
        if not is_uniform or math.prod(self.shape) * np.dtype(dtype).itemsize < _LARGE:
            return spaces.Box(low, high, shape=self.shape, dtype=dtype)
        # Gymnasium takes a second, and six times the memory of an element, to fill and compare these arrays.
        box = spaces.Box(low, high, shape=(1,) * len(self.shape), dtype=dtype)
        for name in ("low", "high", "bounded_below", "bounded_above"):
            setattr(box, name, np.broadcast_to(getattr(box, name), self.shape))
        box._shape = self.shape
        return box

    def _built(self, bound: Any) -> Any:
        if isinstance(bound, str) and self.dtype.startswith("int"):
            return NOT_FINITE[bound]  # Gymnasium's own word for integers without a bound
        array = self.bound(bound)
        if not array.ndim:
            return array.item() if array.dtype.kind != "b" else int(array)
        # Gymnasium's checks of bounds do not support bool.
        native = np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("=")
        return array.astype(native).reshape(self.shape)

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Box:
        """Describe a space."""
        low = _described(space.low, space.bounded_below, "-Infinity")
        high = _described(space.high, space.bounded_above, "Infinity")
        return cls(space.shape, dtype_name(space.dtype), low, high)

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        if context.form is Form.CLASSIC:
            return array_codec(space.dtype, space.shape, context, classic_box=True)
        return array_codec(
            space.dtype, space.shape, context, _bounds(space) if context.checked and context.bounded else None
        )

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        low, high = (
            bound.astype(np.float64).clip(-CLASSIC_BOUND, CLASSIC_BOUND).ravel().tolist()
            for bound in (space.low, space.high)
        )
        return {"type": "Box", "shape": list(space.shape), "low": low, "high": high, "dtype": str(space.dtype)}


def _is_uniform(bound: Array) -> bool:
    """Return whether a bound is the same everywhere; zeros of different signs are equal, but not the same."""
    first = bound.flat[0]
    return bool((bound == first).all()) and (
        bound.dtype.kind != "f" or bool((np.signbit(bound) == np.signbit(first)).all())
    )


def _described(bound: Array, bounded: Array, unbounded: str) -> Any:
    """Describe a bound as one number if it is the same everywhere, as is usual, otherwise as its bytes."""
    if not bound.size:
        return 0
    if not _is_uniform(bound):
        return bound.astype(bound.dtype.newbyteorder("<")).tobytes()
    if bound.dtype.kind == "f":
        number = float(bound.flat[0])
        return number if math.isfinite(number) else number_text(number)
    # An infinite bound of integers equals their dtype's limit; sampling distinguishes the two.
    return int(bound.flat[0]) if bounded.any() or bound.dtype.kind != "i" else unbounded


def _bounds(space: Any) -> Bounds | None:
    """Return the bounds of a space; None if the dtype alone ensures them."""
    dtype = np.dtype(np.uint8) if space.dtype.kind == "b" else space.dtype
    low, high = (
        (np.array(bound.flat[0]) if bound.size and _is_uniform(bound) else bound.ravel()).astype(dtype)
        for bound in (space.low, space.high)
    )
    if space.dtype.kind in "iu":
        least, greatest = integer_limits(space.dtype)
        if (low == least).all() and (high == greatest).all():
            return None
    return Bounds(low, high, space.shape)
