"""Multi-agent environments of PettingZoo, each of which does one unusual thing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

MODULE = "tests.support.multi_agent_environments"
DUEL = f"{MODULE}:Duel"
EXAMPLES = "pettingzoo.test.example_envs"
#: The options of a server that has these environments, and others.
SERVED = (
    *("--allow", "*", "--allow", "mpe2:*", "--allow", f"{MODULE}:*", "--allow", f"{EXAMPLES}:*"),
    *("--attributes", "plain,crash"),
)
#: Rewards, by their kinds.
REWARDS: dict[str, Any] = {
    "int": 3,
    "bool": True,
    "float": 0.5,
    "infinite": float("-inf"),
    "float32": np.float32(0.1),
    "float16": np.float16(0.1),
    "uint8": np.uint8(200),
    "scalar array": np.array(0.25, np.float32),
    "vector": np.array([1.5, -2.5, np.inf], np.float32),
}


class Duel(ParallelEnv[str, Any, Any]):  # type: ignore[misc]  # it is not typed
    """Two agents with other spaces each; the second ends after two steps, the first after four.

    Args:
        reward: The kind of the rewards of the first agent; see :data:`REWARDS`.
        forbidden: An action of the first agent that raises.
        render_mode: The render mode.
    """

    metadata = {"name": "duel_v0", "render_modes": ["rgb_array", "ansi"], "is_parallelizable": True}

    def __init__(self, reward: str = "int", forbidden: int | None = None, render_mode: str | None = None) -> None:
        """Make the spaces."""
        self.render_mode = render_mode
        self.level = 1
        self.possible_agents = ["first_0", "second_0"]
        self.state_space = spaces.Box(0, 255, (2, 3), np.uint8)
        self._forbidden = forbidden
        self._reward = REWARDS[reward]
        inner = {"mask": spaces.Box(0, 1, (2,), np.int8), "parts": spaces.Tuple([spaces.Discrete(9)] * 2)}
        self._spaces: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
            "first_0": (spaces.Box(-9, 9, (2,), np.float32), spaces.Discrete(3)),
            "second_0": (spaces.Dict(inner), spaces.Box(-1, 1, (2,), np.float32)),
        }

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the same object each time."""
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the same object each time."""
        return self._spaces[agent][1]

    def _observed(self) -> dict[str, Any]:
        noise = self._random.random(2, np.float32)
        second = {"mask": np.array([1, 0], np.int8), "parts": (self._steps, 8)}
        return {agent: noise if agent == "first_0" else second for agent in self.agents}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin; the option ``fail`` raises."""
        if options and options.get("fail"):
            raise ValueError("no such door")
        self._random = np.random.default_rng(seed)
        self._steps = 0
        self.agents = self.possible_agents[:]
        infos = {agent: {"options": options, "mask": np.array([True, False])} for agent in self.agents}
        return self._observed(), infos

    def step(self, actions: Any) -> Any:
        """Raise for some actions; tell which actions there were in the infos."""
        if self._forbidden is not None and actions.get("first_0") == self._forbidden:
            raise AssertionError("against the rules")
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise KeyError(missing[0])
        self._steps += 1
        before, observed = self.agents, self._observed()
        rewards = {agent: self._reward if agent == "first_0" else 0.0 for agent in before}
        ended = {"second_0": self._steps >= 2, "first_0": self._steps >= 4}
        terminations = {agent: np.bool_(agent == "second_0" and ended[agent]) for agent in before}
        truncations = {agent: np.bool_(agent == "first_0" and ended[agent]) for agent in before}
        self.agents = [agent for agent in before if not ended[agent]]
        infos = {agent: {"actions": sorted(actions), "step": self._steps} for agent in before}
        return observed, rewards, terminations, truncations, infos

    def state(self) -> Any:
        """Return an array."""
        return np.full((2, 3), self._steps, np.uint8)

    def render(self) -> Any:
        """Return an image or a text."""
        return np.full((4, 5, 3), self._steps, np.uint8) if self.render_mode == "rgb_array" else f"step {self._steps}"

    def crash(self) -> None:
        """End the process."""
        os._exit(3)


class Objectives(Duel):
    """Rewards are vectors, and the environment says so as MOMAland's do."""

    def __init__(self, **kwargs: Any) -> None:
        """Make the space."""
        super().__init__("vector", **kwargs)
        self._reward_space = spaces.Box(-9, np.inf, (3,), np.float32)

    def reward_space(self, agent: str) -> spaces.Space[Any]:
        """Return the same for each."""
        return self._reward_space


class Drawn(Duel):
    """Can be seen."""

    def render(self) -> Any:
        """Return a picture that is large enough for people."""
        return np.full((32, 48, 3), 127, np.uint8)


#: What a step of :class:`Wrong` returns, by what is wrong with it.
WRONG: dict[str, Any] = {
    "4 values": ({},) * 4,
    "a NoneType": None,
    "expected dictionaries": (1, {}, {}, {}, {}),
    "outside its space": ({"first_0": "north"}, {}, {}, {}, {}),
    "a reward of the dtype": ({}, {"first_0": np.array("x")}, {}, {}, {}),
}


class Wrong(Duel):
    """A step returns something that is wrong."""

    def __init__(self, wrong: str) -> None:
        """Take what is wrong."""
        super().__init__()
        self._wrong = WRONG[wrong]

    def step(self, actions: Any) -> Any:
        """Return it."""
        return self._wrong


class Nameless(Duel):
    """An environment whose agents have numbers for names."""

    def __init__(self) -> None:
        """Name them."""
        super().__init__()
        self.possible_agents = [1, 2]  # type: ignore[list-item]


def parallel_env(**kwargs: Any) -> Duel:
    """Make an environment, as the modules of PettingZoo do."""
    return Duel(**kwargs)


def unrelated() -> None:
    """Do something that no client may have done."""
    raise SystemExit
