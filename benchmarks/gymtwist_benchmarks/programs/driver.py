"""Play a workload for some seconds, and count the steps: the frame of every contender's program.

``driver PROGRAM ADDRESS WORKLOAD SECONDS CLIENTS WARM`` plays with the function ``connect`` of a module, for WARM
unmeasured seconds before, and writes one line of JSON. It runs in the contender's virtual environment, so this module
imports the standard library only, and NumPy for those who play with arrays. Clients are forked: nothing that starts
threads may be imported before ``connect`` is called.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from gymtwist_benchmarks.workloads import WORKLOADS, Workload

#: Steps between two looks at the clock.
_CHUNK = 64
#: Seconds of play before the measured ones.
WARM = 0.3


class Player(Protocol):
    """A client, or an environment in this process."""

    def play(self, steps: int) -> int:
        """Take about that many steps, with a reset at first and after each episode; return the steps taken."""

    def close(self) -> None:
        """Leave."""


#: Connects to an address and returns the player of a workload.
Connect = Callable[[str, Workload], Player]


def random_actions(workload: Workload, count: int = 1024) -> list[Any]:
    """Draw actions, the same for every contender: integers, or lists of floats where an action is an array."""
    generator = random.Random(7)
    if workload.box:
        return [[generator.uniform(-1.0, 1.0) for _ in range(workload.box)] for _ in range(count)]
    return [generator.randrange(workload.actions) for _ in range(count)]


class SinglePlayer:
    """Plays one environment.

    Args:
        workload: What is played.
        reset: Begins an episode; returns the observation.
        step: Takes an action; returns the observation, and whether the episode has ended.
        close: Leaves.
        convert: Converts an action, an integer or a list of floats, to what `step` takes, if it must be converted.
    """

    def __init__(
        self,
        workload: Workload,
        reset: Callable[[], Any],
        step: Callable[[Any], tuple[Any, bool]],
        close: Callable[[], None],
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        self._reset, self._step, self.close = reset, step, close
        self._balance = workload.balance
        actions = [0, 1] if workload.balance else random_actions(workload)
        self._actions = actions if convert is None else [convert(each) for each in actions]
        self._at = 0
        self._observation: Any = None

    def play(self, steps: int) -> int:
        """See :class:`Player`."""
        step, actions, observation = self._step, self._actions, self._observation
        if observation is None:
            observation = self._reset()
        if self._balance:
            for _ in range(steps):
                observation, ended = step(actions[1 if observation[2] + observation[3] > 0 else 0])
                if ended:
                    observation = self._reset()
        else:
            for _ in range(steps):
                self._at += 1
                observation, ended = step(actions[self._at % 1024])
                if ended:
                    observation = self._reset()
        self._observation = observation
        return steps


def environment_player(env: Any, workload: Workload) -> SinglePlayer:
    """Play a ``gymnasium.Env``."""
    import numpy as np

    step, reset = env.step, env.reset

    def take(action: Any) -> tuple[Any, bool]:
        observation, _, terminated, truncated, _ = step(action)
        return observation, terminated or truncated

    convert = (lambda action: np.array(action, np.float32)) if workload.box else None
    return SinglePlayer(workload, lambda: reset()[0], take, env.close, convert)


class VectorPlayer:
    """Plays environments that step together: a ``gymnasium.vector.VectorEnv`` or alike, with actions of a dtype."""

    def __init__(self, envs: Any, workload: Workload, dtype: Any = "int64") -> None:
        import numpy as np

        assert workload.num_envs is not None
        self._envs, self._count, self.close = envs, workload.num_envs, envs.close
        drawn = np.array(random_actions(workload, 256 * workload.num_envs), dtype)
        self._actions = list(drawn.reshape(256, workload.num_envs))
        self._at = 0
        self._is_reset = False

    def play(self, steps: int) -> int:
        """See :class:`Player`; a step of all together counts as one of each."""
        if not self._is_reset:
            self._envs.reset()
            self._is_reset = True
        step, actions, at = self._envs.step, self._actions, self._at
        for number in range(at, at + steps):
            step(actions[number % 256])
        self._at = at + steps
        return steps * self._count


def vector_player(envs: Any, workload: Workload, dtype: Any = "int64") -> Player:
    """Play a vector environment; of a workload of a single environment, a vector of one."""
    if workload.num_envs is not None:
        return VectorPlayer(envs, workload, dtype)
    import numpy as np

    step, reset = envs.step, envs.reset
    # It begins the next episode itself.
    return SinglePlayer(
        workload,
        lambda: reset()[0][0],
        lambda action: (step(action)[0][0], False),
        envs.close,
        lambda action: np.array([action], dtype),
    )


def main() -> None:
    """Run a contender's program."""
    program, address, name, seconds, clients, warm = sys.argv[1:]
    connect: Connect = importlib.import_module(f"gymtwist_benchmarks.{program}").connect
    if clients == "1":
        player = connect(address, WORKLOADS[name])
        steps, elapsed, cpu = play_for(player, float(seconds), float(warm))
        player.close()
    else:
        steps, elapsed, cpu = _play_at_once(connect, address, WORKLOADS[name], float(seconds), int(clients))
    print(json.dumps({"steps": steps, "seconds": elapsed, "cpu": cpu}), flush=True)


def _play_at_once(
    connect: Connect, address: str, workload: Workload, seconds: float, clients: int
) -> tuple[int, float, float]:
    """Play with several clients, each in a process of its own, which begin together."""
    forking = multiprocessing.get_context("fork")
    barrier, results = forking.Barrier(clients), forking.SimpleQueue()

    def run_client() -> None:
        try:
            player = connect(address, workload)
            player.play(_CHUNK)
            barrier.wait()
            results.put(play_for(player, seconds, WARM))
            player.close()
        except BaseException:
            barrier.abort()  # the others would wait for ever
            raise

    processes = [forking.Process(target=run_client, daemon=True) for _ in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit("a client failed")
    steps, elapsed, cpu = zip(*(results.get() for _ in range(clients)), strict=True)
    return sum(steps), max(elapsed), sum(cpu)


def play_for(player: Player, seconds: float, warm: float) -> tuple[int, float, float]:
    """Play until the time is over; return the steps, the seconds they took, and those of this process's processor."""
    chunk = 1
    end = time.perf_counter() + warm
    while time.perf_counter() < end:
        player.play(chunk)
        chunk = min(_CHUNK, 2 * chunk)
    steps = 0
    cpu, start = time.process_time(), time.perf_counter()
    now = start
    while now < start + seconds:
        steps += player.play(chunk)
        now = time.perf_counter()
    return steps, now - start, time.process_time() - cpu


def rate(player: Player, seconds: float) -> float:
    """Return the steps per second of a player."""
    steps, elapsed, _ = play_for(player, seconds, WARM)
    return steps / elapsed


if __name__ == "__main__":
    main()
