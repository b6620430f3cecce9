"""An environment that costs next to nothing, so that what is measured is all around it: a file for ``--setup``."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np

NOTHING = "Nothing-v0"


class Nothing(gymnasium.Env[Any, Any]):
    """Observes four zeros, for ever."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self._observation = np.zeros(4, np.float32)
        self._info: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Observe."""
        return self._observation, self._info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observe."""
        return self._observation, 0.0, False, False, self._info


if NOTHING not in gymnasium.registry:
    gymnasium.register(NOTHING, entry_point=partial(Nothing), order_enforce=False)
