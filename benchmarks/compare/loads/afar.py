"""Plays at a server that may be far away: ``afar.py ADDRESS WAY SECONDS`` writes steps, seconds and the round trip.

It runs on the other side of the path, in an interpreter of its own.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import gymtwist.client

CARTPOLE, PONG, LONG = "CartPole-v1", "ALE/Pong-v5", "MountainCar-v0"
#: How many steps are asked for at once: in a request, or without waiting for replies.
MANY = 16
SEVERAL = 64
_SEED = 7
_DRAWN = 4096
#: Seconds that do not count.
_WARM = 0.5


def _actions(count: int, *shape: int) -> Any:
    return np.random.default_rng(_SEED).integers(count, size=(_DRAWN, *shape))


def balance(address: str, until: Callable[[int], bool]) -> None:
    """Keep a pole up, so that each action depends on the observation before."""
    with gymtwist.client.connect(address, CARTPOLE) as env:
        observation, _ = env.reset(seed=_SEED)
        while until(1):
            observation, _, terminated, truncated, _ = env.step(1 if observation[2] + observation[3] > 0 else 0)
            if terminated or truncated:
                observation, _ = env.reset()


def one_by_one(address: str, environment: str, count: int, until: Callable[[int], bool]) -> None:
    """Wait for each step before the next."""
    with gymtwist.client.connect(address, environment) as env:
        env.reset(seed=_SEED)
        actions, number = _actions(count).tolist(), 0
        while until(1):
            number += 1
            _, _, terminated, truncated, _ = env.step(actions[number % _DRAWN])
            if terminated or truncated:
                env.reset()


def in_flight(address: str, environment: str, count: int, until: Callable[[int], bool]) -> None:
    """Have so many steps under way that were not waited for."""
    with gymtwist.client.connect(address, environment) as env:
        env.reset(seed=_SEED)
        actions, number = _actions(count).tolist(), 0
        under_way = 0
        going = True
        while going:
            while under_way < MANY:
                number += 1
                env.send(actions[number % _DRAWN])
                under_way += 1
            _, _, terminated, truncated, _ = env.recv()
            under_way -= 1
            going = until(1)
            if terminated or truncated:
                # What lies behind the end of the episode was not taken.
                while under_way:
                    under_way -= 1
                    try:
                        env.recv()
                    except gymtwist.client.ResetNeeded:
                        continue
                env.reset()


def many(address: str, environment: str, count: int, until: Callable[[int], bool]) -> None:
    """Ask for many steps in each request."""
    with gymtwist.client.connect(address, environment) as env:
        env.reset(seed=_SEED)
        actions, number = _actions(count, MANY), 0
        taken = 0
        while until(taken):
            number += 1
            steps = env.step_many(actions[number % _DRAWN])
            taken = len(steps.rewards)
            if steps.terminated or steps.truncated:
                env.reset()


def several(address: str, until: Callable[[int], bool]) -> None:
    """Step several environments together, by one connection."""
    with gymtwist.client.connect_vec(address, CARTPOLE, SEVERAL, vectorization_mode="vector_entry_point") as envs:
        envs.reset(seed=_SEED)
        actions, number = _actions(2, SEVERAL), 0
        while until(SEVERAL):
            number += 1
            envs.step(actions[number % _DRAWN])


#: What can be played, by name.
WAYS: dict[str, Callable[[str, Callable[[int], bool]], None]] = {
    "CartPole, step": balance,
    "MountainCar, step": lambda address, until: one_by_one(address, LONG, 3, until),
    f"MountainCar, {MANY} in flight": lambda address, until: in_flight(address, LONG, 3, until),
    f"MountainCar, step_many of {MANY}": lambda address, until: many(address, LONG, 3, until),
    f"{SEVERAL} x CartPole, step": several,
    "Pong, step": lambda address, until: one_by_one(address, PONG, 6, until),
    f"Pong, {MANY} in flight": lambda address, until: in_flight(address, PONG, 6, until),
}


def round_trip(address: str) -> float:
    """Return the seconds that connecting takes, which is one round trip."""
    host, _, port = address.rpartition(":")
    found = []
    for _ in range(9):
        start = time.perf_counter()
        socket.create_connection((host, int(port))).close()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def play(address: str, way: str, seconds: float) -> dict[str, float]:
    """Play for some seconds, after a time in which TCP learns how much the path takes."""
    steps = 0
    start = time.perf_counter() + max(_WARM, seconds / 4)
    first = last = 0.0

    def until(taken: int) -> bool:
        nonlocal steps, first, last
        now = time.perf_counter()
        if now >= start:
            if first:
                steps += taken
            else:
                first = now
            last = now
        return now < start + seconds

    WAYS[way](address, until)
    return {"steps": steps, "seconds": last - first, "round_trip": round_trip(address)}


if __name__ == "__main__":
    print(json.dumps(play(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
