"""Numbers in JSON, and numbers in descriptions of spaces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymtwist.spaces.large_lists import MANY_NUMBERS, without_collection
from gymtwist.spaces.layout import MAX_DIMENSIONS, Array
from gymtwist.spaces.value_mismatch import number_text as number_text

#: The names of numbers for which JSON has no token, as in the JSON mapping of Protocol Buffers.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: What errors say where a number is expected.
EXPECTED_NUMBER = 'a number, "NaN", "Infinity" or "-Infinity"'


def named_numbers(plain: Any) -> Any:
    """Replace numbers in nested lists that are not finite with their names."""
    if isinstance(plain, list):
        return [named_numbers(each) for each in plain]
    return plain if not isinstance(plain, float) or math.isfinite(plain) else number_text(plain)


def jsonable(array: Array) -> Any:
    """Convert an array to nested lists of numbers, with names for numbers that are not finite.

    Each float becomes the float64 of the same value, whose shortest decimal form restores it to the last bit.
    """
    plain = array.tolist() if array.size < MANY_NUMBERS else without_collection(array.tolist)
    return plain if array.dtype.kind != "f" or np.isfinite(array).all() else named_numbers(plain)


def read_bound(bound: Any, dtype: np.dtype[Any], size: int) -> Array:
    """Read a bound of an array.

    Args:
        bound: The bound's bytes, a flat list of numbers, or one number.
        dtype: The array's dtype; an infinite bound of integers becomes the dtype's limit.
        size: The array's number of elements.

    Returns:
        An array of that dtype: flat, or of shape ``()`` if the bound is one number.

    Raises:
        ValueError: It is not a valid bound for such an array.
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


def integer_limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the least and the greatest integer of a dtype; for ``bool``, 0 and 1."""
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _number(bound: Any, dtype: np.dtype[Any]) -> int | float:
    number = NOT_FINITE.get(bound, bound) if isinstance(bound, str) else bound
    if not isinstance(number, (int, float)):
        raise ValueError(f"a bound that is not a number: {bound!r:.80}")
    if dtype.kind == "f":
        return number
    least, greatest = integer_limits(dtype)
    if isinstance(number, float) and math.isinf(number):
        return least if number < 0 else greatest
    if not least <= number <= greatest or number != int(number):
        raise ValueError(f"a bound that is not of type {dtype.name}: {bound!r:.80}")
    return int(number)


def _array(numbers: Any, dtype: np.dtype[Any]) -> Array:
    try:
        with np.errstate(over="ignore"):
            array: Array = np.asarray(numbers, dtype)
        if dtype.kind == "f" and (np.isinf(array) != np.isinf(np.asarray(numbers, np.float64))).any():
            raise OverflowError("a number is too large")
        return array
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"numbers that do not fit an array of {dtype.name}: {error}") from error


def read_integers(nested: Any, dtype: np.dtype[Any]) -> Array:
    """Read nested lists of integers as an array of the dtype.

    Raises:
        ValueError: The values are not integers or do not fit, or the lists are ragged.
    """
    least, greatest = integer_limits(dtype)
    ahead = [(nested, 0)]
    while ahead:
        each, depth = ahead.pop()
        if isinstance(each, (list, tuple)) and depth < MAX_DIMENSIONS:
            ahead += [(part, depth + 1) for part in each]
        elif type(each) is not int or not least <= each <= greatest:
            raise ValueError(f"a count or a start that is not of type {dtype.name}: {each!r:.80}")
    return _array(nested, dtype)
