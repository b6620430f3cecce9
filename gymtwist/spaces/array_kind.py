"""The common base of the kinds whose elements are arrays or numbers, which Gymnasium stacks in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from gymtwist.spaces.space_kind import SpaceKind


class ArrayKind(SpaceKind, frozen=True):
    """A kind whose elements are arrays of the space's shape and dtype; a number is an array of shape ``()``."""

    is_fixed: ClassVar[bool] = True

    @staticmethod
    def take(space: Any, batch: Any, start: int, stop: int) -> Any:
        """Return some elements of a batch, as a view."""
        return np.asarray(batch)[start:stop]

    @staticmethod
    def join(space: Any, batches: Sequence[Any]) -> Any:
        """Join batches into one."""
        return np.concatenate(batches)

    @staticmethod
    def batch_of(space: Any, elements: Sequence[Any]) -> Any:
        """Make a batch of elements."""
        return np.asarray(elements, space.dtype).reshape(len(elements), *(space.shape or ()))
