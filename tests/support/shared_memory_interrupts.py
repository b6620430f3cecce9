"""Interrupts a client at random moments: ``python -m tests.support.shared_memory_interrupts PORT``.

As :mod:`tests.support.client_interrupts`, but with every way to exchange requests and replies, each used for certain,
with small and with large observations, and with steps of which some are asked for at once. Some observations are kept,
and must stay as they came. It writes how often the connection was lost, at most, by any of these.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
from typing import Any

import numpy as np

from gymtwist.client import ConnectionLost, ResetNeeded, connect
from tests.support.client_equivalence import differs, local
from tests.support.patience import PATIENCE
from tests.support.shared_memory_env import WAYS, by

_TIMES = 80


def interrupt(number: int, frame: object) -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def connected(port: int, way: str, environment: str) -> Any:
    """Connect."""
    return by(way, connect(port, environment, timeout=PATIENCE, shared_memory=way != "socket"))


def play(theirs: Any, action: Any, seconds: float, drawn: random.Random, kept: list[Any]) -> None:
    """Step until it is interrupted, now and then some at once."""
    with contextlib.suppress(KeyboardInterrupt, ResetNeeded):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            if drawn.random() < 0.9:
                observation = theirs.step(action)[0]
                kept.append((observation, observation.copy()))
            else:
                theirs.step_many(action, 3)
    signal.setitimer(signal.ITIMER_REAL, 0)


def lost(port: int, way: str, environment: str) -> int:
    """Interrupt a client at random moments; return how often its connection was lost."""
    drawn, lost = random.Random(77), 0
    kept: list[tuple[Any, Any]] = []
    theirs, ours = connected(port, way, environment), local(environment)
    ours.action_space.seed(1)
    action = ours.action_space.sample()
    for seed in range(_TIMES):
        try:
            found = differs(theirs.reset(seed=seed), ours.reset(seed=seed))
            found = found or differs(theirs.step(action), ours.step(action))
            assert not found, (way, environment, found)
        except ConnectionLost:
            lost += 1
            theirs = connected(port, way, environment)
            continue
        play(theirs, action, drawn.uniform(5e-5, 1e-3), drawn, kept)
        assert all(np.array_equal(observation, copy) for observation, copy in kept), (way, environment)
        drawn.shuffle(kept)
        del kept[5:]
    theirs.close()
    return lost


def main() -> None:
    """Is the program."""
    signal.signal(signal.SIGALRM, interrupt)
    port = int(sys.argv[1])
    print(max(lost(port, way, environment) for way in WAYS for environment in ("Pendulum-v1", "Sight/Bytes-v0")))


if __name__ == "__main__":
    main()
