"""EnvPool, in this process: environments in C++, stepped by threads. ADDRESS is how many (0: its default)."""

from __future__ import annotations

from compare.driving import Player, main
from compare.workloads import Workload


def connect(address: str, workload: Workload) -> Player:
    """Make the environments; frame skip, size and stack of Atari's games are its defaults."""
    import envpool
    import numpy as np

    from compare.players import BalancingOne, VectorPlayer

    task = workload.environment.removeprefix("ALE/")
    envs = envpool.make_gymnasium(task, num_envs=workload.num_envs or 1, num_threads=int(address))
    if workload.num_envs is None:
        return BalancingOne(envs, np.int32)
    return VectorPlayer(envs, workload, np.int32)


if __name__ == "__main__":
    main(connect)
