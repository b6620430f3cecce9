"""What was measured, and how it is written down."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pages


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
    return pages.table(rows)


def say(text: str) -> None:
    """Show how far it is, apart from the result on the standard output."""
    print(text, file=sys.stderr, flush=True)
