"""Vectors of learning libraries, in the program's own process; ADDRESS is ``pufferlib`` or ``torchrl``."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from gymtwist_benchmarks.programs.driver import Player, VectorPlayer
from gymtwist_benchmarks.programs.local_environments import register
from gymtwist_benchmarks.workloads import Workload


def _make_for_pufferlib(environment: str, *arguments: Any, buf: Any = None, seed: int = 0, **others: Any) -> Any:
    import gymnasium
    import pufferlib.emulation

    register()
    env = gymnasium.make(environment, disable_env_checker=True)
    return pufferlib.emulation.GymnasiumPufferEnv(env=env, buf=buf, seed=seed)


def _connect_pufferlib(workload: Workload) -> Player:
    """As many processes as there are cores, which share the environments; all of them in each step."""
    import pufferlib.vector

    count = workload.num_envs or 1
    envs = pufferlib.vector.make(
        partial(_make_for_pufferlib, workload.environment),
        num_envs=count,
        num_workers=min(count, os.cpu_count() or 1),
        batch_size=count,
        backend=pufferlib.vector.Multiprocessing,
    )
    return VectorPlayer(envs, workload)


class TorchEnvironments:
    """TorchRL's environments that step together, with the methods of a vector environment."""

    def __init__(self, envs: Any) -> None:
        import torch

        self._envs, self._tensor, self.close = envs, torch.from_numpy, envs.close

    def reset(self) -> None:
        """Begin the episodes."""
        self._state = self._envs.reset()

    def step(self, actions: Any) -> None:
        """Take a step of each."""
        self._state["action"] = self._tensor(actions)
        self._state = self._envs.step_and_maybe_reset(self._state)[1]


def _connect_torchrl(workload: Workload) -> Player:
    """A process for each environment, as ParallelEnv has it; actions are indices."""
    from torchrl.envs import GymEnv, ParallelEnv

    make = partial(GymEnv, workload.environment, categorical_action_encoding=True)
    return VectorPlayer(TorchEnvironments(ParallelEnv(workload.num_envs or 1, make)), workload)


def connect(address: str, workload: Workload) -> Player:
    """Make the environments."""
    return _connect_pufferlib(workload) if address == "pufferlib" else _connect_torchrl(workload)
