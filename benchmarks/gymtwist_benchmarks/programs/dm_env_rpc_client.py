"""dm_env_rpc over gRPC, by the package's own client: its connection, and its ``DmEnvAdaptor``.

Every observation that the server offers is requested. For speed, ``nested_tensors`` is off, as nothing is nested; and
the step after the end of an episode begins the next one, as in ``dm_env`` (a reset would take two round trips).
"""

from __future__ import annotations

from typing import Any

from dm_env_rpc.v1 import connection, dm_env_adaptor

from gymtwist_benchmarks.programs.driver import SinglePlayer
from gymtwist_benchmarks.workloads import Workload


def connect(address: str, workload: Workload) -> SinglePlayer:
    """Connect, and make the environment in a world of its own."""
    link = connection.create_secure_channel_and_connect(address)
    world = {"environment": workload.environment}
    env, _ = dm_env_adaptor.create_and_join_world(link, world, {}, nested_tensors=False)
    step = env.step

    def reset() -> Any:
        return step({}).observation["observation"]

    def take(action: int) -> tuple[Any, bool]:
        found = step({"action": action})
        return found.observation["observation"], found.last()

    def close() -> None:
        env.close()
        link.close()  # an open connection keeps the interpreter from ending

    return SinglePlayer(workload, reset, take, close)
