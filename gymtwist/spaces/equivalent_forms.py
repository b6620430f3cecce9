"""Other forms in which clients may send a value, if only one meaning is possible.

Many languages have one type for all numbers, for lists and maps, or for bytes and text, and their libraries may write
the wrong one. Each function returns a value in the intended form, or unchanged if there is none. They are not called
for values that have the specified form.
"""

from __future__ import annotations

from typing import Any

#: Up to here, float64 represents every integer, so a whole number is the integer that was meant.
MAX_EXACT = 2**53


def whole(value: Any) -> Any:
    """Return the integer equal to a float."""
    return int(value) if type(value) is float and abs(value) <= MAX_EXACT and value.is_integer() else value


def text(value: Any) -> Any:
    """Return the text that bytes encode in UTF-8: some MessagePack libraries write every string as a ``bin``."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def raw(value: Any) -> Any:
    """Return the bytes behind a text: MessagePack once had one type for both, and some libraries still do."""
    return value.encode() if isinstance(value, str) else value


def named(value: Any) -> Any:
    """Return a map with text keys; an empty list is an empty map in languages that have one type for both."""
    if isinstance(value, list) and not value:
        return {}
    if isinstance(value, dict) and bytes in map(type, value):
        return {text(key): each for key, each in value.items()}
    return value


def listed(value: Any) -> Any:
    """Return the list behind a map with the keys "0", "1", ...: JavaScript writes typed arrays this way in JSON."""
    if not isinstance(value, dict):
        return value
    keys = [str(index) for index in range(len(value))]
    return [value[key] for key in keys] if value.keys() == set(keys) else value
