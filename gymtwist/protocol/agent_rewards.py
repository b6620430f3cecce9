"""The rewards of agents in messages. They keep their types, because environments add up rewards in that precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gymtwist.protocol.received_values import restored
from gymtwist.spaces.array_likes import array_of, is_array_like
from gymtwist.spaces.layout import DTYPES, array_map
from gymtwist.spaces.numbers import NOT_FINITE, number_text

_PLAIN = frozenset({bool, int, float})
#: The NumPy number types that a message carries as Python numbers.
_AS_PYTHONS = frozenset({np.int64, np.float64})
#: The fields of a number of another NumPy type.
_SCALAR_FIELDS = frozenset({"dtype", "value"})


def encoded_reward(reward: Any, *, is_json: bool) -> Any:
    """Encode a reward for a message: as a number, or as an object that names its type.

    Args:
        reward: A number of Python or NumPy, or an array.
        is_json: Whether messages are JSON.

    Raises:
        ValueError: The reward is none of these.
        TypeError: The reward is none of these.
    """
    if type(reward) in _AS_PYTHONS:
        reward = reward.item()
    if type(reward) in _PLAIN:
        return number_text(reward) if is_json and not math.isfinite(reward) else reward
    if is_array_like(reward) and not isinstance(reward, (np.ndarray, np.generic)):
        reward = array_of(reward)
    if isinstance(reward, (np.ndarray, np.generic)):
        if reward.dtype.name not in DTYPES:
            raise ValueError(f"a reward of the dtype {reward.dtype}: expected numbers")
        if isinstance(reward, np.ndarray):
            return array_map(reward)
        return {"dtype": reward.dtype.name, "value": encoded_reward(reward.item(), is_json=is_json)}
    return encoded_reward(float(reward), is_json=is_json)


def read_reward(value: Any) -> Any:
    """Decode a reward from a message.

    Raises:
        ValueError: The value is not a reward.
    """
    if type(value) in _PLAIN:
        return value
    if type(value) is str and value in NOT_FINITE:
        return NOT_FINITE[value]
    if type(value) is dict and value.keys() == _SCALAR_FIELDS and value["dtype"] in DTYPES:
        number = read_reward(value["value"])
        if type(number) in _PLAIN:
            return DTYPES[value["dtype"]].type(number)
    elif isinstance(array := restored(value), np.ndarray):
        return array
    raise ValueError(f"a reward is {value!r:.80}: expected a number, or an object that names its type")
