"""Steps per second of environments whose steps take different times: all together, or whichever are ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gymtwist.client import connect_vec
from gymtwist.protocol.make_messages import VectorizationMode
from gymtwist_benchmarks.benchmark_environments import COMPUTING, WAITING
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.contenders import HERE
from gymtwist_benchmarks.markdown_report import Section
from gymtwist_benchmarks.server_launcher import gymtwist_server

#: Environments, each in a process of its own; how many a batch has; and microseconds of a step of one in four of them,
#: and of the others.
COUNT, READY, SLOW, FAST = 16, 8, 20_000, 2_000
#: What the steps are spent with: waiting, as for a simulator elsewhere, or computing on the server's cores.
KINDS = {"waits": WAITING, "computes": COMPUTING}
#: How the server holds them: in as many sessions, or in the processes of a single one.
SESSIONS: dict[str, tuple[int, VectorizationMode]] = {
    f"{COUNT} sessions": (COUNT, "sync"),
    "a session": (1, "async"),
}
_READY = f"recv(min_ready={READY})"
_TARGET = 2.5


def _step(envs: Any) -> int:
    envs.step(np.zeros(COUNT, np.int64))
    return COUNT


def _receive(envs: Any) -> int:
    ids = envs.recv(min_ready=READY)[4]["env_id"]
    envs.send(np.zeros(len(ids), np.int64), ids)
    return len(ids)


def _rate(
    port: int, environment: str, seconds: float, take: Callable[[Any], int], processes: int, mode: VectorizationMode
) -> float:
    """Return how many steps of single environments a client takes in a second."""
    times: dict[str, Any] = {"kwargs": [{"microseconds": FAST if index % 4 else SLOW} for index in range(COUNT)]}
    ways: dict[str, Any] = {"processes": processes, "vectorization_mode": mode, "info": "none"}
    with connect_vec(("127.0.0.1", port), environment, COUNT, **times, **ways) as envs:
        envs.reset()
        if take is _receive:
            envs.send(np.zeros(COUNT, np.int64), range(COUNT))
        start = time.perf_counter()
        steps = 0
        while time.perf_counter() < start + seconds:
            steps += take(envs)
        return steps / (time.perf_counter() - start)


def measure(quick: bool) -> Section:
    """Measure both ways, in turn."""
    section = Section(f"{COUNT} environments, one in four of which takes {SLOW // FAST} times as long for a step")
    with gymtwist_server("--setup", str(HERE / "benchmark_environments.py")) as server:
        ways = {
            f"{kind}, {sessions}: {name}": partial(
                _rate, server.port, environment, 0.5 if quick else 3.0, take, *SESSIONS[sessions]
            )
            for kind, environment in KINDS.items()
            for sessions in SESSIONS
            for name, take in (("step", _step), (_READY, _receive))
        }
        samples = take_turns(ways, 1 if quick else 3)
    section.add_rates(samples, "", {})
    for kind in KINDS:  # computing takes cores, of which there may be too few for a gain
        target = _TARGET if kind == "waits" else None
        for sessions in SESSIONS:
            together, ready = (samples[f"{kind}, {sessions}: {name}"] for name in ("step", _READY))
            section.add_ratio(f"{kind}, {sessions}: the ratio of both", ready, together, target)
    return section
