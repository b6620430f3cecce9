"""What a load has measured, and the command line that all loads have."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import machine
import pages

from compare.loads.servers import Start, by_command


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: What was measured, of whom.
        value: What came out; None if it could not be measured.
        unit: Of the value and of the samples.
        samples: Every single result that the value was made of.
        note: What has to be known besides, or why there is no value.
    """

    name: str
    value: float | None
    unit: str
    samples: Sequence[float] = field(default_factory=tuple)
    note: str = ""


def median_row(name: str, samples: Sequence[float], unit: str, note: str = "") -> Row:
    """Make a row of the median of samples."""
    return Row(name, statistics.median(samples), unit, tuple(samples), note)


def share(samples: Sequence[float], part: float) -> float:
    """Find the value that so large a part of the samples (0 to 1) is not above, which is one of them."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def table(rows: Sequence[Row]) -> str:
    """Write rows as a table in Markdown."""
    cells = [("what", "measured", "unit", "samples", "")]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:,.{_digits(row.value)}f}"
        cells.append((row.name, value, row.unit, str(len(row.samples) or ""), row.note))
    return pages.table(cells)


def _digits(value: float) -> int:
    return 0 if abs(value) >= 1000 or value == int(value) else 1 if abs(value) >= 10 else 3


def command(measure: Callable[..., list[Row]], about: str, *, peers: bool = True) -> None:
    """Be the program of a load.

    Args:
        measure: Takes ``quick``, and ``peers`` if there can be any: by name, what starts a server.
        about: The first line of its help.
        peers: Whether there can be servers to compare with.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="measure less, in a minute at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to a file (default: below the table)")
    if peers:
        parser.add_argument(
            "--peer",
            action="append",
            default=[],
            metavar="NAME=COMMAND",
            help="compare with a server of the classic protocol; {port} in the command is the port that it is to "
            "listen on (may be repeated)",
        )
    options = parser.parse_args()
    # What was started and made is stopped and removed also then.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    given: dict[str, Any] = {"quick": options.quick}
    if peers:
        named = (each.partition("=") for each in options.peer)
        peers_given: dict[str, Start] = {name: by_command(command) for name, _, command in named}
        given["peers"] = peers_given
    rows = measure(**given)
    print(machine.describe())
    print(table(rows))
    found = json.dumps([asdict(row) for row in rows])
    if options.json:
        options.json.write_text(found + "\n")
    else:
        print(found)
    sys.stdout.flush()
