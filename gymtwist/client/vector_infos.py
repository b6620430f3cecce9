"""The infos of several environments: arrays with masks, as in ``gymnasium.vector``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gymtwist.protocol.dynamic_values import MAX_DEPTH
from gymtwist.spaces.info_merging import FINAL_OBSERVATION, add_info, row


def restored(
    infos: dict[str, Any], count: int, element: Callable[[Any], Any], *, is_json: bool, depth: int = MAX_DEPTH
) -> dict[str, Any]:
    """Restore arrays that messages carry as lists: arrays of objects, and in JSON all arrays.

    Args:
        infos: The received infos.
        count: The number of environments.
        element: Restores an observation of one environment from an info.
        is_json: True if all arrays were received as lists, not only those of objects.
        depth: The number of levels to restore.
    """
    if not infos or not depth:
        return infos
    made = {}
    for key, value in infos.items():
        if isinstance(value, list) and len(value) == count:
            if key.startswith("_") and key[1:] in infos:
                if all(isinstance(each, bool) for each in value):
                    value = np.array(value, np.bool_)
            elif f"_{key}" in infos:
                value = _array(value, objects=not is_json or key == FINAL_OBSERVATION)
        elif isinstance(value, dict):
            value = restored(value, count, element, is_json=is_json, depth=depth - 1)
        if key == FINAL_OBSERVATION and isinstance(value, np.ndarray) and value.dtype == object:
            for index, each in enumerate(value):
                if each is not None:
                    value[index] = element(each)
        made[key] = value
    return made


def _array(values: list[Any], *, objects: bool) -> Any:
    # NumPy would convert a boolean beside numbers to a number.
    kinds = {bool if isinstance(each, bool) else list if isinstance(each, list) else float for each in values}
    if not objects and len(kinds) == 1 and all(isinstance(each, (int, float, list)) for each in values):
        try:
            return np.array(values)
        except ValueError:  # lists of different lengths
            pass
    array = np.full(len(values), None, dtype=object)
    for index, each in enumerate(values):
        array[index] = each
    return array


def joined(parts: Sequence[dict[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Join the infos of groups of environments, as if they were one group.

    Args:
        parts: The infos of each group.
        counts: The number of environments in each group.
    """
    if len(parts) == 1:
        return parts[0]
    whole: dict[str, Any] = {}
    for key in {key: None for part in parts for key in part}:
        values = [part.get(key) for part in parts]
        known = [each for each in values if each is not None]
        if all(isinstance(each, dict) for each in known):
            whole[key] = joined([each or {} for each in values], counts)
        elif not all(isinstance(each, dict) or (isinstance(each, np.ndarray) and each.ndim) for each in known):
            whole[key] = known[0]
        elif len({(each.dtype, each.shape[1:]) if isinstance(each, np.ndarray) else None for each in known}) == 1:
            whole[key] = _concatenated(values, counts)
        else:
            whole[key] = _merged(key, parts, counts)
    return whole


def _concatenated(values: list[Any], counts: Sequence[int]) -> Any:
    """Join arrays of one kind; groups without a value get zeros, or None in an array of objects."""
    first = next(each for each in values if each is not None)
    fill = None if first.dtype == object else 0
    return np.concatenate(
        [
            np.full((count, *first.shape[1:]), fill, first.dtype) if each is None else each
            for each, count in zip(values, counts, strict=True)
        ]
    )


def _merged(key: str, parts: Sequence[dict[str, Any]], counts: Sequence[int]) -> Any:
    """Join values of different kinds, one environment after another."""
    merged: dict[str, Any] = {}
    start = 0
    for part, count in zip(parts, counts, strict=True):
        mask = part.get(f"_{key}", np.full(count, key in part))
        for index in np.flatnonzero(mask).tolist():
            add_info(sum(counts), merged, {key: row(part[key], index)}, start + index)
        start += count
    return merged[key]
