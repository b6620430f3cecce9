"""From connect to the first observation: ``python benchmarks/compare/loads/first.py``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import starting
from report import say

from compare.loads.rows import Row, command, median_row, share
from compare.loads.servers import Start, gymtwist, port_of
from compare.loads.speaking import Framed

#: Seconds between two connections, for a server to get ready again.
_PAUSE = 0.1
_ENVIRONMENT = "CartPole-v1"


def framed(port: int) -> float:
    """Connect by the framed protocol, make the environment and reset it; returns the seconds."""
    start = time.perf_counter()
    client = Framed("int32", port, _ENVIRONMENT)
    client.reset()
    seconds = time.perf_counter() - start
    client.close()
    return seconds


def by_client(port: int) -> float:
    """Do it by the Python client, which makes spaces of what it is told; returns the seconds."""
    import gymtwist.client

    start = time.perf_counter()
    env = gymtwist.client.connect(port, _ENVIRONMENT)
    env.reset()
    seconds = time.perf_counter() - start
    env.close()
    return seconds


def measure(*, quick: bool = False, peers: Mapping[str, Start] | None = None) -> list[Row]:
    """Measure all in turn.

    Args:
        quick: Whether to connect less often.
        peers: By name, what starts a server of the classic protocol.
    """
    count = 10 if quick else 100
    samples: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        own = port_of(stack.enter_context(gymtwist()))
        turns: dict[str, tuple[Callable[[int], float], int]] = {
            "gymtwist, classic": (starting.first_observation, own),
            "gymtwist, int32": (framed, own),
            "gymtwist, Python client": (by_client, own),
        }
        for name, start in (peers or {}).items():
            turns[name] = (starting.first_observation, port_of(stack.enter_context(start())))
        for connect, port in turns.values():
            for _ in range(3):  # what is not in memory yet is not to be measured
                connect(port)
        for number in range(count):
            for name, (connect, port) in turns.items():
                time.sleep(_PAUSE)
                samples.setdefault(name, []).append(1e3 * connect(port))
            if (number + 1) % 25 == 0:
                say(f"  {number + 1} of {count} connections of each")
    rows = []
    for name, found in samples.items():
        rows.append(median_row(f"connect to first observation, {name}", found, "ms"))
        rows.append(Row(f"connect to first observation, {name}, 90th percentile", share(found, 0.9), "ms"))
    best = rows[0].value
    for name in peers or {}:
        other = median_row(name, samples[name], "ms").value
        if best and other:
            rows.append(Row(f"connect to first observation, {name} / gymtwist, classic", other / best, "times"))
    return rows


if __name__ == "__main__":
    command(measure, "Measure the time from connect to the first observation.")
