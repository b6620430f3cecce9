"""gymtwist by its Python client."""

from __future__ import annotations

import os
from typing import Any

from compare.driving import Player, main
from compare.workloads import Workload


def connect(address: str, workload: Workload) -> Player:
    """Connect; several environments that step together have one connection."""
    import gymtwist.client
    from compare.players import VectorPlayer, single

    protocol: Any = os.environ.get("GYMTWIST_PROTOCOL", "int32")
    shared = os.environ.get("GYMTWIST_SHARED_MEMORY") != "0"
    if workload.num_envs is None:
        env = gymtwist.client.connect(address, workload.environment, protocol=protocol, shared_memory=shared)
        return single(env, workload)
    envs = gymtwist.client.connect_vec(
        address,
        workload.environment,
        workload.num_envs,
        vectorization_mode="vector_entry_point",
        protocol=protocol,
        shared_memory=shared,
        kwargs=dict(workload.kwargs),
    )
    return VectorPlayer(envs, workload)


if __name__ == "__main__":
    main(connect)
