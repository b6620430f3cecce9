"""What was measured, and how it is written down."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        measured: What came out, with its unit.
        target: What it should be; empty if nothing was asked for.
        met: Whether it is; None where there is no target.
    """

    name: str
    measured: str
    target: str = ""
    met: bool | None = None


@dataclass
class Part:
    """One measurement: some lines of the table, and the samples behind them.

    Attributes:
        title: What it is about.
        figures: The lines.
        samples: Every single result, by name, for whoever wants to look closer.
    """

    title: str
    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, measured: str, target: str = "", met: bool | None = None) -> None:
        """Add a line to the table."""
        self.figures.append(Figure(name, measured, target, met))


def percentile(samples: Sequence[float], percent: int) -> float:
    """Find the value that so many percent of the samples are below."""
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1] if len(samples) > 1 else samples[0]


def table(parts: Sequence[Part]) -> str:
    """Write the lines of all parts as a table in Markdown."""
    rows = [("what", "measured", "target", "")]
    for part in parts:
        rows.append((f"**{part.title}**", "", "", ""))
        verdicts = {True: "met", False: "missed", None: ""}
        rows += [(each.name, each.measured, each.target, verdicts[each.met]) for each in part.figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def say(text: str) -> None:
    """Show how far it is, apart from the result on the standard output."""
    print(text, file=sys.stderr, flush=True)


def replace_in_page(page: Path, text: str) -> None:
    """Put the result into a page, between the two comments that mark its place.

    Raises:
        ValueError: The page has no such place.
    """
    pattern = re.compile(r"(<!-- measured: begin -->\n).*(<!-- measured: end -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page.read_text())
    if not count:
        raise ValueError(f"{page} has no lines <!-- measured: begin --> and <!-- measured: end -->")
    page.write_text(replaced)
