"""The server's processor time for a step beyond the environment's: ``python benchmarks/compare/loads/processor.py``."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import classic
import floor
import inprocess
from report import say

from compare.loads.rows import Row, command, median_row
from compare.loads.servers import Running, Start, gymtwist, port_of, processor_times
from compare.loads.speaking import speaker
from compare.workloads import CARTPOLE

_SEED = 7
#: Seconds for the server to put another process in the place of the one that is used.
_REST = 0.2


def served(running: Running, protocol: str, steps: int) -> float:
    """Play CartPole with random actions; returns the seconds of processor time that all of the server's processes took.

    Args:
        running: The server.
        protocol: What to speak.
        steps: How many steps to take.
    """
    actions = classic.random_actions(CARTPOLE.actions, steps)
    client = speaker(protocol, port_of(running), CARTPOLE.environment)
    client.reset()
    time.sleep(_REST)
    before = processor_times(running)
    for action in actions:
        if client.step(action)[1]:
            client.reset()
    after = processor_times(running)
    client.close()
    # What has begun or ended meanwhile belongs to the session before, or to the one behind.
    return sum(seconds - before[pid] for pid, seconds in after.items() if pid in before)


def measure(*, quick: bool = False, peers: Mapping[str, Start] | None = None) -> list[Row]:
    """Measure all in turn.

    Args:
        quick: Whether to take fewer steps.
        peers: By name, what starts a server of the classic protocol.
    """
    steps, rounds = (10_000, 2) if quick else (100_000, 5)
    each = 1e6 / steps
    alone: list[float] = []
    bare: list[float] = []
    samples: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(gymtwist())
        turns: dict[str, tuple[Running, str]] = {
            f"gymtwist, {protocol}": (own, protocol) for protocol in ("int32", "netstring", "classic")
        }
        for name, start in (peers or {}).items():
            turns[name] = (stack.enter_context(start()), "classic")
        for number in range(rounds):
            alone.append(each * inprocess.play_in_fresh_process(CARTPOLE.environment, steps, _SEED).cpu)
            bare.append(each * floor.round_trips(steps)[1])
            for name, (running, protocol) in turns.items():
                samples.setdefault(name, []).append(each * served(running, protocol, steps))
            say(f"  round {number + 1} of {rounds}")
    rows = [
        median_row("processor time of a step, the environment in-process", alone, "us"),
        median_row("processor time of a step, a process that only answers as many bytes", bare, "us"),
    ]
    environment = statistics.median(alone)
    for name, found in samples.items():
        rows.append(median_row(f"processor time of a step, {name}, all processes of the server", found, "us"))
        over = [one - other for one, other in zip(found, alone, strict=True)]
        note = f"{statistics.median(over) / environment:.1f} times the environment's own"
        rows.append(median_row(f"processor time of a step, {name}, over the environment's", over, "us", note))
    return rows


if __name__ == "__main__":
    command(measure, "Measure the server's processor time for a step beyond the environment's own.")
