"""Tuple: an element of each of several spaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from gymtwist.spaces.equivalent_forms import listed
from gymtwist.spaces.space_codecs import CodecContext, SpaceCodec, is_listed
from gymtwist.spaces.space_kind import Describe, Inner, SpaceKind, codec_of, kind_of
from gymtwist.spaces.value_mismatch import shown
from gymtwist.spaces.value_plan import nest_plan


class Tuple(SpaceKind, frozen=True):
    """An element of each of the spaces."""

    is_fixed: ClassVar[bool] = True

    spaces: tuple[Inner, ...]

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the spaces with their indices."""
        yield from enumerate(self.spaces)

    def for_json(self) -> Tuple:
        """Return the description without bytes."""
        return Tuple(tuple(each.for_json() for each in self.spaces))

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.Tuple([each.build(spaces) for each in self.spaces])

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Tuple:
        """Describe a space."""
        return cls(tuple(describe(each, f"[{index}]") for index, each in enumerate(space.spaces)))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        return _tuple_codec([codec_of(each, context.within(index)) for index, each in enumerate(space.spaces)], context)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        return {"type": "Tuple", "subspaces": [kind_of(each).classic_description(each) for each in space.spaces]}

    @staticmethod
    def take(space: Any, batch: Any, start: int, stop: int) -> Any:
        """Return some elements of a batch."""
        if not isinstance(batch, (tuple, list)) or len(batch) != len(space.spaces):
            raise ValueError(f"a batch of tuples is a tuple of {len(space.spaces)} batches, not {batch!r:.80}")
        return tuple(
            kind_of(each).take(each, part, start, stop) for each, part in zip(space.spaces, batch, strict=True)
        )

    @staticmethod
    def element(space: Any, batch: Any, index: int) -> Any:
        """Return one element of a batch."""
        return tuple(kind_of(each).element(each, part, index) for each, part in zip(space.spaces, batch, strict=True))

    @staticmethod
    def join(space: Any, batches: Sequence[Any]) -> Any:
        """Join batches into one."""
        return tuple(
            kind_of(each).join(each, [batch[index] for batch in batches]) for index, each in enumerate(space.spaces)
        )

    @staticmethod
    def batch_of(space: Any, elements: Sequence[Any]) -> Any:
        """Make a batch of elements."""
        return tuple(
            kind_of(each).batch_of(each, [element[index] for element in elements])
            for index, each in enumerate(space.spaces)
        )

    @staticmethod
    def lengths(space: Any, batch: Any) -> Iterator[int]:
        """Yield the number of elements in each part of a batch."""
        for each, part in zip(space.spaces, batch, strict=False):
            yield from kind_of(each).lengths(each, part)


def _other_parts(tree: Any, count: int, context: CodecContext) -> list[Any]:
    parts = listed(tree)
    if isinstance(parts, (list, tuple)) and len(parts) == count:
        return list(parts)
    if count == 1 and context.checked:
        return [tree]  # in some languages, a list of one value is the value itself
    raise context.mismatch(f"is {shown(tree)}: send a list of {count} parts")


def _tuple_codec(codecs: list[SpaceCodec], context: CodecContext) -> SpaceCodec:
    count = len(codecs)
    writers = [each.to_tree for each in codecs]
    readers = [each.from_tree for each in codecs]
    unpackers = [each.unpack_from for each in codecs]
    packers = [(each.pack, each.append) for each in codecs]

    def check(value: Any) -> Any:
        if not is_listed(value):
            raise context.mismatch(f"is a {type(value).__name__}: its space is of tuples with {count} parts")
        if len(value) != count:
            raise context.mismatch(f"has {len(value)} parts: its space is of tuples with {count}")
        return value

    def to_tree(value: Any) -> list[Any]:
        return [write(part) for write, part in zip(writers, check(value), strict=True)]

    def from_tree(tree: Any) -> tuple[Any, ...]:
        if not isinstance(tree, (list, tuple)) or len(tree) != count:
            tree = _other_parts(tree, count, context)
        return tuple([read(part) for read, part in zip(readers, tree, strict=True)])

    def append(parts: list[bytes | memoryview], value: Any) -> None:
        for (pack, append_part), part in zip(packers, check(value), strict=True):
            if pack is not None:
                parts.append(pack(part))
            else:
                append_part(parts, part)  # type: ignore[misc]  # see SpaceCodec

    def unpack_from(buffer: Any) -> tuple[Any, ...]:
        return tuple([unpack(buffer) for unpack in unpackers])  # type: ignore[misc]  # see SpaceCodec

    plan = nest_plan(None, [each.plan for each in codecs])
    return SpaceCodec(to_tree, from_tree, None, append, unpack_from, plan=plan)
