"""Vector environments: many environments of one kind, stepped together."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import msgspec
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from gymtwist.envs.environment_options import EnvironmentOptions, check, parameters
from gymtwist.envs.registry import Found, creator, find, guarded, make_found
from gymtwist.errors import InvalidField

#: What messages call Gymnasium's modes, whose own values are for people ("NextStep").
AUTORESET_MODES = {
    "next_step": AutoresetMode.NEXT_STEP,
    "same_step": AutoresetMode.SAME_STEP,
    "disabled": AutoresetMode.DISABLED,
}
_NAMES = {mode: name for name, mode in AUTORESET_MODES.items()}
#: The most environments that have a process each: every one of them costs the machine megabytes and a process id.
MAX_PROCESSES = 64
_OWN = "vector_entry_point"
_MODES = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}


class Vectorization(msgspec.Struct, frozen=True, kw_only=True):
    """How a client wants an environment to be vectorized; see ``gymnasium.make_vec``.

    Attributes:
        num_envs: How many environments.
        mode: ``sync``, ``async``, ``vector_entry_point``, or None: the last if the environment has one, or else sync.
        autoreset_mode: ``next_step``, ``same_step`` or ``disabled``.
    """

    num_envs: int
    mode: str | None = None
    autoreset_mode: str = "next_step"


def make_vec(
    environment: str, environment_options: EnvironmentOptions, vectorization: Vectorization
) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment.

    Args:
        environment: An id, as for :func:`gymtwist.envs.registry.find`.
        environment_options: What is chosen besides.
        vectorization: How many, and how.

    Raises:
        UnknownEnvironment: There is none of that id.
        InvalidField: It cannot be had as chosen.
        EnvironmentFault: A constructor raised.
    """
    if vectorization.num_envs < 1:
        raise InvalidField(f"num_envs {vectorization.num_envs}: send an integer from 1, or leave it out")
    if vectorization.autoreset_mode not in AUTORESET_MODES:
        raise InvalidField(
            f'unknown autoreset_mode "{vectorization.autoreset_mode}"; there are {", ".join(AUTORESET_MODES)}'
        )
    found = find(environment)
    own = getattr(found.spec, _OWN, None)  # Gym's have none
    mode = vectorization.mode or (_OWN if own is not None else "sync")
    if mode == _OWN:
        return _make_own(found, environment_options, vectorization)
    if mode not in _MODES:
        raise InvalidField(f'unknown vectorization_mode "{mode}"; there are sync, async and {_OWN}')
    if mode == "async" and vectorization.num_envs > MAX_PROCESSES:
        raise InvalidField(
            f"num_envs {vectorization.num_envs}: async has a process for each, send {MAX_PROCESSES} at most, or ask "
            'for the vectorization_mode "sync"'
        )
    check(environment_options, found.spec.id, creator(found))
    # What is returned is sent before the next step: there is no need for a copy of it.
    vector_kwargs: Any = {"autoreset_mode": AUTORESET_MODES[vectorization.autoreset_mode], "copy": False}
    if found.of_gym:
        functions = [partial(make_found, found, environment_options)] * vectorization.num_envs
        return guarded(lambda: _MODES[mode](functions, **vector_kwargs))
    return guarded(
        lambda: gymnasium.make_vec(
            found.spec,
            vectorization.num_envs,
            mode,
            vector_kwargs,
            max_episode_steps=environment_options.max_episode_steps,
            disable_env_checker=True,
            **environment_options.for_constructor(),
        )
    )


def _make_own(
    found: Found, environment_options: EnvironmentOptions, vectorization: Vectorization
) -> VectorEnv[Any, Any, Any]:
    """Make the vector environment that an environment brings itself, which may be another in all but its name."""
    entry_point = getattr(found.spec, _OWN, None)
    if entry_point is None:
        raise InvalidField(f'{found.spec.id} brings no vector environment; ask for the vectorization_mode "sync"')
    maker: Any = guarded(lambda: load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point)
    check(environment_options, f"the vector environment of {found.spec.id}", maker)
    kwargs = environment_options.for_constructor()
    names = parameters(maker)
    if environment_options.max_episode_steps is not None:
        # That there is to be no limit is Gymnasium's own -1: no constructor understands it.
        if environment_options.max_episode_steps == -1 or (names is not None and "max_episode_steps" not in names):
            raise InvalidField(
                f"the vector environment of {found.spec.id} takes no such max_episode_steps; ask for "
                'vectorization_mode "sync" or "async"'
            )
        kwargs = {**kwargs, "max_episode_steps": environment_options.max_episode_steps}
    if names is None or "autoreset_mode" in names:
        kwargs = {**kwargs, "autoreset_mode": AUTORESET_MODES[vectorization.autoreset_mode]}
    made = guarded(lambda: gymnasium.make_vec(found.spec, vectorization.num_envs, _OWN, **kwargs))
    if (has := autoreset_mode(made)) != vectorization.autoreset_mode:
        made.close()
        raise InvalidField(
            f'the vector environment of {found.spec.id} has the autoreset_mode "{has}" alone; ask for that, or for '
            'vectorization_mode "sync" or "async"'
        )
    return made


def autoreset_mode(environment: VectorEnv[Any, Any, Any]) -> str:
    """Return the name of a vector environment's autoreset mode; one that does not say has Gymnasium's default."""
    mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return _NAMES[AutoresetMode(mode)]


def takes_each(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Tell whether a vector environment's ``reset`` takes a list of seeds, of which any may be None."""
    return isinstance(environment.unwrapped, (SyncVectorEnv, AsyncVectorEnv))


def takes_array(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Tell whether a vector environment's ``reset`` takes an array of seeds, as ale-py's does and says."""
    return "ndarray" in str(getattr(environment.unwrapped.reset, "__annotations__", {}).get("seed"))


def takes_mask(environment: VectorEnv[Any, Any, Any]) -> bool:
    """Tell whether a vector environment's ``reset`` heeds ``options["reset_mask"]``.

    Gymnasium's own do; of others it is certain only where nothing else could reset an environment.
    """
    return takes_each(environment) or autoreset_mode(environment) == "disabled"


def has_processes(environment: Any) -> bool:
    """Tell whether an environment has processes of its own, of which one may be lost."""
    return isinstance(environment.unwrapped, AsyncVectorEnv)
