"""OneOf: an element of one of several spaces, and the index of that space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gymtwist.spaces.arrays import as_array
from gymtwist.spaces.equivalent_forms import listed, whole
from gymtwist.spaces.space_codecs import CodecContext, SpaceCodec
from gymtwist.spaces.space_kind import Describe, Inner, SpaceKind, codec_of
from gymtwist.spaces.value_mismatch import shown

_INDEX = np.dtype(np.int64)


class OneOf(SpaceKind, frozen=True):
    """An element of one of the spaces, with the index of that space."""

    spaces: tuple[Inner, ...]

    def check(self) -> int:
        """Check that there is at least one space."""
        if not self.spaces:
            raise ValueError("a OneOf without spaces")
        return 0

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the spaces with their indices."""
        yield from enumerate(self.spaces)

    def for_json(self) -> OneOf:
        """Return the description without bytes."""
        return OneOf(tuple(each.for_json() for each in self.spaces))

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.OneOf([each.build(spaces) for each in self.spaces])

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> OneOf:
        """Describe a space."""
        return cls(tuple(describe(each, f"[{index}]") for index, each in enumerate(space.spaces)))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        codecs = [codec_of(each, context.within(1)) for each in space.spaces]
        last = len(codecs) - 1

        def to_tree(value: Any) -> list[Any]:
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise context.mismatch(f"is {shown(value)}: its space is of pairs of an index and a value")
            index = as_array(value[0], _INDEX, context.within(0))
            if index.shape or not 0 <= index <= last:
                raise context.mismatch(f"is {shown(value[0])}: its space has choices from 0 to {last}", 0)
            return [int(index), codecs[int(index)].to_tree(value[1])]

        def from_tree(tree: Any) -> tuple[Any, Any]:
            pair = listed(tree)
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise context.mismatch(f"is {shown(tree)}: send a list of a choice and its value")
            index = whole(pair[0])
            if type(index) is not int or not 0 <= index <= last:
                raise context.mismatch(f"is {shown(index)}: send an integer from 0 to {last}", 0)
            return np.int64(index), codecs[index].from_tree(pair[1])

        return SpaceCodec(to_tree, from_tree)
