"""States that environments save and restore themselves, for when a copy of the process would not work.

An environment has a hook for this: a class with the methods ``__snapshot__()``, which returns a state, and
``__restore__(state)``. It may be a wrapper, an environment or a vector environment. Everything around it, such as
Gymnasium's wrappers, is copied attribute by attribute; it is responsible for everything inside. MuJoCo's environments
have no such methods; :mod:`~gymtwist.envs.mujoco_state` replaces them.

A state is pickled, so that neither the environment nor restoring it can change it.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gymtwist.envs import environment_results, mujoco_state
from gymtwist.envs.mujoco_state import Kept
from gymtwist.errors import EnvironmentFault, SnapshotRefused

#: Types of objects that hold no state of an episode, and often cannot be pickled.
_SHARED = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    functools.partial,
    EnvSpec,
)


class _Hook(NamedTuple):
    """How to save and restore an environment's state.

    Attributes:
        snapshot: Takes the environment and returns a state.
        restore: Takes the environment and a state, and restores it.
    """

    snapshot: Callable[[Any], Any]
    restore: Callable[[Any, Any], None]


class KeptState(NamedTuple):
    """The state of an environment, and all else that is restored with it.

    Attributes:
        pickled: The pickled copy.
        kept: The objects that it refers to.
        size: The bytes that the state takes.
        environment: The innermost environment, the only one that the state is valid for.
    """

    pickled: bytes
    kept: list[Any]
    size: int
    environment: Any

    def restore(self) -> Any:
        """Restore the environment; return a copy of the objects kept with it.

        Raises:
            BaseException: The environment raised an exception.
        """
        unpickler = _Unpickler(io.BytesIO(self.pickled))
        unpickler.kept = self.kept
        return unpickler.load()[1]


def keep(environment: Any, rest: Any) -> KeptState:
    """Save the state of an environment.

    Args:
        environment: The environment, or vector environment, with all its wrappers.
        rest: What else to save, from the same moment.

    Raises:
        SnapshotRefused: The environment has no hook, or something cannot be copied; the message is a clause.
        EnvironmentFault: The environment raised an exception.
    """
    layers = _layers_of(environment)
    file = io.BytesIO()
    pickler = _Pickler(file, layers)
    try:
        pickler.dump((environment, rest))
    except EnvironmentFault:
        raise
    except Exception as error:
        raise SnapshotRefused(_culprit(layers) or f"its state cannot be copied ({error})") from None
    pickled = file.getvalue()
    return KeptState(pickled, pickler.kept, len(pickled) + pickler.size, environment.unwrapped)


def _layers_of(environment: Any) -> dict[int, Any]:
    """Return the environment and the layers inside it, down to those with a hook, by ``id()``; outermost first.

    Raises:
        SnapshotRefused: A layer has no hook, and nothing inside it.
    """
    gym = sys.modules.get("gym")
    kinds = (gymnasium.Env, VectorEnv) if gym is None else (gymnasium.Env, VectorEnv, gym.Env)
    found: dict[int, Any] = {}
    waiting = [environment]
    while waiting:
        layer = waiting.pop(0)
        if id(layer) in found:
            continue
        found[id(layer)] = layer
        if _hook_of(layer) is None:
            inside = list(_inside(layer, kinds))
            if not inside:
                raise SnapshotRefused(f"{type(layer).__name__} has no methods `__snapshot__` and `__restore__`")
            waiting += inside
    return found


def _inside(layer: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    for value in vars(layer).values():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(each, kinds):
                yield each


def _hook_of(layer: Any) -> _Hook | None:
    kind = type(layer)
    if hasattr(kind, "__snapshot__") and hasattr(kind, "__restore__"):
        return _Hook(kind.__snapshot__, kind.__restore__)
    if mujoco_state.is_of(layer):
        return _Hook(mujoco_state.snapshot, mujoco_state.restore)
    return None


class _Pickler(pickle.Pickler):
    """Pickles a state.

    Args:
        file: The file to write to.
        layers: The environments and wrappers, by ``id()``.

    Attributes:
        kept: The objects that the state refers to.
        size: The bytes that these objects take for the state.
    """

    def __init__(self, file: io.BytesIO, layers: dict[int, Any]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._layers = layers
        self._places: dict[int, int] = {}
        self.kept: list[Any] = []
        self.size = 0

    def persistent_id(self, value: Any) -> int | None:
        """Return the index of an object that is kept as it is; None for an object to pickle."""
        if isinstance(value, Kept):
            self.size += value.size
            value = value.itself
        elif not isinstance(value, _SHARED):
            return None
        place = self._places.setdefault(id(value), len(self.kept))
        if place == len(self.kept):
            self.kept.append(value)
        return place

    def reducer_override(self, value: Any) -> Any:
        """Pickle only what changes in environments and spaces, because other objects refer to them."""
        if isinstance(value, gymnasium.Space):
            # The bounds may be large; the other attributes hold the random generators.
            state = {name: each for name, each in vars(value).items() if not isinstance(each, np.ndarray)}
            return _itself, (Kept(value),), state, None, None, _update
        if id(value) not in self._layers:
            return NotImplemented
        hook = _hook_of(value)
        if hook is None:
            return _itself, (Kept(value),), vars(value), None, None, _replace
        try:
            state = hook.snapshot(value)
        except BaseException as error:
            raise environment_results.fault("snapshot", error) from error
        # Without a tuple, None would not be restored.
        return _itself, (Kept(value),), (state,), None, None, _restore


class _Unpickler(pickle.Unpickler):
    kept: list[Any]

    def persistent_load(self, place: int) -> Any:
        return self.kept[place]


def _itself(value: Any) -> Any:
    return value


def _update(space: Any, attributes: dict[str, Any]) -> None:
    vars(space).update(attributes)


def _replace(layer: Any, attributes: dict[str, Any]) -> None:
    vars(layer).clear()
    vars(layer).update(attributes)


def _restore(layer: Any, state: tuple[Any]) -> None:
    hook = _hook_of(layer)
    assert hook is not None
    hook.restore(layer, *state)


def _culprit(layers: dict[int, Any]) -> str:
    """Return what cannot be pickled, as a clause; empty if everything can be pickled."""
    for layer in reversed(layers.values()):  # what is inside is also part of what is outside
        parts = {"__snapshot__()": layer} if _hook_of(layer) else vars(layer)
        for name, value in parts.items():
            try:
                _Pickler(io.BytesIO(), layers).dump(value)
            except Exception as error:
                return f"{type(layer).__name__}.{name} cannot be pickled ({type(error).__name__}: {error})"
    return ""
