"""Python and NumPy values to JSON text that every decoder accepts.

JSON has no token for what is not a finite number, and decoders such as Go's refuse the ``NaN`` and ``Infinity`` that
Python's own encoder writes. Here NaN becomes ``null`` and an infinity the largest finite float64 of its sign.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Set
from typing import Any

import msgspec
import numpy as np

#: How deep a value may be nested before the rest is left out; far below Python's own recursion limit.
MAX_DEPTH = 64
_LARGEST = sys.float_info.max
_OMITTED = object()


def _numpy_value(value: object) -> object:
    """Turn what msgspec does not know into what it does, for its ``enc_hook``."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"JSON cannot carry a {type(value).__name__}")


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_numpy_value).encode


def encode_value(value: object) -> bytes:
    """Encode a value whose parts JSON can carry.

    Args:
        value: Built-in or NumPy scalars, arrays, sequences and string-keyed mappings, nested at will.

    Returns:
        JSON as UTF-8, without spaces.

    Raises:
        TypeError: A part of the value has no JSON form.
    """
    text = _encode(value)
    # msgspec writes non-finite numbers as null, so a text without one is right as it stands: the usual case, at no
    # cost. (None and a string that says "null" merely take the slower way, to the same text.)
    return text if b"null" not in text else _encode(_finite(value, 0, strict=True))


def encode_info(info: Mapping[Any, Any]) -> bytes:
    """Encode an ``info`` dictionary, leaving out only the entries that JSON cannot carry.

    Args:
        info: What the environment returned; keys that are no strings are written as strings.

    Returns:
        A JSON object as UTF-8, without spaces.
    """
    if not info:
        return b"{}"
    try:
        text = _encode(info)
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    else:
        if b"null" not in text:
            return text
    kept = _finite(info, 0, strict=False)
    return _encode(kept if isinstance(kept, dict) else {})


def _finite(value: Any, depth: int, *, strict: bool) -> Any:
    """Copy a value with its non-finite numbers replaced; drop what has no JSON form, or raise if ``strict``."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        # Beyond 64 bits neither msgspec nor most clients have an integer; a float64 is the nearest they can read.
        return int(value) if -(2**63) <= value < 2**64 else _finite_number(value)
    if isinstance(value, float):
        return _finite_number(value)
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return _finite_mapping(value, depth, strict=strict)
        if isinstance(value, (list, tuple, Set)):
            items = [_finite(item, depth + 1, strict=strict) for item in value]
            return [item for item in items if item is not _OMITTED]
    if strict:
        raise TypeError(f"JSON cannot carry a {type(value).__name__}")
    return _OMITTED


def _finite_mapping(value: Mapping[Any, Any], depth: int, *, strict: bool) -> dict[str, Any]:
    kept = {}
    for key, item in value.items():
        plain = _finite(item, depth + 1, strict=strict)
        if plain is not _OMITTED:
            kept[key if isinstance(key, str) else str(key)] = plain
    return kept


def _finite_number(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return math.copysign(_LARGEST, value)
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else math.copysign(_LARGEST, number)
