"""Draw a comparison: ``plots DIRECTORY``, with its JSON on the standard input; it needs matplotlib.

The colours are those of Okabe and Ito, which people with any colour vision can tell apart; markers differ as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot, ticker

from gymtwist_benchmarks.comparison_report import LIMIT, OURS, Document, median, overheads
from gymtwist_benchmarks.contenders import CONTENDERS
from gymtwist_benchmarks.workloads import WORKLOADS

#: Colour, marker and a name for the legend, by the kind of a contender.
_KINDS = {
    "gymtwist": ("#D55E00", "o", "gymtwist"),
    "network": ("#0072B2", "s", "alternatives with a server"),
    "local": ("#009E73", "^", "alternatives in the same process"),
    "limit": ("#000000", "D", "the environment itself"),
    "floor": ("#999999", "v", "bare TCP, no environment"),
}
#: Colours of lines, each of which is a contender; the first is ours.
_COLOURS = ("D55E00", "0072B2", "009E73", "CC79A7", "E69F00", "56B4E9", "000000", "999999", "882255", "117733")
_MARKERS = "os^Dv<>PX*"
_RATES = "environment steps per second, all together"


def _plain(value: float, _: object = None) -> str:
    """Write the number at a tick."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _number(axis: Any) -> None:
    """Give an axis readable numbers: 1, 2 and 5 times powers of ten where there is room."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
    axis.set_major_formatter(ticker.FuncFormatter(_plain))
    axis.set_minor_locator(ticker.NullLocator())


def workload_plot(document: Document, workload: str, path: Path) -> None:
    """Draw all rates with one client, the fastest on top: a mark for the median, a line for the range."""
    known = [each for each in CONTENDERS if document.rates(each.name, workload)]
    known.sort(key=lambda each: median(document.rates(each.name, workload)) or 0.0)
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.34 * len(known)), layout="constrained")
    shown: dict[str, Any] = {}
    for row, each in enumerate(known):
        rates = document.rates(each.name, workload)
        middle = median(rates) or 0.0
        colour, marker, _ = _KINDS[each.kind]
        axes.plot((min(rates.values()), max(rates.values())), (row, row), color=colour, linewidth=2, alpha=0.5)
        (shown[each.kind],) = axes.plot(middle, row, marker, color=colour, markersize=8, linestyle="none")
        axes.annotate(
            f"{middle:,.0f}", (max(rates.values()), row), xytext=(9, 0), textcoords="offset points", va="center", size=9
        )
    axes.set_yticks(range(len(known)), [each.title for each in known])
    for label, each in zip(axes.get_yticklabels(), known, strict=True):
        label.set_fontweight("bold" if each.name == OURS else "normal")
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left / 1.1, right * (right / left) ** 0.12)  # room for the numbers
    _number(axes.xaxis)
    axes.set_xlabel("environment steps per second (logarithmic; more is better)")
    axes.grid(axis="x", which="major", alpha=0.3)
    axes.set_ylim(-0.6, len(known) - 0.4)
    figure.legend(
        [shown[kind] for kind in _KINDS if kind in shown],
        [text for kind, (_, _, text) in _KINDS.items() if kind in shown],
        loc="outside lower center",
        ncols=3,
        fontsize=9,
        frameon=False,
    )
    _save(figure, axes, WORKLOADS[workload].title, path)


def _save(figure: Any, axes: Any, title: str, path: Path) -> None:
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def lines_plot(
    lines: Sequence[tuple[str, list[int], list[float]]], heading: str, label: str, path: Path, unit: str = _RATES
) -> None:
    """Draw lines of rates over numbers of what the label says; each line has a name, the numbers, and the rates."""
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    counts = sorted({count for _, numbers, _ in lines for count in numbers})
    for number, (name, numbers, rates) in enumerate(lines):
        colour, marker = f"#{_COLOURS[number % len(_COLOURS)]}", _MARKERS[number % len(_MARKERS)]
        style = "-" if number < len(_COLOURS) else "--"
        axes.plot(numbers, rates, style, marker=marker, color=colour, label=name, linewidth=3 if name == OURS else 1.5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _number(axes.yaxis)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    axes.grid(which="major", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    _save(figure, axes, heading, path)


def _lines(
    document: Document, points: Sequence[tuple[int, tuple[str, int]]]
) -> list[tuple[str, list[int], list[float]]]:
    """Collect a line of at least two points for each contender, from numbers with a series each."""
    found = []
    for each in sorted(CONTENDERS, key=lambda each: each.name != OURS):
        rates = [(number, median(document.rates(each.name, *played))) for number, played in points]
        known = [(number, rate) for number, rate in rates if rate is not None]
        if len(known) > 1:
            found.append((each.title, [number for number, _ in known], [rate for _, rate in known]))
    return found


def draw(document: Document, directory: Path) -> list[Path]:
    """Draw everything; return the files."""
    series = document.series()
    files = []
    for workload, clients in series:
        if clients == 1 and not WORKLOADS[workload].computes:
            files.append(directory / f"{workload}.png")
            workload_plot(document, workload, files[-1])
    several = [(clients, (workload, clients)) for workload, clients in series if workload == "cartpole"]
    if lines := _lines(document, several):
        files.append(directory / "clients.png")
        lines_plot(lines, "CartPole, several clients at once", "clients", files[-1])
    vectors = [
        (WORKLOADS[workload].num_envs or 0, (workload, 1)) for workload, _ in series if workload.startswith("cartpole-")
    ]
    if lines := _lines(document, vectors):
        files.append(directory / "vectors.png")
        lines_plot(lines, "CartPole, many environments that step together", "environments", files[-1])
    known = [(each.title, overheads(document, each.name)) for each in CONTENDERS if each.name != LIMIT]
    if computed := [(title, list(found), list(found.values())) for title, found in known if len(found) > 1]:
        files.append(directory / "overheads.png")
        label = "microseconds that a step of the environment computes for"
        lines_plot(computed, "Overhead of a step", label, files[-1], "microseconds more than in-process")
    return files


if __name__ == "__main__":
    for file in draw(Document.read(json.load(sys.stdin)), Path(sys.argv[1])):
        print(file)
