"""Environments of this process, as their libraries make them."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import random
from typing import Any

import gym
import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv


def registered() -> list[str]:
    """List all ids; those of Gym begin with ``gym:``."""
    with contextlib.suppress(ImportError):
        importlib.import_module("ale_py")  # the server does so by itself
    gyms: Any = gym.envs.registry  # type: ignore[attr-defined]  # exported, not declared
    return [*gymnasium.registry, *(f"gym:{each}" for each in gyms)]


def is_vector(environment: Any) -> bool:
    """Return whether it is a vector environment, which resets itself."""
    return isinstance(environment, VectorEnv)


def make_local(environment: str, num_envs: int | None = None) -> Any:
    """Make an environment with Gymnasium's interface.

    Args:
        environment: An id; ``gym:`` before it chooses Gym.
        num_envs: How many step together; None for a single environment.
    """
    if environment.startswith("gym:"):
        return OldGym(gym.spec(environment.removeprefix("gym:")))
    if num_envs is not None:
        return gymnasium.make_vec(environment, num_envs)
    return gymnasium.make(environment, disable_env_checker=True)


class OldGym:
    """An environment of Gym with Gymnasium's interface, of either of Gym's own.

    As at the server, a seed is also that of the global generators, from which many of them draw.

    Args:
        spec: Its specification.
    """

    def __init__(self, spec: Any) -> None:
        entry_point = spec.entry_point
        creator: Any = gym.envs.registration.load(entry_point) if isinstance(entry_point, str) else entry_point
        self._environment = creator(**spec.kwargs)
        self._limit = spec.max_episode_steps
        self._steps = 0
        self.action_space = self._environment.action_space
        self.observation_space = self._environment.observation_space

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._steps = 0
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
        takes = inspect.signature(self._environment.reset).parameters
        if "seed" in takes:
            result = self._environment.reset(seed=seed)
        else:
            seeding = getattr(self._environment, "seed", None)
            if seed is not None and callable(seeding) and inspect.signature(seeding).parameters:
                seeding(seed)
            result = self._environment.reset()
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
            return result
        return result, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step."""
        result = self._environment.step(action)
        self._steps += 1
        is_late = self._steps == self._limit
        if len(result) == 5:
            observation, reward, terminated, truncated, info = result
            return observation, reward, terminated, truncated or is_late, info
        observation, reward, done, info = result
        truncated = bool(done and info.get("TimeLimit.truncated", False))
        return observation, reward, bool(done) and not truncated, truncated or (is_late and not done), info

    def close(self) -> None:
        """Close it."""
        self._environment.close()
