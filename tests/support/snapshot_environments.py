"""Environments for tests of snapshots."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np


class Drawing(gymnasium.Env[Any, Any]):
    """Draws from the random numbers of its own, and from the global generators of Python and NumPy."""

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float64)

    def _draw(self) -> Any:
        return np.array([self.np_random.random(), random.random(), np.random.random()])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Draw."""
        return self._draw(), 0.0, False, False, {}
