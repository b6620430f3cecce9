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

from gymtwist_benchmarks.benchmark_runner import rate_here, take_turns
from gymtwist_benchmarks.machine import HAS_ATARI, HAS_OPENCV
from gymtwist_benchmarks.markdown_report import Section, say
from gymtwist_benchmarks.network_path import NetworkPath, Unavailable, open_network_path
from gymtwist_benchmarks.server_launcher import gymtwist_server, run_program

#: Seconds of a round trip, and bits a second, 0 for as many as the machine can. In a real network long packets take
#: longer, too: a frame of Pong 0.8 ms at one gigabit a second.
PATHS = ((0.001, 0.0), (0.001, 1e9), (0.020, 0.0))
#: What is played with wrappers, once at the server and once at the client: a title, and the name of a workload.
WRAPPED = (
    ("Pong, preprocessed", "pong-frames"),
    ("8 x Pong, preprocessed", "pong-frames-8"),
    ("8 x Pong, grey by `vector_wrappers`", "pong-84x84-8"),
)
PLACES = ("server", "client")
#: How many times as fast Pong is at least if it is preprocessed at the server.
TARGET = 3.0
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
        for title, workload in WRAPPED
        for place in PLACES
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
    return rate_here(contender, workload, seconds, address, warm, path.words)


def _title(round_trip: float, rate: float) -> str:
    return f"{1e3 * round_trip:g} ms to and fro" + (f", {rate / 1e9:g} Gbit/s" if rate else "")


def _is_played(workload: str, rate: float) -> bool:
    """Decide whether a workload is played here; those with short messages do not depend on the rate."""
    if workload.startswith("pong"):
        return HAS_ATARI and (HAS_OPENCV or not workload.startswith("pong-frames"))
    return not rate


def _measure(section: Section, round_trip: float, rate: float, seconds: float, rounds: int) -> None:
    ways = [way for way in WAYS if _is_played(way[2], rate)]
    title = _title(round_trip, rate)
    with (
        open_network_path(round_trip, rate) as path,
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
    for name, workload in WRAPPED:
        at_server, at_client = (samples.get(f"{name} at the {place}") for place in PLACES)
        if at_server and at_client:
            least = TARGET if workload == "pong-frames" else None
            section.add_ratio(f"{title}: {name}, server / client", at_server, at_client, least)


def measure(quick: bool) -> Section:
    """Measure all; where no such network can be made, one line says why."""
    section = Section("Over a network with delay")
    for round_trip, rate in PATHS:
        try:
            _measure(section, round_trip, rate, *((1.0, 1) if quick else (5.0, 3)))
        except Unavailable as error:
            section.add_value(_title(round_trip, rate), None, note=f"not measured: {error}")
    return section


if __name__ == "__main__":
    print(connect_repeatedly(sys.argv[1]))
