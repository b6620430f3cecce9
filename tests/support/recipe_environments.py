"""An environment that crashes often, for a recipe that goes on learning."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv


class BriefCartPole(CartPoleEnv):
    """CartPole whose process ends in the middle of its 150th step; the next one begins the same each time."""

    taken = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode, so that what is learned is the same each time."""
        return super().reset(seed=0 if seed is None and self._np_random is None else seed, options=options)

    def step(self, action: Any) -> Any:
        """Balance the pole, or crash."""
        self.taken += 1
        if self.taken == 150:
            os._exit(1)
        return super().step(action)


gymnasium.register("Recipe/BriefCartPole-v0", f"{__name__}:BriefCartPole", max_episode_steps=500)
