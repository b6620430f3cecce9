"""Values that no space describes: infos, keyword arguments, options, metadata.

In JSON, arrays are nested lists, and numbers that are not finite are "NaN", "Infinity" and "-Infinity", as in the JSON
mapping of proto3. MessagePack has all numbers, and there an array is a map of its ``dtype`` (the name), its ``shape``
and its ``data`` (a ``bin``: little-endian, C order). Keys are strings in both.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from gymtwist.protocol.json_text import has_only_finite_numbers, numpy_value
from gymtwist.protocol.sanitizer import MAX_DEPTH, Omitted, Sanitizer, plain_numbers
from gymtwist.spaces.layout import DTYPES
from gymtwist.spaces.numbers import number_text

#: The names of dtypes whose arrays' bytes are as they travel; to ask a dtype for its name takes longer than all else.
_NAMES = {dtype.newbyteorder("="): name for name, dtype in DTYPES.items()} if sys.byteorder == "little" else {}
_ARRAY_FIELDS = {"dtype", "shape", "data"}


def array_value(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Describe an array of numbers with its bytes: ``dtype``, ``shape`` and ``data``."""
    name = _NAMES.get(array.dtype)
    if name is not None:
        return {"dtype": name, "shape": array.shape, "data": array.tobytes()}
    dtype = array.dtype.newbyteorder("<")
    return {"dtype": dtype.name, "shape": array.shape, "data": array.astype(dtype, copy=False).tobytes()}


def array_values(value: Any) -> Any:
    """Describe what an environment rendered: an array with its bytes, or a list of such; text stays as it is."""
    if isinstance(value, (list, tuple)):
        return [array_values(each) for each in value]
    return array_value(value) if isinstance(value, np.ndarray) and value.dtype.name in DTYPES else value


def _binary(value: Any) -> Any:
    """Turn what NumPy has into what MessagePack has."""
    if type(value) is np.ndarray and value.ndim and value.dtype in _NAMES:  # the usual case
        return array_value(value)
    if not isinstance(value, np.ndarray) or not value.ndim or isinstance(value, np.ma.MaskedArray):
        return plain_numbers(value)
    return array_value(value) if value.dtype.name in DTYPES else plain_numbers(value)


def to_bytes(value: object) -> object:
    """Turn what msgspec does not know into what MessagePack has, for its ``enc_hook``."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _binary(value)
    raise TypeError(f"MessagePack cannot carry a {type(value).__name__}")


def _same(number: float) -> float:
    return number


_encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=numpy_value).encode
_encode_binary: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=to_bytes).encode
_json = {strict: Sanitizer(number_text, strict=strict) for strict in (False, True)}
_messagepack = {strict: Sanitizer(_same, _binary, strict=strict, kept=(bytes,)) for strict in (False, True)}


def to_json(value: Any, *, strict: bool = False) -> bytes:
    """Encode a mapping as JSON.

    Args:
        value: What an environment or a user put together; what is no mapping has no entries.
        strict: Whether to raise if an entry cannot be carried; otherwise it is left out, and this never fails.

    Raises:
        Exception: An entry cannot be carried, and ``strict`` is true: whatever it raised.
    """
    # An environment may return anything, and its objects raise anything.
    try:
        text = _encode_json(value)
    except Exception:
        pass
    else:
        if text[:1] == b"{" and has_only_finite_numbers(text):
            return text
    return _encode_json(_copied(value, _json[strict], strict))


def to_messagepack(value: Any, *, strict: bool = False) -> bytes:
    """Encode a mapping as MessagePack; see :func:`to_json`."""
    try:
        if _has_plain_keys(value):
            return _encode_binary(value)
    except Exception:
        pass
    return _encode_binary(_copied(value, _messagepack[strict], strict))


def _copied(value: Any, copier: Sanitizer, strict: bool) -> dict[str, Any]:
    try:
        # An array would be a dictionary, too.
        if isinstance(value, Mapping):
            copied: dict[str, Any] = copier.copy(value)
            return copied
    except Omitted:
        return {}
    if strict:
        raise TypeError(f"it is a {type(value).__name__}; expected a dictionary")
    return {}


def _has_plain_keys(value: Any, depth: int = MAX_DEPTH - 2) -> bool:
    """Tell whether this is a dictionary with strings for keys, and all in it are: MessagePack would take any.

    Args:
        value: Anything.
        depth: How many levels there may be; an array at the deepest brings two of its own.
    """
    if not depth or type(value) is not dict:
        return False
    for key, item in value.items():
        if type(key) is not str:
            return False
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind in _LISTS or (kind is np.ndarray and item.dtype.kind == "O"):
            # Rare, and the slow way is right for whatever is in them.
            if not all(type(each) in _SCALARS for each in item):
                return False
        elif kind is not np.ndarray and not isinstance(item, np.generic) and not _has_plain_keys(item, depth - 1):
            return False
    return True


def is_flat(value: dict[Any, Any]) -> bool:
    """Tell whether a dictionary has strings for keys and nothing but Python's own scalars in it: most infos are so."""
    return _SCALARS.issuperset(map(type, value.values())) and _STRINGS.issuperset(map(type, value))


def is_shallow(value: dict[Any, Any]) -> bool:
    """Tell whether there is nothing else but arrays of numbers, too, which :func:`to_bytes` turns into maps.

    The infos of vector environments are so.
    """
    for key, each in value.items():
        kind = type(each)
        is_array = kind is np.ndarray and each.ndim and each.dtype in _NAMES
        if type(key) is not str or not (is_array or kind in _SCALARS):
            return False
    return True


_STRINGS = frozenset({str})
_INTEGERS = frozenset({int})
_SCALARS = frozenset({bool, int, float, str, bytes, type(None)})
_LISTS = frozenset({list, tuple})


def restored(value: Any) -> Any:
    """Turn the maps that arrays travel as back into arrays, at any depth; what is none stays as it is.

    Args:
        value: As it was decoded, not deeper than :data:`~gymtwist.protocol.sanitizer.MAX_DEPTH`.
    """
    if type(value) is list:
        return [restored(each) for each in value]
    if type(value) is not dict:
        return value
    if value.keys() == _ARRAY_FIELDS:
        try:
            return _array(**value)
        except _NO_ARRAY:
            return value
    return {key: restored(each) for key, each in value.items()}


def restored_shallow(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Do as :func:`restored` where nothing is nested but arrays, which then needs no look at the depth.

    Args:
        fields: As they were decoded.

    Returns:
        What they are; None if something is nested.
    """
    made = {}
    for key, each in fields.items():
        if type(each) is dict:
            if each.keys() != _ARRAY_FIELDS:
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
    """Make an array, writable.

    Raises:
        ValueError: It is none.
        TypeError: Likewise.
        OverflowError: Likewise.
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


_NO_ARRAY = (ValueError, TypeError, OverflowError)


def too_deep(value: Any) -> bool:
    """Tell whether decoded lists and maps are nested deeper than :data:`~gymtwist.protocol.sanitizer.MAX_DEPTH`."""
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


_CONTAINERS = frozenset({dict, list})
