"""Wrappers that a client asks the server to put around its environment, or around a vector of environments.

They are checked before anything is allocated.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from gymtwist.envs.environment_options import takes_integer
from gymtwist.envs.missing_packages import with_remedy
from gymtwist.errors import InvalidField
from gymtwist.spaces.equivalent_forms import whole
from gymtwist.spaces.value_mismatch import shown

#: The maximum bytes that wrappers may add to a session, for their observations or for what they keep. Wrappers of the
#: vector environment may add as many again.
MAX_BYTES = 128 << 20
#: The module, with its submodules, that has Gymnasium's wrappers whose arguments have limits of their own.
_GYMNASIUM = "gymnasium.wrappers"
#: The module of a wrapper named by its class alone, for each field of a make request.
_MODULES = {"wrappers": _GYMNASIUM, "vector_wrappers": f"{_GYMNASIUM}.vector"}
#: The argument with the number of observations that a wrapper keeps.
_KEPT = {"FrameStackObservation": "stack_size", "DelayObservation": "delay"}
#: The bytes of an episode in the statistics of the last episodes.
_EPISODE = 3 * 32
#: The assumed bytes of an observation whose space does not say how large it is.
_UNKNOWN_SIZE = 64 << 10
#: The arguments that decide how much memory one of Gymnasium's wrappers takes, which are also attributes of it.
_SIZES = frozenset({"bins", "delay", "screen_size", "shape", "stack_size"})


class WrapperRequest(Protocol):
    """A wrapper as requested by a client."""

    @property
    def name(self) -> str:
        """The name of a Gymnasium class, or ``module:Class``."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the wrapper's constructor besides the environment."""


class EnvironmentWrapper(msgspec.Struct, frozen=True):
    """A wrapper with checked arguments.

    Attributes:
        place: The wrapper's place in the list and its name, for errors.
        creator: The wrapper's class.
        kwargs: The keyword arguments of the constructor besides the environment.
    """

    place: str
    creator: Any
    kwargs: dict[str, Any]

    def wrap(self, environment: Any, num_envs: int, left: int) -> tuple[Any, int]:
        """Wrap an environment.

        Args:
            environment: The environment, or the vector environment.
            num_envs: How many environments of the session are wrapped in the same way.
            left: The bytes of :data:`MAX_BYTES` that the inner wrappers leave.

        Returns:
            The wrapped environment, and the bytes that are left.

        Raises:
            InvalidField: The wrapper does not suit the environment, or takes too much memory.
        """
        needed = _bytes_needed(self.creator, self.kwargs, environment) * num_envs
        if needed > left:
            given = ", ".join(f"{name} {shown(value)}" for name, value in self.kwargs.items()) or "it"
            used = "" if left == MAX_BYTES else f", of which the wrappers before it take {MAX_BYTES - left:,}"
            raise InvalidField(
                f"{self.place}: {given} would take {needed:,} bytes for {num_envs} environment(s); the most is "
                f"{MAX_BYTES:,}{used}"
            )
        try:
            made = self.creator(environment, **self.kwargs)
        except MemoryError:
            raise
        except Exception as error:
            raise InvalidField(
                f"{self.place} cannot wrap this environment with these kwargs: {type(error).__name__}: "
                f"{with_remedy(type(error), str(error))}"
            ) from error
        return made, left - needed


def wrap(wrappers: Iterable[EnvironmentWrapper], environment: Any, num_envs: int) -> Any:
    """Put wrappers around an environment; if one fails, close the environment.

    Args:
        wrappers: The wrappers, innermost first.
        environment: The environment, or the vector environment.
        num_envs: How many environments of the session are wrapped in the same way.

    Raises:
        InvalidField: One of them does not suit the environment.
    """
    left = MAX_BYTES
    try:
        for each in wrappers:
            environment, left = each.wrap(environment, num_envs, left)
    except BaseException:
        environment.close()
        raise
    return environment


def checked(requests: Iterable[WrapperRequest], field: str = "wrappers") -> tuple[EnvironmentWrapper, ...]:
    """Find the classes of wrappers, and check their arguments.

    Args:
        requests: Wrappers whose names the operator allows, because their modules are imported.
        field: The field of the make request that they are from: ``wrappers`` or ``vector_wrappers``.

    Raises:
        InvalidField: A wrapper cannot be imported, lacks an argument, or does not take one of its arguments.
    """
    default = _MODULES[field]
    return tuple(_checked(f'{field}[{index}] "{each.name}"', each, default) for index, each in enumerate(requests))


def _checked(place: str, request: WrapperRequest, default: str) -> EnvironmentWrapper:
    module, _, name = request.name.rpartition(":")
    try:
        creator = getattr(importlib.import_module(module or default), name)
    except Exception as error:
        reason = f"{type(error).__name__}: {with_remedy(type(error), str(error))}"
        raise InvalidField(f"{place} cannot be imported: {reason}") from error
    # The first parameter is the environment.
    parameters = list(inspect.signature(creator).parameters.values())[1:]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    named = {each.name: each for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    for each in request.kwargs:
        if each not in named and not takes_any:
            raise InvalidField(f'{place} takes no kwarg "{each:.80}"; it takes: {", ".join(named) or "none"}')
    for each, parameter in named.items():
        if parameter.default is parameter.empty and each not in request.kwargs:
            raise InvalidField(f'{place} needs the kwarg "{each}"')
    kwargs = {
        each: _converted(value, named[each]) if each in named else value for each, value in request.kwargs.items()
    }
    if _is_gymnasiums(creator):
        for each, value in kwargs.items():
            _check_type(f"{place}: {each}", named[each], value)
    return EnvironmentWrapper(place, creator, kwargs)


def _words(parameter: inspect.Parameter) -> set[str]:
    return set(re.findall(r"\w+", inspect.formatannotation(parameter.annotation)))


def _converted(value: Any, parameter: inspect.Parameter) -> Any:
    """Convert a value to a parameter's type: messages have no tuples, JSON no arrays, and some senders no integers."""
    if isinstance(value, list) and "tuple" in _words(parameter):
        return tuple(map(whole, value)) if takes_integer(parameter) else tuple(value)
    if isinstance(value, list) and "ndarray" in _words(parameter):
        with contextlib.suppress(ValueError):  # it is ragged, and the wrapper reports what it takes
            return np.array(value)
    return whole(value) if takes_integer(parameter) else value


def _check_type(place: str, parameter: inspect.Parameter, value: Any) -> None:
    """Check a value that decides how much a wrapper allocates or does, and that NumPy would accept in many forms."""
    if parameter.name == "dtype":
        try:
            is_number = isinstance(value, str) and np.dtype(value).kind in "biuf"
        except TypeError:
            is_number = False
        if not is_number:
            raise InvalidField(f'{place} is {shown(value)}: send the name of a dtype of numbers, such as "float32"')
    if takes_integer(parameter) and "str" not in _words(parameter):
        integers = value if isinstance(value, tuple) else (value,)
        if not all(type(each) is int for each in integers):
            raise InvalidField(f"{place} is {shown(value)}: send an integer or, for several dimensions, a list of them")


def is_size(layer: Any, name: str) -> bool:
    """Return whether an attribute decides how much memory a wrapper takes, which was checked when it was added.

    Args:
        layer: A wrapper or an environment.
        name: The name of the attribute.
    """
    return name in _SIZES and any(map(_is_gymnasiums, type(layer).__mro__))


def _is_gymnasiums(creator: Any) -> bool:
    return f"{creator.__module__}.".startswith(f"{_GYMNASIUM}.")


def _bytes_needed(creator: Any, kwargs: Mapping[str, Any], environment: Any) -> int:
    """Return the bytes that one of Gymnasium's wrappers takes with these arguments; 0 for any other wrapper.

    The wrapper of a vector environment takes this many for each of its environments.
    """
    if not _is_gymnasiums(creator):
        return 0
    is_vector = isinstance(environment, VectorEnv)
    space = environment.single_observation_space if is_vector else environment.observation_space
    bound = inspect.signature(creator).bind(environment, **kwargs)
    bound.apply_defaults()
    given: dict[str, Any] = bound.arguments
    name = creator.__name__
    if name in _KEPT:
        return _bytes(space) * int(given[_KEPT[name]])
    if name == "RecordEpisodeStatistics":
        return int(given["buffer_length"]) * _EPISODE
    if name == "ResizeObservation":
        pixels: int = math.prod(given["shape"])
        return pixels * _bytes_of_pixel(space)
    if name == "AtariPreprocessing":
        size = given["screen_size"]
        return math.prod(size if isinstance(size, tuple) else (size, size)) * 3 * 4
    if name in ("DtypeObservation", "NormalizeObservation"):
        return math.prod(space.shape or ()) * 8
    if name in ("FlattenObservation", "TimeAwareObservation"):
        return _flat_size(space) * 8
    if name in ("DiscretizeObservation", "DiscretizeAction"):
        bins = given["bins"]
        if isinstance(bins, int):
            of = space if name == "DiscretizeObservation" else environment.action_space
            bins = (bins,) * math.prod(of.shape or ())
        return sum(abs(int(each)) for each in bins) * 8  # the edges between the bins
    return 0


def _bytes(space: spaces.Space[Any]) -> int:
    """Return the bytes of an element."""
    if isinstance(space, spaces.Dict):
        return sum(map(_bytes, space.spaces.values()))
    if isinstance(space, spaces.Tuple):
        return sum(map(_bytes, space.spaces))
    if space.shape is None or space.dtype is None or space.dtype.kind not in "biuf":
        return _UNKNOWN_SIZE
    return math.prod(space.shape) * space.dtype.itemsize


def _bytes_of_pixel(space: spaces.Space[Any]) -> int:
    shape = space.shape or ()
    return math.prod(shape[2:]) * (1 if space.dtype is None else space.dtype.itemsize)


def _flat_size(space: spaces.Space[Any]) -> int:
    try:
        return spaces.flatdim(space)
    except (ValueError, NotImplementedError):  # it has none; the wrapper reports that
        return 0
