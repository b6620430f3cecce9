"""Environments of the benchmarks: imported by programs, and the setup file of gymtwist's servers."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from gymtwist_benchmarks.workloads import COMPUTED

NESTED, NO_OP = "Bench/Nested-v0", "Bench/NoOp-v0"
#: Environments with the keyword argument ``microseconds``.
COMPUTING, WAITING = "Bench/Computing-v0", "Bench/Waiting-v0"
_EPISODE = 200


class NoOpEnvironment(gymnasium.Env[Any, Any]):
    """Observes four zeros in an endless episode, so that what is measured is everything but the environment."""

    observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self._observation = np.zeros(4, np.float32)
        self._info: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the observation."""
        return self._observation, self._info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the observation."""
        return self._observation, 0.0, False, False, self._info


class ComputingEnvironment(NoOpEnvironment):
    """Computes for some microseconds in each step."""

    def __init__(self, microseconds: int, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._seconds = microseconds / 1e6

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the observation when the time is over."""
        clock = time.perf_counter
        end = clock() + self._seconds
        while clock() < end:
            continue
        return self._observation, 0.0, False, False, self._info


class WaitingEnvironment(ComputingEnvironment):
    """Waits for some microseconds in each step, as if something else computed."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the observation when the time is over."""
        time.sleep(self._seconds)
        return self._observation, 0.0, False, False, self._info


class NestedEnvironment(gymnasium.Env[Any, Any]):
    """Observes a Dict within a Tuple, and costs little itself. An episode has 200 steps."""

    observation_space = spaces.Tuple(
        (
            spaces.Box(-1.0, 1.0, (4,), np.float32),
            spaces.Dict(
                {
                    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
                    "position": spaces.Box(-100.0, 100.0, (2,), np.float64),
                    "goal": spaces.Discrete(10),
                    "keys": spaces.MultiBinary(4),
                }
            ),
        )
    )
    action_space = spaces.Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._steps = 0

    def _observe(self) -> Any:
        steps = self._steps
        return (
            np.full(4, steps / _EPISODE, np.float32),
            {
                "image": np.full((8, 8, 3), steps % 256, np.uint8),
                "position": np.array((steps / 2, -steps / 2)),
                "goal": np.int64(steps % 10),
                "keys": np.array((steps & 1, steps >> 1 & 1, steps >> 2 & 1, 0), np.int8),
            },
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        self._steps += 1
        return self._observe(), float(action), False, self._steps >= _EPISODE, {"steps": self._steps}


_ENTRY_POINTS: dict[str, Any] = {
    NESTED: partial(NestedEnvironment),
    NO_OP: partial(NoOpEnvironment),
    COMPUTING: partial(ComputingEnvironment),
    WAITING: partial(WaitingEnvironment),
    **{each.environment: partial(ComputingEnvironment, each.computes) for each in COMPUTED},
}
for name, entry_point in _ENTRY_POINTS.items():
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=entry_point, order_enforce=name == NESTED)


def make(environment: str) -> Any:
    """Make an environment without Gymnasium's checker, as every contender has it."""
    if environment.startswith("ALE/"):  # imported only where it is played, because a connection waits for it
        import ale_py

        gymnasium.register_envs(ale_py)
    return gymnasium.make(environment, disable_env_checker=True)
