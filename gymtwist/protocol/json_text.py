"""Python and NumPy values to JSON text that every decoder accepts.

JSON has no token for what is not a finite number, and decoders such as Go's refuse the ``NaN`` and ``Infinity`` that
Python's own encoder writes. Here NaN becomes ``null`` and an infinity the largest finite float64 of its sign.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from gymtwist.protocol.sanitizer import MAX_DEPTH as MAX_DEPTH
from gymtwist.protocol.sanitizer import Omitted, Sanitizer, plain_numbers

_LARGEST = sys.float_info.max
_OBJECT = ord("{")
# An integer of fewer digits is below the largest float64, which is what clients such as Go's read numbers into.
_MANY = sys.float_info.max_10_exp + 1
_DIGITS = b"0" * _MANY
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)


def numpy_value(value: object) -> object:
    """Turn what msgspec does not know into what it does, for its ``enc_hook``."""
    if isinstance(value, (np.ndarray, np.generic)):
        return plain_numbers(value)
    raise TypeError(f"JSON cannot carry a {type(value).__name__}")


def has_only_finite_numbers(text: bytes) -> bool:
    """Tell whether all numbers that were encoded are in the text, and are such that a float64 can hold them.

    msgspec writes a number that is not finite as null. (None and a string that says "null" are taken for one, too.)
    """
    return b"null" not in text and (len(text) < _MANY or _DIGITS not in text.translate(_ZEROS))


def _finite_number(number: float) -> float | None:
    return None if math.isnan(number) else math.copysign(_LARGEST, number)


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=numpy_value).encode
_strict = Sanitizer(_finite_number, strict=True)
_lenient = Sanitizer(_finite_number, strict=False)


def encode_value(value: object) -> bytes:
    """Encode a value whose parts JSON can carry.

    Args:
        value: Built-in or NumPy scalars, arrays, sequences and string-keyed mappings, nested at will.

    Returns:
        JSON as UTF-8, without spaces.

    Raises:
        TypeError: A part of the value has no JSON form.
        ValueError: A string of it has no UTF-8 form.
    """
    text = _encode(value)
    # msgspec writes non-finite numbers as null, so a text without one is right as it stands: the usual case, at no
    # cost. (None and a string that says "null" merely take the slower way, to the same text.)
    return text if b"null" not in text else _encode(_strict.copy(value))


def encode_info(info: Mapping[Any, Any]) -> bytes:
    """Encode an ``info`` dictionary, leaving out only the entries that JSON cannot carry; it never fails.

    Args:
        info: What the environment returned; keys that are no strings are written as strings. What is no mapping has
            no entries.

    Returns:
        A JSON object as UTF-8, without spaces.
    """
    # An environment may return anything, and its objects raise anything.
    try:
        if not info:
            return b"{}"
        text = _encode(info)
    except Exception:
        pass
    else:
        if text[0] == _OBJECT and has_only_finite_numbers(text):
            return text
    try:
        kept = _lenient.copy(info)
    except Omitted:
        return b"{}"
    return _encode(kept) if isinstance(kept, dict) else b"{}"
