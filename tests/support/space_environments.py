"""Environments with spaces that Gymnasium does not have, that are missing, that change: a file for ``--setup``."""

from __future__ import annotations

from functools import partial
from typing import Any

import gym
import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from gymtwist.spaces.space_registry import register_space
from tests.support.echo_environments import Observing
from tests.support.plain_environment import PAIR, Plain

TEXT = "go to the größte door"


class Mission(spaces.Space[str]):
    """Strings, like MiniGrid's missions."""

    def __init__(self) -> None:
        """Is of strings."""
        super().__init__(dtype=str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return the one that there is."""
        return TEXT

    def contains(self, x: Any) -> bool:
        """Tell whether it is one of them."""
        return isinstance(x, str) and x.startswith("go ")

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is of the same class."""
        return isinstance(other, Mission)

    __hash__ = None  # type: ignore[assignment]


class Suits(spaces.Space[Any]):
    """Names that clients know as numbers; other names are actions of the environment."""

    names = ("clubs", "diamonds", "hearts", "spades")

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return the last."""
        return self.names[-1]

    def contains(self, x: Any) -> bool:
        """Tell whether it is one of them, and not the first."""
        return x in self.names[1:]


class Unheard(spaces.Space[Any]):
    """Nobody knows what is in it."""


class Speaking(Plain):
    """Is told a mission, and tells it."""

    observation_space = spaces.Dict({"mission": Mission(), "pair": PAIR})
    action_space = Mission()

    def observe(self) -> Any:
        """Return the mission."""
        return {"mission": TEXT, "pair": np.zeros(2, np.float32)}

    def act(self, action: Any) -> dict[str, Any]:
        """Return what it was told."""
        return {"told": action}


class Betting(Plain):
    """Observes a suit, and is told one."""

    observation_space = spaces.Dict({"suit": Suits(), "pair": PAIR})
    action_space = Suits()

    def observe(self) -> Any:
        """Return a suit."""
        return {"suit": "hearts", "pair": np.ones(2, np.float32)}

    def act(self, action: Any) -> dict[str, Any]:
        """Return what it was told."""
        return {"told": action}


class Lacking(gymnasium.Env[Any, Any]):
    """Has no observation space, or none yet."""

    action_space = spaces.Discrete(2)

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Have one from now on."""
        self.observation_space = PAIR
        return np.zeros(2, np.float32), {}


class Without(gymnasium.Env[Any, Any]):
    """Has null for an action space."""

    observation_space = PAIR
    action_space: Any = None


class OldWithout(gym.Env):  # type: ignore[type-arg]
    """Has null for an observation space, like gym-chess."""

    observation_space: Any = None
    action_space = gym.spaces.Discrete(2)


class Changing(Plain):
    """Grows with its third reset."""

    resets = 0

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Make its spaces anew, and then others."""
        self.resets += 1
        self.observation_space = spaces.Box(-1.0, 1.0, (2 if self.resets < 3 else 3,), np.float32)
        return np.zeros(self.observation_space.shape, np.float32), {}


#: What an integer space cannot hold, and what becomes of it.
CUT: dict[str, tuple[spaces.Space[Any], Any, Any]] = {
    "Float": (spaces.Box(0, 255, (2,), np.uint8), np.array([300.0, 3.0]), [44, 3]),
    "Wide": (spaces.Box(0, 255, (2,), np.uint8), np.array([300, 3]), [44, 3]),
    "List": (spaces.Box(0, 255, (2,), np.uint8), [3, -1], [3, 255]),
    "Part": (spaces.MultiDiscrete([3, 4]), np.array([0.5, 3.0]), [0, 3]),
    "Number": (spaces.Discrete(5, dtype=np.int8), 300, 44),
    "Fraction": (spaces.Discrete(500), 300.5, 300),
    "SmallFraction": (spaces.Discrete(5, dtype=np.int8), np.float32(3.5), 3),
    "Inside": (spaces.Tuple([PAIR, spaces.MultiBinary(2)]), ((0, 0), np.array([257, 1])), [[0, 0], [1, 1]]),
}


class Cutting(Observing):
    """Observes, after something that fits, what does not; twice."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Return what fits, of whatever dtype."""
        return self.observation_space.sample(), {}


def register() -> None:
    """Make all of them known."""
    makers: dict[str, Any] = {
        "Speaking": Speaking,
        "Betting": Betting,
        "Unheard": partial(Observing, spaces.Dict({"a": spaces.Tuple([Unheard()])}), None),
        "Lacking": Lacking,
        "Without": Without,
        "Changing": Changing,
        "LimitedInside": lambda **kwargs: TimeLimit(Plain(**kwargs), 7),
        **{f"Cut{name}": partial(Cutting, space, value) for name, (space, value, _) in CUT.items()},
    }
    for name, make in makers.items():
        gymnasium.register(f"{name}-v0", entry_point=make)
    gymnasium.register("LimitedTwice-v0", entry_point=makers["LimitedInside"], max_episode_steps=20)
    gym.register("OldWithout-v0", entry_point=OldWithout)
    register_space(
        Suits,
        lambda space: spaces.Discrete(len(space.names)),
        encode=lambda space, suit: space.names.index(suit),
        decode=lambda space, number: space.names[number],
    )


register()
