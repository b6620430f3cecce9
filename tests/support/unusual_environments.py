"""Environments that are unlike most: rewards that are arrays, and old ones of Gym whose seeds are odd."""

from __future__ import annotations

import itertools
import os
import time
from functools import partial
from typing import Any

import gym
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
        """Count from 0."""
        self.steps = 0
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        """Count."""
        self.steps += 1
        reward = self.form(np.array([self.steps, -1.0], np.float32))
        return self.observe(), reward, self.steps == 4, False, {}


def count_strings(value: Any) -> int:
    """Count the strings in lists and objects, keys left out."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, str) + sum(map(count_strings, parts))


class Mirror(Plain):
    """Returns what it is given: actions as observations, options and keyword arguments as the info of a reset.

    Args:
        count: An integer.
        value: Anything.
    """

    observation_space = action_space = spaces.Dict(
        {
            "bits": spaces.MultiBinary(2),
            "choices": spaces.MultiDiscrete([3, 4]),
            "empty": spaces.Dict({}),
            "flags": spaces.Box(0, 1, (2,), np.uint8),
            "list": spaces.Sequence(spaces.Discrete(3)),
            "number": spaces.Box(-1.0, 1.0, (1,), np.float64),
            "pair": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "whole": spaces.Box(-(2**60), 2**60, (1,), np.int64),
        }
    )

    def __init__(self, count: int = 0, value: Any = None, render_mode: str | None = None) -> None:
        """Keep both."""
        super().__init__(render_mode)
        self.given = {"count": count, "value": value}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return what there is."""
        info = {"options": options, **self.given}
        left = {"left": count_strings} if options and options.get("omit") else {}
        return self.observation_space.sample(), {**info, **left, "strings": count_strings(info)}

    def step(self, action: Any) -> Any:
        """Return the action."""
        return action, 0.0, False, False, {}


class Noise(Plain):
    """Renders a picture that cannot be compressed."""

    def render(self) -> Any:
        """Return 1.5 MB of noise."""
        return np.random.randint(0, 256, (700, 700, 3), dtype=np.uint8)


class Unseeded(gym.Env):  # type: ignore[type-arg]
    """An old environment without a method that seeds it, which observes a number of NumPy's global generator."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self) -> Any:  # type: ignore[override]
        """Draw a number."""
        return np.random.random(1)

    def step(self, action: Any) -> Any:
        """Draw a number."""
        return np.random.random(1), 0.0, False, {}


class NumberForSeed(Unseeded):
    """Has a number where others have a method."""

    seed = 0


class SeedWithoutArgument(Unseeded):
    """Has a method that takes no seed."""

    def seed(self) -> None:
        """Do nothing."""


class Ignoring(Plain):
    """Takes a seed, and observes what no seed can change."""

    def observe(self) -> Any:
        """Return other numbers each time."""
        return np.frombuffer(os.urandom(2), np.uint8).astype(np.float32) / 255


class IgnoringLater(Plain):
    """Takes a seed for its observations; something else differs in each episode."""

    def __init__(self, what: str = "reward", **arguments: Any) -> None:
        """Take what differs."""
        super().__init__(**arguments)
        self.what = what
        self.episodes = self.steps = 0

    def reset(self, **arguments: Any) -> Any:
        """Return what the seed decides; the info may be what differs."""
        self.episodes, self.steps = self.episodes + 1, 0
        return super().reset(**arguments)[0], {"drawn": self.episodes if self.what == "info" else 0}

    def observe(self) -> Any:
        """Return what the seed decides; the third observation may be what differs."""
        drawn = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return drawn / self.episodes if self.what == "observation" and self.steps == 2 else drawn

    def step(self, action: Any) -> Any:
        """Return a reward or an end that may be what differs; if nothing does, not every action is legal."""
        self.steps += 1
        if self.what == "nothing" and action:
            raise ValueError("an illegal move")
        reward = float(self.episodes) if self.what == "reward" and self.steps == 3 else 1.0
        ended = self.what == "end" and self.steps == self.episodes % 30 + 4
        return self.observe(), reward, ended, self.steps > 40, {"time": time.monotonic()}


class WrongResults(Plain):
    """Returns from a step with the action 1 what Gymnasium does not expect."""

    RESULTS: dict[str, Any] = {
        "four values": (np.zeros(2, np.float32), 1.0, False, {}),
        "shape": (np.zeros(3, np.float32), 1.0, False, False, {}),
        "array reward": (np.zeros(2, np.float32), np.ones(2), False, False, {}),
        "text reward": (np.zeros(2, np.float32), "x", False, False, {}),
        "array flag": (np.zeros(2, np.float32), 1.0, np.zeros(2, np.bool_), False, {}),
        "info": (np.zeros(2, np.float32), 1.0, False, False, None),
    }

    def __init__(self, what: str, **arguments: Any) -> None:
        """Take what is wrong."""
        super().__init__(**arguments)
        self.what = what

    def step(self, action: Any) -> Any:
        """Return it."""
        return self.RESULTS[self.what] if action == 1 else super().step(action)


class RewardTypes(Plain):
    """Returns a first reward of a type, and others that it may not hold."""

    def __init__(self, kind: str, **arguments: Any) -> None:
        """Take the name of the type."""
        super().__init__(**arguments)
        scalar: Any = int if kind == "int" else np.dtype(kind).type
        self.rewards = itertools.cycle([scalar(2), 0.1, np.inf, 1e300])

    def step(self, action: Any) -> Any:
        """Return the next one."""
        return self.observe(), next(self.rewards), False, False, {}


class Hashing(Plain):
    """Tells the hash of a string, which decides on the order of sets."""

    def act(self, action: Any) -> dict[str, Any]:
        """Return it."""
        return {"hash": hash("gymtwist")}


OLD = {each.__name__: each for each in (Unseeded, NumberForSeed, SeedWithoutArgument)}


def register() -> None:
    """Register all of them."""
    gymnasium.register("Objectives-v0", entry_point=partial(Objectives), max_episode_steps=100)
    gymnasium.register("Mirror-v0", entry_point=partial(Mirror))
    gymnasium.register("Ignoring-v0", entry_point=partial(Ignoring))
    gymnasium.register("IgnoringLater-v0", entry_point=partial(IgnoringLater))
    gymnasium.register("WrongResults-v0", entry_point=partial(WrongResults))
    gymnasium.register("RewardTypes-v0", entry_point=partial(RewardTypes))
    gymnasium.register("Noise-v0", entry_point=partial(Noise))
    gymnasium.register("Hashing-v0", entry_point=partial(Hashing))
    for name, kind in OLD.items():
        gym.register(f"{name}-v0", entry_point=kind)
