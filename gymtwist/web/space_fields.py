"""Describes spaces in the form of gym-http-api."""

from __future__ import annotations

import math
from typing import Any

from gymtwist.spaces.descriptions import Box, Description, Dict, Discrete, Tuple
from gymtwist.spaces.layout import DTYPES
from gymtwist.spaces.numbers import integer_limits

#: Stands for an infinite bound.
_INFINITE = 1e100
#: The maximum number of elements in a bound; a bound this large takes several megabytes.
_MOST_NUMBERS = 4_000_000


def space_fields(space: Description) -> dict[str, Any]:
    """Describe a space.

    Raises:
        ValueError: The space is too large.
    """
    name = type(space).__name__
    if isinstance(space, Discrete):
        # The original's clients know no start, and sample from 0.
        return {"name": name, "n": space.n, **({"start": space.start} if space.start else {})}
    if isinstance(space, Box):
        low, high = _bound(space, space.low, 0), _bound(space, space.high, 1)
        return {"name": name, "shape": space.shape, "low": low, "high": high}
    if isinstance(space, Tuple):
        return {"name": name, "spaces": [space_fields(each) for each in space.spaces]}
    if isinstance(space, Dict):
        return {"name": name, "spaces": {str(key): space_fields(each) for key, each in space.inner()}}
    return {"name": name}


def contains(space: Description, number: int) -> bool:
    """Return whether a space contains an integer."""
    return isinstance(space, Discrete) and space.start <= number < space.start + space.n


def _bound(box: Box, bound: Any, side: int) -> list[Any]:
    """Return a bound of a Box as a flat list in C order."""
    size = math.prod(box.shape)
    if size > _MOST_NUMBERS:
        raise ValueError(f"the space has {size} numbers; at most {_MOST_NUMBERS} are described")
    numbers = bound if isinstance(bound, list) else [bound] * size
    infinite: Any = (-_INFINITE, _INFINITE)[side]
    if not box.dtype.startswith("float"):
        infinite = integer_limits(DTYPES[box.dtype])[side]
    return [infinite if isinstance(each, str) else each for each in numbers]
