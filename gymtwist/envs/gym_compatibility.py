"""Gym's environments, old and new, as ``gymnasium.Env``.

Gym 0.26 is the last Gym. Its environments return five values from ``step``, older ones four; this adapter serves both.
Gym's own wrappers are taken off, as they accept five only, and the time limit is counted here.
"""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.errors import EnvironmentFault
from gymtwist.spaces.gymnasium_spaces import convert

#: What Gym's ``make`` puts around an environment, by class name: Gym is imported only when it is needed.
_GYM_WRAPPERS = ("OrderEnforcing", "TimeLimit", "PassiveEnvChecker", "StepAPICompatibility")


def registry() -> dict[str, Any]:
    """Return Gym's registry: ids to specifications."""
    import gym

    # Gym imports it there, and does not say that it is to be had there.
    known: dict[str, Any] = gym.envs.registry  # type: ignore[attr-defined]
    return known


def make(environment: str, environment_options: EnvironmentOptions | None = None) -> GymEnvironment:
    """Make an environment that Gym has registered.

    Args:
        environment: An id in :func:`registry`.
        environment_options: What is chosen besides; None for a client that cannot choose.

    Raises:
        EnvironmentFault: The environment needs a NumPy older than the server's.
    """
    import gym

    spec = registry()[environment]
    if environment_options is None:
        modes = _render_modes(spec)
        kwargs = {"render_mode": "rgb_array"} if "rgb_array" in modes and "render_mode" not in spec.kwargs else {}
        environment_options = EnvironmentOptions()
    else:
        kwargs = environment_options.for_constructor()
    limit = environment_options.max_episode_steps or spec.max_episode_steps

    def adapted() -> GymEnvironment:
        # Gym's passive checker fails on every step under NumPy 2 (np.bool8); its limit and order wrappers are
        # unwrapped. By its specification, not its id: then Gym has nothing to say of newer versions.
        made: Any = gym.make(spec, disable_env_checker=True, **kwargs)
        while type(made).__name__ in _GYM_WRAPPERS and type(made).__module__.startswith("gym."):
            made = made.env
        return GymEnvironment(made, None if limit == -1 else limit)

    if str(spec.entry_point).startswith("gym.envs.") and np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        # Another than the one to be played: a trial leaves traces, as in the world of Box2D, that no seed removes.
        _check_numpy(environment, adapted())
    return adapted()


def _render_modes(spec: Any) -> list[str]:
    import gym

    creator = spec.entry_point if callable(spec.entry_point) else gym.envs.registration.load(spec.entry_point)
    metadata = getattr(creator, "metadata", None)
    if not isinstance(metadata, dict) or not _accepts(creator, "render_mode"):
        return []
    return list(metadata.get("render_modes", ()))


def _accepts(function: Any, parameter: str) -> bool:
    """Tell whether a function or constructor takes a parameter of that name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(each.name == parameter or each.kind is each.VAR_KEYWORD for each in parameters)


def _takes_seed(environment: Any) -> bool:
    """Tell whether ``reset`` takes a seed: Gym's wrappers take what they pass on to an environment that may not."""
    import gym

    while _accepts(environment.reset, "seed"):
        if not isinstance(environment, gym.Wrapper):
            return True
        environment = environment.env
    return False


def _check_numpy(environment: str, made: GymEnvironment) -> None:
    """Try one step of an environment that came with Gym: a few of them use names that NumPy 2 has removed.

    The classic protocol can report an error at the opening only.
    """
    try:
        made.reset()
        made.step(made.action_space.sample())
    except AttributeError as error:
        if "NumPy 2.0" not in str(error):
            raise
        raise EnvironmentFault(
            "make",
            f"Gym's {environment} does not run under NumPy {np.__version__} ({error}); "
            f'ask for Gymnasium\'s "gymnasium:{environment}", or run the server with "numpy<2"',
        ) from error
    finally:
        made.close()


class GymEnvironment(gymnasium.Env[Any, Any]):
    """One of Gym's environments behind Gymnasium's interface.

    Args:
        environment: An environment of Gym, of either API, without Gym's own wrappers.
        max_episode_steps: Steps after which an episode is truncated; None means never.
    """

    def __init__(self, environment: Any, max_episode_steps: int | None = None) -> None:
        self._environment = environment
        self._limit = max_episode_steps or 0
        self._steps = 0
        self._takes_seed = _takes_seed(environment)
        self.action_space = convert(environment.action_space)
        self.observation_space = convert(environment.observation_space)
        self.metadata = dict(getattr(environment, "metadata", None) or {})
        self.render_mode = getattr(environment, "render_mode", None)
        self._old_render = self.render_mode is None and "rgb_array" in self.metadata.get("render.modes", ())
        if self._old_render:
            self.render_mode = "rgb_array"

    @property
    def unwrapped(self) -> gymnasium.Env[Any, Any]:
        """This adapter: there is nothing of Gymnasium's below it."""
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; see ``gymnasium.Env.reset``."""
        self._steps = 0
        if self._takes_seed:
            result = self._environment.reset(seed=seed)
        else:
            if seed is not None and hasattr(self._environment, "seed"):
                self._environment.seed(seed)
            result = self._environment.reset()
        # Old environments return the observation alone, which may itself be a pair (of a Tuple space).
        is_pair: bool = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
        if is_pair and (self._takes_seed or not isinstance(self.observation_space, spaces.Tuple)):
            observation, info = result
            return observation, info
        return result, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step; see ``gymnasium.Env.step``."""
        result = self._environment.step(action)
        self._steps += 1
        out_of_time = self._steps == self._limit
        if len(result) == 5:
            observation, reward, terminated, truncated, info = result
            return observation, reward, terminated, truncated or out_of_time, info
        observation, reward, done, info = result
        # Gym 0.21's TimeLimit put this key into info when it was the limit that ended the episode.
        truncated = bool(done and info.get("TimeLimit.truncated", False))
        return (
            observation,
            reward,
            bool(done) and not truncated,
            truncated or (out_of_time and not done),
            info,
        )

    def render(self) -> Any:
        """Return a frame, uint8 of shape (height, width, 3), where the environment has one."""
        return self._environment.render(mode="rgb_array") if self._old_render else self._environment.render()

    def close(self) -> None:
        """Free what the environment holds."""
        self._environment.close()
