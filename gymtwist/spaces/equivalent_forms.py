"""Other forms in which clients send a value, where only one meaning is possible.

Many languages have one type of number, one for lists and maps, or one for bytes and text, and their libraries write it
as one that is not meant. Each function returns a value in the form that is meant, or unchanged if it has no such form.
None is called for a value that has the specified form.
"""

from __future__ import annotations

from typing import Any

#: Up to here a float64 has every integer, so a whole number is the integer that was meant.
MAX_EXACT = 2**53


def whole(value: Any) -> Any:
    """Return the integer that a float is equal to."""
    return int(value) if type(value) is float and abs(value) <= MAX_EXACT and value.is_integer() else value


def text(value: Any) -> Any:
    """Return the text that bytes are in UTF-8: some MessagePack libraries write every string as a ``bin``."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def raw(value: Any) -> Any:
    """Return the bytes that text was made of: MessagePack once had one type for both, and some libraries still do."""
    return value.encode() if isinstance(value, str) else value


def named(value: Any) -> Any:
    """Return a map with text for its keys; an empty list is an empty map in languages that have one type for both."""
    if isinstance(value, list) and not value:
        return {}
    if isinstance(value, dict) and bytes in map(type, value):
        return {text(key): each for key, each in value.items()}
    return value


def listed(value: Any) -> Any:
    """Return the list of a map with the keys "0", "1", ...: so JavaScript writes typed arrays in JSON."""
    if not isinstance(value, dict):
        return value
    keys = [str(index) for index in range(len(value))]
    return [value[key] for key in keys] if value.keys() == set(keys) else value
