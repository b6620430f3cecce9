"""Replaces non-finite numbers for clients whose JSON cannot express them; they get the classic protocol's numbers."""

from __future__ import annotations

import sys
from typing import Any

from gymtwist.spaces.descriptions import Description, Dict, OneOf, Sequence, Text, Tuple

_NUMBERS = {"NaN": None, "Infinity": sys.float_info.max, "-Infinity": -sys.float_info.max}


def has_names(text: bytes) -> bool:
    """Return whether JSON of the framed protocol may contain the name of a non-finite number."""
    return b'"' in text and (b'NaN"' in text or b'Infinity"' in text)


def finite(space: Description | None, value: Any) -> Any:
    """Replace the names of non-finite numbers.

    Args:
        space: The space of the value; None for data without a space, in which every such name counts as a number.
        value: The value, from JSON of the framed protocol.
    """
    if isinstance(space, Text):
        return value
    if isinstance(space, OneOf) and type(value) is list:
        return [value[0], finite(space.spaces[value[0]], value[1])]
    if isinstance(space, Tuple) and type(value) is list:
        return [finite(each, part) for each, part in zip(space.spaces, value, strict=True)]
    if isinstance(space, Dict) and type(value) is dict:
        spaces = dict(space.inner())
        return {key: finite(spaces[key], part) for key, part in value.items()}
    if isinstance(space, Sequence):
        space = space.space
    if type(value) is list:
        return [finite(space, each) for each in value]
    if type(value) is dict:
        if isinstance(space, Dict):  # a dictionary of arrays, from a Sequence that stacks them
            return finite(space, value)
        return {key: finite(None, each) for key, each in value.items()}
    return _NUMBERS.get(value, value) if type(value) is str else value
