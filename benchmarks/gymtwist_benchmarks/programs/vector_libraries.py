"""Vectors of learning libraries, in the program's own process; ADDRESS is ``pufferlib`` or ``torchrl``."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from gymtwist_benchmarks.programs.driver import Player, VectorPlayer, main, random_actions
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


class TorchPlayer:
    """Plays TorchRL's environments that step together."""

    def __init__(self, envs: Any, workload: Workload) -> None:
        import torch

        assert workload.num_envs is not None
        self._envs, self._count = envs, workload.num_envs
        drawn = torch.tensor(random_actions(workload, 256 * workload.num_envs))
        self._actions = list(drawn.reshape(256, workload.num_envs))
        self._state: Any = None
        self._at = 0

    def play(self, steps: int) -> int:
        """See :class:`programs.driver.Player`."""
        state = self._envs.reset() if self._state is None else self._state
        for _ in range(steps):
            self._at += 1
            state["action"] = self._actions[self._at % 256]
            state = self._envs.step_and_maybe_reset(state)[1]
        self._state = state
        return steps * self._count

    def close(self) -> None:
        """Leave."""
        self._envs.close()


def _connect_torchrl(workload: Workload) -> Player:
    """A process for each environment, as ParallelEnv has it; actions are indices."""
    from torchrl.envs import GymEnv, ParallelEnv

    make = partial(GymEnv, workload.environment, categorical_action_encoding=True)
    return TorchPlayer(ParallelEnv(workload.num_envs or 1, make), workload)


def connect(address: str, workload: Workload) -> Player:
    """Make the environments."""
    return _connect_pufferlib(workload) if address == "pufferlib" else _connect_torchrl(workload)


if __name__ == "__main__":
    main(connect)
