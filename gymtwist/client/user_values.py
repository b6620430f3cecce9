"""Actions and observations as the user has them, to and from what a message carries."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import GraphInstance

from gymtwist.client.client_errors import RequestRefused
from gymtwist.client.reply_slots import LARGE, is_borrowed
from gymtwist.spaces import descriptions as wire
from gymtwist.spaces.layout import DTYPES, Array, Layout, array_at, check_size


def action_writer(space: spaces.Space[Any], dump: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make the function that turns an action into what a message carries.

    What would not arrive as it is (0.5 for an integer, 300 for a byte) is refused here, as it would be cut to fit. All
    else that can be wrong with an action is for the server to find.

    Args:
        space: Of the actions.
        dump: The codec's own function.

    Returns:
        A function that raises :class:`~gymtwist.client.client_errors.RequestRefused`.
    """
    exact = _exact(space)

    def write(action: Any) -> Any:
        try:
            return dump(exact(action))
        except ValueError as error:
            raise RequestRefused(f"{error}; the action space is {space}"[:500], code="invalid-action") from error

    return write


def _exact(space: spaces.Space[Any]) -> Callable[[Any], Any]:
    """Make the function that refuses what a cast would change; what is in a Sequence, Graph or OneOf passes."""
    if isinstance(space, spaces.Dict):
        fields = {key: _exact(each) for key, each in space.spaces.items()}
        return lambda value: (
            {key: fields[key](each) if key in fields else each for key, each in value.items()}
            if isinstance(value, Mapping)
            else value
        )
    if isinstance(space, spaces.Tuple):
        parts = [_exact(each) for each in space.spaces]
        return lambda value: (
            tuple(part(each) for part, each in zip(parts, value, strict=True))
            if isinstance(value, (tuple, list)) and len(value) == len(parts)
            else value
        )
    if isinstance(space, spaces.Discrete):
        return _integer
    if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        return _array_of(np.dtype(space.dtype))
    return lambda value: value


def _integer(value: Any) -> int:
    if type(value) is int:
        return value
    try:
        return operator.index(value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value)
    except TypeError:
        raise ValueError(f"action is {value!r:.80}: send an integer") from None


def _array_of(dtype: np.dtype[Any]) -> Callable[[Any], Any]:
    def exact(value: Any) -> Any:
        if type(value) is np.ndarray and value.dtype == dtype:
            return value
        array = np.asarray(value)
        if dtype.kind == "f":
            return array
        if array.dtype.kind not in "biu":
            if array.size and array.dtype.kind != "O":
                raise ValueError(f"action is {value!r:.80}: send integers ({dtype.name}), not {array.dtype.name}")
            return value  # the codec says what is wrong with it
        with np.errstate(over="ignore"):
            narrow = array.astype(dtype)
        if not (narrow == array).all():
            raise ValueError(f"action is {value!r:.80}: send integers that fit {dtype.name}")
        return narrow

    return exact


def observation_reader(description: wire.Description, layout: Layout | None, unpack: Callable[[Any], Any]) -> Any:
    """Make the function that turns the bytes in a message into an observation of the user's own.

    Args:
        description: Of the space.
        layout: Of its elements; None if it fixes none.
        unpack: The codec's own function, which makes views of the message.

    Returns:
        A function whose arrays nothing else writes to, and which can be written to.
    """
    if layout is None:
        return lambda value: own(unpack(value))
    if isinstance(description, (wire.Box, wire.MultiBinary, wire.MultiDiscrete)) and len(layout.leaves) == 1:
        (leaf,) = layout.leaves
        dtype, shape, size = DTYPES[leaf.dtype], leaf.shape, layout.size

        array = np.ndarray if dtype.isnative and size else None

        def read_array(buffer: Any) -> Array:
            if len(buffer) != size:
                check_size(buffer, size)
            # A copy that is aligned, and the user's own.
            copy = bytearray(buffer)
            return array_at(copy, dtype, shape) if array is None else array(shape, dtype, copy)

        def read_large(buffer: Any) -> Array:
            if len(buffer) == size and is_borrowed(buffer):
                borrowed: Array = np.ndarray(shape, dtype, buffer)
                if borrowed.flags.aligned:
                    return borrowed
            return read_array(buffer)

        return read_array if array is None or size < LARGE else read_large
    if all(leaf.offset % DTYPES[leaf.dtype].itemsize == 0 for leaf in layout.leaves):
        return lambda buffer: unpack(bytearray(buffer))
    return lambda buffer: own(unpack(buffer))


def own(value: Any) -> Any:
    """Copy the arrays in an observation that are views of a message."""
    if isinstance(value, np.ndarray):
        return value if value.flags.owndata and value.flags.writeable else value.copy()
    if isinstance(value, dict):
        return {key: own(each) for key, each in value.items()}
    if isinstance(value, GraphInstance):
        return GraphInstance(*map(own, value))
    if isinstance(value, tuple):
        return tuple(map(own, value))
    return value
