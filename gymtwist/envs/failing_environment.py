"""A wrapper that ends the episode of an environment that raises, and makes another for the next one."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium

from gymtwist.envs import environment_results

#: How often an episode is begun at most that nobody has asked for with a seed or options, until its error is raised.
_ATTEMPTS = 3
#: The key in infos with the text of the error.
ERROR = "error"


class FailingEnvironment(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Returns an exception of a step in the info, as the end of the episode.

    Args:
        make: Makes the environment, and again after a failure.
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
        super().__init__(make())
        self._make_again = make
        self._last: Any = None
        self._has_failed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, of a fresh environment if this one has failed, as it may in an autoreset, too."""
        attempts = _ATTEMPTS if seed is None and options is None else 1
        while True:
            attempts -= 1
            try:
                return self._reset(seed, options)
            except MemoryError:
                raise
            except Exception:
                self._has_failed = True
                if not attempts:
                    raise

    def _reset(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if self._has_failed:
            with contextlib.suppress(Exception):
                self.env.close()
            self.env = self._make_again()
            self._has_failed = False
        observation, info = self.env.reset(seed=seed, options=options)
        self._last = deepcopy(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; if it fails, return the last observation once more, as truncated."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except MemoryError:  # the process cannot go on
            raise
        except Exception as error:
            with contextlib.suppress(Exception):
                traceback.print_exception(error)
            self._has_failed = True
            return self._last, 0.0, False, True, {ERROR: str(environment_results.fault("step", error))}
        self._last = deepcopy(observation)
        return observation, reward, terminated, truncated, info
