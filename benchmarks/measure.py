"""Measure the server, all in one run: ``python benchmarks/measure.py``; ``--help`` lists the options.

It starts servers of its own on free ports of this machine and prints a table in Markdown. It reads what Linux tells of
processes, so it runs on Linux only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import crowd
import machine
import memory
import pages
import remote
import report
import starting
import stepping
from report import Part, say


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        connections: Connections to warm children.
        cold: Connections without one.
        sessions: How many sessions there are at once when memory is measured.
        steps: Steps of a round when processor time is measured.
        rounds: How often what is compared takes turns.
        clients: Clients that play at once.
        seconds: How long they play.
        cartpole: Steps of a round when the rate of CartPole is measured.
        pong: Steps of a round when the rate of Pong is measured.
        share: How many steps the Python client takes, as a share of the usual.
    """

    connections: int = 100
    cold: int = 10
    sessions: tuple[int, ...] = (1, 10, 50)
    steps: int = 100_000
    rounds: int = 3
    clients: int = 200
    seconds: float = 10.0
    cartpole: int = 30_000
    pong: int = 2_000
    share: float = 1.0


FULL = Effort()
QUICK = Effort(
    connections=10,
    cold=3,
    sessions=(1, 10),
    steps=20_000,
    clients=50,
    seconds=3.0,
    cartpole=10_000,
    pong=300,
    share=0.2,
)


def measurements(effort: Effort) -> list[Callable[[], list[Part]]]:
    """List what is measured, in this order."""
    todo: list[Callable[[], list[Part]]] = [
        lambda: [starting.measure_warm(effort.connections)],
        lambda: [starting.measure_cold(effort.cold)],
        lambda: [memory.measure(effort.sessions)],
        lambda: [stepping.measure_cpu(effort.steps, effort.rounds)],
        lambda: [stepping.measure_rate("CartPole-v1", 2, effort.cartpole, effort.rounds, more=True)],
    ]
    if importlib.util.find_spec("ale_py") is not None:
        todo.append(lambda: [stepping.measure_rate("ALE/Pong-v5", 6, effort.pong, effort.rounds)])
    else:
        say("ale-py is not installed: Pong is left out")
    todo.append(lambda: remote.measure(effort.rounds, effort.share))
    todo.append(lambda: [crowd.measure(effort.clients, effort.seconds)])
    return todo


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Measure gymtwist on this machine.")
    parser.add_argument("--quick", action="store_true", help="measure less: half a minute instead of two to three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result into a file, too")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="put the table into a page, between the comments that mark its place",
    )
    options = parser.parse_args()
    start, load = time.monotonic(), machine.load()
    todo = measurements(QUICK if options.quick else FULL)
    parts: list[Part] = []
    for number, measure in enumerate(todo, 1):
        say(f"[{number}/{len(todo)}] {time.monotonic() - start:.0f} s, load {machine.load():.1f}")
        found = measure()
        parts += found
        say("\n".join(f"  {each.name}: {each.measured}" for part in found for each in part.figures))
    text = f"{machine.describe()} Load average before the run: {load:.2f}.\n\n{report.table(parts)}"
    print(text)
    say(f"The run took {time.monotonic() - start:.0f} s.")
    if options.json is not None:
        document = {"machine": machine.describe(), "load_before": load, "parts": [asdict(part) for part in parts]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown is not None:
        pages.replace(options.markdown, "measured", text)


if __name__ == "__main__":
    main()
