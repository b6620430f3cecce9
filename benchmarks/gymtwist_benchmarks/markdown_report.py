"""Measured values, their tables in Markdown, and the places of results in pages."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Whether a target is met.
_VERDICTS = {True: "met", False: "missed", None: ""}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: What was measured.
        measured: The result, with its unit.
        target: The target; empty without one.
        met: Whether the target is met; None without one.
        value: The result as a number, if it is one.
        samples: The single results behind the value.
        note: A remark, or why there is no value.
    """

    name: str
    measured: str
    target: str = ""
    met: bool | None = None
    value: float | None = None
    samples: Sequence[float] = ()
    note: str = ""


@dataclass
class Section:
    """The results of one measurement: the rows of a table, and single results that belong to no row, by name."""

    title: str
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, measured: str, target: str = "", met: bool | None = None) -> None:
        """Add a line of text."""
        self.rows.append(Row(name, measured, target, met))

    def add_value(
        self, name: str, value: float | None, unit: str = "", samples: Sequence[float] = (), note: str = ""
    ) -> None:
        """Add a line with a number; None if it could not be measured."""
        text = "-" if value is None else f"{value:,.{_digits(value)}f} {unit}".strip()
        self.rows.append(Row(name, text, value=value, samples=tuple(samples), note=note))

    def add_median(self, name: str, samples: Sequence[float], unit: str, note: str = "") -> None:
        """Add a line with the median of samples."""
        self.add_value(name, statistics.median(samples), unit, samples, note)

    def add_rates(
        self, rates: Mapping[str, Sequence[float]], to: str = "", least: Mapping[str, float] | None = None
    ) -> None:
        """Add a line with each rate in steps per second, and one with the ratio of each of `least` to another."""
        for name, found in rates.items():
            self.add_median(name, found, "steps per s")
        for name, target in (least or {}).items():
            self.add_ratio(f"{name} / {to}", rates[name], rates[to], target)

    def add_ratio(self, name: str, one: Sequence[float], other: Sequence[float], least: float | None = None) -> None:
        """Add a line with the median of the ratios of the rounds; `least` is its target, if it has one."""
        ratios = tuple(mine / theirs for mine, theirs in zip(one, other, strict=True))
        value = statistics.median(ratios)
        target, met = ("", None) if least is None else (f"{least:g} at least", value >= least)
        self.rows.append(Row(name, f"{value:.3f}", target, met, value, ratios))

    def value(self, name: str) -> float | None:
        """Return the number in a line."""
        return next(row.value for row in self.rows if row.name == name)


def _digits(value: float) -> int:
    return 0 if abs(value) >= 1000 or value == int(value) else 1 if abs(value) >= 10 else 3


def percentile(samples: Sequence[float], percent: float) -> float:
    """Find the value that so many percent of the samples do not exceed; it is one of them."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(percent * len(ordered) / 100))]


def sections_table(sections: Sequence[Section]) -> str:
    """Write all sections as one table, with a line in bold above each."""
    rows = [("what", "measured", "target", "")]
    for section in sections:
        rows.append((f"**{section.title}**", "", "", ""))
        rows += [(each.name, each.measured, each.target, _VERDICTS[each.met]) for each in section.rows]
    return table(rows)


def values_table(section: Section) -> str:
    """Write a section as a table with the number of samples."""
    rows = [("what", "measured", "samples", "")]
    for each in section.rows:
        note = f"{each.target}: {_VERDICTS[each.met]}" if each.target else each.note
        rows.append((each.name, each.measured, str(len(each.samples) or ""), note))
    return table(rows)


def table(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Write a table whose first row is the head; columns of numbers, all but the first, are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        rest = [cell.rjust(width) if numbers else cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        return "| " + " | ".join([row[0].ljust(widths[0]), *rest[1:]]) + " |"

    rule = ["-" * (width + 1) + (":" if numbers and column else "-") for column, width in enumerate(widths)]
    head, *body = map(line, rows)
    return "\n".join([head, "|" + "|".join(rule) + "|", *body])


def replace_result(page: Path, mark: str, text: str) -> None:
    """Put a result into a page, between comments such as ``<!-- measured: begin -->`` and ``<!-- measured: end -->``.

    Raises:
        ValueError: The page has no such place.
    """
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    pattern = re.compile(rf"({begin}\n).*({end})", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page.read_text())
    if not count:
        raise ValueError(f"{page} has no lines {begin} and {end}")
    page.write_text(replaced)


def say(text: str) -> None:
    """Show the progress on the standard error, apart from the result on the standard output."""
    print(text, file=sys.stderr, flush=True)
