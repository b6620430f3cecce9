"""Python and NumPy values to JSON text that every decoder accepts.

JSON has no token for what is not a finite number, and decoders such as Go's refuse the ``NaN`` and ``Infinity`` that
Python's own encoder writes. Here NaN becomes ``null`` and an infinity the largest finite float64 of its sign.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import msgspec
import numpy as np

#: How deep a value may be nested before the rest is left out; far below Python's own recursion limit.
MAX_DEPTH = 64
_LARGEST = sys.float_info.max
_OBJECT = ord("{")
# An integer of fewer digits is below the largest float64, which is what clients such as Go's read numbers into.
_MANY = sys.float_info.max_10_exp + 1
_DIGITS = b"0" * _MANY
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)


class _Omitted(Exception):
    """A part of a value has no JSON form."""


def _numpy_value(value: object) -> object:
    """Turn what msgspec does not know into what it does, for its ``enc_hook``."""
    if isinstance(value, (np.ndarray, np.generic)):
        plain = value.tolist()
        # Python has no type for a longdouble.
        return float(plain) if isinstance(plain, np.longdouble) else plain
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
        ValueError: A string of it has no UTF-8 form.
    """
    text = _encode(value)
    # msgspec writes non-finite numbers as null, so a text without one is right as it stands: the usual case, at no
    # cost. (None and a string that says "null" merely take the slower way, to the same text.)
    return text if b"null" not in text else _encode(_finite(value, (), strict=True))


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
        if text[0] == _OBJECT and b"null" not in text and (len(text) < _MANY or _DIGITS not in text.translate(_ZEROS)):
            return text
    try:
        kept = _finite(info, (), strict=False)
    except _Omitted:
        return b"{}"
    return _encode(kept) if isinstance(kept, dict) else b"{}"


def _finite(value: Any, path: tuple[int, ...], *, strict: bool) -> Any:
    """Copy a value with its non-finite numbers replaced.

    Args:
        value: Anything.
        path: The identities of the containers that the value lies in: it may lie in itself.
        strict: Whether a part without a JSON form makes the whole fail, or is left out.

    Raises:
        _Omitted: The value has no JSON form, and ``strict`` is false.
        TypeError: It has none, and ``strict`` is true.
    """
    try:
        return _plain(value, path, strict=strict)
    except _Omitted:
        raise
    except Exception as error:
        if strict:
            raise
        raise _Omitted from error


def _plain(value: Any, path: tuple[int, ...], *, strict: bool) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        value = _numpy_value(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        # Beyond 64 bits neither msgspec nor most clients have an integer; a float64 is the nearest they can read.
        return int(value) if -(2**63) <= value < 2**64 else _finite_number(value)
    if isinstance(value, float):
        return _finite_number(value)
    if len(path) >= MAX_DEPTH or id(value) in path:
        raise TypeError("JSON cannot carry what lies in itself, or too deep")
    path = (*path, id(value))
    if isinstance(value, Mapping):
        return _finite_mapping(value, path, strict=strict)
    if isinstance(value, (list, tuple, Set)):
        return _finite_list(value, path, strict=strict)
    # What is left is msgspec's to know (bytes, dates, dataclasses, ...) or to refuse.
    return _plain(msgspec.to_builtins(value, str_keys=True, enc_hook=_numpy_value), path, strict=strict)


def _finite_list(value: Iterable[Any], path: tuple[int, ...], *, strict: bool) -> list[Any]:
    kept = []
    for item in value:
        with contextlib.suppress(_Omitted):
            kept.append(_finite(item, path, strict=strict))
    return kept


def _finite_mapping(value: Mapping[Any, Any], path: tuple[int, ...], *, strict: bool) -> dict[str, Any]:
    kept = {}
    for key, item in value.items():
        with contextlib.suppress(_Omitted):
            kept[_finite_key(key, strict=strict)] = _finite(item, path, strict=strict)
    return kept


def _finite_key(key: Any, *, strict: bool) -> str:
    try:
        return _text(key if isinstance(key, str) else str(key))
    except Exception as error:
        if strict:
            raise
        raise _Omitted from error


def _text(value: str) -> str:
    """Copy a string as what it is, whatever subclass it is of, without what UTF-8 cannot carry (lone surrogates)."""
    return str.encode(value, "utf-8", "replace").decode()


def _finite_number(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else math.copysign(_LARGEST, number)
