"""The packages that are played, with pinned versions."""

from __future__ import annotations

from typing import NamedTuple


class Package(NamedTuple):
    """A package on PyPI that has environments.

    Attributes:
        name: Its name on PyPI.
        version: The version that is played.
        ids: Patterns of the ids to play; a Gym environment's begins with ``gym:``.
        preload: Modules that the server imports with ``--preload``.
        setup: The lines of the file that the server runs with ``--setup``.
        options: More options of the server.
        also: More requirements, such as a version of NumPy, with the reason in ``remark``.
        no_deps: Whether the package is installed without the requirements that it declares.
        vector_ids: Patterns of ids whose own vector environment is played, too.
        every: Whether all ids that match are played, not a few of them.
        remark: What a reader of the table should know.
    """

    name: str
    version: str
    ids: tuple[str, ...]
    preload: tuple[str, ...] = ()
    setup: str = ""
    options: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    no_deps: bool = False
    vector_ids: tuple[str, ...] = ()
    every: bool = False
    remark: str = ""

    @property
    def server_options(self) -> list[str]:
        """The options that the server needs beside ``--setup``."""
        return [*(word for module in self.preload for word in ("--preload", module)), *self.options]

    @property
    def spawns(self) -> bool:
        """Whether its environments do not work in a forked process."""
        return any("spawn" in each for each in self.options)


_BSUITE = """
import bsuite
import gymnasium
from shimmy.bsuite_compatibility import BSuiteCompatibilityV0

for name in ("bandit", "catch", "cartpole", "deep_sea", "memory_len", "mountain_car"):
    gymnasium.register(f"{name}-v0", lambda name=name: BSuiteCompatibilityV0(bsuite.load_from_id(f"{name}/0")))
"""
_DM_CONTROL = """
import gymnasium
from dm_control import suite
from shimmy.dm_control_compatibility import DmControlCompatibilityV0

for domain, task in (("cartpole", "balance"), ("walker", "walk"), ("reacher", "easy")):
    gymnasium.register(
        f"{domain}-{task}-v0",
        lambda domain=domain, task=task: DmControlCompatibilityV0(suite.load(domain, task, task_kwargs={"random": 1})),
    )
"""
_TRADING = """
import gymnasium
import numpy as np
import pandas as pd
from gym_trading_env.environments import TradingEnv

prices = pd.DataFrame({"close": 100 + np.sin(np.arange(300)), "feature_phase": np.cos(np.arange(300))})
for column in ("open", "high", "low", "volume"):
    prices[column] = prices["close"]
prices.index = pd.date_range("2024-01-01", periods=300, freq="h")
gymnasium.register("Trading-v0", TradingEnv, kwargs={"df": prices, "verbose": 0})
"""
_RETRO = """
import gymnasium
import stable_retro

gymnasium.register(
    "Airstriker-v0",
    # By default it opens a window.
    lambda render_mode="rgb_array": stable_retro.make("Airstriker-Genesis-v0", render_mode=render_mode),
)
"""
_METAWORLD = """
import functools

import gymnasium
import metaworld



def make(name, *, seed=1, **kwargs):
    # The goals follow this seed, not that of reset.
    return gymnasium.make("Meta-World/MT1", env_name=name, seed=seed, **kwargs)


for name in ("reach-v3", "pick-place-v3", "door-open-v3"):
    gymnasium.register(f"Meta-World/{name}", functools.partial(make, name))
"""
_PYFLYT = """
import gymnasium
import PyFlyt.gym_envs

# Numba compiles in the first steps. Forked workers have what was compiled here.
environment = gymnasium.make("PyFlyt/QuadX-Hover-v4")
environment.reset()
environment.step(environment.action_space.sample())
environment.close()
"""
_JUMANJI = """
import gymnasium
import jumanji
import jumanji.wrappers


class Jumanji(gymnasium.Env):
    # Jumanji's own wrapper is not one that gymnasium.make takes: its `unwrapped` is not an environment of Gymnasium.
    def __init__(self, name):
        self._wrapped = jumanji.wrappers.JumanjiToGymWrapper(jumanji.make(name))
        self.action_space = self._wrapped.action_space
        self.observation_space = self._wrapped.observation_space

    def reset(self, *, seed=None, options=None):
        return self._wrapped.reset(seed=seed, options=options)

    def step(self, action):
        return self._wrapped.step(action)


for name in ("Game2048-v1",):
    gymnasium.register(f"jumanji/{name}", Jumanji, kwargs={"name": name})
"""
_JAX = """
import gymnasium
import jax.numpy as jnp


class WithMask(gymnasium.Wrapper):
    # Gymnasium's environments in JAX have infos without arrays; many others have an action mask there.
    def reset(self, *, seed=None, options=None):
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "action_mask": jnp.ones(2, bool)}

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        mask = jnp.arange(2) != action
        return observation, reward, terminated, truncated, {**info, "action_mask": mask, "angle": observation[2]}


gymnasium.register("WithMask-v0", lambda **kwargs: WithMask(gymnasium.make("phys2d/CartPole-v1", **kwargs)))
"""

_MINIWORLD = """
import pyglet

# Without a display it draws by EGL.
pyglet.options["headless"] = True
import miniworld
"""

PACKAGES = (
    Package("ale-py", "0.12.1", ("ALE/Pong-*", "ALE/Breakout-*"), vector_ids=("ALE/Pong-v5", "ALE/Breakout-v5")),
    Package(
        "bsuite",
        "0.3.6",
        ("bandit-v0", "catch-v0", "cartpole-v0", "deep_sea-v0", "m*-v0"),
        setup=_BSUITE,
        also=("shimmy==2.0.1",),
    ),
    Package("crafter", "1.8.3", ("gym:Crafter*",), preload=("crafter",)),
    Package("flappy-bird-gymnasium", "0.4.0", ("FlappyBird-*",), preload=("flappy_bird_gymnasium",)),
    Package("gym-2048", "0.2.6", ("gym:*2048*",), preload=("gym_2048",), no_deps=True, also=("pillow", "cairocffi")),
    Package("gym-anytrading", "2.0.0", ("forex-*", "stocks-*"), preload=("gym_anytrading",)),
    Package(
        "gym-chess",
        "0.1.1",
        ("gym:Chess*",),
        preload=("gym_chess",),
        no_deps=True,
        also=("chess==1.11.2", "cairosvg", "pillow"),
        remark="`Chess-v0` has no spaces, and `ChessAlphaZero-v0` needs Gym below 0.26 and NumPy below 1.24",
    ),
    Package("gym-electric-motor", "3.0.3", ("*-CC-*", "*-SC-*", "*-TC-*"), preload=("gym_electric_motor",)),
    Package("gym-sokoban", "0.0.6", ("gym:Sokoban-small-v0",), preload=("gym_sokoban",), also=("setuptools<82",)),
    Package("gym-trading-env", "0.3.5", ("Trading-v0",), setup=_TRADING),
    Package("gymnasium-2048", "0.1.2", ("gymnasium_2048/*",), preload=("gymnasium_2048",)),
    Package(
        "gymnasium-robotics",
        "1.4.2",
        ("PointMaze_UMaze-v3", "AntMaze_UMaze-v5", "AdroitHandPen-v1", "FetchReach-v4", "HandReach-v3"),
        preload=("gymnasium_robotics",),
        also=("mujoco<3.9",),
    ),
    Package(
        "gymnasium-search-race",
        "4.1.1",
        ("gymnasium_search_race/*",),
        preload=("gymnasium_search_race",),
        no_deps=True,
        also=("pygame-ce", "stable-baselines3"),
    ),
    Package(
        "highway-env",
        "1.12.1",
        (
            "highway-*",
            "merge-*",
            "roundabout-*",
            "parking-*",
            "intersection-*",
            "racetrack-*",
            "lane-*",
            "exit-*",
            "u-turn-*",
        ),
        preload=("highway_env",),
    ),
    Package(
        "jax",
        "0.10.2",
        ("phys2d/CartPole-v1", "phys2d/Pendulum-v0", "tabular/Blackjack-v0", "WithMask-v0"),
        setup=_JAX,
        options=("--start-method", "spawn"),
        also=("flax", "array-api-compat"),
        remark="Gymnasium's environments in JAX, and one with JAX arrays in its infos",
    ),
    Package(
        "jumanji",
        "1.1.2",
        ("jumanji/*",),
        setup=_JUMANJI,
        options=("--start-method", "spawn"),
        remark="JAX starts threads, which a forked worker does not have",
    ),
    Package(
        "memory-gym",
        "1.0.2",
        ("*Mortar*", "*Myster*", "*Searing*"),
        preload=("memory_gym",),
        no_deps=True,
        also=("pygame-ce",),
    ),
    Package("metaworld", "3.1.1", ("Meta-World/reach-v3", "Meta-World/pick-*", "Meta-World/door-*"), setup=_METAWORLD),
    Package(
        "minigrid",
        "3.2.0",
        ("MiniGrid-*", "BabyAI-*"),
        preload=("minigrid",),
        also=("minigrid[wfc]",),
        every=True,
        remark="the six ids with WFC need `minigrid[wfc]`, and images that this release lacks; with those of its "
        "repository they are as in-process, too",
    ),
    Package(
        "miniworld",
        "2.1.0",
        ("MiniWorld-*",),
        setup=_MINIWORLD,
        options=("--spawn", "MiniWorld-*"),
        remark="Mesa starts threads, which a forked worker does not have",
    ),
    Package(
        "mo-gymnasium",
        "1.3.2",
        (
            "*-treasure-*",
            "minecart-*",
            "resource-*",
            "mo-*",
            "four-*",
            "fruit-*",
            "breakable-*",
            "fishwood-*",
            "water-*",
        ),
        preload=("mo_gymnasium",),
        also=("gymnasium[mujoco]", "box2d>=2.3.10", "highway-env"),
        every=True,
    ),
    Package("nle", "1.3.0", ("NetHack*",), preload=("nle",), no_deps=True),
    Package(
        "or-gym",
        "0.5.0",
        ("gym:Knapsack-*", "gym:TSP-*", "gym:VMPacking-*", "gym:InvManagement-*", "gym:Newsvendor-*"),
        preload=("or_gym",),
        no_deps=True,
        also=("numpy<2", "scipy", "matplotlib", "networkx", "pandas"),
        remark="it needs NumPy below 2",
    ),
    Package("panda-gym", "3.0.7", ("Panda*",), preload=("panda_gym",)),
    Package("popgym", "1.0.7", ("popgym-*",), preload=("popgym",), every=True),
    Package("procgen-mirror", "0.10.7", ("gym:procgen-*",), preload=("procgen",)),
    Package("procgen2", "0.10.7", ("gym:procgen*",), preload=("procgen",)),
    Package("pybullet-envs-gymnasium", "0.6.0", ("*Bullet*",), preload=("pybullet_envs_gymnasium",)),
    Package("PyFlyt", "0.29.0", ("PyFlyt/QuadX-Hover-*", "PyFlyt/QuadX-Waypoints-*", "PyFlyt/Rocket-*"), setup=_PYFLYT),
    Package(
        "rubiks-cube-gym",
        "0.5.2",
        ("rubiks-*", "pyraminx-*", "skewb-*"),
        no_deps=True,
        also=("opencv-python-headless", "wget"),
        remark="its environments download tables when they are made",
        preload=("rubiks_cube_gym",),
    ),
    Package(
        "shimmy",
        "2.0.1",
        ("cartpole-balance-v0", "walker-walk-v0", "reacher-easy-v0"),
        setup=_DM_CONTROL,
        also=("dm-control==1.0.50", "imageio", "mujoco<4"),
    ),
    Package("stable-retro", "1.0.1", ("Airstriker-v0",), setup=_RETRO),
    Package("tetris-gymnasium", "0.3.1", ("tetris_gymnasium/*",), preload=("tetris_gymnasium.envs",)),
    Package(
        "vizdoom",
        "1.3.2",
        ("VizdoomBasic-v1", "VizdoomBasicAudio-v1", "VizdoomTakeCover-v1"),
        preload=("vizdoom.gymnasium_wrapper",),
    ),
)
