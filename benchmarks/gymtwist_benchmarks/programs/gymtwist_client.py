"""gymtwist's Python client. Environment variables choose the protocol, shared memory, and the kind of requests."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from gymtwist_benchmarks.programs.driver import Player, VectorPlayer, environment_player, random_actions
from gymtwist_benchmarks.workloads import Workload

#: Steps in a request of ``step_many``, and steps in flight.
MANY = 16


class StepManyPlayer:
    """Plays one environment with 16 actions in each request."""

    def __init__(self, env: Any, workload: Workload) -> None:
        import numpy as np

        self._env, self.close = env, env.close
        self._actions = list(np.array(random_actions(workload, 256 * MANY)).reshape(256, MANY))
        self._at = 0
        env.reset()

    def play(self, steps: int) -> int:
        """See :class:`programs.driver.Player`."""
        taken = 0
        while taken < steps:
            self._at += 1
            done = self._env.step_many(self._actions[self._at % 256])
            taken += len(done.rewards)
            if done.terminated or done.truncated:
                self._env.reset()
        return taken


class InFlightPlayer:
    """Plays one environment with 16 steps in flight: sent, and not yet answered."""

    def __init__(self, env: Any, workload: Workload) -> None:
        self._env, self.close = env, env.close
        self._actions = random_actions(workload)
        self._at = 0
        self._in_flight = 0
        env.reset()

    def play(self, steps: int) -> int:
        """See :class:`programs.driver.Player`."""
        import gymtwist.client

        env, actions = self._env, self._actions
        for _ in range(steps):
            while self._in_flight < MANY:
                self._at += 1
                env.send(actions[self._at % 1024])
                self._in_flight += 1
            _, _, terminated, truncated, _ = env.recv()
            self._in_flight -= 1
            if terminated or truncated:
                # The steps behind the end of the episode were refused.
                while self._in_flight:
                    self._in_flight -= 1
                    try:
                        env.recv()
                    except gymtwist.client.ResetNeeded:
                        continue
                env.reset()
        return steps


def connect(address: str, workload: Workload) -> Player:
    """Connect; several environments that step together have one connection."""
    import gymtwist.client

    protocol: Any = os.environ.get("GYMTWIST_PROTOCOL", "int32")
    shared = os.environ.get("GYMTWIST_SHARED_MEMORY") != "0"
    wrapped = os.environ.get("GYMTWIST_WRAPPERS")
    if wrapped:
        return _wrapped_player(address, workload, at_server=wrapped == "server")
    if workload.num_envs is None:
        # A version of gymtwist to compare with may not know this option.
        direct: dict[str, Any] = {"direct": True} if os.environ.get("GYMTWIST_DIRECT") == "1" else {}
        env = gymtwist.client.connect(address, workload.environment, protocol=protocol, shared_memory=shared, **direct)
        players: dict[str, Any] = {"step_many": StepManyPlayer, "in_flight": InFlightPlayer}
        player: Player = players.get(os.environ.get("GYMTWIST_REQUESTS", ""), environment_player)(env, workload)
        return player
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


def _wrapped_player(address: str, workload: Workload, *, at_server: bool) -> Player:
    """Connect to environments in the same wrappers, at the server or here.

    Games that skip no frames are preprocessed. Others only become grey, by a wrapper of vector environments.
    """
    import gymnasium.vector
    import gymnasium.wrappers.vector

    import gymtwist.client
    from gymtwist_benchmarks.programs.preprocessed_atari import WRAPPERS, preprocess

    def make() -> Any:
        kwargs: dict[str, Any] = {**dict(workload.kwargs), **({} if at_server else {"obs_type": "grayscale"})}
        env = gymtwist.client.connect(address, workload.environment, wrappers=asked, **kwargs)
        return env if at_server else preprocess(env)

    asked = [{"name": name, "kwargs": kwargs} for name, kwargs in WRAPPERS] if at_server else []
    count = workload.num_envs
    if count is None:
        return environment_player(make(), workload)
    connect_vec = partial(gymtwist.client.connect_vec, address, workload.environment, count)
    envs: Any
    if "frameskip" not in dict(workload.kwargs):
        grey = [{"name": "GrayscaleObservation"}] if at_server else []
        envs = connect_vec(vectorization_mode="sync", vector_wrappers=grey, kwargs=dict(workload.kwargs))
        envs = envs if at_server else gymnasium.wrappers.vector.GrayscaleObservation(envs)
    elif at_server:
        envs = connect_vec(vectorization_mode="async", wrappers=asked, kwargs=dict(workload.kwargs))
    else:
        envs = gymnasium.vector.AsyncVectorEnv([make] * count)
    return VectorPlayer(envs, workload)
