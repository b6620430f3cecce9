"""Gymnasium's ``SyncVectorEnv`` and ``AsyncVectorEnv``: ADDRESS is ``sync`` or ``async``."""

from __future__ import annotations

from functools import partial
from typing import Any

from compare.contenders.inprocess_player import register
from compare.driving import Player, main
from compare.workloads import Workload


def make(environment: str) -> Any:
    """Make one environment; Atari's games as learners see them."""
    import gymnasium
    from gymnasium import wrappers

    register()
    if not environment.startswith("ALE/"):
        return gymnasium.make(environment, disable_env_checker=True)
    env: Any = gymnasium.make(
        environment, disable_env_checker=True, frameskip=1, repeat_action_probability=0.0, full_action_space=False
    )
    return wrappers.FrameStackObservation(wrappers.AtariPreprocessing(env), 4)


def connect(address: str, workload: Workload) -> Player:
    """Make the environments."""
    from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

    from compare.players import BalancingOne, VectorPlayer

    kind: Any = AsyncVectorEnv if address == "async" else SyncVectorEnv
    envs = kind([partial(make, workload.environment)] * (workload.num_envs or 1))
    return BalancingOne(envs) if workload.num_envs is None else VectorPlayer(envs, workload)


if __name__ == "__main__":
    main(connect)
