"""Checks that serving does not need: dtypes and bounds of observations, and types of flags."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from gymtwist.spaces.value_mismatch import path_text, shown


def mismatch(space: spaces.Space[Any], observation: Any) -> str:
    """Describe the first place where an observation does not have its space's dtype, or is out of bounds.

    Args:
        space: The observation space; for a vector environment, the batched one.
        observation: The observation; its structure and shapes are checked when it is sent.

    Returns:
        The place and both sides, or an empty string.
    """
    with contextlib.suppress(Exception):  # an observation of another structure cannot be sent, which is an error anyway
        return next(_mismatches(space, observation, ()), "")
    return ""


def _mismatches(space: Any, value: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(space, spaces.Dict):
        for key, each in space.spaces.items():
            yield from _mismatches(each, value[key], (*path, str(key)))
    elif isinstance(space, spaces.Tuple):
        for index, each in enumerate(space.spaces):
            yield from _mismatches(each, value[index], (*path, index))
    elif isinstance(space, spaces.Box):
        yield from _box_mismatches(space, np.asarray(value), path)
    elif not space.contains(value):
        yield f"observation{path_text(path)} is {shown(value)}, which is not in {space!s:.80}"


def _box_mismatches(space: spaces.Box, value: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    name = f"observation{path_text(path)}"
    if value.dtype != space.dtype:
        yield f"{name} has the dtype {value.dtype} where its space has {space.dtype}"
    outside = (value < space.low) | (value > space.high) | (value != value)
    if outside.any():
        at = tuple(int(index) for index in np.argwhere(outside)[0])
        low, high = space.low[at], space.high[at]
        yield f"{name}{path_text(at)} is {value[at]} where its space has {low} to {high}"


def non_boolean_flag(returned: Any) -> str:
    """Describe a flag of a step that is neither true nor false, such as a string, which would count as true.

    Args:
        returned: What the environment returned from step.

    Returns:
        The name of the flag and what it is, or an empty string.
    """
    if not isinstance(returned, (tuple, list)) or len(returned) != 5:
        return ""
    for name, flag in zip(("terminated", "truncated"), returned[2:4], strict=True):
        if not isinstance(flag, (bool, int)) and not hasattr(flag, "dtype"):
            return f"the environment returned {shown(flag)} for `{name}` from step; Gymnasium expects true or false"
    return ""
