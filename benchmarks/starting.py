"""How long a client waits for its first observation."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import classic
import proc
from report import Part, percentile, say
from server import Server, variables

#: Seconds to let the server put another child in the place of the one just used.
_PAUSE = 0.1
_TARGET, _TARGET_RATIO = 0.050, 0.25


def first_observation(port: int, environment: str = "CartPole-v1") -> float:
    """Connect, open an environment and reset it.

    Returns:
        Seconds until the observation was there.
    """
    start = time.perf_counter()
    client = classic.Client(port, environment)
    client.reset()
    seconds = time.perf_counter() - start
    client.close()
    return seconds


def interpreter() -> float:
    """Start an interpreter that imports Gymnasium, and does nothing else.

    Returns:
        Seconds until it has ended.
    """
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import gymnasium"], env=variables(), stdin=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measure_warm(count: int) -> Part:
    """Measure connections that find an idle child, beside fresh interpreters, in turn.

    Args:
        count: How many of each.
    """
    connections, interpreters = [], []
    with Server() as server:
        for _ in range(3):  # what is not in memory yet is not to be measured
            first_observation(server.port)
            interpreter()
        before = proc.total_cpu(server.pid), proc.total_cpu(server.fork_server())
        for index in range(count):
            time.sleep(_PAUSE)
            connections.append(first_observation(server.port))
            time.sleep(_PAUSE)
            interpreters.append(interpreter())
            if (index + 1) % 25 == 0:
                say(f"  {index + 1} of {count} connections")
        time.sleep(_PAUSE)
        after = proc.total_cpu(server.pid), proc.total_cpu(server.fork_server())
    parent, fork_server = (1e3 * (end - begin) / count for begin, end in zip(before, after, strict=True))
    median, fresh = statistics.median(connections), statistics.median(interpreters)
    ratio = median / fresh
    part = Part("From connect to the first observation of CartPole-v1")
    part.samples = {"connections_s": connections, "interpreters_s": interpreters}
    part.add(
        f"warm children: median of {count} connections",
        f"{median * 1e3:.1f} ms",
        f"under {_TARGET * 1e3:.0f} ms",
        median < _TARGET,
    )
    part.add("warm children: 90th percentile", f"{percentile(connections, 90) * 1e3:.1f} ms")
    part.add('a fresh `python -c "import gymnasium"`: median', f"{fresh * 1e3:.0f} ms")
    part.add("warm child / fresh interpreter", f"{ratio:.3f}", f"under {_TARGET_RATIO}", ratio < _TARGET_RATIO)
    part.add("processor time for each connection: the parent; the fork server", f"{parent:.1f}; {fork_server:.1f} ms")
    return part


def measure_cold(count: int) -> Part:
    """Measure connections that find no idle child: forked then, or a fresh interpreter, in turn.

    Args:
        count: How many of each.
    """
    forked, spawned = [], []
    with Server("--warm", "0") as forking, Server("--warm", "0", "--start-method", "spawn") as spawning:
        first_observation(forking.port)
        first_observation(spawning.port)
        for _ in range(count):
            time.sleep(_PAUSE)
            forked.append(first_observation(forking.port))
            time.sleep(_PAUSE)
            spawned.append(first_observation(spawning.port))
    fork, spawn = statistics.median(forked), statistics.median(spawned)
    part = Part("The same with no child ready (`--warm 0`)")
    part.samples = {"forked_s": forked, "spawned_s": spawned}
    part.add(f"forked then: median of {count} connections", f"{fork * 1e3:.1f} ms")
    part.add(f"`--start-method spawn`: median of {count} connections", f"{spawn * 1e3:.0f} ms")
    part.add("forked / spawned", f"{fork / spawn:.3f}")
    return part
