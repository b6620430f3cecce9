"""Gymnasium in the program's own process: the limit for everybody who serves its environments."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from compare.driving import Player, main
from compare.workloads import Workload


def register() -> None:
    """Register Atari's games and our own environments."""
    import gymnasium

    with contextlib.suppress(ImportError):  # without it there are no Atari games
        gymnasium.register_envs(importlib.import_module("ale_py"))
    importlib.import_module("compare.servers.environments")


def connect(address: str, workload: Workload) -> Player:
    """Make the environment."""
    import gymnasium

    from compare.players import VectorPlayer, single

    register()
    if workload.num_envs is None:
        # It is checked at its first step only, but by a wrapper that stays.
        return single(gymnasium.make(workload.environment, disable_env_checker=True), workload)
    envs: Any = gymnasium.make_vec(workload.environment, workload.num_envs, vectorization_mode="vector_entry_point")
    return VectorPlayer(envs, workload)


if __name__ == "__main__":
    main(connect)
