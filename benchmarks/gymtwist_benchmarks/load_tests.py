"""Run the load tests: ``python benchmarks loads``; ``--help`` lists the options.

The comparison runs them in gymtwist's virtual environment when it has finished.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from gymtwist_benchmarks import (
    connect_time,
    fixed_rate,
    flooded_sessions,
    machine,
    network_latency,
    session_memory,
    step_cost,
    uneven_steps,
    watched_sessions,
)
from gymtwist_benchmarks.markdown_report import Section, replace_result, say, values_table
from gymtwist_benchmarks.server_launcher import ServerProcess, server_by_command

#: Describes a server of the classic protocol.
Peers = Mapping[str, Callable[[], ServerProcess]]

#: The load tests, by name. Each is told whether to measure less, and given servers to compare with.
LOAD_TESTS: dict[str, Callable[[bool, Peers], Section]] = {
    "connect-time": connect_time.measure_protocols,
    "idle-sessions": session_memory.measure_families,
    "processor-time": step_cost.measure_servers,
    "fixed-rate": fixed_rate.measure,
    "uneven-steps": lambda quick, peers: uneven_steps.measure(quick),
    "watched-sessions": lambda quick, peers: watched_sessions.measure(quick),
    "flooded-sessions": lambda quick, peers: flooded_sessions.measure(quick),
    "network-delay": lambda quick, peers: network_latency.measure(quick),
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="benchmarks loads", description="Put gymtwist's server, and those of alternatives, under load."
    )
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--only", nargs="+", choices=list(LOAD_TESTS), default=list(LOAD_TESTS), help="only these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result to a file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into a page")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="compare with a server of the classic protocol; {port} in the command stands for its port (may be "
        "repeated)",
    )
    options = parser.parse_args()
    # Servers are stopped and network devices removed also then.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    named = (each.partition("=") for each in options.peer)
    peers = {name: partial(server_by_command, command) for name, _, command in named}
    print(machine.describe())
    sections = []
    for number, name in enumerate(options.only, 1):
        say(f"[{number}/{len(options.only)}] {name}")
        section = LOAD_TESTS[name](options.quick, peers)
        sections.append(section)
        print(f"\n### {section.title}\n\n{values_table(section)}", flush=True)
    if options.json is not None:
        document = {"machine": machine.describe(), "sections": [asdict(section) for section in sections]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown is not None:
        tables = [f"### {section.title}\n\n{values_table(section)}" for section in sections]
        replace_result(options.markdown, "loads", "\n\n".join(tables))
