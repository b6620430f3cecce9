"""Environments of this comparison: imported where they are played, and a file for ``--setup`` of gymtwist."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

NESTED = "Bench/Nested-v0"
_EPISODE = 200


class Nested(gymnasium.Env[Any, Any]):
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
        """Begin."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on by one step."""
        self._steps += 1
        return self._observe(), float(action), False, self._steps >= _EPISODE, {"steps": self._steps}


if NESTED not in gymnasium.registry:
    gymnasium.register(NESTED, entry_point=partial(Nested))
