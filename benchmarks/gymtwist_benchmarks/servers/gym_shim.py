"""The part of OpenAI's ``gym`` that two old servers use, over today's Gymnasium, so that they run unchanged.

:mod:`gym_peer_server` makes it importable as ``gym`` in their virtual environments. It has no more than those servers
call, and costs a step one call and one tuple.
"""

from __future__ import annotations

import types
from typing import Any

from gymnasium import spaces
from gymnasium.error import Error

from gymtwist_benchmarks import benchmark_environments

__all__ = ["Env", "error", "make", "spaces", "wrappers"]


#: Submodules of ``gym``, from which the servers use this name alone; they record and upload nothing here.
error, wrappers = types.SimpleNamespace(Error=Error), types.SimpleNamespace()


class Env:
    """An environment with ``gym``'s interface: a reset returns the observation alone, a step four values."""

    def __init__(self, env: Any) -> None:
        self._step, self._reset = env.step, env.reset
        self.close = env.close
        self.spec = env.spec
        self.action_space, self.observation_space = env.action_space, env.observation_space

    def reset(self) -> Any:
        """Begin an episode; return its first observation."""
        observation, _ = self._reset()
        return observation

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        """Take a step; return the observation, the reward, whether the episode has ended, and the info."""
        observation, reward, terminated, truncated, info = self._step(action)
        return observation, float(reward), bool(terminated or truncated), info


def make(name: str) -> Env:
    """Make an environment, as every contender has it."""
    return Env(benchmark_environments.make(name))
