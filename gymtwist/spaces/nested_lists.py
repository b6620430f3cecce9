"""Arrays in messages as nested lists of numbers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from gymtwist.spaces.layout import MAX_DIMENSIONS, Array
from gymtwist.spaces.numbers import EXPECTED_NUMBER, NOT_FINITE, integer_limits
from gymtwist.spaces.space_codecs import CodecContext
from gymtwist.spaces.value_mismatch import shown


class ListReader:
    """Reads nested lists of numbers as arrays of one dtype and shape.

    Args:
        dtype: The arrays' dtype.
        shape: The arrays' shape; None stands for any size of the first dimension.
        context: Where the arrays are.
        classic_box: Whether the lists are those of a Box in the classic protocol: there infinities have no names, a
            float that is too large becomes infinite, and integers may be booleans.
    """

    def __init__(
        self, dtype: np.dtype[Any], shape: tuple[int | None, ...], context: CodecContext, *, classic_box: bool
    ) -> None:
        self._dtype = dtype
        self._shape = shape
        self._mismatch = context.mismatch
        self._classic = classic_box
        # A dtype that every number in the lists fits, so that nothing is lost unnoticed.
        wide = np.dtype(np.float64) if dtype.kind == "f" else np.dtype(np.uint8) if dtype.kind == "b" else dtype
        self._wide = np.dtype(np.int64) if classic_box and dtype.kind == "b" else wide
        self._booleans = classic_box or dtype.kind == "b"
        self._least, self._greatest = (0, 0) if dtype.kind == "f" else integer_limits(self._wide)
        if dtype.kind == "b" and not classic_box:
            self._greatest = 1
        self._type = self._list_type()
        self._lists = f"lists of shape {shape_text(shape)}"

    def _list_type(self) -> Any:
        """Make the type that msgspec checks lists against: it is faster than NumPy, which also parses strings."""
        kind: Any = float
        if self._dtype.kind != "f":
            # msgspec has no limits beyond int64; what is beyond uint64 does not fit the array.
            greatest = None if self._greatest > np.iinfo(np.int64).max else self._greatest
            kind = Annotated[int, msgspec.Meta(ge=self._least, le=greatest)]
            if self._booleans:
                kind = kind | bool
        for _ in range(min(len(self._shape), MAX_DIMENSIONS + 1)):
            kind = list[kind]
        return kind

    def read(self, tree: Any) -> Array:
        """Read an array, a new one.

        Raises:
            ValueMismatch: The lists are not of the shape, or a number does not fit the dtype.
        """
        array: Array | None
        try:
            array = np.array(msgspec.convert(tree, self._type), self._wide)
        except (msgspec.ValidationError, ValueError, OverflowError):
            array = None
        if array is None or not array.size or not fits(array.shape, self._shape):
            # There are names of numbers in the lists, or an empty list that hides a dimension, or they are wrong.
            array = self._read_each(tree)
        return array if array.dtype == self._dtype else self._narrowed(array)

    def _read_each(self, tree: Any) -> Array:
        """Read the lists number by number, and find the first thing that is wrong."""
        level: list[Any] = [tree]
        shape: tuple[int, ...] = ()
        for size in self._shape:
            deeper: list[Any] = []
            for index, each in enumerate(level):
                if not isinstance(each, (list, tuple)):
                    raise self._mismatch(f"is {shown(each)}: send numbers in {self._lists}", *place(index, shape))
                if size is not None and len(each) != size:
                    text = f"has {len(each)} elements: send {size} ({self._lists})"
                    raise self._mismatch(text, *place(index, shape))
                deeper += each
            # Only the first dimension can be of any size, and that is of one list.
            shape = (*shape, len(level[0]) if size is None else size)
            level = deeper
        number = self._float if self._dtype.kind == "f" else self._integer
        return np.array([number(each, index, shape) for index, each in enumerate(level)], self._wide).reshape(shape)

    def _float(self, each: Any, index: int, shape: tuple[int, ...]) -> float:
        if isinstance(each, str) and each in NOT_FINITE and not self._classic:
            return NOT_FINITE[each]
        if type(each) is float or (type(each) is int and abs(each) < 1 << 1023):
            return float(each)
        expected = "a number" if self._classic else EXPECTED_NUMBER
        raise self._mismatch(f"is {shown(each)}: send {expected}", *place(index, shape))

    def _integer(self, each: Any, index: int, shape: tuple[int, ...]) -> int:
        if (type(each) is int and self._least <= each <= self._greatest) or (self._booleans and type(each) is bool):
            return int(each)
        also = " or a boolean" if self._booleans else ""
        text = f"is {shown(each)}: send an integer from {self._least} to {self._greatest}{also}"
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


def place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the indices of the element that has this index in C order."""
    return tuple(int(each) for each in np.unravel_index(index, shape))


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Return whether a shape is as wanted; None stands for any size of the first dimension."""
    return shape == wanted or (wanted[:1] == (None,) and len(shape) == len(wanted) and shape[1:] == wanted[1:])


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Write a shape, with ``n`` for any size."""
    text = ", ".join("n" if size is None else str(size) for size in shape)
    return f"({text},)" if len(shape) == 1 else f"({text})"
