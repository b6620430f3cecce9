"""Lower and upper bounds of the elements of an array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.spaces.layout import Array
from gymtwist.spaces.value_mismatch import shown

# Up to this many numbers, Python's comparisons are faster than NumPy's overhead.
_FEW = 32


class Bounds:
    """Lower and upper bounds of each element of an array.

    Args:
        low: The lower bounds: flat, or of shape ``()`` if all are equal.
        high: The upper bounds, likewise.
        shape: The array's shape.
    """

    def __init__(self, low: Array, high: Array, shape: tuple[int, ...]) -> None:
        size = math.prod(shape)
        self._low, self._high = low, high
        self._few = None
        if size <= _FEW:
            self._few = tuple(np.broadcast_to(bound, size).tolist() for bound in (low, high))

    def check(self, array: Array, mismatch: Callable[..., Exception]) -> None:
        """Check an array of this shape, or a batch of such arrays.

        Args:
            array: The array.
            mismatch: Makes the error from a text and an index.

        Raises:
            Exception: An element is outside its bounds, or is not a number.
        """
        flat = array.reshape(-1)
        if flat.dtype.kind == "b":  # bytes in a message may differ from 0 and 1
            flat = flat.view(np.uint8)
        if self._few is not None and len(flat) == len(self._few[0]):
            for number, low, high in zip(flat.tolist(), *self._few, strict=True):
                if not low <= number <= high:
                    raise self._error(flat, array.shape, mismatch)
            return
        rows = flat.reshape(-1, self._low.size or 1) if self._low.ndim else flat
        columns = flat.reshape(-1, self._high.size or 1) if self._high.ndim else flat
        if not ((rows >= self._low).all() and (columns <= self._high).all()):
            raise self._error(flat, array.shape, mismatch)

    def _error(self, flat: Array, shape: tuple[int, ...], mismatch: Callable[..., Exception]) -> Exception:
        lows, highs = (np.resize(bound, flat.shape) for bound in (self._low, self._high))
        first = int(np.argmin((lows <= flat) & (flat <= highs)))
        sort = "a number" if flat.dtype.kind == "f" else "an integer"
        index = (int(each) for each in np.unravel_index(first, shape))
        given, low, high = (shown(each[first].item()) for each in (flat, lows, highs))
        return mismatch(f"is {given}: send {sort} from {low} to {high}", *index)

    def at(self, index: int) -> tuple[Any, Any]:
        """Return the bounds of an element of an array or a batch, by its index in C order."""
        low, high = (bound.flat[index % bound.size].item() for bound in (self._low, self._high))
        return low, high

    @property
    def are_of_booleans(self) -> bool:
        """Whether the bounds allow only 0 and 1."""
        return bool(self._low.size and (self._low >= 0).all() and (self._high <= 1).all())
