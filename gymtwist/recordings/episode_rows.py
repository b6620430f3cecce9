"""The rows of a journal: one for each step and for each beginning of an episode, of one environment or of several.

A row is a record of fixed size: what happened, the action, the reward, the flags, and the observation after the step.
The beginning of an episode has its first observation alone. The fields of nested spaces are those of their leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

#: What a row says of an environment: a step, the first observation of an episode, or nothing.
STEP, BEGIN, NOTHING = 0, 1, 2
#: The most bytes of one row.
MAX_ROW = 64 * 1024 * 1024
#: The fields that every row has.
KIND, REWARD, TERMINATED, TRUNCATED, FRAME = "kind", "reward", "terminated", "truncated", "frame"
#: The first part of the names of the fields of observations and actions.
OBSERVATION, ACTION = "observation", "action"


def leaves(space: Any, path: str) -> Iterator[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """Yield the fields of a space: the name, the dtype and the shape of each of its leaves.

    Args:
        space: The space of one environment.
        path: The name of the space itself.

    Raises:
        ValueError: Minari has no such space; the message is a clause.
    """
    if isinstance(space, spaces.Dict):
        for key, each in space.spaces.items():
            if "/" in key or key in ("", "."):
                raise ValueError(f'{path} has the key "{key:.80}", which no group of an HDF5 file can have')
            yield from leaves(each, f"{path}/{key}")
    elif isinstance(space, spaces.Tuple):
        for index, each in enumerate(space.spaces):
            yield from leaves(each, f"{path}/_index_{index}")
    elif isinstance(space, spaces.Text):
        yield path, np.dtype(f"U{space.max_length}"), ()
    elif isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        shape: Any = space.shape
        yield path, np.dtype(space.dtype), tuple(shape)
    else:
        raise ValueError(
            f"{path} is a {type(space).__name__}, which Minari cannot store; it has Box, Discrete, MultiDiscrete, "
            "MultiBinary, Text, Dict and Tuple"
        )


def row_dtype(
    observation_space: Any,
    action_space: Any,
    num_envs: int | None,
    reward_shape: tuple[int, ...] = (),
    frame_shape: tuple[int, ...] | None = None,
) -> np.dtype[Any]:
    """Return the dtype of a row.

    Args:
        observation_space: The observation space of one environment.
        action_space: Its action space.
        num_envs: How many environments there are; None for a single one.
        reward_shape: The shape of a reward.
        frame_shape: The shape of a frame of uint8; None for none.

    Raises:
        ValueError: Minari cannot store a space, or a row is too large; the message is a clause.
    """
    several = () if num_envs is None else (num_envs,)
    fields: list[tuple[str, Any, tuple[int, ...]]] = [
        (KIND, np.uint8, several),
        (TERMINATED, np.bool_, several),
        (TRUNCATED, np.bool_, several),
        (REWARD, np.float64, (*several, *reward_shape)),
    ]
    for space, name in ((action_space, ACTION), (observation_space, OBSERVATION)):
        fields += [(path, dtype, (*several, *shape)) for path, dtype, shape in leaves(space, name)]
    if frame_shape is not None:
        fields.append((FRAME, np.uint8, (*several, *frame_shape)))
    # Computed by Python's integers, before NumPy makes anything of it.
    size = sum(np.dtype(dtype).itemsize * _product(shape) for _, dtype, shape in fields)
    if size > MAX_ROW:
        raise ValueError(
            f"one step has {size} bytes to record; at most {MAX_ROW} are possible: make fewer environments"
        )
    return np.dtype(fields, align=True)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for each in shape:
        product *= int(each)
    return product


def column(rows: npt.NDArray[Any], space: Any, path: str) -> Any:
    """Return what takes the values of a space, or those of each environment, by the indices of their rows.

    Args:
        rows: The rows.
        space: The space of one environment.
        path: The name of the space, as for :func:`leaves`.
    """
    if isinstance(space, spaces.Dict):
        return Columns([(key, column(rows, each, f"{path}/{key}")) for key, each in space.spaces.items()])
    if isinstance(space, spaces.Tuple):
        return Columns(
            [(index, column(rows, each, f"{path}/_index_{index}")) for index, each in enumerate(space.spaces)]
        )
    return rows[path]


class Columns:
    """Takes the values of a Dict or a Tuple.

    Args:
        parts: The keys, and what takes their values.
    """

    def __init__(self, parts: list[tuple[Any, Any]]) -> None:
        self._parts = parts

    def __setitem__(self, row: Any, value: Any) -> None:
        for key, part in self._parts:
            part[row] = value[key]
