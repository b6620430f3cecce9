"""ale-py's own vector environment, in the program's own process: its threads play Atari's games in C++."""

from __future__ import annotations

from typing import Any

from compare.driving import Player, main
from compare.workloads import Workload


def connect(address: str, workload: Workload) -> Player:
    """Make the environments; frame skip, size and stack are its defaults."""
    from ale_py.vector_env import AtariVectorEnv

    from compare.players import VectorPlayer

    game = workload.environment.removeprefix("ALE/").removesuffix("-v5").lower()
    assert workload.num_envs is not None
    settings: Any = dict(workload.kwargs)
    return VectorPlayer(AtariVectorEnv(game, workload.num_envs, **settings), workload)


if __name__ == "__main__":
    main(connect)
