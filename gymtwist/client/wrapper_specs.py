"""Converts the wrappers that a user asks for to those of a make request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium.envs.registration import WrapperSpec

from gymtwist.protocol import make_messages

#: A wrapper: Gymnasium's ``WrapperSpec`` from an environment's specification, or a mapping with the name of a Gymnasium
#: class, or ``module:Class``, as ``name`` and its arguments, if any, as ``kwargs``.
WrapperLike: TypeAlias = WrapperSpec | Mapping[str, Any]

_GYMNASIUM = "gymnasium.wrappers"
_OF_VECTORS = "gymnasium.wrappers.vector"
#: Gymnasium's wrappers that keep statistics of all environments of a vector together.
_KEEP_STATISTICS = frozenset({"NormalizeObservation", "NormalizeReward"})


def wrappers_of(given: Iterable[WrapperLike]) -> list[make_messages.Wrapper]:
    """Convert wrappers of single environments, innermost first.

    Raises:
        ValueError: One is not a wrapper, is for vector environments, or has unknown arguments.
    """
    return _converted("wrappers", given)


def vector_wrappers_of(given: Iterable[WrapperLike]) -> list[make_messages.Wrapper]:
    """Convert wrappers of vector environments, innermost first.

    Raises:
        ValueError: One is not a wrapper, is for single environments, or has unknown arguments.
    """
    return _converted("vector_wrappers", given)


def check_processes(wrappers: Iterable[make_messages.Wrapper], processes: int) -> None:
    """Check that wrappers around the parts of a vector environment do the same as around the whole.

    Args:
        wrappers: Wrappers of vector environments.
        processes: How many processes share the environments.

    Raises:
        ValueError: One of them would not.
    """
    for index, each in enumerate(wrappers):
        name = each.name.removeprefix(f"{_OF_VECTORS}:")
        if processes > 1 and name in _KEEP_STATISTICS:
            raise ValueError(
                f'vector_wrappers[{index}] "{name}" keeps statistics of all environments together, which '
                f'processes={processes} keep apart: send processes=1, with vectorization_mode="async" to use as many '
                f"cores, or put it around the remote environment: {_OF_VECTORS}.{name}(envs)"
            )


def _converted(argument: str, given: Iterable[WrapperLike]) -> list[make_messages.Wrapper]:
    if not isinstance(given, Iterable):
        raise ValueError(f"{argument} is {given!r:.80}: expected a list of wrappers")
    return [_wrapper_of(argument, each) for each in given]


def _wrapper_of(argument: str, given: WrapperLike) -> make_messages.Wrapper:
    if isinstance(given, Mapping) and {"name"} <= given.keys() <= {"name", "kwargs"}:
        name, kwargs = given["name"], given.get("kwargs", {})
    elif isinstance(given, WrapperSpec):
        name, kwargs = _name_of(argument, given.entry_point), given.kwargs
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
    return make_messages.Wrapper(name, {key: _sendable(value) for key, value in kwargs.items()})


def _name_of(argument: str, entry_point: str) -> str:
    """Return only the class name of a Gymnasium wrapper, whose module differs between Gymnasium's versions."""
    module, _, name = entry_point.partition(":")
    if not f"{module}.".startswith(f"{_GYMNASIUM}."):
        return entry_point
    fits = "vector_wrappers" if f"{module}.".startswith(f"{_OF_VECTORS}.") else "wrappers"
    if fits != argument:
        raise ValueError(f"{entry_point} is not for {argument}: give it in {fits}")
    return name


def _sendable(value: Any) -> Any:
    """Convert a dtype, in any form, to its name; return other values unchanged."""
    is_type = isinstance(value, type) and issubclass(value, (np.generic, bool, int, float))
    return np.dtype(value).name if is_type or isinstance(value, np.dtype) else value
