"""The rows of a journal: one for each step and each start of an episode, of one environment or of several.

A row is a record of fixed size: its kind, the action, the reward, the flags, and the observation after the step. At the
start of an episode, only the first observation is set. A nested space has one field per leaf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

#: What a row says about an environment: a step, the first observation of an episode, or nothing.
STEP, BEGIN, NOTHING = 0, 1, 2
#: The maximum size of one row, in bytes.
MAX_ROW = 64 * 1024 * 1024
#: The fields that every row has.
KIND, REWARD, TERMINATED, TRUNCATED, FRAME = "kind", "reward", "terminated", "truncated", "frame"
#: The prefixes of the names of observation and action fields.
OBSERVATION, ACTION = "observation", "action"


def leaves(space: Any, path: str) -> Iterator[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """Yield the fields of a space: the name, dtype and shape of each leaf.

    Args:
        space: The space of one environment.
        path: The name of the space itself.

    Raises:
        ValueError: Minari does not support the space; the message is a clause.
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
        num_envs: The number of environments; None for a single one without a batch dimension.
        reward_shape: The shape of a reward.
        frame_shape: The shape of a uint8 frame; None for no frames.

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
    # Computed with Python's integers first, which cannot overflow.
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
    """Return an object that stores values of a space, by row index; for several environments, batches of values.

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
    """Stores the values of a Dict or a Tuple.

    Args:
        parts: The keys, each with the object that stores its values.
    """

    def __init__(self, parts: list[tuple[Any, Any]]) -> None:
        self._parts = parts

    def __setitem__(self, row: Any, value: Any) -> None:
        for key, part in self._parts:
            part[row] = value[key]
