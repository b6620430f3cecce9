"""One way to have environments, measured: here, in processes of Gymnasium's, or at a server through the Python client.

Run as a program, so that each has a fresh interpreter: ``contender.py NAME PORT STEPS`` writes environment steps per
second as JSON. The actions are drawn beforehand, and episodes go on as they do for a learner: what ends is reset.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from nothing import NOTHING
from server import variables

import gymtwist.client

_SEED = 7
#: Steps before those that are measured.
_WARM = 300
_MANY = 16

Single = gymnasium.Env[Any, Any]
Vector = gymnasium.vector.VectorEnv[Any, Any, Any]


def play(env: Single, steps: int) -> float:
    """Play one environment with random actions; returns its steps per second."""
    space: Any = env.action_space
    actions = np.random.default_rng(_SEED).integers(space.n, size=_WARM + steps).tolist()
    env.reset(seed=_SEED)
    step, reset = env.step, env.reset
    start = 0.0
    for number, action in enumerate(actions):
        if number == _WARM:
            start = time.perf_counter()
        _, _, terminated, truncated, _ = step(action)
        if terminated or truncated:
            reset()
    return steps / (time.perf_counter() - start)


def balance(env: Single, steps: int) -> float:
    """Keep a pole up, so that episodes have 500 steps; returns the steps per second."""
    observation, _ = env.reset(seed=_SEED)
    step = env.step
    start = 0.0
    for number in range(_WARM + steps):
        if number == _WARM:
            start = time.perf_counter()
        _, _, angle, velocity = observation.tolist()
        observation, _, terminated, truncated, _ = step(1 if angle + velocity > 0 else 0)
        if terminated or truncated:
            observation, _ = env.reset()
    return steps / (time.perf_counter() - start)


def balance_vector(envs: Vector, steps: int) -> float:
    """Keep the pole of a vector of one up; returns the steps per second."""
    observations, _ = envs.reset(seed=_SEED)
    step, actions = envs.step, np.zeros(1, np.int64)
    start = 0.0
    for number in range(_WARM + steps):
        if number == _WARM:
            start = time.perf_counter()
        _, _, angle, velocity = observations[0].tolist()
        actions[0] = 1 if angle + velocity > 0 else 0
        observations = step(actions)[0]
    return steps / (time.perf_counter() - start)


def play_vector(envs: Vector, steps: int) -> float:
    """Play environments that step together with random actions; returns the steps of all per second."""
    space: Any = envs.single_action_space
    actions = np.random.default_rng(_SEED).integers(space.n, size=(256, envs.num_envs))
    envs.reset(seed=_SEED)
    step = envs.step
    for action in actions[:50]:
        step(action)
    start = time.perf_counter()
    for number in range(steps):
        step(actions[number % 256])
    return steps * envs.num_envs / (time.perf_counter() - start)


def play_many(env: gymtwist.client.RemoteEnv, steps: int) -> float:
    """Play one environment with 16 actions in each request; returns its steps per second."""
    space: Any = env.action_space
    actions = np.random.default_rng(_SEED).integers(space.n, size=(256, _MANY))
    env.reset(seed=_SEED)
    taken = 0
    start = time.perf_counter()
    for number in range(steps // _MANY):
        done = env.step_many(actions[number % 256])
        taken += len(done.rewards)
        if done.terminated or done.truncated:
            env.reset()
    return taken / (time.perf_counter() - start)


def _atari() -> None:
    with contextlib.suppress(ImportError):
        gymnasium.register_envs(importlib.import_module("ale_py"))


def _pongs() -> Vector:
    _atari()
    return gymnasium.make_vec("ALE/Pong-v5", 8, vectorization_mode="vector_entry_point")


def _here(environment: str) -> Single:
    return gymnasium.make(environment, disable_env_checker=True)


def _remote(port: int, environment: str, *, shared_memory: bool = True) -> gymtwist.client.RemoteEnv:
    return gymtwist.client.connect(_at(port), environment, shared_memory=shared_memory)


def _at(port: int) -> str:
    return f"127.0.0.1:{port}"


#: What is compared, by name: each is given the server's port and the number of steps.
CONTENDERS: dict[str, Callable[[int, int], float]] = {
    "one here": lambda port, steps: balance(_here("CartPole-v1"), steps),
    "one remote": lambda port, steps: balance(_remote(port, "CartPole-v1"), steps),
    "one async": lambda port, steps: balance_vector(
        gymnasium.make_vec("CartPole-v1", 1, vectorization_mode="async"), steps
    ),
    "one remote by socket": lambda port, steps: balance(_remote(port, "CartPole-v1", shared_memory=False), steps),
    # Its episodes have 200 steps whatever the actions are, so that every request has its 16.
    "steps here": lambda port, steps: play(_here("MountainCar-v0"), steps),
    "steps": lambda port, steps: play(_remote(port, "MountainCar-v0"), steps),
    "16 at once": lambda port, steps: play_many(_remote(port, "MountainCar-v0"), steps),
    "steps by socket": lambda port, steps: play(_remote(port, "MountainCar-v0", shared_memory=False), steps),
    "16 by socket": lambda port, steps: play_many(_remote(port, "MountainCar-v0", shared_memory=False), steps),
    "steps of nothing": lambda port, steps: play(_remote(port, NOTHING), steps),
    "16 of nothing": lambda port, steps: play_many(_remote(port, NOTHING), steps),
    "steps of nothing by socket": lambda port, steps: play(_remote(port, NOTHING, shared_memory=False), steps),
    "16 of nothing by socket": lambda port, steps: play_many(_remote(port, NOTHING, shared_memory=False), steps),
    "64 here": lambda port, steps: play_vector(
        gymnasium.make_vec("CartPole-v1", 64, vectorization_mode="vector_entry_point"), steps
    ),
    "64 remote": lambda port, steps: play_vector(
        gymtwist.client.connect_vec(_at(port), "CartPole-v1", 64, vectorization_mode="vector_entry_point"), steps
    ),
    "8 pongs here": lambda port, steps: play_vector(_pongs(), steps),
    "8 pongs remote": lambda port, steps: play_vector(
        gymtwist.client.connect_vec(_at(port), "ALE/Pong-v5", 8, vectorization_mode="vector_entry_point"), steps
    ),
}


def measure(name: str, port: int, steps: int) -> float:
    """Measure one in a new interpreter; returns environment steps per second."""
    run = subprocess.run(
        [sys.executable, str(Path(__file__)), name, str(port), str(steps)],
        env=variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{name} cannot be measured:\n{run.stderr}")
    return float(json.loads(run.stdout))


if __name__ == "__main__":
    json.dump(CONTENDERS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
