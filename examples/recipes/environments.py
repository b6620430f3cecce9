"""Small environments of your own: start the server with --setup examples/recipes/environments.py."""

import os

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv


class Reach(gymnasium.Env):
    """Move a point to a goal. As in Gymnasium-Robotics, `compute_reward` gives the reward of any other goal.

    `--attributes plain`, the default, lets clients call `compute_reward`. It takes whole batches.
    """

    metadata = {"render_modes": []}

    def __init__(self):
        """Make the spaces."""
        point = spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.observation_space = spaces.Dict(observation=point, achieved_goal=point, desired_goal=point)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        """Begin at a random place, with a random goal."""
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return self._observation(), {}

    def step(self, action):
        """Move by a fifth of the action."""
        self.place = np.clip(self.place + np.float32(0.2) * action, -2, 2)
        reward = float(self.compute_reward(self.place, self.goal, {}))
        return self._observation(), reward, False, False, {"is_success": reward == 0}

    def compute_reward(self, achieved_goal, desired_goal, info):
        """Return 0 for each goal that is reached, otherwise -1."""
        distance = np.linalg.norm(achieved_goal - desired_goal, axis=-1)
        return -(distance > 0.2).astype(np.float32)

    def _observation(self):
        return {"observation": self.place, "achieved_goal": self.place.copy(), "desired_goal": self.goal.copy()}


class Ladder(gymnasium.Env):
    """Climb a ladder of eleven rungs by one, two or three at a time, without the broken ones.

    `action_masks` returns which actions do not end on a broken rung or beyond the top. The default of `--attributes`
    lets clients call it.
    """

    metadata = {"render_modes": []}
    TOP = 10

    def __init__(self):
        """Make the spaces."""
        self.observation_space = spaces.Dict(
            rung=spaces.Discrete(self.TOP + 1), broken=spaces.MultiBinary(self.TOP + 1)
        )
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        """Begin at the foot; never break two rungs in a row."""
        super().reset(seed=seed)
        self.rung, self.broken = 0, np.zeros(self.TOP + 1, np.int8)
        for rung in range(1, self.TOP):
            self.broken[rung] = not self.broken[rung - 1] and self.np_random.random() < 0.4
        return self._observation(), {}

    def step(self, action):
        """Climb; each step costs one."""
        if not self.action_masks()[action]:
            raise ValueError(f"action {action} is masked on rung {self.rung}")
        self.rung += int(action) + 1
        return self._observation(), -1.0, self.rung == self.TOP, False, {}

    def action_masks(self):
        """Return which actions are possible."""
        ends = self.rung + 1 + np.arange(3)
        return np.array([end <= self.TOP and not self.broken[end] for end in ends])

    def _observation(self):
        return {"rung": self.rung, "broken": self.broken.copy()}


class CrashingCartPole(CartPoleEnv):
    """CartPole whose process ends in the middle of a step, once in a thousand steps."""

    def step(self, action):
        """Balance the pole, or crash."""
        if np.random.default_rng().random() < 0.001:  # not from the seed: the next process would crash there as well
            os._exit(1)
        return super().step(action)


gymnasium.register("recipes/CrashingCartPole-v0", CrashingCartPole, max_episode_steps=500)
gymnasium.register("recipes/Reach-v0", Reach, max_episode_steps=20)
gymnasium.register("recipes/Ladder-v0", Ladder)
