"""Discrete: one of several consecutive integers."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.spaces.array_kind import ArrayKind
from gymtwist.spaces.arrays import array_codec, as_array
from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.equivalent_forms import whole
from gymtwist.spaces.layout import DTYPES, check_counts, check_dtype, dtype_name, native_type
from gymtwist.spaces.numbers import integer_limits, read_integers
from gymtwist.spaces.space_codecs import CodecContext, Form, SpaceCodec, other_reader
from gymtwist.spaces.space_kind import Describe
from gymtwist.spaces.value_mismatch import shape_text, shown
from gymtwist.spaces.value_plan import LeafPlan

#: The type codes of Python's module ``struct``, to follow ``<``.
_CODES = {
    **{"int8": "b", "int16": "h", "int32": "i", "int64": "q"},
    **{"uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q"},
}


class Discrete(ArrayKind, frozen=True):
    """The integers from ``start`` on, ``n`` of them."""

    n: int
    start: int = 0
    dtype: str = "int64"

    def check(self) -> int:
        """Check the dtype and the numbers."""
        check_dtype(self.dtype, "iu")
        check_counts(read_integers([self.n, self.start], DTYPES[self.dtype])[:1])
        return 0

    def array(self) -> tuple[str, tuple[int, ...]]:
        """Return the dtype and the shape of one integer."""
        return self.dtype, ()

    def build(self, spaces: Any) -> Any:
        """Build the space."""
        return spaces.Discrete(self.n, start=self.start, dtype=native_type(self.dtype))

    @classmethod
    def describe(cls, space: Any, describe: Describe) -> Discrete:
        """Describe a space; Gym's spaces once had no start."""
        return cls(int(space.n), int(getattr(space, "start", 0)), dtype_name(space.dtype))

    @staticmethod
    def codec(space: Any, context: CodecContext) -> SpaceCodec:
        """Compile the codec."""
        dtype = np.dtype(space.dtype)
        least, greatest = integer_limits(dtype)
        # Not all integers of the space need fit its dtype.
        first, last = int(space.start), min(int(space.start) + int(space.n) - 1, greatest)
        if context.batch:
            bounds = Bounds(np.array(first, dtype), np.array(last, dtype), ())
            return array_codec(dtype, (), context, bounds)
        if context.form is Form.CLASSIC:
            write = int if context.on_cut is None else _integer_writer(dtype, context)
            return SpaceCodec(write, _reader(int, first, last, context))
        if context.form is Form.INFO:
            return SpaceCodec(int, dtype.type)
        return _integer_codec(dtype, (first, last) if context.checked else (least, greatest), context)

    @staticmethod
    def classic_description(space: Any) -> dict[str, Any]:
        """Describe a space for the classic protocol."""
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}


def _refuse(value: Any, first: int, last: int, context: CodecContext) -> Exception:
    return context.mismatch(f"is {shown(value)}: send an integer from {first} to {last}")


def _reader(scalar: Any, first: int, last: int, context: CodecContext) -> Callable[[Any], Any]:
    """Make the function that reads an integer from a tree."""

    def from_tree(tree: Any) -> Any:
        # bool is a subclass of int, but no client means 1 by true.
        if type(tree) is int and first <= tree <= last:
            return scalar(tree)
        number = whole(tree)
        if type(number) is int and first <= number <= last:
            return scalar(number)
        raise _refuse(tree, first, last, context)

    return from_tree


def _cast(value: Any, dtype: np.dtype[Any], context: CodecContext) -> np.ndarray[Any, Any]:
    array = as_array(value, dtype.newbyteorder("<"), context)
    if array.shape and (context.form is not Form.CLASSIC or array.size != 1):
        raise context.mismatch(f"is an array of shape {shape_text(array.shape)} where its space has []")
    return array


def _integer_writer(dtype: np.dtype[Any], context: CodecContext) -> Callable[[Any], int]:
    """Make the function that converts a number to an integer that fits the dtype."""
    least, greatest = integer_limits(dtype)

    def to_tree(value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            return int(_cast(value, dtype, context).item())
        return number if least <= number <= greatest else int(_cast(value, dtype, context))

    return to_tree


def _integer_codec(dtype: np.dtype[Any], limits: tuple[int, int], context: CodecContext) -> SpaceCodec:
    first, last = limits
    scalar, offset = int if context.plain else dtype.type, context.offset
    structure = struct.Struct(f"<{_CODES[dtype.name]}")
    packed, unpacked, unpacked_from = structure.pack, structure.unpack, structure.unpack_from
    from_tree = _reader(scalar, first, last, context)

    def pack(value: Any) -> bytes:
        try:
            return packed(value)
        except (struct.error, TypeError):  # it is not an integer, or does not fit
            return _cast(value, dtype, context).tobytes()

    def unpack_from(buffer: Any) -> Any:
        (number,) = unpacked_from(buffer, offset)
        return finish(number)

    def finish(number: int) -> Any:
        if first <= number <= last:
            return scalar(number)
        raise _refuse(number, first, last, context)

    def unpack(buffer: Any) -> Any:
        try:
            (number,) = unpacked(buffer)
        except (struct.error, TypeError):
            return read_other(buffer)
        if first <= number <= last:
            return scalar(number)
        raise _refuse(number, first, last, context)

    read_other = other_reader(structure.size, unpack_from, lambda: from_tree, context)
    plan = None
    if dtype.newbyteorder("<").isnative:
        is_checked = context.checked
        plan = LeafPlan(dtype, (), offset, finish if is_checked else None, int if is_checked else scalar, packed)
    return SpaceCodec(_integer_writer(dtype, context), from_tree, pack, None, unpack_from, unpack, plan=plan)
