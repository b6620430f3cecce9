"""The part of OpenAI's ``gym`` that two old servers use, over today's Gymnasium, so that they run unchanged.

:mod:`gym_peer_server` makes it importable as ``gym`` in their virtual environments. It has no more than those servers
call, and costs a step one call and one tuple.
"""

from __future__ import annotations

import types
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.error import Error

__all__ = ["Env", "error", "make", "spaces", "upload", "wrappers"]


class AuthenticationError(Error):
    """An upload was refused."""


class Monitor:
    """Refuses: nothing is recorded in this comparison."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise Error("nothing is recorded here")


#: Submodules of ``gym``; the servers import names from them only as attributes.
error = types.SimpleNamespace(Error=Error, AuthenticationError=AuthenticationError)
wrappers = types.SimpleNamespace(Monitor=Monitor)


class Env:
    """An environment with ``gym``'s interface: a reset returns the observation alone, a step four values.

    Args:
        env: Gymnasium's environment.
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
        """Render in the mode that the environment was made with."""
        return self._env.render()

    def close(self) -> None:
        """Leave."""
        self._env.close()


def make(name: str) -> Env:
    """Make an environment, without Gymnasium's checker, as every contender has it.

    Raises:
        Error: There is none of that name.
    """
    if name.startswith("ALE/"):  # imported only where it is played, because a connection waits for it
        import ale_py

        gymnasium.register_envs(ale_py)
    return Env(gymnasium.make(name, disable_env_checker=True))


def upload(*args: Any, **kwargs: Any) -> None:
    """Refuse: the site for uploads is gone."""
    raise Error("there is nowhere to upload to")
