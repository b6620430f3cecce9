"""The state of Gymnasium's MuJoCo environments, by MuJoCo's own functions, because their renderers have threads."""

from __future__ import annotations

import copy
import sys
from typing import Any, NamedTuple

#: The module of the environments, which imports MuJoCo and is therefore not imported here.
_MODULE = "gymnasium.envs.mujoco.mujoco_env"
#: The attributes of an environment that no step changes, or that MuJoCo copies.
_NOT_COPIED = ("model", "data", "mujoco_renderer")


class Kept(NamedTuple):
    """An object that a state refers to, instead of a pickled copy.

    Attributes:
        itself: The object, which does not change.
        size: The bytes that it takes only for the state.
    """

    itself: Any
    size: int = 0


def is_of(environment: Any) -> bool:
    """Return whether an object is a MuJoCo environment of Gymnasium."""
    module = sys.modules.get(_MODULE)
    return module is not None and isinstance(environment, module.MujocoEnv)


def snapshot(environment: Any) -> Any:
    """Return the state: MuJoCo's data, with the values derived in the last step, and Python's attributes."""
    attributes = {name: each for name, each in vars(environment).items() if name not in _NOT_COPIED}
    data = environment.data
    # The arena takes memory only where it is used.
    return attributes, Kept(copy.copy(data), data.nbuffer + data.maxuse_arena)


def restore(environment: Any, state: Any) -> None:
    """Restore a state.

    Args:
        environment: The environment.
        state: What :func:`snapshot` returned.
    """
    attributes, data = state
    vars(environment).update(attributes)
    sys.modules[_MODULE].mujoco.mj_copyData(environment.data, environment.model, data)
