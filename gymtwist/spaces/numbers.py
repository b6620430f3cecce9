"""Numbers in messages: bounds and counts of spaces, and arrays as nested lists."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymtwist.spaces.layout import MAX_DIMENSIONS, Array

#: Numbers that JSON has no token for, as in the JSON mapping of Protocol Buffers.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_bound(bound: Any, dtype: np.dtype[Any], size: int) -> Array:
    """Read a bound of an array of that dtype and so many elements.

    Args:
        bound: Its bytes, a flat list of numbers, or one number.
        dtype: Of the array; an infinite bound of integers is that of the dtype.
        size: Of the array, in elements.

    Returns:
        An array of that dtype: flat, or of shape ``()`` if the bound is one number.

    Raises:
        ValueError: It is no bound of such an array.
    """
    if isinstance(bound, (bytes, bytearray, memoryview)):
        if memoryview(bound).nbytes != size * dtype.itemsize:
            raise ValueError(f"a bound of {memoryview(bound).nbytes} bytes for an array of {size} {dtype.name}")
        return np.ndarray((size,), dtype, bound) if size else np.empty(0, dtype)
    if isinstance(bound, (list, tuple)):
        if len(bound) != size:
            raise ValueError(f"a bound of {len(bound)} numbers for an array of {size}")
        return _array([_number(each, dtype) for each in bound], dtype)
    return _array(_number(bound, dtype), dtype)


def _number(bound: Any, dtype: np.dtype[Any]) -> int | float:
    number = NOT_FINITE.get(bound, bound) if isinstance(bound, str) else bound
    if not isinstance(number, (int, float)):
        raise ValueError(f"a bound that is no number: {bound!r:.80}")
    if dtype.kind == "f":
        return number
    limits = np.iinfo(np.uint8) if dtype.kind == "b" else np.iinfo(dtype)
    least, greatest = int(limits.min), 1 if dtype.kind == "b" else int(limits.max)
    if isinstance(number, float) and math.isinf(number):
        return least if number < 0 else greatest
    if not least <= number <= greatest or number != int(number):
        raise ValueError(f"a bound that is no {dtype.name}: {bound!r:.80}")
    return int(number)


def _array(numbers: Any, dtype: np.dtype[Any]) -> Array:
    try:
        with np.errstate(over="ignore"):
            array: Array = np.asarray(numbers, dtype)
        if dtype.kind == "f" and (np.isinf(array) != np.isinf(np.asarray(numbers, np.float64))).any():
            raise OverflowError("a number is too large")
        return array
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"numbers that make no array of {dtype.name}: {error}") from error


def read_integers(nested: Any, dtype: np.dtype[Any]) -> Array:
    """Read nested lists of integers as an array of that dtype.

    Raises:
        ValueError: They are no integers, do not fit, or the lists are ragged.
    """
    limits = np.iinfo(dtype)
    ahead = [(nested, 0)]
    while ahead:
        each, depth = ahead.pop()
        if isinstance(each, (list, tuple)) and depth < MAX_DIMENSIONS:
            ahead += [(part, depth + 1) for part in each]
        elif type(each) is not int or not limits.min <= each <= limits.max:
            raise ValueError(f"a count or a start that is no {dtype.name}: {each!r:.80}")
    return _array(nested, dtype)


def jsonable(array: Array) -> Any:
    """Turn an array into nested lists of numbers, with the names of those that JSON has no token for.

    A float becomes the float64 of the same value, whose shortest decimal form leads back to it to the last bit.
    """
    plain = array.tolist()
    return plain if array.dtype.kind != "f" or np.isfinite(array).all() else _named(plain)


def _named(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_named(each) for each in plain]
    if math.isfinite(plain):
        return plain
    return "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
