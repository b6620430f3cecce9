"""An actor of Ray that holds the environment, called for each step: what one would write by hand."""

from __future__ import annotations

import gymnasium
import ray

from gymtwist_benchmarks.programs.driver import Player, environment_player
from gymtwist_benchmarks.programs.local_environments import register
from gymtwist_benchmarks.workloads import Workload


class Environment:
    """The environment of an actor."""

    def __init__(self, name: str) -> None:
        register()
        env = gymnasium.make(name, disable_env_checker=True)
        self.reset, self.step = env.reset, env.step
        self.close = env.close

    def call(self, method: str, *arguments: object) -> object:
        """Call a method of the environment."""
        return getattr(self, method)(*arguments)


class Remote:
    """The client's end."""

    def __init__(self, name: str) -> None:
        actor = ray.remote(num_cpus=1)(Environment).remote(name)
        self.reset = lambda: ray.get(actor.call.remote("reset"))
        self.step = lambda action: ray.get(actor.call.remote("step", action))
        self.close = ray.shutdown


def connect(address: str, workload: Workload) -> Player:
    """Start the actor on the cluster."""
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    return environment_player(Remote(workload.environment), workload)
