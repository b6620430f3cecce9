"""Batches of actions and observations, taken apart for groups of environments and put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)


def shares(total: int, groups: int) -> list[int]:
    """Divide environments among groups, as evenly as it can be done."""
    few, more = divmod(total, groups)
    return [few + (index < more) for index in range(groups)]


def part(single: spaces.Space[Any], batch: Any, start: int, stop: int) -> Any:
    """Take the elements of some environments out of a batch.

    Args:
        single: The space of one environment's element.
        batch: Of such elements, as Gymnasium batches them.
        start: The first environment.
        stop: The one behind the last.

    Raises:
        ValueError: It is no batch of such elements.
    """
    if isinstance(single, spaces.Tuple):
        if not isinstance(batch, (tuple, list)) or len(batch) != len(single.spaces):
            raise ValueError(f"a batch of tuples is a tuple of {len(single.spaces)} batches, not {batch!r:.80}")
        return tuple(part(space, each, start, stop) for space, each in zip(single.spaces, batch, strict=True))
    if isinstance(single, spaces.Dict):
        if not isinstance(batch, Mapping) or not single.spaces.keys() <= batch.keys():
            raise ValueError(f"a batch of dictionaries is a dictionary of batches, not {batch!r:.80}")
        return {key: part(space, batch[key], start, stop) for key, space in single.spaces.items()}
    if isinstance(single, _ARRAYS):
        batch = np.asarray(batch)
    return batch[start:stop]


def length(single: spaces.Space[Any], batch: Any) -> int:
    """Tell how many elements are in a batch; of one with unequal parts, the first part says."""
    if isinstance(single, spaces.Tuple) and single.spaces and isinstance(batch, (tuple, list)) and batch:
        return length(single.spaces[0], batch[0])
    if isinstance(single, spaces.Dict) and single.spaces and isinstance(batch, Mapping):
        key, space = next(iter(single.spaces.items()))
        return length(space, batch[key]) if key in batch else -1
    try:
        return len(batch)
    except TypeError:
        return -1


def whole(single: spaces.Space[Any], parts: Sequence[Any]) -> Any:
    """Put batches together to one, whose arrays are new.

    Args:
        single: The space of one environment's element.
        parts: The batches, in order.
    """
    if isinstance(single, spaces.Tuple):
        return tuple(whole(space, [each[index] for each in parts]) for index, space in enumerate(single.spaces))
    if isinstance(single, spaces.Dict):
        return {key: whole(space, [each[key] for each in parts]) for key, space in single.spaces.items()}
    if isinstance(single, _ARRAYS):
        return np.concatenate(parts)
    return tuple(each for batch in parts for each in batch)
