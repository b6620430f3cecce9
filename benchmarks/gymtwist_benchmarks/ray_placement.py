"""Sessions on a node of a Ray cluster, relayed and direct, beside a local server and an actor written by hand."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

from gymtwist_benchmarks.benchmark_runner import rate_here, take_turns
from gymtwist_benchmarks.connect_time import first_observation
from gymtwist_benchmarks.markdown_report import Section, say
from gymtwist_benchmarks.server_launcher import ServerProcess, gymtwist_server
from gymtwist_conformance.reference_client import INT32

#: The address of the node; Ray takes no 127.0.0.1.
_HOST = "127.0.0.2"
_LOCAL, _RELAYED, _DIRECT, _ACTOR = "local server, sockets", "relayed", "direct", "an actor of Ray, called per step"
#: The least ratios to the local server, by workload, and to the actor; and the most milliseconds to connect.
_OF_LOCAL = {"cartpole": {_RELAYED: 0.5, _DIRECT: 0.95}, "pong": {_RELAYED: 0.85, _DIRECT: 0.95}}
_OF_ACTOR = {_RELAYED: 8.0, _DIRECT: 18.0}
_CONNECT = 30.0
#: Seconds before a connection, in which its worker is replaced.
_PAUSE = 0.2


def _ray(directory: str) -> ServerProcess:
    """Describe a cluster of one node."""
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", "{port}"]
    words += ["--node-ip-address", _HOST, "--num-cpus", "16", "--include-dashboard=false", "--temp-dir", directory]
    return ServerProcess(words, "Ray runtime started", {"RAY_USAGE_STATS_ENABLED": "0"})


def _connect(port: int) -> float:
    time.sleep(_PAUSE)
    return 1e3 * first_observation(INT32, port)


def measure(quick: bool) -> Section:
    """Measure all in turn; without Ray, one line says so."""
    section = Section("Sessions on a node of a Ray cluster")
    if importlib.util.find_spec("ray") is None:
        section.add_value("sessions on a node", None, note="not measured: Ray is not installed (gymtwist[ray])")
        return section
    seconds, rounds = (0.5, 1) if quick else (2.0, 9)
    with tempfile.TemporaryDirectory(prefix="ray-") as directory, _ray(directory) as ray, gymtwist_server() as local:
        cluster = f"{_HOST}:{ray.port}"
        with gymtwist_server("--place", cluster, "--session-cpus", "0.5") as front:
            ways = {
                _LOCAL: ("gymtwist-socket", local.address),
                _RELAYED: ("gymtwist-socket", front.address),
                _DIRECT: ("gymtwist-direct", front.address),
                _ACTOR: ("ray-actor", cluster),
            }
            for workload in ("cartpole", "pong"):
                say(f"  {workload}")
                measurements: dict[str, Callable[[], float]] = {
                    name: partial(rate_here, contender, workload, seconds, address)
                    for name, (contender, address) in ways.items()
                }
                rates = take_turns(measurements, rounds)
                for name in ways:
                    section.add_median(f"{workload}, {name}", rates[name], "steps per s")
                for name, least in _OF_LOCAL[workload].items():
                    section.add_ratio(f"{workload}, {name} / {_LOCAL}", rates[name], rates[_LOCAL], least)
                    of_actor = _OF_ACTOR[name] if workload == "cartpole" else None
                    section.add_ratio(f"{workload}, {name} / {_ACTOR}", rates[name], rates[_ACTOR], of_actor)
            ports = {_LOCAL: local.port, _RELAYED: front.port}
            times = take_turns({name: partial(_connect, port) for name, port in ports.items()}, 2 if quick else 50)
    for name, found in times.items():
        median = statistics.median(found)
        title = f"connect to first observation, {name}: median of {len(found)}"
        if name is _RELAYED:
            section.add(title, f"{median:.1f} ms", f"under {_CONNECT:g} ms", median < _CONNECT)
        else:
            section.add(title, f"{median:.1f} ms")
    return section
