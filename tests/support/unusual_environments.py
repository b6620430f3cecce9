"""Environments that are unlike most: rewards that are arrays, and old ones of Gym whose seeds are odd."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from tests.support.plain_environment import Plain


class Objectives(Plain):
    """Has a reward of two objectives, the first of which is the number of steps, as MO-Gymnasium's have; ends after 4.

    Args:
        form: What the reward is: an array of its space, of another dtype, a list, a number, or an array of another
            shape.
        declared: Whether it has a reward space.
    """

    forms: dict[str, Any] = {
        "array": lambda reward: reward,
        "double": lambda reward: reward.astype(np.float64) + 0.1,
        "list": lambda reward: reward.tolist(),
        "number": lambda reward: float(reward.sum()),
        "longer": lambda reward: np.append(reward, 0),
    }

    def __init__(self, form: str = "array", declared: bool = True, render_mode: str | None = None) -> None:
        """Chooses the form."""
        super().__init__(render_mode)
        self.form = self.forms[form]
        if declared:
            self.reward_space = spaces.Box(np.array([0, -1], np.float32), np.array([4, np.inf], np.float32))

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Counts from 0."""
        self.steps = 0
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        """Counts."""
        self.steps += 1
        reward = self.form(np.array([self.steps, -1.0], np.float32))
        return self.observe(), reward, self.steps == 4, False, {}


def register() -> None:
    """Registers all of them."""
    gymnasium.register("Objectives-v0", entry_point=partial(Objectives), max_episode_steps=100)
