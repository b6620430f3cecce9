"""Steps per second over a network with delay; it takes root.

As a program, ``network_latency ADDRESS``, it measures a round trip from the far side.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gymtwist_benchmarks.benchmark_runner import Place, play, take_turns
from gymtwist_benchmarks.contenders import BY_NAME
from gymtwist_benchmarks.machine import HAS_ATARI
from gymtwist_benchmarks.markdown_report import Section, say
from gymtwist_benchmarks.network_path import NetworkPath, Unavailable, open_network_path
from gymtwist_benchmarks.server_launcher import gymtwist_server, run_program

#: Seconds of a round trip.
ROUND_TRIPS = (0.001, 0.020)
#: What is played on the far side: a title, the name of a contender, and that of a workload.
WAYS = (
    ("CartPole, step", "gymtwist", "cartpole"),
    ("MountainCar, step", "gymtwist", "mountain-car"),
    ("MountainCar, 16 in flight", "gymtwist-in-flight", "mountain-car"),
    ("MountainCar, step_many of 16", "gymtwist-step-many", "mountain-car"),
    ("64 x CartPole, step", "gymtwist", "cartpole-64"),
    ("Pong, step", "gymtwist", "pong"),
    ("Pong, 16 in flight", "gymtwist-in-flight", "pong"),
    *(
        (f"{title} at the {place}", f"gymtwist-wrapped-{place}", workload)
        for title, workload in (
            ("Pong, 4 steps in one and grey, `wrappers`", "pong"),
            ("8 x Pong, grey, `vector_wrappers`", "pong-84x84-8"),
        )
        for place in ("server", "client")
    ),
)
_PATIENCE = 120.0


def connect_repeatedly(address: str) -> float:
    """Return the median of the seconds of a connect, which is one round trip."""
    host, _, port = address.rpartition(":")
    found = []
    for _ in range(9):
        start = time.perf_counter()
        socket.create_connection((host, int(port))).close()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _measure_round_trip(path: NetworkPath, address: str) -> float:
    """Measure a round trip from the far side, in milliseconds."""
    words = [*path.words, sys.executable, "-m", "gymtwist_benchmarks.network_latency", address]
    return 1e3 * float(run_program(words, _PATIENCE))


def _measure_rate(path: NetworkPath, address: str, contender: str, workload: str, seconds: float) -> float:
    """Let a client play on the far side; return its steps per second."""
    # Before that TCP learns how long the path takes.
    warm = max(0.5, seconds / 4)
    here = Place(Path(sys.executable))
    steps, elapsed, _ = play(BY_NAME[contender], here, workload, seconds, server=address, warm=warm, prefix=path.words)
    return steps / elapsed


def _measure(section: Section, round_trip: float, seconds: float, rounds: int) -> None:
    ways = [way for way in WAYS if not way[2].startswith("pong") or HAS_ATARI]
    title = f"{1e3 * round_trip:g} ms to and fro"
    with (
        open_network_path(round_trip) as path,
        gymtwist_server("--trusted-network", port=f"tcp:{{port}}:interface={path.here}") as server,
    ):
        address = f"{path.here}:{server.port}"
        measurements: dict[str, Callable[[], float]] = {"": partial(_measure_round_trip, path, address)}
        for name, contender, workload in ways:
            measurements[name] = partial(_measure_rate, path, address, contender, workload, seconds)
        say(f"  {title}")
        samples = take_turns(measurements, rounds)
    trips = samples.pop("")
    section.add_median(f"{title}: a connection, as measured", trips, "ms", path.how)
    for name, rates in samples.items():
        each = statistics.median(rates) * statistics.median(trips) / 1e3
        section.add_median(f"{title}: {name}", rates, "steps per s", f"{each:.2f} steps in a round trip")


def measure(quick: bool) -> Section:
    """Measure all; where no such network can be made, one line says why."""
    section = Section("Over a network with delay")
    for round_trip in ROUND_TRIPS:
        try:
            _measure(section, round_trip, *((1.0, 1) if quick else (5.0, 3)))
        except Unavailable as error:
            section.add_value(f"{1e3 * round_trip:g} ms to and fro", None, note=f"not measured: {error}")
    return section


if __name__ == "__main__":
    print(connect_repeatedly(sys.argv[1]))
