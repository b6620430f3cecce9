"""Dict: an element of each of several spaces, under a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from gymtwist.spaces.equivalent_forms import named
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec
from gymtwist.spaces.space_kind import Describe, Inner, SpaceKind, codec_of, kind_of
from gymtwist.spaces.value_mismatch import shown
from gymtwist.spaces.value_plan import nest_plan


class Dict(SpaceKind, frozen=True):
    """An element of each of the spaces, under a key: usually a string; a list stands for a tuple."""

    is_fixed: ClassVar[bool] = True

    spaces: tuple[tuple[Any, Inner], ...]

    def inner(self) -> Iterator[tuple[str | int, SpaceKind]]:
        """Yield the spaces with the names of their keys in messages.

        Raises:
            ValueError: Two keys have the same name, or a message cannot carry one.
        """
        names = [str(key_of(key)) for key, _ in self.spaces]
        if len(set(names)) < len(names):
            raise ValueError(f"a Dict with keys that are the same in a message: {', '.join(sorted(names)):.200}")
        yield from zip(names, (each for _, each in self.spaces), strict=True)

    def for_json(self) -> Dict:
        """Return the description without bytes."""
        return Dict(tuple((key, each.for_json()) for key, each in self.spaces))

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        # As pairs, which Gymnasium does not sort.
        return spaces.Dict([(key_of(key), each.build(spaces)) for key, each in self.spaces])

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Dict:
        """Describe a space."""
        return cls(tuple((_described_key(key), describe(each, _place(key))) for key, each in space.spaces.items()))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        fields = [(str(key), key, codec_of(each, context.within(str(key)))) for key, each in space.spaces.items()]
        return _dict_codec(fields, context)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        # Not "subspaces": the Go client would refuse an object where it expects a list.
        fields = {str(key): kind_of(each).classic_description(each) for key, each in space.spaces.items()}
        return {"type": "Dict", "spaces": fields}

    @staticmethod
    def take(space: Any, batch: Any, start: int, stop: int) -> Any:
        """Return some elements of a batch."""
        if not isinstance(batch, Mapping) or not space.spaces.keys() <= batch.keys():
            raise ValueError(f"a batch of dictionaries is a dictionary of batches, not {batch!r:.80}")
        return {key: kind_of(each).take(each, batch[key], start, stop) for key, each in space.spaces.items()}

    @staticmethod
    def element(space: Any, batch: Any, index: int) -> Any:
        """Return one element of a batch."""
        return {key: kind_of(each).element(each, batch[key], index) for key, each in space.spaces.items()}

    @staticmethod
    def join(space: Any, batches: Sequence[Any]) -> Any:
        """Join batches into one."""
        return {key: kind_of(each).join(each, [batch[key] for batch in batches]) for key, each in space.spaces.items()}

    @staticmethod
    def batch_of(space: Any, elements: Sequence[Any]) -> Any:
        """Make a batch of elements."""
        return {
            key: kind_of(each).batch_of(each, [element[key] for element in elements])
            for key, each in space.spaces.items()
        }

    @staticmethod
    def lengths(space: Any, batch: Any) -> Iterator[int]:
        """Yield the number of elements in each part of a batch."""
        for key, each in space.spaces.items():
            yield from kind_of(each).lengths(each, batch[key])


def key_of(key: Any) -> Any:
    """Convert a key from a message to a key of the Dict: a list becomes a tuple.

    Raises:
        ValueError: No message can carry the key.
    """
    if isinstance(key, (list, tuple)):
        return tuple(key_of(each) for each in key)
    if key is None or type(key) in (str, bool) or (type(key) is int and -(2**63) <= key < 2**64):
        return key
    if type(key) is float and math.isfinite(key):
        return key
    raise ValueError(f"a key that no message can carry: {key!r:.80}")


def _described_key(key: Any) -> Any:
    """Describe a key by a value that messages can carry, and that must be equal to it."""
    plain: Any = key
    if isinstance(key, tuple):
        plain = tuple(_described_key(each) for each in key)
    elif isinstance(key, str):
        plain = str.__str__(key)
        plain.encode()  # raises a ValueError for a character that UTF-8 does not have
    elif isinstance(key, np.generic):
        plain = key.item()
    if key_of(plain) != key or hash(plain) != hash(key):
        raise ValueError(f"a Dict with a key that no message can carry: {key!r:.80}")
    return plain


def _place(key: Any) -> str:
    return f'["{key:.40}"]' if isinstance(key, str) else f"[{key!r:.40}]"


def _dict_codec(fields: list[tuple[str, Any, SpaceCodec]], context: CodecContext) -> SpaceCodec:
    """Compile the codec of the fields of a Dict, given as name in messages, key and codec."""
    names = {name for name, _, _ in fields}
    readers = [(name, key, each.from_tree) for name, key, each in fields]
    unpackers = [(key, each.unpack_from) for _, key, each in fields]
    # An environment's observation may have fields that its space lacks.
    may_have_more = context.form is Form.INFO

    def from_tree(tree: Any) -> dict[Any, Any]:
        if not isinstance(tree, dict) or (tree.keys() != names and not (may_have_more and names <= tree.keys())):
            given, tree = tree, named(tree)
            if not isinstance(tree, dict) or tree.keys() != names:
                raise context.mismatch(f"is {shown(given)}: send an object with {shown(sorted(names))}")
        return {key: read(tree[name]) for name, key, read in readers}

    def unpack_from(buffer: Any) -> dict[Any, Any]:
        return {key: unpack(buffer) for key, unpack in unpackers}  # type: ignore[misc]  # see SpaceCodec

    to_tree, append = _writers(fields, context)
    plan = nest_plan([key for _, key, _ in fields], [each.plan for _, _, each in fields])
    return SpaceCodec(to_tree, from_tree, None, append, unpack_from, plan=plan)


def _writers(
    fields: list[tuple[str, Any, SpaceCodec]], context: CodecContext
) -> tuple[Callable[[Any], Any], Callable[[list[bytes | memoryview], Any], None]]:
    keys = {key for _, key, _ in fields}
    writers = [(name, key, each.to_tree) for name, key, each in fields]
    packers = [(key, each.pack, each.append) for _, key, each in fields]

    def check(value: Any) -> None:
        names = sorted(name for name, _, _ in fields)
        if not isinstance(value, Mapping):
            raise context.mismatch(f"is a {type(value).__name__}: its space is of dictionaries with {names}")
        for key in keys - value.keys():
            raise context.mismatch(f"has no {key!r}: its space is of dictionaries with {names}")

    def to_tree(value: Any) -> dict[str, Any]:
        if type(value) is not dict or not keys <= value.keys():
            check(value)
        return {name: write(value[key]) for name, key, write in writers}

    def append(parts: list[bytes | memoryview], value: Any) -> None:
        if type(value) is not dict or not keys <= value.keys():
            check(value)
        for key, pack, append_part in packers:
            if pack is not None:
                parts.append(pack(value[key]))
            else:
                append_part(parts, value[key])  # type: ignore[misc]  # see SpaceCodec

    return to_tree, append
