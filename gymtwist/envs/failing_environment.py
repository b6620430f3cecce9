"""A wrapper that ends the episode if its environment raises an exception, and makes a new environment for the next."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium

from gymtwist.envs import environment_results

#: The maximum attempts to begin an episode without a seed or options, before the error is raised.
_ATTEMPTS = 3
#: The infos key with the text of the error.
ERROR = "error"


class FailingEnvironment(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Turns an exception in a step into the end of the episode, with the error in the info.

    Args:
        make: Makes the environment, and makes it again after a failure.
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
        super().__init__(make())
        self._make_again = make
        self._last: Any = None
        self._has_failed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; if the environment has failed, or fails in an automatic reset, use a new one."""
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
        """Take a step; if it fails, return the last observation again, as truncated."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except MemoryError:  # the process cannot continue
            raise
        except Exception as error:
            with contextlib.suppress(Exception):
                traceback.print_exception(error)
            self._has_failed = True
            return self._last, 0.0, False, True, {ERROR: str(environment_results.fault("step", error))}
        self._last = deepcopy(observation)
        return observation, reward, terminated, truncated, info
