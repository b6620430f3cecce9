"""Environments that show what they are given and return what they are told to."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from tests.support.plain_environment import PAIR, Plain


class Observing(Plain):
    """Always observes the same value."""

    def __init__(self, space: spaces.Space[Any], value: Any, render_mode: str | None = None) -> None:
        """Take the value and the space that it is in."""
        super().__init__(render_mode)
        self.observation_space = space
        self.value = value

    def observe(self) -> Any:
        """Return the value."""
        return self.value


class Acting(Plain):
    """Shows in its info which action it was given."""

    def __init__(self, space: spaces.Space[Any], render_mode: str | None = None) -> None:
        """Take the action space."""
        super().__init__(render_mode)
        self.action_space = space

    def act(self, action: Any) -> dict[str, Any]:
        """Return the action and whether its type and shape are those of the space."""
        return {"action": action, "contained": bool(self.action_space.contains(action))}


class Arguing(Plain):
    """Shows in its info which keyword arguments it was given, as text; it does not take a render mode."""

    def __init__(self, number: int = 0, real: float = 0.0, anything: Any = None) -> None:
        """Take the arguments."""
        super().__init__()
        self.given = repr((number, real, anything))

    def act(self, action: Any) -> dict[str, Any]:
        """Return them."""
        return {"given": self.given}


class Informing(Plain):
    """Has an info of all sorts."""

    def act(self, action: Any) -> dict[str, Any]:
        """Return it."""
        return {
            "integer": np.int64(7),
            "single": np.float32(1.5),
            "double": np.float64(2.5),
            "truth": np.bool_(True),
            "array": np.arange(6).reshape(2, 3),
            "bytes": np.array([1, 2], np.uint8),
            "nested": {"list": [np.int8(1), (np.float32(0.5), "x")], "deep": {"array": np.zeros(2)}},
            "function": lambda: None,
            "beside": {"function": lambda: None, "kept": 1},
            "nan": float("nan"),
            "infinite": np.float64("inf"),
            "array of both": np.array([np.nan, -np.inf, 1.0]),
            "text": "größer",
            "none": None,
        }


PICTURE = (np.arange(210 * 160 * 3) % 251).astype(np.uint8).reshape(210, 160, 3)

OBSERVATIONS: dict[str, tuple[spaces.Space[Any], Any]] = {
    "Discrete": (spaces.Discrete(5), 3),
    "DiscreteFromTen": (spaces.Discrete(5, start=10), np.int64(12)),
    "MultiBinary": (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8)),
    "MultiDiscrete": (spaces.MultiDiscrete([3, 4]), np.array([2, 3])),
    "Text": (spaces.Text(10, charset="größe"), "größe"),
    "Tuple": (spaces.Tuple([spaces.Discrete(3), PAIR]), (2, np.array([0.5, -0.5], np.float32))),
    "Dict": (
        spaces.Dict({"pixels": spaces.Box(0, 255, (2,), np.uint8), "inner": spaces.Dict({"n": spaces.Discrete(3)})}),
        {"pixels": np.array([1, 255], np.uint8), "inner": {"n": np.int64(2)}},
    ),
    "Matrix": (spaces.Box(-9.0, 9.0, (2, 3), np.float64), np.arange(6.0).reshape(2, 3)),
    "Unbounded": (
        spaces.Box(-np.inf, np.inf, (4,), np.float32),
        np.array([np.nan, np.inf, -np.inf, 1.5], np.float32),
    ),
    "Bytes0": (spaces.Box(0, 255, (), np.uint8), np.array(7, np.uint8)),
    "Bytes1": (spaces.Box(0, 255, (5,), np.uint8), np.arange(5, dtype=np.uint8)),
    "Bytes4": (spaces.Box(0, 255, (2, 3, 2, 2), np.uint8), np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)),
    "Transposed": (spaces.Box(0, 255, (3, 2), np.uint8), np.arange(6, dtype=np.uint8).reshape(2, 3).T),
    "Frame": (spaces.Box(0, 255, PICTURE.shape, np.uint8), PICTURE),
}

ACTIONS: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(-1.0, 1.0, (2, 2), np.float32),
    "Discrete": spaces.Discrete(3),
    "DiscreteFromTen": spaces.Discrete(3, start=10),
    "MultiBinary": spaces.MultiBinary(3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4]),
    "Text": spaces.Text(10),
    "Tuple": spaces.Tuple([spaces.Discrete(3), PAIR]),
    "Dict": spaces.Dict({"move": spaces.Discrete(3), "force": PAIR}),
}
