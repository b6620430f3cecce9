"""What two servers of 2016 to 2018 use of OpenAI's ``gym``, over today's Gymnasium, so that they run unchanged.

:mod:`linking` makes it importable as ``gym`` in the virtual environment of a peer. It has no more than those servers
call, imports no more than Gymnasium itself, and adds as little to a step as can be: one call, and one tuple.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from . import error, wrappers

__all__ = ["Env", "error", "make", "spaces", "upload", "wrappers"]


class Env:
    """An environment of Gymnasium's as ``gym`` had it: a reset gives an observation alone, a step four things.

    Args:
        env: The environment of Gymnasium's.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._step, self._reset = env.step, env.reset
        self._seed: int | None = None
        self.spec = env.spec
        self.action_space, self.observation_space = env.action_space, env.observation_space

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the next reset."""
        self._seed = seed
        return [seed]

    def reset(self) -> Any:
        """Begin an episode; return its first observation."""
        seed, self._seed = self._seed, None
        return self._reset(seed=seed)[0]

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        """Take a step; return the observation, the reward, whether the episode has ended, and the info."""
        observation, reward, terminated, truncated, info = self._step(action)
        return observation, float(reward), bool(terminated or truncated), info

    def render(self, mode: str = "human") -> Any:
        """Render, as the environment was made to."""
        return self._env.render()

    def close(self) -> None:
        """Leave."""
        self._env.close()


def make(name: str) -> Env:
    """Make an environment, without Gymnasium's checker, as every contender has it.

    Raises:
        error.Error: There is none of that name.
    """
    if name.startswith("ALE/"):  # it is imported where it is played, and nowhere else: a connection waits for it
        import ale_py

        gymnasium.register_envs(ale_py)
    return Env(gymnasium.make(name, disable_env_checker=True))


def upload(*args: Any, **kwargs: Any) -> None:
    """Refuse: the site that results were uploaded to is gone."""
    raise error.Error("there is nowhere to upload to")
