"""Spaces, and their elements on the way through a message."""

from __future__ import annotations

import json
import warnings
from typing import Any

import msgspec
import numpy as np
from gymnasium import spaces
from hypothesis import HealthCheck, settings

from gymtwist.spaces.gymnasium_spaces import Codec, value_codec

PAIR = spaces.Box(-1, 1, (2,), np.float32)
BOOLEAN: Any = np.bool_  # which Gymnasium's types do not know
BITS = spaces.Box(0, 1, (2,), BOOLEAN)
IMAGE = spaces.Box(0, 255, (2, 2), np.uint8)
NOT_FINITE = np.array([np.nan, np.inf, -np.inf, 1e-45, -0.0, 0.1], np.float32)

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sent(value: Any) -> Any:
    """Send a value in a MessagePack message."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def sent_in_json(value: Any) -> Any:
    """Send a value in a JSON message; that it is JSON is checked by a strict decoder."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = msgspec.json.encode(value)
    json.loads(data, parse_constant=refuse)
    return msgspec.json.decode(data)


def sample(space: spaces.Space[Any]) -> Any:
    """Draw an element; some draws of Gymnasium's warn of overflows."""
    space.seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return space.sample()


def keyed(fields: dict[Any, spaces.Space[Any]]) -> spaces.Dict[Any]:
    """A Dict whose keys need not be strings."""
    return spaces.Dict(fields)


def unbounded(shape: tuple[int, ...], dtype: Any = np.float32) -> spaces.Box:
    """A Box of any numbers."""
    return spaces.Box(-np.inf, np.inf, shape, dtype)


def action(space: spaces.Space[Any]) -> Codec:
    """The codec of a server for actions."""
    return value_codec(space, name="action")
