"""Converts a user's actions and observations to and from the values in messages."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from gymtwist.client.client_errors import EnvironmentFailed, InvalidAction
from gymtwist.client.reply_slots import LARGE, is_borrowed
from gymtwist.spaces.gymnasium_spaces import Codec, environment_of
from gymtwist.spaces.layout import DTYPES, Array, array_at, check_size
from gymtwist.spaces.value_mismatch import ValueMismatch


def integer_of(number: Any) -> int:
    """Convert any kind of integer, except bool, which would be a mistake.

    Raises:
        TypeError: It is not an integer.
    """
    if isinstance(number, (bool, np.bool_)):
        raise TypeError(f"{number!r} is a bool; expected an integer")
    return operator.index(number)


def action_writer(
    space: spaces.Space[Any], single: spaces.Space[Any] | None, dump: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """Return the function that encodes an action for a message.

    Args:
        space: The action space.
        single: The action space of one environment, if there are several; otherwise None.
        dump: The codec's function. It refuses values that would change (0.5 for an integer, 300 for a byte); the server
            checks everything else.

    Returns:
        A function that raises :class:`~gymtwist.client.client_errors.InvalidAction`.
    """

    def write(action: Any) -> Any:
        try:
            return dump(action)
        except ValueError as error:
            raise refused_action(error, space, single) from error

    return write


def refused_action(error: ValueError, space: spaces.Space[Any], single: spaces.Space[Any] | None) -> InvalidAction:
    """Return the error for an action that is not in its space.

    Args:
        error: The codec's error.
        space: The action space.
        single: The action space of one environment, if there are several: the error then names the environment.
    """
    text, environments = _located(error, single)
    return InvalidAction(f"{text}; the action space is {space}"[:500], environments=environments)


def _located(error: ValueError, single: spaces.Space[Any] | None) -> tuple[str, tuple[int, ...]]:
    """Return an error's text, which begins with the environments that it concerns, and their indices."""
    if single is not None and isinstance(error, ValueMismatch):
        found = environment_of(error.path, single)
        if found is not None:
            index, path = found
            return f"environment {index}: {ValueMismatch(error.text, path)}", (index,)
    return str(error), ()


def observation_reader(codec: Codec, owned: Callable[[], Codec], *, is_json: bool) -> Callable[[Any], Any]:
    """Return a function that decodes an observation, which the user may keep and change.

    Args:
        codec: The codec of observations, which returns views of the message.
        owned: Compiles the same codec, which returns arrays of the caller's own.
        is_json: Whether messages are JSON.

    Returns:
        A function whose arrays are writable and shared with no other object.
    """
    layout, unpack = codec.layout, codec.from_json if is_json else codec.unpack
    if layout is None or is_json:
        return lambda value: own(unpack(value))
    if codec.is_array:
        (leaf,) = layout.leaves
        dtype, shape, size = DTYPES[leaf.dtype], leaf.shape, layout.size

        array = np.ndarray if dtype.isnative and size else None

        def read_array(buffer: Any) -> Array:
            if len(buffer) != size:
                check_size(buffer, size)
            # A copy that is aligned, and belongs to the user.
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
    return owned().unpack


def checked_reader(
    read: Callable[[Any], Any], check: Callable[[Any], Any], single: spaces.Space[Any] | None
) -> Callable[[Any], Any]:
    """Return a function that decodes an observation and checks that it is in its space.

    Args:
        read: Decodes an observation.
        check: Decodes an observation, too, and raises :class:`~gymtwist.spaces.value_mismatch.ValueMismatch`.
        single: The observation space of one environment, if there are several: errors then name the environment.

    Returns:
        A function that raises :class:`~gymtwist.client.client_errors.EnvironmentFailed`.
    """

    def read_checked(value: Any) -> Any:
        observation = read(value)
        try:
            check(value)
        except ValueMismatch as error:
            text, environments = _located(error, single)
            # The error is worded for the sender of a value.
            text = f"{text.replace(': send ', ': its space has ', 1)}; the environment does not keep to its space"
            raise EnvironmentFailed(text, code="invalid-observation", environments=environments) from error
        return observation

    return read_checked


def own(value: Any) -> Any:
    """Copy the arrays in an observation that are views of a message."""
    if isinstance(value, np.ndarray):
        return value if value.flags.owndata and value.flags.writeable else value.copy()
    if isinstance(value, dict):
        return {key: own(each) for key, each in value.items()}
    if isinstance(value, tuple):
        copied = map(own, value)
        # A Graph's observation is a named tuple.
        return type(value)._make(copied) if hasattr(value, "_make") else tuple(copied)
    return value
