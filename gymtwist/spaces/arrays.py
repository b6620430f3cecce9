"""Arrays in messages that fix no layout: as nested lists, or with their dtype and shape beside their bytes."""

from __future__ import annotations

import base64
import binascii
import math
import reprlib
from enum import Enum
from typing import Annotated, Any

import msgspec
import numpy as np

from gymtwist.spaces.layout import MAX_DIMENSIONS, Array, ValueMismatch, array_at
from gymtwist.spaces.numbers import NOT_FINITE, jsonable

#: The most elements without a byte in them: any other number of elements is bounded by the length of the message.
MAX_EMPTY = 10_000


class _Shortened(reprlib.Repr):
    """How a value is shown in a message: however large and deep it is, this much of it."""

    # These would be written out before they are cut; Python refuses to write very long integers at all.
    def repr_bytes(self, value: bytes, level: int) -> str:
        return f"{len(value)} bytes"

    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if value.bit_length() <= 256 else f"an integer of {value.bit_length()} bits"


_shortened = _Shortened()
_shortened.maxlist = _shortened.maxdict = _shortened.maxtuple = 20
_shortened.maxstring = _shortened.maxlong = _shortened.maxother = 80


def shown(value: object) -> str:
    """Show any value, however large and deep, in few characters."""
    text = _shortened.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class Form(Enum):
    """How an array lies in a message that has no layout."""

    #: ``{"dtype", "shape", "data"}``, the data being bytes.
    BINARY = "binary"
    #: The same, the data being text.
    BASE64 = "base64"
    #: Nested lists of numbers.
    LISTS = "lists"


def from_base64(text: Any) -> bytes:
    """Read bytes written as base64, with the alphabet of RFC 4648 and with its padding.

    Raises:
        ValueMismatch: It is something else.
    """
    if not isinstance(text, str):
        raise ValueMismatch(f"is {shown(text)}: send a string of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueMismatch(f"is {shown(text)}: send base64 ({error})") from error


class ArrayForm:
    """An array of a dtype and shape in a message that has no layout.

    Args:
        form: How it lies there.
        dtype: Of the array.
        shape: Of the array.
        batch: Whether it is any number of such arrays, stacked.
    """

    def __init__(self, form: Form, dtype: np.dtype[Any], shape: tuple[int, ...], *, batch: bool) -> None:
        self._form = form
        self.dtype = dtype
        self._batch = batch
        self._row = shape
        self._shape: tuple[int | None, ...] = (None, *shape) if batch else shape
        self._lists = _list_type(dtype, len(self._shape))

    @property
    def wanted(self) -> str:
        """The shape of these arrays; ``n`` is any number."""
        shape = ", ".join("n" if size is None else str(size) for size in self._shape)
        return f"({shape},)" if len(self._shape) == 1 else f"({shape})"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of that shape is one of these."""
        return (shape[1:] if self._batch else shape) == self._row and len(shape) == len(self._shape)

    def write(self, array: Array) -> Any:
        """Give an array that fits its form."""
        if self._form is Form.LISTS:
            return jsonable(array)
        data: bytes | str = array.astype(self.dtype, copy=False).tobytes()
        if self._form is Form.BASE64:
            data = base64.b64encode(data).decode()  # type: ignore[arg-type]
        return {"dtype": self.dtype.name, "shape": list(array.shape), "data": data}

    def read(self, tree: Any) -> Array:
        """Read an array: a new one, or a view of the bytes.

        Raises:
            ValueMismatch: It is no array of the dtype and shape in that form.
        """
        return self._read_lists(tree) if self._form is Form.LISTS else self._read_data(tree)

    def _read_data(self, tree: Any) -> Array:
        if not isinstance(tree, dict) or not {"dtype", "shape", "data"} <= tree.keys():
            raise ValueMismatch(f'is {shown(tree)}: send an array as {{"dtype", "shape", "data"}}')
        dtype, shape, data = tree["dtype"], tree["shape"], tree["data"]
        if dtype != self.dtype.name:
            raise ValueMismatch(f"has dtype {shown(dtype)}: send {self.dtype.name}")
        if not isinstance(shape, (list, tuple)) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueMismatch(f"has shape {shown(shape)}: send a list of sizes")
        shape = tuple(shape)
        if not self.fits(shape):
            raise ValueMismatch(f"has shape {shown(shape)}: send one of shape {self.wanted}")
        if self._form is Form.BASE64:
            data = from_base64(data)
        size = math.prod(shape) * self.dtype.itemsize
        if not isinstance(data, (bytes, bytearray, memoryview)) or memoryview(data).nbytes != size:
            raise ValueMismatch(f"has {shown(data)} as its data: send {size} bytes")
        if not size and shape and shape[0] > MAX_EMPTY:
            raise ValueMismatch(f"has {shape[0]} elements with nothing in them: send {MAX_EMPTY} at most")
        return array_at(data, self.dtype, shape)

    def _read_lists(self, tree: Any) -> Array:
        try:
            array = np.array(msgspec.convert(tree, self._lists), _read_as(self.dtype))
        except (msgspec.ValidationError, ValueError, OverflowError):
            array = None
        if array is None or not array.size or not self.fits(array.shape):
            # There may be names of numbers among them, or nothing behind an empty list; or else it says what is wrong.
            array = self._read_slowly(tree)
        return self._narrowed(array)

    def _read_slowly(self, tree: Any) -> Array:
        level: list[Any] = [tree]
        shape: tuple[int, ...] = ()
        for size in self._shape:
            deeper: list[Any] = []
            for index, each in enumerate(level):
                if not isinstance(each, (list, tuple)):
                    wrong = f"is {shown(each)}: send numbers in lists of shape {self.wanted}"
                elif size is not None and len(each) != size:
                    wrong = f"has {len(each)} elements: send {size} (lists of shape {self.wanted})"
                else:
                    deeper += each
                    continue
                raise ValueMismatch(wrong, _place(index, shape))
            # Only the first dimension of a batch is of any size, and that is of one list.
            shape = (*shape, len(level[0]) if size is None else size)
            level = deeper
        numbers = [self._number(each, index, shape) for index, each in enumerate(level)]
        return np.array(numbers, _read_as(self.dtype)).reshape(shape)

    def _number(self, each: Any, index: int, shape: tuple[int, ...]) -> int | float:
        kind = self.dtype.kind
        if kind == "f":
            if isinstance(each, str) and each in NOT_FINITE:
                return NOT_FINITE[each]
            if type(each) is float or (type(each) is int and abs(each) < 1 << 1023):
                return float(each)
            raise ValueMismatch(
                f'is {shown(each)}: send a number, or "NaN", "Infinity" or "-Infinity"', _place(index, shape)
            )
        if kind == "b" and type(each) is bool:
            return each
        limits = np.iinfo(_read_as(self.dtype))
        last = 1 if kind == "b" else int(limits.max)
        if type(each) is int and int(limits.min) <= each <= last:
            return each
        also = " or a boolean" if kind == "b" else ""
        raise ValueMismatch(
            f"is {shown(each)}: send an integer from {limits.min} to {last}{also}", _place(index, shape)
        )

    def _narrowed(self, array: Array) -> Array:
        if array.dtype == self.dtype:
            return array
        with np.errstate(over="ignore"):
            narrow = array.astype(self.dtype)
        if self.dtype.kind == "f":
            lost = np.isinf(narrow) & np.isfinite(array)
            if lost.any():
                index = _place(int(np.argmax(lost)), array.shape)
                raise ValueMismatch(f"is {array[index]}: send a number that fits {self.dtype.name}", index)
        return narrow


def _place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Say where in an array the element is that has this index among all."""
    return tuple(int(each) for each in np.unravel_index(index, shape))


def _read_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Name the dtype that lists are read as: nothing is lost on the way unnoticed."""
    if dtype.kind == "f":
        return np.dtype(np.float64)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _list_type(dtype: np.dtype[Any], dimensions: int) -> Any:
    """Make the type that msgspec checks lists against; faster than NumPy, which would also make numbers of strings."""
    kind: Any = float
    if dtype.kind == "b":
        kind = Annotated[int, msgspec.Meta(ge=0, le=1)] | bool
    elif dtype == np.uint64:  # msgspec has no limits beyond int64; what is beyond this one does not fit the array
        kind = Annotated[int, msgspec.Meta(ge=0)]
    elif dtype.kind in "iu":
        kind = Annotated[int, msgspec.Meta(ge=int(np.iinfo(dtype).min), le=int(np.iinfo(dtype).max))]
    for _ in range(min(dimensions, MAX_DIMENSIONS + 1)):
        kind = list[kind]
    return kind
