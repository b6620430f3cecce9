"""The bounds that what comes from outside must keep."""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np

from gymtwist.spaces.descriptions import Box, Discrete, MultiBinary, MultiDiscrete, bound_of, counts_of
from gymtwist.spaces.layout import DTYPES, Array, ValueMismatch

# Up to so many numbers Python compares faster than NumPy begins to.
_FEW = 32


class Bounds:
    """The least and the greatest that each element of an array may be.

    Args:
        low: The least: for each element, flat, or of shape ``()`` for all alike.
        high: The greatest, likewise.
        shape: Of the array.
    """

    def __init__(self, low: Array, high: Array, shape: tuple[int, ...]) -> None:
        size = math.prod(shape)
        self._low, self._high = low, high
        self._few = None
        if size <= _FEW:
            self._few = tuple(np.broadcast_to(bound, size).tolist() for bound in (low, high))

    def check(self, array: Array) -> None:
        """Check an array of the shape, or a batch of such arrays.

        Raises:
            ValueMismatch: An element is beyond its bounds, or not a number.
        """
        flat = array.reshape(-1)
        if flat.dtype.kind == "b":  # in a message its bytes can be more than 0 and 1
            flat = flat.view(np.uint8)
        if self._few is not None and len(flat) == len(self._few[0]):
            for number, low, high in zip(flat.tolist(), *self._few, strict=True):
                if not low <= number <= high:
                    self._refuse(flat, array.shape)
            return
        rows = flat.reshape(-1, self._low.size or 1) if self._low.ndim else flat
        columns = flat.reshape(-1, self._high.size or 1) if self._high.ndim else flat
        if not ((rows >= self._low).all() and (columns <= self._high).all()):
            self._refuse(flat, array.shape)

    def _refuse(self, flat: Array, shape: tuple[int, ...]) -> NoReturn:
        lows, highs = (np.resize(bound, flat.shape) for bound in (self._low, self._high))
        first = int(np.argmin((lows <= flat) & (flat <= highs)))
        sort = "number" if flat.dtype.kind == "f" else "integer"
        raise ValueMismatch(
            f"is {flat[first]}: send a{'n' * (sort == 'integer')} {sort} from {lows[first]} to {highs[first]}",
            tuple(int(index) for index in np.unravel_index(first, shape)),
        )


def bounds_of(description: Box | Discrete | MultiBinary | MultiDiscrete) -> Bounds | None:
    """Find the limits of a leaf; None if its dtype alone keeps them."""
    if isinstance(description, MultiBinary):
        return Bounds(np.array(0, np.int8), np.array(1, np.int8), description.shape)
    if isinstance(description, Box):
        dtype = DTYPES[description.dtype]
        low, high = (bound_of(description, bound) for bound in (description.low, description.high))
        if dtype.kind == "b":
            return Bounds(low.astype(np.uint8), high.astype(np.uint8), description.shape)
        if dtype.kind in "iu" and (low == np.iinfo(dtype).min).all() and (high == np.iinfo(dtype).max).all():
            return None
        return Bounds(low, high, description.shape)
    if isinstance(description, Discrete):
        first, last = range_of(description)
        dtype = DTYPES[description.dtype]
        return Bounds(np.array(first, dtype), np.array(last, dtype), ())
    nvec, start = counts_of(description)
    # In Python's integers: the last of them may be beyond the dtype, of which nothing in a message then is.
    greatest = int(np.iinfo(nvec.dtype).max)
    last_ones = [
        min(one + n - 1, greatest) for n, one in zip(nvec.ravel().tolist(), start.ravel().tolist(), strict=True)
    ]
    return Bounds(start.ravel(), np.array(last_ones, nvec.dtype), nvec.shape)


def range_of(description: Discrete) -> tuple[int, int]:
    """Name the first and the last integer of a Discrete that its dtype has."""
    last = min(description.start + description.n - 1, int(np.iinfo(DTYPES[description.dtype]).max))
    return description.start, last
