"""Sequence: any number of elements of a space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec, items_codec
from gymtwist.spaces.space_kind import Describe, Inner, SpaceKind, batch_codec, codec_of, kind_of


class Sequence(SpaceKind, frozen=True):
    """Any number of elements of a space, in a tuple or, if ``stack``, stacked in arrays."""

    space: Inner
    stack: bool = False

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the space."""
        yield "space", self.space

    def for_json(self) -> Sequence:
        """Return the description without bytes."""
        return Sequence(self.space.for_json(), self.stack)

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.Sequence(self.space.build(spaces), stack=self.stack)

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Sequence:
        """Describe a space; Gym's spaces are never stacked."""
        return cls(describe(space.feature_space, ".feature_space"), bool(getattr(space, "stack", False)))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        feature = space.feature_space
        if space.stack and context.form is not Form.CLASSIC:
            return batch_codec(feature, context)
        items = items_codec(codec_of(feature, context), context)
        if not space.stack:
            return items
        # The classic protocol carries a list of elements, whether stacked or not.
        kind = kind_of(feature)

        def to_tree(value: Any) -> Any:
            count = next(kind.lengths(feature, value), 0)
            return items.to_tree([kind.element(feature, value, index) for index in range(count)])

        return SpaceCodec(to_tree, lambda tree: kind.batch_of(feature, items.from_tree(tree)))

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        feature = space.feature_space
        return {"type": "Sequence", "feature": kind_of(feature).classic_description(feature)}
