"""What several steps bring."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Steps(NamedTuple):
    """What several steps in one round trip have brought.

    Attributes:
        observations: The last observation, or all of them if they were asked for: an array with one more dimension
            where an observation is an array or a number, else a list.
        rewards: Of every step that was taken, so that their number is its length: float64, of shape (steps,), or
            (steps, num_envs) for several environments.
        terminated: Of the last step: a bool, or an array of shape (num_envs,).
        truncated: Likewise.
        info: Of the last step.
    """

    observations: Any
    rewards: npt.NDArray[np.float64]
    terminated: Any
    truncated: Any
    info: dict[str, Any]
