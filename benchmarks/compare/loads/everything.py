"""Every load, one after the other: ``python benchmarks/compare/loads/everything.py``; ``--help`` lists the options.

``run.py`` runs it in gymtwist's virtual environment, behind the comparison.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import pages
from report import say

from compare.loads import delay, first, idle, latency, processor
from compare.loads.rows import Row, table
from compare.loads.servers import by_command

#: Each with its title, what measures it, and whether it can compare with peers.
LOADS: tuple[tuple[str, Callable[..., list[Row]], bool], ...] = (
    ("From connect to the first observation", first.measure, True),
    ("Memory of idle sessions, and many at once", idle.measure, True),
    ("Processor time of the server for a step", processor.measure, True),
    ("Latency of a step at 1,000 steps per second", latency.measure, True),
    ("Over a network with delay", delay.measure, False),
)


def write(found: dict[str, list[Row]]) -> str:
    """Write all rows as Markdown."""
    return "\n\n".join(f"### {title}\n\n{table(rows)}" for title, rows in found.items())


def main() -> None:
    """Be the program."""
    parser = argparse.ArgumentParser(description="Put gymtwist's server, and peers, under load.")
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result into a file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into a page")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="as in each of the loads")
    options = parser.parse_args()
    # What was started and made is stopped and removed also then.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    named = (each.partition("=") for each in options.peer)
    peers = {name: by_command(command) for name, _, command in named}
    found: dict[str, list[Row]] = {}
    for number, (title, measure, compares) in enumerate(LOADS, 1):
        say(f"[{number}/{len(LOADS)}] {title}")
        more: dict[str, Any] = {"peers": peers} if compares else {}
        found[title] = measure(quick=options.quick, **more)
        print(f"\n### {title}\n\n{table(found[title])}", flush=True)
    if options.json is not None:
        rows = {title: [asdict(row) for row in rows] for title, rows in found.items()}
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.markdown is not None:
        pages.replace(options.markdown, "loads", write(found))


if __name__ == "__main__":
    main()
