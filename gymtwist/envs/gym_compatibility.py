"""Gym's environments, old and new, as ``gymnasium.Env``.

Gym 0.26 is the last release of Gym. Its environments return five values from ``step``, older ones four; this adapter
accepts both. It removes Gym's own wrappers, which accept only five, and enforces the time limit itself.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from gymtwist.envs.environment_options import RGB, accepts, renders_by_argument
from gymtwist.errors import EnvironmentFault
from gymtwist.spaces.descriptions import Tuple, kind_of
from gymtwist.spaces.gymnasium_spaces import convert, space_of

#: Gym's own wrappers by class name, because Gym is imported only on demand.
_GYM_WRAPPERS = ("OrderEnforcing", "TimeLimit", "PassiveEnvChecker", "StepAPICompatibility")


def registry() -> dict[str, Any]:
    """Return Gym's registry, a mapping of ids to specifications."""
    import gym

    # Gym exports it there without declaring it.
    known: dict[str, Any] = gym.envs.registry  # type: ignore[attr-defined]
    return known


def make(spec: Any, max_episode_steps: int | None, kwargs: dict[str, Any]) -> GymEnvironment:
    """Make an environment that Gym has registered.

    Args:
        spec: The specification, from :func:`registry`.
        max_episode_steps: Steps after which an episode is truncated; None for the registered limit, -1 for no limit.
        kwargs: Keyword arguments for the constructor.

    Raises:
        EnvironmentFault: The environment needs a NumPy older than the server's.
    """
    import gym

    limit = max_episode_steps or spec.max_episode_steps

    def make_adapted() -> GymEnvironment:
        # Gym's passive checker fails on every step under NumPy 2 (np.bool8); its limit and order wrappers are
        # unwrapped. Made from the specification instead of the id, Gym does not advertise newer versions.
        made: Any = gym.make(spec, disable_env_checker=True, **kwargs)
        limits = [] if limit in (None, -1) else [limit]
        of_registration = spec.max_episode_steps is not None
        while type(made).__name__ in _GYM_WRAPPERS and type(made).__module__.startswith("gym."):
            if type(made).__name__ == "TimeLimit":
                # The outermost limit is the registration's, which the client's replaces; others are the constructor's.
                limits += [] if of_registration else [made._max_episode_steps]
                of_registration = False
            made = made.env
        return GymEnvironment(made, min(limits, default=None))

    if str(spec.entry_point).startswith("gym.envs.") and np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        # The trial uses an environment of its own, because it leaves traces that no seed resets, for example in Box2D's
        # world.
        _check_numpy(spec.id, make_adapted())
    return make_adapted()


def takes_seed(environment: Any) -> bool:
    """Return whether a Gym environment, or a vector of them, uses the seeds passed to ``reset``.

    Args:
        environment: A :class:`GymEnvironment`, possibly wrapped, or a vector environment of several.
    """
    vector: Any = environment if isinstance(environment, VectorEnv) else None  # only some have the method
    return all([environment.get_wrapper_attr("takes_seed")] if vector is None else vector.get_attr("takes_seed"))


def _seed_method(environment: Any) -> Callable[[int], object] | None:
    """Return the method that seeds environments before Gym 0.26; None if there is none that takes a seed."""
    method: Any = getattr(environment, "seed", None)
    try:
        inspect.signature(method).bind(0)
    except TypeError:  # it takes no seed, or is a number
        return None
    except ValueError:  # a method written in C, whose parameters are unknown
        pass
    found: Callable[[int], object] = method
    return found


def _reset_takes_seed(environment: Any) -> bool:
    """Return whether ``reset`` takes a seed; wrappers pass on any argument, so look below them."""
    import gym

    while accepts(environment.reset, "seed"):
        if not isinstance(environment, gym.Wrapper):
            return True
        environment = environment.env
    return False


def _check_numpy(environment: str, made: GymEnvironment) -> None:
    """Try one step of one of Gym's own environments: a few of them use names that NumPy 2 has removed.

    The classic protocol can report an error only in its handshake.
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
    """One of Gym's environments with Gymnasium's interface.

    Args:
        environment: A Gym environment, of either API, without Gym's own wrappers.
        max_episode_steps: Steps after which an episode is truncated; None to never truncate.

    Attributes:
        max_episode_steps: Steps after which an episode is truncated; None for never.
        takes_seed: Whether the environment uses the seeds of resets; otherwise, they seed only the global generators.
    """

    def __init__(self, environment: Any, max_episode_steps: int | None = None) -> None:
        self._environment = environment
        self.max_episode_steps = max_episode_steps
        self._limit = max_episode_steps or 0
        self._steps = 0
        self._reset_takes_seed = _reset_takes_seed(environment)
        self._seed_method = _seed_method(environment)
        self.takes_seed = self._reset_takes_seed or self._seed_method is not None
        self.action_space = convert(space_of(environment, "action_space"), "action_space")
        self.observation_space = convert(space_of(environment, "observation_space"), "observation_space")
        self.metadata = dict(getattr(environment, "metadata", None) or {})
        self.render_mode = getattr(environment, "render_mode", None)
        self._old_render = self.render_mode is None and renders_by_argument(type(environment.unwrapped))
        if self._old_render:
            self.render_mode = RGB

    @property
    def unwrapped(self) -> gymnasium.Env[Any, Any]:
        """This adapter itself: nothing below it is a Gymnasium environment."""
        return self

    @property
    def original(self) -> Any:
        """The Gym environment, without any wrapper."""
        return self._environment.unwrapped

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; see ``gymnasium.Env.reset``."""
        self._steps = 0
        if seed is not None:
            # Many old environments draw from the global generators.
            random.seed(seed)
            np.random.seed(seed % 2**32)
        if self._reset_takes_seed:
            result = self._environment.reset(seed=seed)
        else:
            if seed is not None and self._seed_method is not None:
                self._seed_method(seed)
            result = self._environment.reset()
        # Old environments return only the observation, which may itself be a pair (of a Tuple space).
        is_pair: bool = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
        if is_pair and (self._reset_takes_seed or kind_of(self.observation_space) is not Tuple):
            observation, info = result
            return observation, info
        return result, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step; see ``gymnasium.Env.step``."""
        result = self._environment.step(action)
        self._steps += 1
        out_of_time = self._steps == self._limit
        if isinstance(result, tuple) and len(result) == 5:
            observation, reward, terminated, truncated, info = result
            return observation, reward, terminated, truncated or out_of_time, info
        if not isinstance(result, tuple) or len(result) != 4:
            return result  # the code that unpacks it reports what it is
        observation, reward, done, info = result
        # Gym 0.21's TimeLimit sets this key when the limit ends the episode.
        truncated = bool(done and info.get("TimeLimit.truncated", False))
        return (
            observation,
            reward,
            bool(done) and not truncated,
            truncated or (out_of_time and not done),
            info,
        )

    def render(self) -> Any:
        """Return what the environment renders; a frame is uint8 of shape (height, width, 3)."""
        return self._environment.render(mode=RGB) if self._old_render else self._environment.render()

    def close(self) -> None:
        """Release the environment's resources."""
        self._environment.close()
