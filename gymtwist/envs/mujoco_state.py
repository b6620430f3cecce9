"""The state of Gymnasium's MuJoCo environments, by MuJoCo's own functions: their renderers have threads."""

from __future__ import annotations

import copy
import sys
from typing import Any, NamedTuple

#: The module of the environments, which is not imported here, and has MuJoCo.
_MODULE = "gymnasium.envs.mujoco.mujoco_env"
#: What an environment has that no step changes, or that is copied by MuJoCo.
_NOT_COPIED = ("model", "data", "mujoco_renderer")


class Kept(NamedTuple):
    """What a state has as it is, instead of a pickled copy.

    Attributes:
        itself: The object, which does not change.
        size: Bytes that it takes for the state alone.
    """

    itself: Any
    size: int = 0


def is_of(environment: Any) -> bool:
    """Return whether an object is a MuJoCo environment of Gymnasium."""
    module = sys.modules.get(_MODULE)
    return module is not None and isinstance(environment, module.MujocoEnv)


def snapshot(environment: Any) -> Any:
    """Return the state: MuJoCo's data, with what the last step has derived, and Python's attributes."""
    attributes = {name: each for name, each in vars(environment).items() if name not in _NOT_COPIED}
    data = environment.data
    # Of the arena memory is taken only where it is used.
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
