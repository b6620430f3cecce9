"""Whether what was served is what came of it in this process."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Difference(NamedTuple):
    """Something that is not as in this process.

    Attributes:
        place: What it is: ``observation``, ``reward``, ``end``, ``info.KEY``.
        text: The difference.
    """

    place: str
    text: str


class Unsendable:
    """A part of an info that no message can carry."""

    def __init__(self, value: Any) -> None:
        self.name = type(value).__name__

    def __repr__(self) -> str:
        return f"a {self.name}"


def copied(value: Any) -> Any:
    """Copy a value into dictionaries, lists, arrays and Python's own values: environments change theirs later."""
    if isinstance(value, dict):
        return {str(_plain(key)): copied(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [copied(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return Unsendable(value)
    if isinstance(value, np.ndarray):
        return [copied(each) for each in value] if value.dtype == object else np.array(value)
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return np.array(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        return value
    return Unsendable(value)


def conformed(space: Any, value: Any) -> Any:
    """Return a copied observation with the dtypes of its space, which many environments do not keep to."""
    if isinstance(value, dict) and hasattr(space, "spaces"):
        return {key: conformed(space.spaces[key], each) if key in space.spaces else each for key, each in value.items()}
    if (
        isinstance(value, list)
        and isinstance(getattr(space, "spaces", None), tuple)
        and len(value) == len(space.spaces)
    ):
        return [conformed(each, part) for each, part in zip(space.spaces, value, strict=True)]
    if getattr(space, "dtype", None) is not None and getattr(space, "shape", None) is not None:
        with np.errstate(all="ignore"):
            return value if isinstance(value, str) else np.asarray(value).astype(space.dtype)
    return value


def compare_observation(space: Any, served: Any, local: Any, *, is_json: bool = False) -> Iterator[Difference]:
    """Compare observations: to the last bit, and with the space's dtype.

    Args:
        space: The observation space.
        served: What came over the wire.
        local: A copy of what came of it in this process.
        is_json: Whether it came as JSON, which has neither dtypes nor numbers that are not finite.
    """
    found = served if is_json else copied(served)
    for each in _differences("observation", found, conformed(space, local), is_json):
        yield Difference("observation", each)
        return
    if not is_json and isinstance(served, np.ndarray) and served.dtype != space.dtype:
        yield Difference("observation", f"the dtype is {served.dtype}, not {space.dtype}")


def compare_reward(served: Any, local: Any) -> Iterator[Difference]:
    """Compare rewards: numbers or arrays."""
    found, due = np.asarray(served, np.float64), np.asarray(local, np.float64)
    if found.squeeze().shape != due.squeeze().shape or not np.array_equal(
        found.squeeze(), due.squeeze(), equal_nan=True
    ):
        yield Difference("reward", f"the reward is {served!r:.80}, not {local!r:.80}")


def compare_info(served: Any, local: dict[str, Any], *, is_json: bool = False) -> Iterator[Difference]:
    """Compare infos, but for Python's and NumPy's kinds of numbers."""
    found = copied(served)
    for key, due in local.items():
        place = f"info.{key}"
        if isinstance(due, Unsendable):
            continue
        if key not in found:
            yield Difference(place, f"{place} is missing: {due!r:.80}")
            continue
        for each in _differences(place, found[key], due, is_json):
            yield Difference(place, each)
            break


def _differences(place: str, found: Any, due: Any, is_json: bool) -> Iterator[str]:
    if isinstance(due, Unsendable) or isinstance(found, Unsendable):
        return
    if isinstance(due, dict):
        if not isinstance(found, dict) or found.keys() < {key for key in due if not isinstance(due[key], Unsendable)}:
            yield f"{place} is {found!r:.80}, not {due!r:.80}"
            return
        for key, each in due.items():
            if key in found:
                yield from _differences(f"{place}.{key}", found[key], each, is_json)
        return
    if isinstance(due, list):
        if not hasattr(found, "__len__") or len(found) != len(due):
            yield f"{place} is {found!r:.80}, not {due!r:.80}"
            return
        for index, each in enumerate(due):
            yield from _differences(f"{place}[{index}]", found[index], each, is_json)
        return
    if not _same(found, due, is_json):
        yield f"{place} is {found!r:.80}, not {due!r:.80}"


def _same(found: Any, due: Any, is_json: bool) -> bool:
    if not isinstance(due, (str, bytes)) and isinstance(due, (np.ndarray, np.generic, float, int)):
        wanted = np.asarray(due)
        # A date and time comes as text.
        has_other_form = is_json or isinstance(found, (list, float, int)) or wanted.dtype.kind == "M"
        try:
            given = np.asarray(found, wanted.dtype) if has_other_form else np.asarray(found)
        except (TypeError, ValueError):
            return is_json and not np.all(np.isfinite(wanted))
        if given.shape != wanted.shape:
            return False
        if is_json and wanted.dtype.kind == "f":
            finite = np.isfinite(wanted)
            return bool(np.array_equal(given[finite], wanted[finite]))
        return bool(np.array_equal(given, wanted, equal_nan=wanted.dtype.kind in "fc"))
    if isinstance(due, bytes) and isinstance(found, str):
        return True
    return bool(found == due) or (isinstance(due, float) and math.isnan(due))
