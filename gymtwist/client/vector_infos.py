"""The infos of several environments: arrays with masks, as ``gymnasium.vector`` has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gymtwist.protocol.dynamic_values import MAX_DEPTH

#: The last observation of an episode, where an environment was reset in the same step.
_FINAL = "final_obs"


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
                value = _array(value, objects=not is_json or key == _FINAL)
        elif isinstance(value, dict):
            value = restored(value, count, element, is_json=is_json, depth=depth - 1)
        if key == _FINAL and isinstance(value, np.ndarray) and value.dtype == object:
            for index, each in enumerate(value):
                if each is not None:
                    value[index] = element(each)
        made[key] = value
    return made


def _array(values: list[Any], *, objects: bool) -> Any:
    if not objects and all(isinstance(each, (bool, int, float, list)) for each in values):
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
    total = sum(counts)
    keys = {key: None for part in parts for key in part}
    whole: dict[str, Any] = {}
    for key in keys:
        first = next(part[key] for part in parts if key in part)
        if isinstance(first, dict):
            whole[key] = joined([_mapping(part.get(key)) for part in parts], counts)
        elif isinstance(first, np.ndarray) and first.ndim:
            whole[key] = _joined_arrays([part.get(key) for part in parts], counts, total, first)
        else:
            whole[key] = first
    return whole


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _joined_arrays(values: list[Any], counts: Sequence[int], total: int, first: Any) -> Any:
    # As Gymnasium has it: the first environment that has a value says of what kind they are.
    if first.dtype == object:
        return _filled(np.full(total, None, dtype=object), values, counts)
    try:
        return _filled(np.zeros((total, *first.shape[1:]), dtype=first.dtype), values, counts)
    except (ValueError, TypeError):  # what the others have is of another kind
        listed = [None if each is None else list(each) for each in values]
        return _filled(np.full(total, None, dtype=object), listed, counts)


def _filled(whole: Any, values: list[Any], counts: Sequence[int]) -> Any:
    start = 0
    for value, count in zip(values, counts, strict=True):
        if whole.dtype == object and value is not None:
            for index, each in enumerate(value):
                whole[start + index] = each
        elif value is not None:
            whole[start : start + count] = value
        start += count
    return whole
