"""Plays what has Gymnasium's interface: environments, and vectors of them. It needs NumPy, and nothing of Gymnasium."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare.driving import Player, SinglePlayer, random_actions
from compare.workloads import Workload


def single(env: Any, workload: Workload) -> Player:
    """Play a ``gymnasium.Env``."""
    step, reset = env.step, env.reset

    def take(action: Any) -> tuple[Any, bool]:
        observation, _, terminated, truncated, _ = step(action)
        return observation, terminated or truncated

    convert = (lambda action: np.array(action, np.float32)) if workload.box else None
    return SinglePlayer(workload, lambda: reset()[0], take, env.close, convert)


class VectorPlayer:
    """Plays environments that step together, and that reset by themselves.

    Args:
        envs: It has ``reset``, ``step`` and ``close`` as a ``gymnasium.vector.VectorEnv`` has them.
        workload: What is played, by ``num_envs`` environments.
        dtype: What actions the library likes best.
    """

    def __init__(self, envs: Any, workload: Workload, dtype: Any = np.int64) -> None:
        assert workload.num_envs is not None
        self._envs, self._count = envs, workload.num_envs
        drawn = np.array(random_actions(workload, 256 * workload.num_envs), dtype)
        self._actions = list(drawn.reshape(256, workload.num_envs))
        self._at = 0
        self._is_reset = False

    def play(self, steps: int) -> int:
        """See :class:`compare.driving.Player`: a step of all together is counted as that of each."""
        if not self._is_reset:
            self._envs.reset()
            self._is_reset = True
        step, actions, at = self._envs.step, self._actions, self._at
        for number in range(at, at + steps):
            step(actions[number % 256])
        self._at = at + steps
        return steps * self._count

    def close(self) -> None:
        """See :class:`compare.driving.Player`."""
        self._envs.close()


class BalancingOne:
    """Plays CartPole in a vector of one environment, for whoever has only vectors.

    Args:
        envs: As for :class:`VectorPlayer`.
        dtype: What actions the library likes best.
    """

    def __init__(self, envs: Any, dtype: Any = np.int64) -> None:
        self._envs = envs
        self._actions = [np.zeros(1, dtype), np.ones(1, dtype)]
        self._observation: Any = None

    def play(self, steps: int) -> int:
        """See :class:`compare.driving.Player`."""
        if self._observation is None:
            self._observation = self._envs.reset()[0][0]
        step, actions, observation = self._envs.step, self._actions, self._observation
        for _ in range(steps):
            observation = step(actions[1 if observation[2] + observation[3] > 0 else 0])[0][0]
        self._observation = observation
        return steps

    def close(self) -> None:
        """See :class:`compare.driving.Player`."""
        self._envs.close()
