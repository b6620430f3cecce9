"""Verifies a seed: plays the beginning of an episode twice with it, and compares the two."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from time import monotonic  # by name: an environment may replace the module's attributes
from typing import Any

import msgspec
import numpy as np

from gymtwist.protocol import dynamic_values

#: The maximum number of compared steps, and the seconds after which the first episode takes no more steps.
MOST_STEPS, SECONDS = 50, 1.0


def plays_alike(
    seed: Any,
    reset: Callable[[], tuple[Any, Any]],
    step: Callable[[int | None], tuple[Any, Any, Any, Any] | None],
) -> bool:
    """Return whether two episodes with a seed begin alike.

    Args:
        seed: The seed, or a list of seeds and None; the first also seeds the actions.
        reset: Resets the environment with it; returns the encoded observation and the info.
        step: Takes a step with a sampled action, after seeding the action space if a seed is given; returns the encoded
            observation, the reward and the flags; None if the step failed.
    """
    seeds = seed if isinstance(seed, list) else [seed]
    of_actions = next((each for each in seeds if each is not None), 0)

    def played(most: int, until: float) -> list[bytes]:
        observation, info = reset()
        digests = [digest(observation) + dynamic_values.to_messagepack(info)]
        for index in range(most):
            stepped = step(None if index else of_actions)
            if stepped is None:
                break
            digests.append(digest(*stepped))
            if np.any(stepped[2]) or np.any(stepped[3]) or monotonic() > until:
                break
        return digests

    first = played(MOST_STEPS, monotonic() + SECONDS)
    return played(len(first) - 1, math.inf) == first


def digest(*values: Any) -> bytes:
    """Return a short digest by which values can be compared."""
    # Observations may be large, and may share the environment's memory.
    return blake2b(msgspec.msgpack.encode(values, enc_hook=dynamic_values.to_bytes)).digest()
