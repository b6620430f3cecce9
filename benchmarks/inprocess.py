"""The same game in this process, without a server: what an environment itself takes.

Run as a program, so that each measurement has a fresh interpreter: ``inprocess.py ENVIRONMENT STEPS SEED`` writes what
it found as JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import classic
import gymnasium
from server import variables


@dataclass(frozen=True)
class Played:
    """What a game took.

    Attributes:
        seconds: From the first step to the last.
        user: Seconds of processor time in user mode.
        system: Seconds of processor time in the kernel.
        episodes: How many ended.
    """

    seconds: float
    user: float
    system: float
    episodes: int

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return self.user + self.system


def play(environment: str, steps: int, seed: int) -> Played:
    """Play an environment as a session does."""
    with contextlib.suppress(ImportError):  # without it there are no Atari games
        gymnasium.register_envs(importlib.import_module("ale_py"))
    env: gymnasium.Env[Any, Any] = gymnasium.make(environment, disable_env_checker=True, render_mode="rgb_array")
    space: Any = env.action_space
    actions = classic.random_actions(int(space.n), steps)
    env.reset(seed=seed)
    episodes = 0
    step, reset = env.step, env.reset
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = step(action)
        if terminated or truncated:
            episodes += 1
            reset()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    return Played(seconds, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, episodes)


def play_in_fresh_process(environment: str, steps: int, seed: int) -> Played:
    """Play an environment in a new interpreter."""
    run = subprocess.run(
        [sys.executable, str(Path(__file__)), environment, str(steps), str(seed)],
        env=variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,  # ale-py greets on the standard error
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{environment} cannot be played in-process:\n{run.stderr}")
    return Played(**json.loads(run.stdout))


if __name__ == "__main__":
    json.dump(asdict(play(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), sys.stdout)
