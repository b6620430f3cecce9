"""A wrapper with arguments for resets that have none, such as automatic ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium


class EpisodeArguments(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Resets an environment with its own arguments, unless it is given others.

    Args:
        environment: The environment.
        options: The options for resets without options.
        seeds: The seeds for resets without a seed, in order.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], options: Mapping[str, Any], seeds: Iterable[int]) -> None:
        super().__init__(environment)
        self._own_options, self._own_seeds = options, iter(seeds)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        if seed is None:
            seed = next(self._own_seeds, None)
        if options is None and self._own_options:
            options = {**self._own_options}
        return self.env.reset(seed=seed, options=options)
