"""Interrupts a client at random moments: ``python -m tests.support.client_interrupts PORT``.

A program of its own, as an interrupt can come anywhere, also where something else that this process does, such as
measuring coverage, would not survive it. It writes how often the connection was lost.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np

from gymtwist.client import ConnectionLost, RemoteEnv, ResetNeeded, connect
from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY

_TIMES = 300


def lost_by(program: str, *words: object) -> int:
    """Run a program of this kind, and return how often the connection was lost."""
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.support.{program}", *map(str, words)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_CORE_"))},
        stdout=subprocess.PIPE,
        text=True,
        timeout=4 * PATIENCE,
        check=True,
    )
    return int(ended.stdout)


def interrupt(number: int, frame: object) -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def play(theirs: RemoteEnv, seconds: float) -> None:
    """Step until it is interrupted."""
    with contextlib.suppress(KeyboardInterrupt, ResetNeeded):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            theirs.step([0.0])
    signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Is the program."""
    signal.signal(signal.SIGALRM, interrupt)
    address = ("127.0.0.1", int(sys.argv[1]))
    drawn, lost = random.Random(77), 0
    theirs = connect(address, "Pendulum-v1", timeout=PATIENCE)
    ours: gymnasium.Env[Any, Any] = gymnasium.make("Pendulum-v1").unwrapped
    for seed in range(_TIMES):
        try:
            assert np.array_equal(theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0])
        except ConnectionLost:
            lost += 1
            theirs = connect(address, "Pendulum-v1", timeout=PATIENCE)
            continue
        play(theirs, drawn.uniform(5e-5, 1e-3))
    theirs.close()
    print(lost)


if __name__ == "__main__":
    main()
