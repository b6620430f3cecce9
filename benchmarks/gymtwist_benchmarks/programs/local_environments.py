"""Environments in the program's own process; ADDRESS says of which kind.

``gymnasium``, ``ale-vector``, ``sync``, ``async``, or ``envpool:N`` with N threads (0: EnvPool's default).
"""

from __future__ import annotations

import contextlib
import importlib
from functools import partial
from typing import Any

from gymtwist_benchmarks.programs.driver import Player, VectorPlayer, environment_player, vector_player
from gymtwist_benchmarks.workloads import Workload


def register() -> None:
    """Register Atari's games, if they are installed, and the environments of the benchmarks."""
    import gymnasium

    with contextlib.suppress(ImportError):
        gymnasium.register_envs(importlib.import_module("ale_py"))
    importlib.import_module("gymtwist_benchmarks.benchmark_environments")


def _make(environment: str) -> Any:
    """Make one environment of a vector; Atari's games as learners see them."""
    import gymnasium
    from gymnasium import wrappers

    register()
    if not environment.startswith("ALE/"):
        return gymnasium.make(environment, disable_env_checker=True)
    env: Any = gymnasium.make(
        environment, disable_env_checker=True, frameskip=1, repeat_action_probability=0.0, full_action_space=False
    )
    return wrappers.FrameStackObservation(wrappers.AtariPreprocessing(env), 4)


def _connect_gymnasium(workload: Workload) -> Player:
    import gymnasium

    register()
    if workload.num_envs is None:
        # The checker checks the first step only, but its wrapper stays.
        return environment_player(gymnasium.make(workload.environment, disable_env_checker=True), workload)
    envs: Any = gymnasium.make_vec(workload.environment, workload.num_envs, vectorization_mode="vector_entry_point")
    return VectorPlayer(envs, workload)


def _connect_ale_vector(workload: Workload) -> Player:
    """Frame skip, size and stack are the defaults of ale-py's vector environment."""
    from ale_py.vector_env import AtariVectorEnv

    game = workload.environment.removeprefix("ALE/").removesuffix("-v5").lower()
    assert workload.num_envs is not None
    settings: Any = dict(workload.kwargs)
    return VectorPlayer(AtariVectorEnv(game, workload.num_envs, **settings), workload)


def _connect_gymnasium_vector(kind: str, workload: Workload) -> Player:
    from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

    make_vector: Any = AsyncVectorEnv if kind == "async" else SyncVectorEnv
    envs = make_vector([partial(_make, workload.environment)] * (workload.num_envs or 1))
    return vector_player(envs, workload)


def _connect_envpool(threads: int, workload: Workload) -> Player:
    """Frame skip, size and stack of Atari's games are EnvPool's defaults."""
    import envpool

    task = workload.environment.removeprefix("ALE/")
    envs = envpool.make_gymnasium(task, num_envs=workload.num_envs or 1, num_threads=threads)
    return vector_player(envs, workload, "int32")


def connect(address: str, workload: Workload) -> Player:
    """Make the environments."""
    kind, _, threads = address.partition(":")
    if kind == "envpool":
        return _connect_envpool(int(threads), workload)
    if kind in ("sync", "async"):
        return _connect_gymnasium_vector(kind, workload)
    return _connect_ale_vector(workload) if kind == "ale-vector" else _connect_gymnasium(workload)
