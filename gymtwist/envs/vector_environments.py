"""Features of vector environments: the autoreset mode, the seeds and masks that ``reset`` takes, and infos."""

from __future__ import annotations

from functools import partial
from typing import Any

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from gymtwist.spaces.info_merging import add_info

#: Names of Gymnasium's autoreset modes in messages. Gymnasium's own values ("NextStep") are meant for display.
AUTORESET_MODES = {
    "next_step": AutoresetMode.NEXT_STEP,
    "same_step": AutoresetMode.SAME_STEP,
    "disabled": AutoresetMode.DISABLED,
}
_NAMES = {mode: name for name, mode in AUTORESET_MODES.items()}


def autoreset_mode(environment: VectorEnv[Any, Any, Any]) -> str:
    """Return the name of a vector environment's autoreset mode; Gymnasium's default if it declares none."""
    mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return _NAMES[AutoresetMode(mode)]


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


def keep_infos(environment: VectorEnv[Any, Any, Any]) -> None:
    """Have a vector environment merge infos without a loss, unless it has a way of its own to merge them."""
    base = environment.unwrapped
    if type(base)._add_info is VectorEnv._add_info:
        base._add_info = partial(add_info, base.num_envs)  # type: ignore[method-assign]
