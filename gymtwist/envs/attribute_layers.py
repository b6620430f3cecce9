"""Attributes of an environment, found and set in the manner of ``get_wrapper_attr`` and ``set_wrapper_attr``."""

from __future__ import annotations

import difflib
import enum
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv

from gymtwist.envs.gym_compatibility import GymEnvironment

#: The list in an environment's metadata that names the attributes and methods that clients may use.
DECLARED = "remote_attributes"
_MISSING = object()
_NO_NAMES: frozenset[str] = frozenset()


class ReachableEnvironment(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment in a process of its own, which handles requests for its attributes.

    Args:
        environment: The environment.
        handle: Handles a request; takes the environment as its first argument.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], handle: Callable[..., Any]) -> None:
        super().__init__(environment)
        self._handle = handle

    def handle_attribute_request(self, *arguments: Any) -> Any:
        """Handle a request; the process calls this method by name."""
        return self._handle(self.env, *arguments)


#: The name of that method.
HANDLE = ReachableEnvironment.handle_attribute_request.__name__


def environments_of(environment: Any, *, several: bool) -> Sequence[Any] | None:
    """Return the environments whose attributes can be reached.

    Args:
        environment: An environment or a vector environment.
        several: Whether it is a vector environment.

    Returns:
        A list of the single environment, or the environments of a vector environment; None if it does not hold them in
        this process.
    """
    if not several:
        return [environment]
    base = environment.unwrapped
    return base.envs if isinstance(base, SyncVectorEnv) else None


def declared(environment: Any) -> frozenset[str]:
    """Return the names that an environment declares in its metadata."""
    metadata = getattr(environment.unwrapped, "metadata", None)
    names = metadata.get(DECLARED) if isinstance(metadata, Mapping) else None
    return frozenset(each for each in names if isinstance(each, str)) if isinstance(names, (list, tuple)) else _NO_NAMES


def _layers(environment: Any) -> Iterator[Any]:
    """Yield an environment's wrappers from the outermost inwards, then the environment."""
    layer = environment
    while (inner := _inside(layer)) is not None:
        yield layer
        layer = inner
    yield layer
    if isinstance(layer, GymEnvironment):
        yield layer.original


def _inside(layer: Any) -> Any:
    """Return the environment inside a wrapper of Gymnasium or PettingZoo; None if the layer is not a wrapper."""
    if isinstance(layer, gymnasium.Wrapper):
        return layer.env
    if type(layer).__module__.startswith("pettingzoo.utils."):  # PettingZoo is not imported for other environments
        return vars(layer).get("env", vars(layer).get("aec_env"))
    return None


def owner(environment: Any, name: str) -> Any:
    """Return the wrapper or environment that has an attribute itself; None if there is none.

    A layer that only forwards the attribute does not count: setting it there would have no effect below.
    """
    for layer in _layers(environment):
        if inspect.getattr_static(layer, name, _MISSING) is not _MISSING:
            return layer
    return None


def read(environment: Any, name: str) -> Any:
    """Read an attribute.

    Raises:
        AttributeError: There is no such attribute.
    """
    found = owner(environment, name)
    return getattr(environment if found is None else found, name)


def similar(environment: Any, name: str) -> list[str]:
    """Return the public attribute whose name is most similar, as a list of at most one."""
    known = (each for each in dir(list(_layers(environment))[-1]) if not each.startswith("_"))
    return difflib.get_close_matches(name, known, 1)


def in_the_form_of(old: Any, new: Any) -> Any:
    """Convert a value from a message to the type of an attribute: messages have no enums, tuples, sets or times.

    Raises:
        ValueError: The value does not fit.
        TypeError: The value does not fit.
    """
    if isinstance(old, enum.Enum):
        return type(old)(new)
    if isinstance(old, tuple) and isinstance(new, list):
        return tuple(new)
    if isinstance(old, (set, frozenset)) and isinstance(new, list):
        return type(old)(new)
    if isinstance(old, Mapping) and not all(isinstance(key, str) for key in old):
        raise ValueError("its keys are not strings, as all keys in messages are")
    if isinstance(old, np.generic):
        return _exactly(np.asarray(new, old.dtype)[()], new)
    return _exactly(np.array(new, old.dtype), new) if isinstance(old, np.ndarray) else new


def _exactly(made: Any, new: Any) -> Any:
    given = np.asarray(new, "datetime64" if made.dtype.kind == "M" else None)  # a message has text instead
    if made.dtype.kind != "f" and not np.array_equal(made, given):
        raise ValueError(f"{made.dtype.name} does not have {str(new)[:80]}")
    return made


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values of an attribute are equal, as far as can be determined."""
    try:
        if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
            return bool(np.array_equal(one, other))
        return bool(one == other)
    except Exception:  # an environment's objects may raise anything
        return False
