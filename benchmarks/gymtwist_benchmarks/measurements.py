"""Measure gymtwist's server: ``python benchmarks figures`` and ``python benchmarks loads``; ``--help`` lists options.

They start servers of their own on free ports of this machine, and read what Linux reports of processes, so they run on
Linux only. The comparison runs the load tests in gymtwist's virtual environment when it has finished.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from gymtwist_benchmarks import (
    client_rates,
    concurrency,
    connect_time,
    fixed_rate,
    flooded_sessions,
    machine,
    network_latency,
    ray_placement,
    recorded_sessions,
    session_memory,
    snapshot_times,
    step_cost,
    uneven_steps,
    watched_sessions,
)
from gymtwist_benchmarks.markdown_report import Section, replace_result, say, sections_table, values_table
from gymtwist_benchmarks.server_launcher import Peers, server_by_command

#: A measurement is told whether to measure less, and given servers to compare with.
Measure = Callable[[bool, Peers], list[Section]]

#: How often the compared take turns.
_ROUNDS = 3

#: What the server costs, by name.
FIGURES: dict[str, Measure] = {
    "warm": lambda quick, peers: [connect_time.measure_warm(10 if quick else 100)],
    "cold": lambda quick, peers: [connect_time.measure_cold(3 if quick else 10)],
    "memory": lambda quick, peers: [session_memory.measure_processes((1, 10) if quick else (1, 10, 50))],
    "processor-time": lambda quick, peers: [step_cost.measure_cpu(20_000 if quick else 100_000, _ROUNDS)],
    "cartpole": lambda quick, peers: [
        step_cost.measure_rate("CartPole-v1", 2, 10_000 if quick else 30_000, _ROUNDS, more=True)
    ],
    "pong": lambda quick, peers: (
        [step_cost.measure_rate("ALE/Pong-v5", 6, 300 if quick else 2_000, _ROUNDS)] if machine.HAS_ATARI else []
    ),
    "client": lambda quick, peers: client_rates.measure(_ROUNDS, 0.2 if quick else 1.0),
    "concurrency": lambda quick, peers: [concurrency.measure(*((50, 3.0) if quick else (200, 10.0)))],
}
#: The load tests, by name.
LOAD_TESTS: dict[str, Measure] = {
    "connect-time": lambda quick, peers: [connect_time.measure_protocols(quick, peers)],
    "idle-sessions": lambda quick, peers: [session_memory.measure_families(quick, peers)],
    "processor-time": lambda quick, peers: [step_cost.measure_servers(quick, peers)],
    "fixed-rate": lambda quick, peers: [fixed_rate.measure(quick, peers)],
    "uneven-steps": lambda quick, peers: [uneven_steps.measure(quick)],
    "watched-sessions": lambda quick, peers: [watched_sessions.measure(quick)],
    "recorded-sessions": lambda quick, peers: [recorded_sessions.measure(quick)] if machine.HAS_MINARI else [],
    "snapshots": lambda quick, peers: [snapshot_times.measure(quick)],
    "flooded-sessions": lambda quick, peers: [flooded_sessions.measure(quick)],
    "network-delay": lambda quick, peers: [network_latency.measure(quick)],
    "ray-placement": lambda quick, peers: [ray_placement.measure(quick)],
}


def _parser(command: str, description: str, measurements: Mapping[str, Measure]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"benchmarks {command}", description=description)
    made.add_argument("--quick", action="store_true", help="measure less")
    made.add_argument("--only", nargs="+", choices=list(measurements), default=list(measurements), help="only these")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every single result to a file")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into a page")
    return made


def _measure(options: argparse.Namespace, known: Mapping[str, Measure], peers: Peers) -> tuple[str, list[Section]]:
    """Make the measurements, and write their JSON; return a description of the machine, and what was measured."""
    # Servers are stopped and network devices removed also then.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    start, load = time.monotonic(), machine.load()
    sections: list[Section] = []
    for number, name in enumerate(options.only, 1):
        say(f"[{number}/{len(options.only)}] {name} ({time.monotonic() - start:.0f} s, load {machine.load():.1f})")
        found = known[name](options.quick, peers)
        say("\n".join(f"  {row.name}: {row.measured}" for section in found for row in section.rows))
        sections += found
    say(f"The run took {time.monotonic() - start:.0f} s.")
    if options.json is not None:
        document = {"machine": machine.describe(), "load_before": load, "sections": list(map(asdict, sections))}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return f"{machine.describe()} Load average before the run: {load:.2f}.", sections


def figures() -> None:
    """Measure what the server costs."""
    options = _parser("figures", "Measure gymtwist on this machine.", FIGURES).parse_args()
    about, sections = _measure(options, FIGURES, {})
    text = f"{about}\n\n{sections_table(sections)}"
    print(text)
    if options.markdown is not None:
        replace_result(options.markdown, "measured", text)


def loads() -> None:
    """Put the server under load."""
    parser = _parser("loads", "Put gymtwist's server, and those of alternatives, under load.", LOAD_TESTS)
    what = "compare with a server of the classic protocol, whose command has {port} for its port; may be repeated"
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help=what)
    options = parser.parse_args()
    named = (each.partition("=") for each in options.peer)
    about, sections = _measure(
        options, LOAD_TESTS, {name: partial(server_by_command, command) for name, _, command in named}
    )
    text = "\n\n".join(f"### {section.title}\n\n{values_table(section)}" for section in sections)
    print(f"{about}\n\n{text}")
    if options.markdown is not None:
        replace_result(options.markdown, "loads", text)
