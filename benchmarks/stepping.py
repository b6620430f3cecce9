"""What a step costs: processor time of the server, and steps per second of one client."""

from __future__ import annotations

import os
import statistics
import time

import classic
import floor
import inprocess
import proc
from inprocess import Played
from report import Part, say
from server import Server

_SEED = 7
_TARGET = 25.0


def serve(server: Server, environment: str, actions: int, steps: int, *, one_core: bool = False) -> Played:
    """Play an environment over a connection, as :func:`inprocess.play` does without one.

    Args:
        server: A server with ``--seed`` of our seed.
        environment: The environment's id.
        actions: How many actions it has.
        steps: How many steps to take.
        one_core: Whether client and child are to share a core.

    Returns:
        What it took; the processor time is that of the session's process.
    """
    commands = [classic.step_command(action) for action in classic.random_actions(actions, steps)]
    client = classic.Client(server.port, environment)
    cores = os.sched_getaffinity(0)
    try:
        client.reset()
        process = server.session_process(client.port)
        if one_core:
            os.sched_setaffinity(0, {min(cores)})
            os.sched_setaffinity(process, {min(cores)})
        user, system = proc.cpu(process)
        start = time.perf_counter()
        episodes = client.play(commands)
        seconds = time.perf_counter() - start
        user_after, system_after = proc.cpu(process)
    finally:
        os.sched_setaffinity(0, cores)
        client.close()
    return Played(seconds, user_after - user, system_after - system, episodes)


def measure_cpu(steps: int, rounds: int) -> Part:
    """Measure the processor time of the server for a step of CartPole, over what the environment itself takes.

    Args:
        steps: How many steps a round has.
        rounds: How many rounds; in each, one game in-process, one served, and as many round trips without either.
    """
    alone, served, bare = [], [], []
    with Server("--seed", str(_SEED)) as server:
        for number in range(rounds):
            alone.append(inprocess.play_in_fresh_process("CartPole-v1", steps, _SEED))
            served.append(serve(server, "CartPole-v1", 2, steps))
            bare.append(floor.round_trips(steps)[1])
            if alone[-1].episodes != served[-1].episodes:
                raise AssertionError(
                    f"{alone[-1].episodes} episodes in-process and {served[-1].episodes} served, of the same seed"
                )
            say(f"  round {number + 1} of {rounds}")
    each = 1e6 / steps
    environment = statistics.median(played.cpu for played in alone) * each
    session = statistics.median(played.cpu for played in served) * each
    over = statistics.median(each * (one.cpu - other.cpu) for one, other in zip(served, alone, strict=True))
    part = Part(f"Processor time for each step of CartPole-v1, median of {rounds} x {steps:,} steps")
    part.samples = {
        "in_process_us": [played.cpu * each for played in alone],
        "served_us": [played.cpu * each for played in served],
        "round_trip_us": [seconds * each for seconds in bare],
        "episodes": served[0].episodes,
    }
    part.add("the environment in-process", f"{environment:.1f} us")
    part.add("the session's process", f"{session:.1f} us")
    part.add("the server, over what the environment takes", f"{over:.1f} us", f"under {_TARGET:.0f} us", over < _TARGET)
    part.add(
        "a process that only answers as many bytes, without an environment",
        f"{statistics.median(bare) * each:.1f} us",
    )
    return part


def measure_rate(environment: str, actions: int, steps: int, rounds: int, *, more: bool = False) -> Part:
    """Measure the steps per second of one client, beside those in-process, in turn.

    Args:
        environment: The environment's id.
        actions: How many actions it has.
        steps: How many steps a round has.
        rounds: How many rounds.
        more: Whether to measure also round trips without an environment, and client and child on the same core.
    """
    alone, served, together, bare = [], [], [], []
    with Server("--seed", str(_SEED)) as server:
        for _ in range(rounds):
            alone.append(steps / inprocess.play_in_fresh_process(environment, steps, _SEED).seconds)
            served.append(steps / serve(server, environment, actions, steps).seconds)
            if more:
                bare.append(steps / floor.round_trips(steps)[0])
                together.append(steps / serve(server, environment, actions, steps, one_core=True).seconds)
    part = Part(f"Steps per second of one client, {environment}, median of {rounds} x {steps:,} steps")
    part.samples = {"in_process_per_s": alone, "served_per_s": served, "served_on_one_core_per_s": together}
    part.samples["round_trips_per_s"] = bare
    rate, own = statistics.median(served), statistics.median(alone)
    part.add("in-process", f"{own:,.0f}")
    part.add("served", f"{rate:,.0f}")
    part.add("served / in-process", f"{rate / own:.2f}")
    if more:
        part.add("round trips without an environment", f"{statistics.median(bare):,.0f}")
        part.add("served, client and child on the same core", f"{statistics.median(together):,.0f}")
    return part
