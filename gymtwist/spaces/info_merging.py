"""Merging the infos of several environments into arrays with masks, as ``gymnasium.vector`` does.

Gymnasium uses the type of the first environment's value for all of them: after a 2, a 2.7 becomes 2, and None raises an
error. Here, the result has the same form, but contains the values exactly as the environments returned them.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from gymtwist.spaces.array_likes import array_of, is_array_like
from gymtwist.spaces.layout import Array

#: The last observation of an episode, if the environment was reset in the same step.
FINAL_OBSERVATION = "final_obs"
#: The dtype kinds of which one may hold the values of another: numbers, and strings of different lengths.
_WIDENED = "iufUS"


def add_info(count: int, infos: dict[str, Any], info: dict[str, Any], index: int) -> dict[str, Any]:
    """Add the info of one environment; a replacement for ``VectorEnv._add_info``.

    Args:
        count: The number of environments.
        infos: The infos of the environments so far, which are changed. Each key has an array of ``count`` values (of
            objects, if their types or shapes differ) or a dictionary of such arrays; the same key with the prefix ``_``
            has an array of bool that marks the environments that have a value.
        info: The info of one environment.
        index: The index of that environment.

    Returns:
        The infos.
    """
    for key, value in info.items():
        known, mask = infos.get(key), infos.get(f"_{key}")
        if mask is None:
            mask = np.zeros(count, np.bool_)
        if key != FINAL_OBSERVATION and isinstance(value, dict) and (known is None or isinstance(known, dict)):
            infos[key] = add_info(count, {} if known is None else known, value, index)
        else:
            infos[key] = _added(count, known, mask, key, value, index)
        mask[index] = True
        infos[f"_{key}"] = mask
    return infos


def _added(count: int, known: Any, mask: Array, key: str, value: Any, index: int) -> Array:
    if is_array_like(value) and not isinstance(value, (np.ndarray, np.generic)):
        with contextlib.suppress(TypeError):
            value = array_of(value)
    given = _as_array(value) if key != FINAL_OBSERVATION else None
    if known is None and given is not None:
        known = np.zeros((count, *given.shape), given.dtype)
    elif known is not None and given is not None and not isinstance(known, dict) and known.shape[1:] == given.shape:
        dtype = joint_dtype(known, given)
        known = _objects(count, known, mask) if dtype is None else known.astype(dtype, copy=False)
    else:
        known = _objects(count, known, mask)
    known[index] = value
    array: Array = known
    return array


def _as_array(value: Any) -> Array | None:
    """Return a number or an array as an array; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if type(value) in (int, float, bool) or isinstance(value, np.number):
        array = np.asarray(value)
        return array if array.dtype != object else None  # an integer beyond 64 bits
    return None


def _objects(count: int, known: Any, mask: Array) -> Array:
    """Return an array of objects, of shape (count,), with the values of the environments so far."""
    array = np.full(count, None, dtype=object)
    for index in np.flatnonzero(mask).tolist():
        array[index] = row(known, index)
    return array


def row(values: Any, index: int) -> Any:
    """Return the value of one environment, which must have one.

    Args:
        values: An array of values, or merged infos.
        index: The index of the environment.
    """
    if not isinstance(values, dict):
        return values[index]
    return {key: row(each, index) for key, each in values.items() if f"_{key}" in values and values[f"_{key}"][index]}


def joint_dtype(one: Array, other: Array) -> Any:
    """Return the dtype that holds the elements of two arrays unchanged; None if there is none."""
    if one.dtype == other.dtype:
        return one.dtype
    if one.dtype.kind not in _WIDENED or other.dtype.kind not in _WIDENED:
        return None
    dtype = np.result_type(one.dtype, other.dtype)
    with np.errstate(all="ignore"):
        unchanged = (
            np.array_equal(each.astype(dtype).astype(each.dtype), each, equal_nan=each.dtype.kind == "f")
            for each in (one, other)
        )
        return dtype if all(unchanged) else None
