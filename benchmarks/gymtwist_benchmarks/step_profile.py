"""Profile a step: ``python benchmarks step-profile``, with a Python that has gymtwist.

Clocks are read in both processes, four times a step in each, which makes it a little longer. Medians are shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import gymtwist.client
from gymtwist_benchmarks.contenders import HERE
from gymtwist_benchmarks.markdown_report import table
from gymtwist_benchmarks.server_launcher import gymtwist_server

#: Steps that are not counted.
_WARM = 4000
#: Titles, and the arguments of :func:`measure`.
_CASES: tuple[tuple[str, tuple[str, bool, int | None, int]], ...] = (
    ("CartPole, shared memory", ("CartPole-v1", True, None, 60_000)),
    ("CartPole, socket", ("CartPole-v1", False, None, 60_000)),
    ("Pong, frames, shared memory", ("ALE/Pong-v5", True, None, 9_000)),
    ("64 x CartPole, shared memory", ("CartPole-v1", True, 64, 20_000)),
    ("8 x Pong, preprocessed, shared memory", ("ALE/Pong-v5", True, 8, 6_000)),
)


def connect(port: int, environment: str, shared: bool, count: int | None) -> Any:
    """Connect to a server on this machine."""
    address = f"localhost:{port}"
    if count is None:
        return gymtwist.client.connect(address, environment, shared_memory=shared)
    kwargs: Any = {"repeat_action_probability": 0.0} if "Pong" in environment else {}
    return gymtwist.client.connect_vec(
        address, environment, count, vectorization_mode="vector_entry_point", shared_memory=shared, kwargs=kwargs
    )


def timed(function: Callable[..., Any], taken: list[float]) -> Callable[..., Any]:
    """Wrap a function so that its times are appended to a list."""

    def wrapper(*args: Any) -> Any:
        begun = perf_counter()
        result = function(*args)
        taken.append(perf_counter() - begun)
        return result

    return wrapper


def measure(environment: str, shared: bool, count: int | None, steps: int, warm: int = _WARM) -> list[float]:
    """Measure one case.

    Args:
        environment: The id.
        shared: Whether memory is shared.
        count: The number of environments that step together; None for a single one.
        steps: The number of steps.
        warm: How many of them are not counted: at first both sides find out how to wait.

    Returns:
        The seconds of a step as a whole, of the environment, of Python in the session's process, of Python in the
        client, and of the rest.
    """
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory, "result")
        variables = {"GYMTWIST_STEP_TIMERS": json.dumps({"file": str(result), "warm": warm})}
        with gymtwist_server("--setup", str(HERE / "step_timers.py"), variables=variables) as server:
            env = connect(server.port, environment, shared, count)
            sessions = env._sessions if count else [env._session]
            (connection,) = (session.connection for session in sessions)
            waits: list[float] = []
            whole: list[float] = []
            connection.receive = timed(connection.receive, waits)
            env.reset(seed=1)
            waits.clear()
            actions = np.random.default_rng(1).integers(0, 2, (256, count or 1))
            choices = [row if count else int(row[0]) for row in actions]
            take = timed(env.step, whole)
            for number in range(steps):
                ended = take(choices[number % 256])[2]
                if count is None and ended:
                    env.reset()
                    waits.pop()
            env.close()
            deadline = time.monotonic() + 30
            while not result.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            step, busy = json.loads(result.read_text())
    all_of_it, wait = (statistics.median(each[warm:]) for each in (whole, waits))
    return [all_of_it, step, busy - step, all_of_it - wait, wait - busy]


def main() -> None:
    """Run the command."""
    argparse.ArgumentParser(description="Profile a step.").parse_args()
    rows: list[tuple[str, ...]] = [("us of a step", "together", "environment", "session", "client", "on the way")]
    for title, case in _CASES:
        rows.append((title, *(f"{1e6 * each:.1f}" for each in measure(*case))))
    print(table(rows, numbers=True))
