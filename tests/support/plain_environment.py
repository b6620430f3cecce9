"""The environment that the others are made of."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Result = tuple[Any, float, bool, bool, dict[str, Any]]

PAIR = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Plain(gymnasium.Env[Any, Any]):
    """Does nothing, well."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space: spaces.Space[Any] = PAIR
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        """Take the render mode that Gymnasium passes on."""
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return zeros."""
        super().reset(seed=seed)
        return self.observe(), {}

    def step(self, action: Any) -> Result:
        """Return zeros, and what `act` makes known."""
        info = self.act(action)
        return self.observe(), 1.0, False, False, info

    def observe(self) -> Any:
        """Return the observation."""
        return np.zeros(2, np.float32)

    def act(self, action: Any) -> dict[str, Any]:
        """Do what the environment is about; return the info."""
        return {}

    def render(self) -> Any:
        """Return a grey picture."""
        return np.full((64, 64, 3), 127, np.uint8)
