"""Atari's games as learners see them: preprocessed by Gymnasium's wrappers, at the server or here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import gymnasium.wrappers
import numpy as np
from numpy.typing import NDArray

#: The wrappers, the innermost first: of four frames with one action the maximum of the last two, 84 x 84, in grey; and
#: the last four of those.
WRAPPERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("AtariPreprocessing", {"noop_max": 30}),
    ("FrameStackObservation", {"stack_size": 4}),
)


class Game(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A remote game with the part of `ale` that `AtariPreprocessing` calls: the emulator itself stays at the server.

    Args:
        env: The game, which skips no frames and observes the screen in grey.
    """

    _frameskip = 1

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._screen: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._lives = 0

    @property
    def unwrapped(self) -> Any:
        """Where `AtariPreprocessing` looks for `ale`."""
        return self

    @property
    def ale(self) -> Game:
        """What stands for the emulator."""
        return self

    def get_action_meanings(self) -> list[str]:
        """Name the action that `AtariPreprocessing` takes at random after a reset."""
        return ["NOOP"]

    def lives(self) -> int:
        """Return the lives that are left."""
        return self._lives

    def getScreenGrayscale(self, buffer: NDArray[np.uint8]) -> None:  # noqa: N802  # ALE's name
        """Copy the screen."""
        buffer[:] = self._screen

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._screen, info = self.env.reset(**arguments)
        self._lives = info["lives"]
        return self._screen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step of one frame."""
        self._screen, reward, terminated, truncated, info = self.env.step(action)
        self._lives = info["lives"]
        return self._screen, reward, terminated, truncated, info


def preprocess(
    env: gymnasium.Env[Any, Any], wrappers: Sequence[tuple[str, Mapping[str, Any]]] = WRAPPERS
) -> gymnasium.Env[Any, Any]:
    """Put wrappers around a game that skips no frames and observes the screen in grey."""
    env = Game(env)
    for name, kwargs in wrappers:
        env = getattr(gymnasium.wrappers, name)(env, **kwargs)
    return env
