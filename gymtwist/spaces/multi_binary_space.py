"""MultiBinary: arrays of zeros and ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymtwist.spaces.array_kind import ArrayKind
from gymtwist.spaces.arrays import array_codec
from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.layout import check_counts, check_shape
from gymtwist.spaces.space_codecs import CodecContext, SpaceCodec
from gymtwist.spaces.space_kind import Describe

_LOW, _HIGH = np.array(0, np.int8), np.array(1, np.int8)


class MultiBinary(ArrayKind, frozen=True):
    """Arrays of ``n`` zeros and ones (int8), or of the shape ``n``."""

    n: int | tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the arrays."""
        return (self.n,) if isinstance(self.n, int) else self.n

    def check(self) -> int:
        """Check the shape."""
        size = check_shape(self.shape, "int8")
        check_counts(np.array(self.shape))
        return size

    def array(self) -> tuple[str, tuple[int, ...]]:
        """Return the dtype and the shape."""
        return "int8", self.shape

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.MultiBinary(self.n)

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> MultiBinary:
        """Describe a space."""
        return cls(space.n if isinstance(space.n, int) else tuple(int(size) for size in space.n))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        return array_codec(np.int8, space.shape, context, Bounds(_LOW, _HIGH, space.shape))

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        return {"type": "MultiBinary", "n": math.prod(space.shape), "shape": list(space.shape)}
