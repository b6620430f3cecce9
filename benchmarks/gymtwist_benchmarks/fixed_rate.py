"""The latency of steps at a fixed rate.

Each step has a time at which it is due, whether or not those before it are done, and its latency counts from then: a
step that delays others makes them late, too, as it does for a learner that must keep a rate.
"""

from __future__ import annotations

import select
import time
from functools import partial

from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section, percentile
from gymtwist_benchmarks.protocol_clients import PROTOCOLS, LeanClient, lean_client
from gymtwist_benchmarks.server_launcher import Peers, ServerProcess, servers_by_way
from gymtwist_benchmarks.workloads import CARTPOLE

#: Steps per second.
_RATE = 1000.0
#: Seconds before a step is due in which its time is polled: the kernel wakes a process up too late.
_SPIN = 300e-6
#: Steps that are not measured.
_WARM = 500


def step_at_rate(client: LeanClient, rate: float, count: int) -> list[float]:
    """Balance CartPole at a rate of steps per second; return the seconds from when each was due until its reply."""
    found = []
    now = time.perf_counter
    observation, ended = client.reset(), False
    start = now() + 0.01
    for number in range(count):
        due = start + number / rate
        if ended:
            observation = client.reset()
        _wait_until(due)
        observation, ended = client.step(1 if observation[2] + observation[3] > 0 else 0)
        found.append(now() - due)
    return found


def _wait_until(moment: float) -> None:
    left = moment - time.perf_counter()
    if left > _SPIN:
        select.select((), (), (), left - _SPIN)
    while time.perf_counter() < moment:
        pass


def _play(protocol: str, server: ServerProcess, count: int) -> list[float]:
    """Play with a client of its own; return the microseconds of each step."""
    client = lean_client(protocol, server.port, CARTPOLE.environment)
    step_at_rate(client, _RATE, _WARM)
    found = step_at_rate(client, _RATE, count)
    client.close()
    return [1e6 * each for each in found]


def measure(quick: bool, peers: Peers) -> Section:
    """Measure all protocols, and other servers of the classic one, in turn."""
    rounds, count = (2, int(2 * _RATE)) if quick else (5, int(10 * _RATE))
    with servers_by_way(PROTOCOLS, peers) as ways:
        results = take_turns({name: partial(_play, *way, count) for name, way in ways.items()}, rounds)
    section = Section(f"Latency of a step at {_RATE:,.0f} steps per second")
    title = f"a step of CartPole at {_RATE:,.0f} per s"
    for name, found in results.items():
        samples = [each for one in found for each in one]
        for percent in (50, 99, 99.9):
            section.add_value(f"{title}, p{percent:g}, {name}", percentile(samples, percent), "us")
        section.add_value(f"{title}, the longest, {name}", max(samples), "us", samples)
    return section
