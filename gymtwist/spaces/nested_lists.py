"""Arrays in messages as nested lists of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.equivalent_forms import listed, whole
from gymtwist.spaces.large_lists import MANY_NUMBERS, without_collection
from gymtwist.spaces.layout import MAX_DIMENSIONS, Array
from gymtwist.spaces.numbers import EXPECTED_NUMBER, NOT_FINITE, integer_limits
from gymtwist.spaces.space_codecs import CodecContext
from gymtwist.spaces.value_mismatch import shape_text, shown


class ListReader:
    """Reads nested lists of numbers as arrays of one dtype and shape.

    Args:
        dtype: The arrays' dtype.
        shape: The arrays' shape; None for any size of the first dimension.
        context: The context of the arrays.
        bounds: The bounds of the numbers, for errors; None if only the dtype limits them.
        classic_box: Whether the lists belong to a Box in the classic protocol. There, infinities have no names, a float
            that is too large becomes infinite, and booleans may stand for integers.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        shape: tuple[int | None, ...],
        context: CodecContext,
        bounds: Bounds | None = None,
        *,
        classic_box: bool = False,
    ) -> None:
        self._dtype = dtype
        self._shape = shape
        self._mismatch = context.mismatch
        self._classic = classic_box
        self._bounds = bounds
        # A dtype that holds every number in the lists, so that nothing is lost unnoticed.
        wide = np.dtype(np.float64) if dtype.kind == "f" else np.dtype(np.uint8) if dtype.kind == "b" else dtype
        self._wide = np.dtype(np.int64) if classic_box and dtype.kind == "b" else wide
        self._booleans = classic_box or dtype.kind == "b"
        self._least, self._greatest = (0, 0) if dtype.kind == "f" else integer_limits(self._wide)
        if dtype.kind == "b" and not classic_box:
            self._greatest = 1
        self._type = self._list_type()
        # Many clients send these as true and false; they are then read one by one.
        self._booleans = self._booleans or (dtype.kind != "f" and bounds is not None and bounds.are_of_booleans)
        self._is_large = math.prod(size for size in shape if size is not None) >= MANY_NUMBERS
        self._lists = f"lists of shape {shape_text(shape)}"

    def _list_type(self) -> Any:
        """Make the type that msgspec checks lists against: it is faster than NumPy, which would also parse strings."""
        kind: Any = float
        if self._dtype.kind != "f":
            # msgspec has no limits beyond int64; integers beyond uint64 do not fit the array.
            greatest = None if self._greatest > np.iinfo(np.int64).max else self._greatest
            kind = Annotated[int, msgspec.Meta(ge=self._least, le=greatest)]
            if self._booleans:
                kind = kind | bool
        for _ in range(min(len(self._shape), MAX_DIMENSIONS + 1)):
            kind = list[kind]
        return kind

    def read(self, tree: Any) -> Array:
        """Read a new array.

        Raises:
            ValueMismatch: The lists do not have the shape, or a number does not fit the dtype.
        """
        array: Array | None
        try:
            array = without_collection(self._read_all, tree) if self._is_large else self._read_all(tree)
        except (msgspec.ValidationError, ValueError, OverflowError):
            array = None
        if array is None or not array.size or not fits(array.shape, self._shape):
            # The lists contain names of numbers, or an empty list hides a dimension, or they are wrong.
            array = self._read_each(tree)
        return array if array.dtype == self._dtype else self._narrowed(array)

    def _read_all(self, tree: Any) -> Array:
        return np.array(msgspec.convert(tree, self._type), self._wide)

    def _read_each(self, tree: Any) -> Array:
        """Read the lists number by number, and find the first mistake."""
        level: list[Any] = [self._written_out(tree)]
        shape: tuple[int, ...] = ()
        for size in self._shape:
            deeper: list[Any] = []
            for index, each in enumerate(level):
                items = listed(each)
                if not isinstance(items, (list, tuple)) or (items is not each and size not in (None, len(items))):
                    remedy = ', or make the environment with the `values` "base64"' if isinstance(each, str) else ""
                    text = f"is {shown(each)}: send numbers in {self._lists}{remedy}"
                    raise self._mismatch(text, *place(index, shape))
                if size is not None and len(items) != size:
                    text = f"has {len(items)} elements: send {size} ({self._lists})"
                    raise self._mismatch(text, *place(index, shape))
                deeper += items
            # Only the first dimension can have any size, and it is a single list.
            shape = (*shape, len(level[0]) if size is None else size)
            level = deeper
        number = self._float if self._dtype.kind == "f" else self._integer
        return np.array([number(each, index, shape) for index, each in enumerate(level)], self._wide).reshape(shape)

    def _written_out(self, tree: Any) -> Any:
        """Restore an element's missing dimensions: in some languages, a list of one number is a number."""
        found: list[int] = []
        inner = listed(tree)
        while isinstance(inner, (list, tuple)) and len(found) < len(self._shape):
            found.append(len(inner))
            inner = listed(inner[0]) if inner else None
        others = [size for size in self._shape if size != 1]
        is_whole = len(found) == len(self._shape) or [size for size in found if size != 1] != others
        return tree if is_whole else _with_dimensions(tree, found, self._shape)

    def _float(self, each: Any, index: int, shape: tuple[int, ...]) -> float:
        if isinstance(each, str) and each in NOT_FINITE and not self._classic:
            return NOT_FINITE[each]
        if type(each) is float or (type(each) is int and abs(each) < 1 << 1023):
            return float(each)
        expected = "a number" if self._classic else EXPECTED_NUMBER
        raise self._mismatch(f"is {shown(each)}: send {expected}", *place(index, shape))

    def _integer(self, each: Any, index: int, shape: tuple[int, ...]) -> int:
        number = whole(each)
        if (type(number) is int and self._least <= number <= self._greatest) or (self._booleans and type(each) is bool):
            return int(number)
        also = " or a boolean" if self._booleans else ""
        least, greatest = (self._least, self._greatest) if self._bounds is None else self._bounds.at(index)
        text = f"is {shown(each)}: send an integer from {least} to {greatest}{also}"
        raise self._mismatch(text, *place(index, shape))

    def _narrowed(self, array: Array) -> Array:
        with np.errstate(over="ignore"):
            narrow = array.astype(self._dtype)
        if self._dtype.kind == "f" and not self._classic:
            lost = np.isinf(narrow) & np.isfinite(array)
            if lost.any():
                index = place(int(np.argmax(lost)), array.shape)
                raise self._mismatch(f"is {array[index]}: send a number that fits {self._dtype.name}", *index)
        return narrow


def _with_dimensions(tree: Any, found: Sequence[int], wanted: Sequence[int | None]) -> Any:
    if len(found) == len(wanted):
        return tree
    items = listed(tree)
    if not found or found[0] != wanted[0]:
        return [_with_dimensions(tree, found, wanted[1:])]
    if not isinstance(items, (list, tuple)):  # the lists are ragged
        return tree
    return [_with_dimensions(each, found[1:], wanted[1:]) for each in items]


def place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the indices of the element at this index in C order."""
    return tuple(int(each) for each in np.unravel_index(index, shape))


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Return whether a shape is the wanted one; None stands for any size of the first dimension."""
    return shape == wanted or (wanted[:1] == (None,) and len(shape) == len(wanted) and shape[1:] == wanted[1:])
