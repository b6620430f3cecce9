"""Features of vector environments: the autoreset mode, the seeds and masks that ``reset`` takes, and infos."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate
from gymnasium.wrappers.vector import NormalizeObservation

from gymtwist.spaces.info_merging import FINAL_OBSERVATION, add_info

#: The option by which Gymnasium's vector environments take a mask.
MASK = "reset_mask"


def autoreset_mode(environment: VectorEnv[Any, Any, Any]) -> str:
    """Return the name of a vector environment's autoreset mode in messages: the enum member's, in lower case.

    It is Gymnasium's default if the environment declares none.
    """
    mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return AutoresetMode(mode).name.lower()


def takes_seed_list(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether ``reset`` takes a list of seeds, any of which may be None."""
    return isinstance(environment.unwrapped, (SyncVectorEnv, AsyncVectorEnv))


def takes_seed_array(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether ``reset`` takes an array of seeds, as ale-py's does according to its annotations."""
    return "ndarray" in str(getattr(environment.unwrapped.reset, "__annotations__", {}).get("seed"))


def takes_mask(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether ``reset`` honors ``options["reset_mask"]``.

    Gymnasium's own classes do. Others certainly do if nothing else could reset one of their environments.
    """
    return takes_seed_list(environment) or autoreset_mode(environment) == "disabled"


def has_processes(environment: Any) -> bool:
    """Return whether an environment runs in processes of its own, any of which may die."""
    return isinstance(environment.unwrapped, AsyncVectorEnv)


def rows(environment: AsyncVectorEnv) -> list[Any] | None:
    """Return the last observation of each environment, valid until its next step; None if a step returns its own."""
    return list(iterate(environment.observation_space, environment.observations)) if environment.shared_memory else None


def normalizes(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether a NormalizeObservation is around a vector environment: it resets only all environments."""
    layer = environment
    while isinstance(layer, VectorWrapper):
        if isinstance(layer, NormalizeObservation):
            return True
        layer = layer.env
    return False


def keep_infos(environment: VectorEnv[Any, Any, Any]) -> None:
    """Have a vector environment merge infos without a loss, unless it has a way of its own to merge them."""
    base = environment.unwrapped
    if type(base)._add_info is VectorEnv._add_info:
        base._add_info = partial(add_info, base.num_envs)  # type: ignore[method-assign]  # one object only


def mask_final_observations(environment: VectorEnv[Any, Any, Any], step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that takes a step in ``same_step`` mode, with final observations as Gymnasium has them.

    ale-py's returns a row for every environment and no mask, also while their episodes go on. Here ``final_obs`` is an
    array of objects, None for those environments, and ``_final_obs`` marks the others.
    """
    space = environment.observation_space
    if takes_seed_list(environment):  # Gymnasium's own
        return step

    def masked_step(actions: Any) -> Any:
        observations, rewards, terminated, truncated, info = step(actions)
        last = info.get(FINAL_OBSERVATION) if isinstance(info, dict) else None
        if last is not None and not (isinstance(last, np.ndarray) and last.dtype.kind == "O"):
            ended = np.asarray(info.get(f"_{FINAL_OBSERVATION}", np.asarray(terminated) | np.asarray(truncated)), bool)
            info = {key: each for key, each in info.items() if key.removeprefix("_") != FINAL_OBSERVATION}
            if ended.any():
                rows = np.full(len(ended), None, dtype=object)
                for index, each in enumerate(iterate(space, last)):
                    rows[index] = each if ended[index] else None
                info |= {FINAL_OBSERVATION: rows, f"_{FINAL_OBSERVATION}": ended}
        return observations, rewards, terminated, truncated, info

    return masked_step
