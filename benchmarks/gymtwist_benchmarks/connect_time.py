"""The time from connect to the first observation."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gymtwist.client import connect
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section, percentile
from gymtwist_benchmarks.process_statistics import total_cpu
from gymtwist_benchmarks.protocol_clients import lean_client
from gymtwist_benchmarks.server_launcher import Peers, environment_variables, gymtwist_server, servers_by_way
from gymtwist_conformance.reference_client import INT32

#: Seconds before each connection, in which a server replaces the worker that was used.
_PAUSE = 0.1
_TARGET, _TARGET_RATIO = 0.050, 0.25
_ENVIRONMENT = "CartPole-v1"
#: What takes the place of a protocol for the Python client, which also makes the spaces.
_PYTHON_CLIENT = "Python client"


def first_observation(way: str, port: int) -> float:
    """Connect by a protocol or the Python client, make an environment and reset it; return the seconds it took."""
    start = time.perf_counter()
    client: Any = connect(port, _ENVIRONMENT) if way == _PYTHON_CLIENT else lean_client(way, port, _ENVIRONMENT)
    client.reset()
    seconds = time.perf_counter() - start
    client.close()
    return seconds


def _interpreter() -> float:
    """Start an interpreter that only imports Gymnasium; return the seconds until it has ended."""
    start = time.perf_counter()
    words = [sys.executable, "-c", "import gymnasium"]
    subprocess.run(words, env=environment_variables(), stdin=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _take_turns(measurements: Mapping[str, Callable[[], float]], rounds: int, warm: int) -> dict[str, list[float]]:
    """Take turns with a pause before each; unmeasured rounds come first, so that all files are in memory."""

    def paused(measure: Callable[[], float]) -> float:
        time.sleep(_PAUSE)
        return measure()

    for measure in measurements.values():
        for _ in range(warm):
            measure()
    return take_turns({name: partial(paused, measure) for name, measure in measurements.items()}, rounds)


def measure_warm(count: int) -> Section:
    """Measure connections that find an idle worker, beside fresh interpreters, `count` of each in turn."""
    classic = partial(first_observation, "classic")
    with gymtwist_server() as server:
        measurements: dict[str, Callable[[], float]] = {
            "connections_s": lambda: classic(server.port),
            "interpreters_s": _interpreter,
        }
        _take_turns(measurements, 0, warm=3)
        before = total_cpu(server.pid), total_cpu(server.fork_server())
        samples = _take_turns(measurements, count, warm=0)
        time.sleep(_PAUSE)
        after = total_cpu(server.pid), total_cpu(server.fork_server())
    parent, fork_server = (1e3 * (end - begin) / count for begin, end in zip(before, after, strict=True))
    connections = samples["connections_s"]
    median, fresh = statistics.median(connections), statistics.median(samples["interpreters_s"])
    ratio = median / fresh
    section = Section("From connect to the first observation of CartPole-v1", samples=samples)
    section.add(
        f"warm workers: median of {count} connections",
        f"{median * 1e3:.1f} ms",
        f"under {_TARGET * 1e3:.0f} ms",
        median < _TARGET,
    )
    section.add("warm workers: 90th percentile", f"{percentile(connections, 90) * 1e3:.1f} ms")
    section.add('a fresh `python -c "import gymnasium"`: median', f"{fresh * 1e3:.0f} ms")
    section.add("warm worker / fresh interpreter", f"{ratio:.3f}", f"under {_TARGET_RATIO}", ratio < _TARGET_RATIO)
    section.add("processor time of a connection: the parent; the fork server", f"{parent:.1f}; {fork_server:.1f} ms")
    return section


def measure_cold(count: int) -> Section:
    """Measure connections that find no idle worker, `count` of each in turn: forked then, or a fresh interpreter."""
    with (
        gymtwist_server("--warm", "0") as forking,
        gymtwist_server("--warm", "0", "--start-method", "spawn") as spawning,
    ):
        measurements = {
            "forked_s": partial(first_observation, "classic", forking.port),
            "spawned_s": partial(first_observation, "classic", spawning.port),
        }
        samples = _take_turns(measurements, count, warm=1)
    fork, spawn = (statistics.median(each) for each in samples.values())
    section = Section("The same without a ready worker (`--warm 0`)", samples=samples)
    section.add(f"forked then: median of {count} connections", f"{fork * 1e3:.1f} ms")
    section.add(f"`--start-method spawn`: median of {count} connections", f"{spawn * 1e3:.0f} ms")
    section.add("forked / spawned", f"{fork / spawn:.3f}")
    return section


def measure_protocols(quick: bool, peers: Peers) -> Section:
    """Measure all protocols, and other servers of the classic one, in turn."""
    with servers_by_way(("classic", INT32, _PYTHON_CLIENT), peers) as ways:
        measurements = {name: partial(first_observation, way, server.port) for name, (way, server) in ways.items()}
        samples = _take_turns(measurements, 10 if quick else 100, warm=3)
    section = Section("From connect to the first observation")
    for name, found in samples.items():
        milliseconds = [1e3 * each for each in found]
        section.add_median(f"connect to first observation, {name}", milliseconds, "ms")
        section.add_value(f"connect to first observation, {name}, 90th percentile", percentile(milliseconds, 90), "ms")
    for name in peers:
        ratio = statistics.median(samples[name]) / statistics.median(samples["gymtwist, classic"])
        section.add_value(f"connect to first observation, {name} / gymtwist, classic", ratio, "times")
    return section
