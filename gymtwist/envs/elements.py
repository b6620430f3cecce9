"""Elements of spaces, to what JSON can carry and back: observations out, actions in.

For each space a function is made once, so that nothing is looked up on the way of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from gymtwist.errors import EnvironmentFault, InvalidAction

Encoder: TypeAlias = Callable[[Any], Any]
Decoder: TypeAlias = Callable[[Any], Any]


def encoder(space: spaces.Space[Any]) -> Encoder:
    """Make the function that turns an element of a space into lists, numbers, strings and dictionaries.

    Returns:
        A function that raises :class:`ValueError`, :class:`TypeError` or another of Python's own errors if what it
        is given has not the structure of the space.
    """
    if isinstance(space, (spaces.Box, spaces.MultiBinary, spaces.MultiDiscrete)):
        return _array_encoder(space)
    if isinstance(space, spaces.Discrete):
        return int
    if isinstance(space, spaces.Tuple):
        return _tuple_encoder([encoder(each) for each in space.spaces])
    if isinstance(space, spaces.Dict):
        return _dict_encoder({key: encoder(each) for key, each in space.spaces.items()})
    if isinstance(space, spaces.Text):
        return str
    return lambda value: space.to_jsonable([value])[0]


def _array_encoder(space: spaces.Space[Any]) -> Encoder:
    shape = space.shape

    def encode(value: Any) -> Any:
        array = value if type(value) is np.ndarray else np.asarray(value)
        if array.shape != shape:
            raise ValueError(f"an array of shape {array.shape} where the space has {shape}")
        return array.tolist()

    return encode


def _tuple_encoder(encoders: list[Encoder]) -> Encoder:
    def encode(value: Any) -> list[Any]:
        return [each(part) for each, part in zip(encoders, value, strict=True)]

    return encode


def _dict_encoder(encoders: dict[str, Encoder]) -> Encoder:
    def encode(value: Any) -> dict[str, Any]:
        return {key: each(value[key]) for key, each in encoders.items()}

    return encode


def check_shape(array: np.ndarray[Any, Any], space: spaces.Space[Any], operation: str) -> None:
    """Check that an observation has its space's shape.

    Raises:
        EnvironmentFault: It has another.
    """
    if space.shape is not None and array.shape != space.shape:
        raise EnvironmentFault(
            operation,
            f"the environment returned from {operation} an array of shape {array.shape} "
            f"where its space has {space.shape}",
        )


def decoder(space: spaces.Space[Any]) -> Decoder:
    """Make the function that turns decoded JSON into an element of a space.

    The bounds of a Box are the environment's business, as they were in gym-socket-api: many an agent draws from a
    Gaussian and relies on the environment to clip. Everything else is checked.

    Returns:
        A function that raises :class:`~gymtwist.errors.InvalidAction` if the value is no element of the space.
    """
    if isinstance(space, spaces.Discrete):
        return _discrete_decoder(space)
    if isinstance(space, spaces.Box):
        return _box_decoder(space)
    if isinstance(space, (spaces.MultiBinary, spaces.MultiDiscrete)):
        return _counts_decoder(space)
    if isinstance(space, spaces.Tuple):
        return _tuple_decoder([decoder(each) for each in space.spaces])
    if isinstance(space, spaces.Dict):
        return _dict_decoder({key: decoder(each) for key, each in space.spaces.items()})
    return _other_decoder(space)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _discrete_decoder(space: spaces.Discrete) -> Decoder:
    first, last = int(space.start), int(space.start) + int(space.n) - 1

    def decode(value: Any) -> int:
        # bool is a subclass of int, but no client means true for 1.
        if type(value) is int and first <= value <= last:
            return value
        raise InvalidAction(f"action {_shown(value)} is not in Discrete: send an integer from {first} to {last}")

    return decode


def _numbers(value: Any, shape: tuple[int, ...], kinds: str, name: str) -> np.ndarray[Any, Any]:
    """Make an array of nested lists of numbers, or say what they should have been."""
    try:
        array = np.asarray(value)
    except ValueError:  # the lists are ragged
        array = np.empty((), object)
    if array.shape != shape or (array.dtype.kind not in kinds and array.size):
        sort = "numbers" if "f" in kinds else "integers"
        raise InvalidAction(f"action {_shown(value)} is not in {name}: send {sort} in lists of shape {shape}")
    return array


def _box_decoder(space: spaces.Box) -> Decoder:
    shape: tuple[int, ...] = space.shape
    dtype: np.dtype[Any] = space.dtype
    kinds = "iuf" if dtype.kind == "f" else "biu"

    def decode(value: Any) -> np.ndarray[Any, Any]:
        array = _numbers(value, shape, kinds, "Box")
        if kinds == "iuf" or dtype.kind == "b":
            return array.astype(dtype)
        limits = np.iinfo(dtype)
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise InvalidAction(f"action {_shown(value)} is not in Box: its numbers must fit {dtype}")
        return array.astype(dtype)

    return decode


def _counts_decoder(space: spaces.MultiBinary | spaces.MultiDiscrete) -> Decoder:
    shape, dtype, name = space.shape, space.dtype, type(space).__name__

    def decode(value: Any) -> np.ndarray[Any, Any]:
        array = _numbers(value, shape, "iu", name)
        cast = array.astype(dtype)
        if not (np.array_equal(cast, array) and space.contains(cast)):
            raise InvalidAction(f"action {_shown(value)} is not in {space}: its integers must be within the bounds")
        return cast

    return decode


def _tuple_decoder(decoders: list[Decoder]) -> Decoder:
    def decode(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(decoders):
            raise InvalidAction(f"action {_shown(value)} is not in Tuple: send a list of {len(decoders)} parts")
        return tuple(each(part) for each, part in zip(decoders, value, strict=True))

    return decode


def _dict_decoder(decoders: dict[str, Decoder]) -> Decoder:
    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or value.keys() != decoders.keys():
            raise InvalidAction(f"action {_shown(value)} is not in Dict: send an object with {sorted(decoders)}")
        return {key: each(value[key]) for key, each in decoders.items()}

    return decode


def _other_decoder(space: spaces.Space[Any]) -> Decoder:
    """Leave kinds without a layout of their own (Text, Sequence, Graph, OneOf) to Gymnasium."""

    def decode(value: Any) -> Any:
        try:
            element = space.from_jsonable([value])[0]
            inside = space.contains(element)
        except Exception as error:
            raise InvalidAction(f"action {_shown(value)} is not in {space}: {error}") from error
        if not inside:
            raise InvalidAction(f"action {_shown(value)} is not in {space}")
        return element

    return decode
