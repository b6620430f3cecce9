"""The cost of a step: the server's processor time, and the steps per second of one client."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gymtwist_benchmarks.bare_tcp import round_trips
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section
from gymtwist_benchmarks.process_statistics import family_cpu, total_cpu
from gymtwist_benchmarks.protocol_clients import PROTOCOLS, LeanClassicClient, lean_client, random_actions
from gymtwist_benchmarks.server_launcher import Peers, ServerProcess, gymtwist_server, run_program, servers_by_way
from gymtwist_benchmarks.workloads import CARTPOLE

_SEED = 7
_TARGET = 25.0
#: Seconds in which the server replaces the worker that was used.
_REST = 0.2
_PATIENCE = 600.0


@dataclass(frozen=True)
class Played:
    """The cost of a game: seconds from the first step to the last, seconds of processor time, and ended episodes."""

    seconds: float
    cpu: float
    episodes: int


def play_here(environment: str, steps: int) -> Played:
    """Play an environment in this process, made as for a session."""
    import gymnasium

    with contextlib.suppress(ImportError):  # without it there are no Atari games
        gymnasium.register_envs(importlib.import_module("ale_py"))
    env: Any = gymnasium.make(environment, disable_env_checker=True, render_mode="rgb_array")
    actions = random_actions(int(env.action_space.n), steps)
    env.reset(seed=_SEED)
    episodes = 0
    step, reset = env.step, env.reset
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = step(action)
        if terminated or truncated:
            episodes += 1
            reset()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Played(seconds, used, episodes)


def play_in_fresh_process(environment: str, steps: int) -> Played:
    """Play an environment in a new interpreter."""
    words = [sys.executable, "-m", "gymtwist_benchmarks.step_cost", environment, str(steps)]
    return Played(**json.loads(run_program(words, _PATIENCE)))


def play_served(server: ServerProcess, environment: str, actions: int, steps: int, *, one_core: bool = False) -> Played:
    """Play an environment at a server with our seed; the processor time is that of the session's process.

    Args:
        server: The server.
        environment: The environment's id.
        actions: The number of its actions.
        steps: The number of steps.
        one_core: Whether client and worker share a core.
    """
    drawn = random_actions(actions, steps)
    client = LeanClassicClient(server.port, environment)
    cores = os.sched_getaffinity(0)
    try:
        client.begin()
        process = server.session_process(client.port)
        if one_core:
            os.sched_setaffinity(0, {min(cores)})
            os.sched_setaffinity(process, {min(cores)})
        before = total_cpu(process)
        start = time.perf_counter()
        episodes = client.play(drawn)
        seconds = time.perf_counter() - start
        used = total_cpu(process) - before
    finally:
        os.sched_setaffinity(0, cores)
        client.close()
    return Played(seconds, used, episodes)


def measure_cpu(steps: int, rounds: int) -> Section:
    """Measure the server's processor time of a step of CartPole beyond the environment's own.

    Each round has a game in-process, one served, and as many round trips without an environment.
    """
    with gymtwist_server("--seed", str(_SEED)) as server:
        measurements: dict[str, Callable[[], Played]] = {
            "alone": lambda: play_in_fresh_process("CartPole-v1", steps),
            "served": lambda: play_served(server, "CartPole-v1", 2, steps),
            "bare": lambda: Played(*round_trips(steps), 0),
        }
        games = take_turns(measurements, rounds)
    alone, served = games["alone"], games["served"]
    if [each.episodes for each in alone] != [each.episodes for each in served]:
        raise AssertionError(f"the same seed gave other episodes: {alone} in-process, {served} served")
    each = 1e6 / steps
    environment, session, bare = ([game.cpu * each for game in games[name]] for name in ("alone", "served", "bare"))
    over = statistics.median(one - other for one, other in zip(session, environment, strict=True))
    section = Section(f"Processor time of a step of CartPole-v1, median of {rounds} x {steps:,} steps")
    section.samples = {"in_process_us": environment, "served_us": session, "round_trip_us": bare}
    section.samples["episodes"] = served[0].episodes
    section.add("the environment in-process", f"{statistics.median(environment):.1f} us")
    section.add("the session's process", f"{statistics.median(session):.1f} us")
    section.add("the server, beyond the environment's own", f"{over:.1f} us", f"under {_TARGET:.0f} us", over < _TARGET)
    name = "a process that only answers as many bytes, without an environment"
    section.add(name, f"{statistics.median(bare):.1f} us")
    return section


def measure_rate(environment: str, actions: int, steps: int, rounds: int, *, more: bool = False) -> Section:
    """Measure the steps per second of one client, beside those in-process, in turn.

    With `more` also round trips without an environment, and client and worker on the same core.
    """
    with gymtwist_server("--seed", str(_SEED)) as server:
        served = partial(play_served, server, environment, actions, steps)
        measurements: dict[str, Callable[[], float]] = {
            "in_process_per_s": lambda: steps / play_in_fresh_process(environment, steps).seconds,
            "served_per_s": lambda: steps / served().seconds,
        }
        if more:
            measurements["round_trips_per_s"] = lambda: steps / round_trips(steps)[0]
            measurements["served_on_one_core_per_s"] = lambda: steps / served(one_core=True).seconds
        samples = take_turns(measurements, rounds)
    title = f"Steps per second of one client, {environment}, median of {rounds} x {steps:,} steps"
    section = Section(title, samples=samples)
    rates = {name: statistics.median(found) for name, found in samples.items()}
    section.add("in-process", f"{rates['in_process_per_s']:,.0f}")
    section.add("served", f"{rates['served_per_s']:,.0f}")
    section.add("served / in-process", f"{rates['served_per_s'] / rates['in_process_per_s']:.2f}")
    if more:
        section.add("round trips without an environment", f"{rates['round_trips_per_s']:,.0f}")
        section.add("served, client and worker on the same core", f"{rates['served_on_one_core_per_s']:,.0f}")
    return section


def _server_cpu(protocol: str, server: ServerProcess, steps: int) -> float:
    """Play CartPole by a protocol; return the seconds of processor time of all of the server's processes."""
    actions = random_actions(CARTPOLE.actions, steps)
    client = lean_client(protocol, server.port, CARTPOLE.environment)
    client.reset()
    time.sleep(_REST)
    before = family_cpu(server.pid)
    for action in actions:
        if client.step(action)[1]:
            client.reset()
    after = family_cpu(server.pid)
    client.close()
    # A process that has begun or ended meanwhile belongs to another session.
    return sum(seconds - before[pid] for pid, seconds in after.items() if pid in before)


def measure_servers(quick: bool, peers: Peers) -> Section:
    """Measure the processor time of all protocols, and of other servers of the classic one, in turn."""
    steps, rounds = (10_000, 2) if quick else (100_000, 5)
    measurements: dict[str, Callable[[], float]] = {
        "alone": lambda: play_in_fresh_process(CARTPOLE.environment, steps).cpu,
        "bare": lambda: round_trips(steps)[1],
    }
    with servers_by_way(PROTOCOLS, peers) as ways:
        measurements |= {name: partial(_server_cpu, *way, steps) for name, way in ways.items()}
        seconds = take_turns(measurements, rounds)
    samples = {name: [1e6 / steps * each for each in found] for name, found in seconds.items()}
    section = Section("Processor time of the server for a step")
    alone, bare = samples.pop("alone"), samples.pop("bare")
    section.add_median("processor time of a step, the environment in-process", alone, "us")
    section.add_median("processor time of a step, a process that only answers as many bytes", bare, "us")
    for name, found in samples.items():
        section.add_median(f"processor time of a step, {name}, all processes of the server", found, "us")
        over = [one - other for one, other in zip(found, alone, strict=True)]
        note = f"{statistics.median(over) / statistics.median(alone):.1f} times the environment's own"
        section.add_median(f"processor time of a step, {name}, beyond the environment's", over, "us", note)
    return section


if __name__ == "__main__":
    print(json.dumps(asdict(play_here(sys.argv[1], int(sys.argv[2])))))
