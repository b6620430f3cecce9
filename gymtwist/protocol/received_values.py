"""Received dynamic values: restores what the sender passed from its form in messages.

See :mod:`~gymtwist.protocol.dynamic_values`.
"""

from __future__ import annotations

import base64
import datetime
from typing import Any

import numpy as np

from gymtwist.protocol.dynamic_values import MAX_DEPTH, is_number_name
from gymtwist.spaces.equivalent_forms import named, raw, text
from gymtwist.spaces.layout import ARRAY_FIELDS, DTYPES
from gymtwist.spaces.numbers import NOT_FINITE

_NO_ARRAY = (ValueError, TypeError, OverflowError)
_INTEGERS = frozenset({int})
_CONTAINERS = frozenset({dict, list})


def from_json(value: Any) -> Any:
    """Restore the value that the sender of a request passed, as if it had come in MessagePack.

    Args:
        value: Decoded JSON, nested at most :data:`MAX_DEPTH` deep.

    Raises:
        ValueError: It contains an integer beyond 64 bits, which MessagePack does not support.
    """
    kind = type(value)
    if kind is list:
        return [from_json(each) for each in value]
    if kind is dict:
        return {key: from_json(each) for key, each in value.items()}
    if kind is str and is_number_name(value):
        return NOT_FINITE[value] if value in NOT_FINITE else value[1:]
    if kind is int and not -(2**63) <= value < 2**64:
        raise ValueError(f"has an integer of {value.bit_length()} bits: send it as a string or as a float")
    return value


def from_messagepack(value: Any) -> Any:
    """Restore a value of a request like :func:`restored`, even from libraries that confuse bytes with text.

    Raises:
        ValueError: It contains a timestamp, which msgspec always decodes.
    """
    if type(value) is list:
        return [from_messagepack(each) for each in value]
    if isinstance(value, datetime.datetime):
        raise ValueError(
            "has a timestamp, which is an extension type; the protocol has none: send a number or a string"
        )
    if type(value) is not dict or not value:
        return value
    value = named(value)
    if value.keys() == ARRAY_FIELDS:
        try:
            return _array(text(value["dtype"]), value["shape"], raw(value["data"]))
        except _NO_ARRAY:
            pass
    return {key: from_messagepack(each) for key, each in value.items()}


def restored(value: Any) -> Any:
    """Convert maps that represent arrays back to arrays, at any depth.

    Args:
        value: A decoded value, nested at most :data:`MAX_DEPTH` deep.
    """
    if type(value) is list:
        return [restored(each) for each in value]
    if type(value) is not dict:
        return value
    if value.keys() == ARRAY_FIELDS:
        try:
            return _array(**value)
        except _NO_ARRAY:
            return value
    return {key: restored(each) for key, each in value.items()}


def restored_shallow(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Restore fields without nesting like :func:`restored`; their depth need not be checked.

    Args:
        fields: Decoded fields.

    Returns:
        The fields with arrays; None if they contain any other nesting.
    """
    made = {}
    for key, each in fields.items():
        if type(each) is dict:
            if each.keys() != ARRAY_FIELDS:
                return None
            try:
                each = _array(**each)
            except _NO_ARRAY:
                return None
        elif type(each) is list:
            return None
        made[key] = each
    return made


def _array(dtype: Any, shape: Any, data: Any) -> np.ndarray[Any, Any]:
    """Make a writable array from its map.

    Raises:
        ValueError: The map does not represent an array.
        TypeError: The map does not represent an array.
        OverflowError: The map does not represent an array.
    """
    if type(dtype) is not str or type(shape) is not list or not _INTEGERS.issuperset(map(type, shape)):
        raise ValueError("no array: its dtype is a string, its shape a list of integers")
    kind = DTYPES.get(dtype)
    if kind is None or min(shape, default=0) < 0:
        raise ValueError("no array of numbers")
    if data and type(data) is bytes and kind.isnative:  # the usual case
        array: np.ndarray[Any, Any] = np.ndarray(shape, kind, bytearray(data))
        if array.nbytes != len(data):
            raise ValueError("no array: its shape is not that of its bytes")
        return array
    content = base64.b64decode(data, validate=True) if type(data) is str else data
    return np.frombuffer(content, kind).astype(kind.newbyteorder("=")).reshape(shape)


def too_deep(value: Any) -> bool:
    """Return True if decoded lists and maps are nested deeper than :data:`MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for each in level
            if type(each) in _CONTAINERS
            for part in (each.values() if type(each) is dict else each)
            if type(part) in _CONTAINERS
        ]
        if not level:
            return False
    return True
