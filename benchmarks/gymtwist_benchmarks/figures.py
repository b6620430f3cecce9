"""Measure the server, all in one run: ``python benchmarks figures``; ``--help`` lists the options.

It starts servers of its own on free ports of this machine and prints a table in Markdown. It reads what Linux reports
of processes, so it runs on Linux only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from gymtwist_benchmarks import client_rates, concurrency, connect_time, machine, session_memory, step_cost
from gymtwist_benchmarks.markdown_report import Section, replace_result, say, sections_table


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    #: Connections to idle workers, and without one.
    connections: int
    cold: int
    #: The numbers of idle sessions.
    sessions: tuple[int, ...]
    #: Steps of a round: for the processor time, for the rate of CartPole, and for that of Pong.
    steps: int
    cartpole: int
    pong: int
    #: Seconds of a round of the Python client.
    client_seconds: float
    #: Concurrent clients, and the seconds that they play.
    clients: int
    seconds: float


FULL = Effort(100, 10, (1, 10, 50), 100_000, 30_000, 2_000, 1.0, 200, 10.0)
QUICK = Effort(10, 3, (1, 10), 20_000, 10_000, 300, 0.2, 50, 3.0)
#: How often the compared take turns.
_ROUNDS = 3


def measurements(effort: Effort) -> list[Callable[[], list[Section]]]:
    """List the measurements in their order."""
    planned: list[Callable[[], list[Section]]] = [
        lambda: [connect_time.measure_warm(effort.connections)],
        lambda: [connect_time.measure_cold(effort.cold)],
        lambda: [session_memory.measure_processes(effort.sessions)],
        lambda: [step_cost.measure_cpu(effort.steps, _ROUNDS)],
        lambda: [step_cost.measure_rate("CartPole-v1", 2, effort.cartpole, _ROUNDS, more=True)],
    ]
    has_atari = importlib.util.find_spec("ale_py") is not None
    if has_atari:
        planned.append(lambda: [step_cost.measure_rate("ALE/Pong-v5", 6, effort.pong, _ROUNDS)])
    else:
        say("ale-py is not installed: Pong is left out")
    planned.append(lambda: client_rates.measure(_ROUNDS, effort.client_seconds, has_atari))
    planned.append(lambda: [concurrency.measure(effort.clients, effort.seconds)])
    return planned


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="benchmarks figures", description="Measure gymtwist on this machine.")
    parser.add_argument("--quick", action="store_true", help="measure less: a minute instead of three to four")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result to a file, too")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put the table into a page, between the comments for it"
    )
    options = parser.parse_args()
    start, load = time.monotonic(), machine.load()
    planned = measurements(QUICK if options.quick else FULL)
    sections: list[Section] = []
    for number, measure in enumerate(planned, 1):
        say(f"[{number}/{len(planned)}] {time.monotonic() - start:.0f} s, load {machine.load():.1f}")
        found = measure()
        sections += found
        say("\n".join(f"  {row.name}: {row.measured}" for section in found for row in section.rows))
    text = f"{machine.describe()} Load average before the run: {load:.2f}.\n\n{sections_table(sections)}"
    print(text)
    say(f"The run took {time.monotonic() - start:.0f} s.")
    if options.json is not None:
        results = [asdict(section) for section in sections]
        document = {"machine": machine.describe(), "load_before": load, "sections": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown is not None:
        replace_result(options.markdown, "measured", text)
