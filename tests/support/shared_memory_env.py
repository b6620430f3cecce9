"""Remote environments whose memory is used for certain, whatever the machine: how they wait is not left to trials."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.client import RemoteEnv, RemoteVectorEnv
from gymtwist.protocol.adaptive_waiting import WaitPolicy

#: How a client may exchange requests and replies with its server: through the socket alone; through memory, polling for
#: replies; through memory, waiting for them at once.
WAYS = ("socket", "polling", "waiting")
#: What episodes are begun with.
SEED = 5
#: Those that share memory.
SHARING = WAYS[1:]
#: Seconds that are polled: a reply of a small environment mostly comes within it.
_SECONDS = 300e-6


class Steady(WaitPolicy):
    """Polls for so long each time, whether it pays or not."""

    def __init__(self, seconds: float) -> None:
        """Take how long."""
        super().__init__(seconds)
        self.poll_seconds, self.waits_left = seconds, sys.maxsize

    def miss(self) -> None:
        """Go on."""


def connections(env: RemoteEnv | RemoteVectorEnv) -> list[Any]:
    """Return the connections of an environment."""
    sessions: list[Any] = [env._session] if isinstance(env, RemoteEnv) else env._sessions
    return [session.connection for session in sessions]


def by(way: str, env: Any) -> Any:
    """Make an environment that was just connected use one way alone; return it."""
    for connection in connections(env):
        if way == "socket":
            assert getattr(connection, "_shared", None) is None
            continue
        assert connection._shared is not None, "no memory is shared"
        hold(way, connection)
    return env


def hold(way: str, connection: Any) -> None:
    """Make a connection that shares memory use it in one way."""
    connection._policy = Steady(_SECONDS if way == "polling" else 0.0)
    connection._is_large = True
    connection._announce_polling()


def passed(env: Any) -> int:
    """Return how many requests have passed through the memory that is shared now."""
    return sum(connection._number for connection in connections(env) if connection._shared is not None)


def shares(env: Any) -> bool:
    """Return whether all of an environment's connections share memory."""
    return all(getattr(connection, "_shared", None) is not None for connection in connections(env))


def on(way: str, remote: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Connect, and use one way alone."""
    return by(way, remote(*arguments, shared_memory=way != "socket", **options))


def play(env: Any, actions: list[Any]) -> list[Any]:
    """Play; return all that was told."""
    told: list[Any] = [env.reset(seed=SEED)]
    for action in actions:
        told.append(env.step(action))
        if told[-1][2] or told[-1][3]:
            told.append(env.reset())
    return told


def borrowed(observation: Any) -> bool:
    """Tell whether an observation lies in a place: what NumPy says of an array that was copied is other."""
    return isinstance(observation.base, np.ndarray) and isinstance(observation.base.base, (mmap.mmap, memoryview))
