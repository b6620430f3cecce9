"""Interrupts a client at random moments: ``python -m tests.sharing_interrupted PORT WAY``.

As :mod:`tests.interrupting`, but with a way to exchange requests and replies that is used for certain, and with steps
of which some are asked for at once. It writes how often the connection was lost.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
from typing import Any

import numpy as np

from gymtwist.client import ConnectionLost, ResetNeeded, connect

from .client_alike import differs, local
from .sharing_client import by

#: Seconds after which a reply that has not come is a failure.
_PATIENCE = 20.0
_TIMES = 300
_ACTION = np.ones(1, np.float32)


def interrupt(number: int, frame: object) -> None:
    """Does what Ctrl-C does."""
    raise KeyboardInterrupt


def connected(port: int, way: str) -> Any:
    """Connects."""
    env = connect(port, "Pendulum-v1", timeout=_PATIENCE, shared_memory=way != "socket")
    return by(way, env)


def play(theirs: Any, seconds: float, drawn: random.Random) -> None:
    """Steps until it is interrupted, now and then some at once."""
    with contextlib.suppress(KeyboardInterrupt, ResetNeeded):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            if drawn.random() < 0.9:
                theirs.step(_ACTION)
            else:
                theirs.step_many(_ACTION, 3)
    signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Is the program."""
    signal.signal(signal.SIGALRM, interrupt)
    port, way = int(sys.argv[1]), sys.argv[2]
    drawn, lost = random.Random(77), 0
    theirs, ours = connected(port, way), local("Pendulum-v1")
    for seed in range(_TIMES):
        try:
            found = differs(theirs.reset(seed=seed), ours.reset(seed=seed))
            found = found or differs(theirs.step(_ACTION), ours.step(_ACTION))
            assert not found, found
        except ConnectionLost:
            lost += 1
            theirs = connected(port, way)
            continue
        play(theirs, drawn.uniform(5e-5, 1e-3), drawn)
    theirs.close()
    print(lost)


if __name__ == "__main__":
    main()
