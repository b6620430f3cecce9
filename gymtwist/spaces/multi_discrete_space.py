"""MultiDiscrete: arrays of integers, each with its own range."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymtwist.spaces.array_kind import ArrayKind
from gymtwist.spaces.arrays import array_codec
from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.layout import DTYPES, Array, check_counts, check_dtype, check_shape, dtype_name, native_type
from gymtwist.spaces.numbers import read_integers
from gymtwist.spaces.space_codecs import CodecContext, SpaceCodec
from gymtwist.spaces.space_kind import Describe


class MultiDiscrete(ArrayKind, frozen=True, omit_defaults=True):
    """Arrays of integers, each with its own ``nvec`` and ``start``, given as nested lists of the arrays' shape.

    ``shape`` is given only if the lists do not determine it, because they are empty.
    """

    nvec: Any
    start: Any
    dtype: str
    shape: tuple[int, ...] | None = None

    def check(self) -> int:
        """Check the dtype, the shape and the numbers."""
        check_dtype(self.dtype, "iu")
        check_shape(self.shape or (), self.dtype)
        check_counts(self.counts()[0])
        return 0

    def counts(self) -> tuple[Array, Array]:
        """Read ``nvec`` and ``start`` as arrays of the elements' shape and dtype.

        Raises:
            ValueError: They are not integers, or have different shapes.
        """
        dtype = DTYPES[self.dtype]
        nvec, start = (read_integers(each, dtype) for each in (self.nvec, self.start))
        if self.shape is not None and not nvec.size and 0 in self.shape:
            nvec = start = np.empty(self.shape, dtype)
        if nvec.shape != start.shape:
            raise ValueError(f"a MultiDiscrete whose nvec has shape {nvec.shape} and start {start.shape}")
        return nvec, start

    def array(self) -> tuple[str, tuple[int, ...]]:
        """Return the dtype and the shape."""
        return self.dtype, self.counts()[0].shape

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        nvec, start = (each.astype(native_type(self.dtype)) for each in self.counts())
        return spaces.MultiDiscrete(nvec, dtype=nvec.dtype.type, start=start)

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> MultiDiscrete:
        """Describe a space; Gym's spaces have no start."""
        nvec, start = space.nvec, _start(space)
        shape = None if np.shape(nvec.tolist()) == nvec.shape else nvec.shape
        return cls(nvec.tolist(), start.tolist(), dtype_name(space.dtype), shape)

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        greatest = int(np.iinfo(space.dtype).max)
        # As Python integers: the last one may exceed the dtype, and then no message can carry it.
        starts = _start(space).ravel()
        pairs = zip(starts.tolist(), space.nvec.ravel().tolist(), strict=True)
        last = np.array([min(start + n - 1, greatest) for start, n in pairs], space.dtype)
        return array_codec(space.dtype, space.shape, context, Bounds(starts, last, space.shape))

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        low = _start(space).astype(np.int64)
        high = low + space.nvec.astype(np.int64) - 1
        return {
            **{"type": "MultiDiscrete", "low": low.ravel().tolist(), "high": high.ravel().tolist()},
            "shape": list(space.shape),
        }


def _start(space: Any) -> Array:
    start: Array = getattr(space, "start", np.zeros_like(space.nvec))
    return start
