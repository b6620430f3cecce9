"""The infos of an episode as arrays: one array per entry, with a row for the reset and for each step.

Minari requires the same entries in every info. Where one is missing, its array has zero (NaN for floats, an empty
string for text), and an array with an underscore before the name says where it is present, as in Gymnasium's vector
environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

#: The maximum number of entries in the infos of one episode; further ones are left out.
_MOST = 1000
#: The entry with the last info of each episode whose environment was reset in the same step.
_LAST = "final_info"
_Flat = dict[tuple[str, ...], Any]


def of_environment(info: dict[str, Any], environment: int, num_envs: int | None) -> dict[str, Any]:
    """Return the part of an info that is about one environment.

    Args:
        info: The info of a single environment, or of a vector environment.
        environment: The index of the environment.
        num_envs: The number of environments; None for a single one.
    """
    if num_envs is None:
        return info
    last, of_last = info.get(_LAST), info.get(f"_{_LAST}")
    if isinstance(last, dict) and of_last is not None and of_last[environment]:
        return of_environment(last, environment, num_envs)
    its: dict[str, Any] = {}
    for key, value in info.items():
        is_present = info.get(f"_{key}")
        if key == _LAST or (key.startswith("_") and key[1:] in info):
            continue
        if is_present is not None and (len(is_present) != num_envs or not is_present[environment]):
            continue
        if isinstance(value, dict):
            its[key] = of_environment(value, environment, num_envs)
        elif isinstance(value, (np.ndarray, list)) and len(value) == num_envs:
            its[key] = value[environment]
    return its


def write(group: Any, infos: Sequence[dict[str, Any]]) -> list[str]:
    """Write the infos of an episode.

    Args:
        group: The group for them in the file.
        infos: The info of the reset, and of each step.

    Returns:
        The names of the entries that cannot be stored as arrays.
    """
    flat = [_flatten(info, ()) for info in infos]
    paths = dict.fromkeys(path for each in flat for path in each)
    left_out = ["/".join(path) for path in list(paths)[_MOST:]]
    for path in list(paths)[:_MOST]:
        values = [each.get(path) for each in flat]
        array = _array(values)
        name = "/".join(path)
        if array is None or name in group:
            left_out.append(name)
            continue
        dtype = h5py.string_dtype("utf-8") if array.dtype.kind == "O" else array.dtype
        group.create_dataset(name, data=array, dtype=dtype)
        present = np.array([value is not None for value in values])
        mask = "/".join((*path[:-1], f"_{path[-1]}"))
        if not present.all() and mask not in group:
            group.create_dataset(mask, data=present)
    return left_out


def _flatten(info: dict[str, Any], path: tuple[str, ...]) -> _Flat:
    flat: _Flat = {}
    for key, value in info.items():
        name = key.replace("/", "_") or "_"
        if name in (".", ".."):
            name = "_"
        if isinstance(value, dict):
            flat |= _flatten(value, (*path, name))
        elif value is not None:
            flat[(*path, name)] = value
    return flat


def _array(values: list[Any]) -> Any:
    """Return an array of values, with None replaced; None if they do not make an array of numbers or text."""
    present = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in present):
        return np.array([value or "" for value in values], object)
    try:
        arrays = [np.asarray(value) for value in present]
        dtype = np.result_type(*arrays)
        shape = arrays[0].shape
        if dtype.kind not in "biufc" or any(each.shape != shape for each in arrays):
            return None
    except (TypeError, ValueError):  # objects, or ragged
        return None
    missing = np.full(shape, np.nan if dtype.kind in "fc" else 0, dtype)
    return np.array([missing if value is None else value for value in values], dtype)
