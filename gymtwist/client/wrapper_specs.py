"""Converts the wrappers that a user asks for to those of a make request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium.envs.registration import WrapperSpec

from gymtwist.protocol import messages

#: A wrapper: what Gymnasium stores of one in the specification of an environment, or a mapping with the name of one of
#: its classes, or ``module:Class``, as ``name`` and, if it takes any, its arguments as ``kwargs``.
WrapperLike: TypeAlias = WrapperSpec | Mapping[str, Any]

_GYMNASIUM = "gymnasium.wrappers"


def wrappers_of(given: Iterable[WrapperLike]) -> list[messages.Wrapper]:
    """Convert wrappers, the innermost first.

    Raises:
        ValueError: One is no wrapper, or its arguments are unknown.
    """
    if not isinstance(given, Iterable):
        raise ValueError(f"wrappers is {given!r:.80}: expected a list of wrappers")
    return [_wrapper_of(each) for each in given]


def _wrapper_of(given: WrapperLike) -> messages.Wrapper:
    if isinstance(given, Mapping) and {"name"} <= given.keys() <= {"name", "kwargs"}:
        name, kwargs = given["name"], given.get("kwargs", {})
    elif isinstance(given, WrapperSpec):
        name, kwargs = _name_of(given.entry_point), given.kwargs
        if kwargs is None:
            raise ValueError(
                f"the arguments of the wrapper {given.name} are unknown: its class does not inherit from "
                "gymnasium.utils.RecordConstructorArgs"
            )
    else:
        name = kwargs = None
    if not isinstance(kwargs, Mapping):
        raise ValueError(
            f"{given!r:.200} is no wrapper: expected a gymnasium.envs.registration.WrapperSpec, such as "
            'FrameStackObservation.wrapper_spec(stack_size=4), or a dict of "name" and "kwargs"'
        )
    return messages.Wrapper(name, {key: _sendable(value) for key, value in kwargs.items()})


def _name_of(entry_point: str) -> str:
    """Return the class's name for one of Gymnasium's, which are in different modules in different versions."""
    module, _, name = entry_point.partition(":")
    is_vectors = f"{module}.".startswith(f"{_GYMNASIUM}.vector.")
    return name if f"{module}.".startswith(f"{_GYMNASIUM}.") and not is_vectors else entry_point


def _sendable(value: Any) -> Any:
    """Return the name of a dtype, however it is given."""
    is_type = isinstance(value, type) and issubclass(value, (np.generic, bool, int, float))
    return np.dtype(value).name if is_type or isinstance(value, np.dtype) else value
