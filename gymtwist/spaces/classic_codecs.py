"""Spaces and their elements in the form that the classic protocol's clients decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from gymtwist.errors import EnvironmentFault
from gymtwist.spaces.gymnasium_spaces import Space, codec_context
from gymtwist.spaces.layout import Array
from gymtwist.spaces.space_codecs import CutReport, Form
from gymtwist.spaces.space_kind import codec_of, kind_of
from gymtwist.spaces.value_mismatch import ActionMismatch, shape_text

Encoder: TypeAlias = Callable[[Any], Any]
Decoder: TypeAlias = Callable[[Any], Any]


def classic_description(space: Space) -> dict[str, Any]:
    """Describe a space.

    Returns:
        A description for JSON; ``type`` is the name of the space's class.
    """
    return kind_of(space).classic_description(space)


def encoder(space: Space, on_cut: CutReport | None = None) -> Encoder:
    """Compile the function that converts an element of a space to lists, numbers, strings and dictionaries.

    Args:
        space: The space.
        on_cut: Reports the first number that does not fit the space's integers; all such numbers are then cut, as in
            the framed protocol. None to send numbers as they are.

    Returns:
        A function that raises :class:`ValueError`, :class:`TypeError` or another of Python's own errors if the value
        does not have the structure of the space.
    """
    return codec_of(space, codec_context(Form.CLASSIC, "observation", on_cut=on_cut)).to_tree


def decoder(space: Space) -> Decoder:
    """Compile the function that converts decoded JSON to an element of a space.

    As in gym-socket-api, the bounds of a Box are left to the environment: many agents draw from a Gaussian and rely on
    the environment to clip. Everything else is checked.

    Returns:
        A function that raises :class:`~gymtwist.errors.InvalidAction` if the value is not an element of the space.
    """
    return codec_of(space, codec_context(Form.CLASSIC, "action", checked=True, error=ActionMismatch)).from_tree


def check_shape(array: Array, space: Space, operation: str) -> None:
    """Check that an observation has its space's shape.

    Raises:
        EnvironmentFault: It has a different shape.
    """
    if space.shape is not None and array.shape != space.shape:
        raise EnvironmentFault(
            operation,
            f"the environment returned an array of shape {shape_text(array.shape)} from {operation} "
            f"where its space has {shape_text(space.shape)}",
        )
