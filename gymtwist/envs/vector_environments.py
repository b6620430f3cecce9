"""Features of vector environments: autoreset modes, the seeds and masks that ``reset`` takes, and infos."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate
from gymnasium.wrappers.vector import NormalizeObservation

from gymtwist.spaces.info_merging import FINAL_OBSERVATION, add_info

#: The option that passes a mask to Gymnasium's vector environments.
MASK = "reset_mask"


def autoreset_mode(environment: VectorEnv[Any, Any, Any]) -> str:
    """Return the name of a vector environment's autoreset mode in messages: the enum member's, in lower case.

    If the environment declares none, it is Gymnasium's default.
    """
    mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return AutoresetMode(mode).name.lower()


def takes_seed_list(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether ``reset`` takes a list of seeds, any of which may be None."""
    return isinstance(environment.unwrapped, (SyncVectorEnv, AsyncVectorEnv))


def takes_seed_array(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether ``reset`` takes an array of seeds, as annotated in ale-py."""
    return "ndarray" in str(getattr(environment.unwrapped.reset, "__annotations__", {}).get("seed"))


def takes_mask(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether ``reset`` honors ``options["reset_mask"]``.

    Gymnasium's own classes do. Other classes must if nothing else could reset a single environment.
    """
    return takes_seed_list(environment) or autoreset_mode(environment) == "disabled"


def has_processes(environment: Any) -> bool:
    """Return whether an environment runs in processes of its own, which may die."""
    return isinstance(environment.unwrapped, AsyncVectorEnv)


def rows(environment: AsyncVectorEnv) -> list[Any] | None:
    """Return the last observation of each environment, valid until its next step; None if not in shared memory."""
    return list(iterate(environment.observation_space, environment.observations)) if environment.shared_memory else None


def normalizes(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Return whether a vector environment has a NormalizeObservation, which resets only all environments together."""
    layer = environment
    while isinstance(layer, VectorWrapper):
        if isinstance(layer, NormalizeObservation):
            return True
        layer = layer.env
    return False


def keep_infos(environment: VectorEnv[Any, Any, Any]) -> None:
    """Have a vector environment merge infos without loss, unless it has its own way to merge them."""
    base = environment.unwrapped
    if type(base)._add_info is VectorEnv._add_info:
        base._add_info = partial(add_info, base.num_envs)  # type: ignore[method-assign]  # one object only


def mask_final_observations(environment: VectorEnv[Any, Any, Any], step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that takes a step in ``same_step`` mode, with final observations in Gymnasium's form.

    ale-py returns a row for every environment, even if its episode continues, and no mask. Here, ``final_obs`` is an
    array of objects, with None for these environments, and ``_final_obs`` marks the others.
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
