"""The environments that the servers under test have: a file for `twistd gymsock --setup`.

Running it registers them. The repository must be on the server's path.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import gym
import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvCreator

from tests.support.echo_environments import ACTIONS, OBSERVATIONS, Acting, Arguing, Informing, Observing
from tests.support.faulty_environments import FAULTS
from tests.support.hostile_environments import HOSTILE
from tests.support.plain_environment import Plain, Result
from tests.support.snapshot_environments import Clock, Crashing, Drawing, Hooked, Paying, Threaded, Working
from tests.support.unusual_environments import register as register_unusual


class Episodes(Plain):
    """Ends by itself after ten steps; the reward of the n-th step is n, and so is the picture's grey."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Start to count."""
        self.steps = 0
        return super().reset(**arguments)

    def step(self, action: Any) -> Result:
        """Count."""
        self.steps += 1
        return self.observe(), float(self.steps), self.steps == 10, False, {}

    def render(self) -> Any:
        """Return a picture that gets lighter."""
        return np.full((64, 64, 3), 20 * self.steps, np.uint8)


class OldGym(gym.Env):  # type: ignore[type-arg]
    """The interface of Gym before 0.26: seed(), reset() without arguments, four results."""

    observation_space = gym.spaces.Box(-1e6, 1e6, (2,), np.float64)
    action_space = gym.spaces.Discrete(3)

    def __init__(self) -> None:
        """Start without a seed."""
        self.given = -1.0

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Remember the seed."""
        self.given = -1.0 if seed is None else float(seed)
        return [seed]

    def reset(self) -> Any:  # type: ignore[override]
        """Return the seed and the number of steps: 0."""
        self.steps = 0
        return np.array([self.given, 0.0])

    def step(self, action: Any) -> Any:
        """Return the seed and the number of steps, the action as the reward, and never ends."""
        self.steps += 1
        return np.array([self.given, float(self.steps)]), float(action), False, {"old": True}


class NewGym(gym.Env):  # type: ignore[type-arg]
    """The interface of Gym 0.26: five results."""

    observation_space = gym.spaces.Box(-1e6, 1e6, (1,), np.float64)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Return the seed."""
        super().reset(seed=seed)
        self.given = np.array([-1.0 if seed is None else float(seed)])
        return self.given, {}

    def step(self, action: Any) -> Any:
        """Return the action as the reward, and is truncated by it when it is 2."""
        return self.given, float(action), False, int(action) == 2, {"new": True}


def register() -> None:
    """Make all of them known to Gymnasium and Gym."""
    for name, make in FAULTS.items():
        gymnasium.register(f"Fault/{name}-v0", entry_point=make)
    for name, make in HOSTILE.items():
        gymnasium.register(f"Hostile/{name}-v0", entry_point=make)
    for name, (space, value) in OBSERVATIONS.items():
        gymnasium.register(f"Observe/{name}-v0", entry_point=partial(Observing, space, value))
    for name, space in ACTIONS.items():
        gymnasium.register(f"Act/{name}-v0", entry_point=partial(Acting, space))
    gymnasium.register("Info-v0", entry_point=partial(Informing))
    gymnasium.register("Arguing-v0", entry_point=partial(Arguing))
    gymnasium.register("Episodes-v0", entry_point=cast(EnvCreator, Episodes))
    gymnasium.register("Truncated-v0", entry_point=partial(Plain), max_episode_steps=3)
    for kind in (Drawing, Threaded, Clock, Crashing, Working, Paying, Hooked):
        gymnasium.register(f"{kind.__name__}-v0", entry_point=cast(EnvCreator, kind))
    gym.register("OldGym-v0", entry_point=OldGym, max_episode_steps=5)
    gym.register("NewGym-v0", entry_point=NewGym)
    register_unusual()


register()
