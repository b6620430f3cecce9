"""Elements of spaces, to what JSON can carry and back: observations out, actions in.

For each space a function is made once, so that nothing is looked up on the way of a step.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from gymtwist.errors import EnvironmentFault, InvalidAction

Encoder: TypeAlias = Callable[[Any], Any]
Decoder: TypeAlias = Callable[[Any], Any]

# How an action is shown in a message: however large and deep it is, this much of it.
_shortened = reprlib.Repr()
_shortened.maxlist = _shortened.maxdict = 20
_shortened.maxstring = _shortened.maxlong = 80


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
        return _dict_encoder([(str(key), key, encoder(each)) for key, each in space.spaces.items()])
    if isinstance(space, spaces.Text):
        return str
    if isinstance(space, spaces.Sequence):
        return _sequence_encoder(space, encoder(space.feature_space))
    if isinstance(space, spaces.OneOf):
        return _choice_encoder([encoder(each) for each in space.spaces])
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


def _dict_encoder(fields: list[tuple[str, Any, Encoder]]) -> Encoder:
    """Encode the fields of a Dict, given as name, key and encoder: a key may be a number, a name in JSON may not."""

    def encode(value: Any) -> dict[str, Any]:
        return {name: each(value[key]) for name, key, each in fields}

    return encode


def _sequence_encoder(space: spaces.Sequence, each: Encoder) -> Encoder:
    def encode(value: Any) -> list[Any]:
        parts = iterate(space.stacked_feature_space, value) if space.stack else value
        return [each(part) for part in parts]

    return encode


def _choice_encoder(encoders: list[Encoder]) -> Encoder:
    def encode(value: Any) -> list[Any]:
        index, part = value
        return [int(index), encoders[index](part)]

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
        return _dict_decoder({str(key): (key, decoder(each)) for key, each in space.spaces.items()})
    if isinstance(space, spaces.Sequence):
        return _sequence_decoder(space, decoder(space.feature_space))
    if isinstance(space, spaces.OneOf):
        return _choice_decoder([decoder(each) for each in space.spaces])
    return _other_decoder(space)


def _shown(value: object) -> str:
    text = _shortened.repr(value)
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
    except ValueError:  # the lists are ragged, or deeper than NumPy's arrays
        array = np.empty((), object)
    if array.shape == shape and (array.dtype.kind in kinds or not array.size):
        return array
    if 0 in shape and array.shape == shape[: shape.index(0) + 1]:  # there are no lists behind an empty one
        return np.empty(shape, np.int8)
    parts = np.asarray(value, object)
    types = {type(each) for each in parts.flat} if parts.shape == shape else {None}
    if types == {int} and "f" not in kinds:
        return parts  # NumPy makes floats of some integers that are beyond int64
    if types <= {int, float} and "f" in kinds:
        # With an integer beyond 64 bits: Go writes the float64 1e20 without a point and an exponent.
        with contextlib.suppress(OverflowError):  # beyond float64 as well
            return parts.astype(np.float64)
    sort = "numbers" if "f" in kinds else "integers"
    raise InvalidAction(f"action {_shown(value)} is not in {name}: send {sort} in lists of shape {shape}")


def _box_decoder(space: spaces.Box) -> Decoder:
    shape: tuple[int, ...] = space.shape
    dtype: np.dtype[Any] = space.dtype
    kinds = "iuf" if dtype.kind == "f" else "biu"

    def decode(value: Any) -> np.ndarray[Any, Any]:
        array = _numbers(value, shape, kinds, "Box")
        if kinds == "iuf" or dtype.kind == "b":
            return array.astype(dtype)
        limits = np.iinfo(dtype)
        if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
            raise InvalidAction(f"action {_shown(value)} is not in Box: its numbers must fit {dtype}")
        return array.astype(dtype)

    return decode


def _counts_decoder(space: spaces.MultiBinary | spaces.MultiDiscrete) -> Decoder:
    shape, dtype, name = space.shape, space.dtype, type(space).__name__

    def decode(value: Any) -> np.ndarray[Any, Any]:
        array = _numbers(value, shape, "iu", name)
        cast = array.astype(dtype) if array.dtype != object else None
        if cast is None or not (np.array_equal(cast, array) and space.contains(cast)):
            raise InvalidAction(f"action {_shown(value)} is not in {space}: its integers must be within the bounds")
        return cast

    return decode


def _tuple_decoder(decoders: list[Decoder]) -> Decoder:
    def decode(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(decoders):
            raise InvalidAction(f"action {_shown(value)} is not in Tuple: send a list of {len(decoders)} parts")
        return tuple(each(part) for each, part in zip(decoders, value, strict=True))

    return decode


def _dict_decoder(fields: dict[str, tuple[Any, Decoder]]) -> Decoder:
    def decode(value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict) or value.keys() != fields.keys():
            raise InvalidAction(f"action {_shown(value)} is not in Dict: send an object with {sorted(fields)}")
        return {key: each(value[name]) for name, (key, each) in fields.items()}

    return decode


def _sequence_decoder(space: spaces.Sequence, each: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise InvalidAction(f"action {_shown(value)} is not in Sequence: send a list")
        parts = tuple(each(part) for part in value)
        if not space.stack:
            return parts
        batch: Any = create_empty_array(space.feature_space, len(parts))
        return concatenate(space.feature_space, parts, batch) if parts else batch

    return decode


def _choice_decoder(decoders: list[Decoder]) -> Decoder:
    choose = _discrete_decoder(spaces.Discrete(len(decoders)))

    def decode(value: Any) -> tuple[np.int64, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise InvalidAction(f"action {_shown(value)} is not in OneOf: send a list of a choice and its action")
        index = choose(value[0])
        return np.int64(index), decoders[index](value[1])

    return decode


def _other_decoder(space: spaces.Space[Any]) -> Decoder:
    """Leave kinds without a layout of their own (Text, Graph) to Gymnasium."""

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
