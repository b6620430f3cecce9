"""Plays a workload for some seconds, and counts. Every contender's program is made of it.

A program of a contender defines how it connects, and calls :func:`main`::

    contenders/example.py ADDRESS WORKLOAD SECONDS CLIENTS

ADDRESS is ``host:port``, or ``-`` where there is no server. It writes one line of JSON: environment steps of all
clients together, and seconds. It runs in the contender's own virtual environment, so this needs nothing but Python's
own library. Neither may anything that starts threads be imported before ``connect`` is called: clients are forked.
The name of a program must not be that of a library that it imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from compare.workloads import WORKLOADS, Workload

#: Steps between two looks at the clock.
_CHUNK = 64
#: Seconds that are played before what counts.
_WARM = 0.3
_RESULT = struct.Struct("<qd")


class Player(Protocol):
    """A client, or an environment in this process."""

    def play(self, steps: int) -> int:
        """Take so many steps, with resets wherever episodes end; the first call resets first.

        Returns:
            How many steps all environments together have taken.
        """

    def close(self) -> None:
        """Leave."""


def random_actions(workload: Workload, count: int = 1024) -> list[Any]:
    """Draw actions, the same for every contender: integers, or lists of floats where an action is an array."""
    generator = random.Random(7)
    if workload.box:
        return [[generator.uniform(-1.0, 1.0) for _ in range(workload.box)] for _ in range(count)]
    return [generator.randrange(workload.actions) for _ in range(count)]


class SinglePlayer:
    """Plays one environment that has ``reset`` and ``step``; for whoever has no faster way.

    Args:
        workload: What is played.
        reset: Begins an episode; returns the observation.
        step: Takes an action; returns the observation, and whether the episode has ended.
        close: Leaves.
        convert: Makes of an action, an integer or a list of floats, what ``step`` takes; None if that is what it takes.
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


def main(connect: Callable[[str, Workload], Player]) -> None:
    """Be the program of a contender."""
    address, name, seconds, clients = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    workload = WORKLOADS[name]
    if clients == 1:
        player = connect(address, workload)
        steps, elapsed = _play(player, seconds)
        player.close()
    else:
        steps, elapsed = _play_at_once(connect, address, workload, seconds, clients)
    print(json.dumps({"steps": steps, "seconds": elapsed, "clients": clients}), flush=True)


def _play_at_once(
    connect: Callable[[str, Workload], Player], address: str, workload: Workload, seconds: float, clients: int
) -> tuple[int, float]:
    """Play with several clients, each in a process of its own, which begin together."""
    ready, start, result = os.pipe(), os.pipe(), os.pipe()
    children = []
    for _ in range(clients):
        if (pid := os.fork()) == 0:
            _be_one(connect, address, workload, seconds, ready[1], start[0], result[1])
        children.append(pid)
    os.close(ready[1])
    os.close(result[1])
    try:
        for _ in range(clients):
            if os.read(ready[0], 1) != b"r":
                raise SystemExit("a client could not begin")
        os.write(start[1], b"s" * clients)
        found = [os.read(result[0], _RESULT.size) for _ in range(clients)]
        if b"" in found:
            raise SystemExit("a client failed while it played")
    except BaseException:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        raise
    finally:
        for pid in children:
            os.waitpid(pid, 0)
    counts = [_RESULT.unpack(each) for each in found]
    return sum(each[0] for each in counts), max(each[1] for each in counts)


def _be_one(
    connect: Callable[[str, Workload], Player],
    address: str,
    workload: Workload,
    seconds: float,
    ready: int,
    start: int,
    result: int,
) -> None:
    """Be one client of many, in a process of its own."""
    status = 1
    try:
        player = connect(address, workload)
        player.play(_CHUNK)
        os.write(ready, b"r")
        os.read(start, 1)
        os.write(result, _RESULT.pack(*_play(player, seconds)))
        player.close()
        status = 0
    except BaseException:
        traceback.print_exc()
        os.write(ready, b"x")
    finally:
        sys.stderr.flush()
        os._exit(status)


def _play(player: Player, seconds: float) -> tuple[int, float]:
    """Play until the time is over."""
    chunk = 1
    end = time.perf_counter() + _WARM
    while time.perf_counter() < end:
        player.play(chunk)
        chunk = min(_CHUNK, 2 * chunk)
    steps = 0
    start = now = time.perf_counter()
    while now < start + seconds:
        steps += player.play(chunk)
        now = time.perf_counter()
    return steps, now - start


__all__ = ["Player", "SinglePlayer", "Workload", "main", "random_actions"]
