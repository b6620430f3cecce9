"""Compare two trees of gymtwist: the one of this file ("now") and another checkout ("before").

Each is built and installed into a virtual environment of its own. Both play the same workloads in turn with the same
programs, those of this tree, which use only public names of ``gymtwist.client`` and the command line of ``twistd
gymsock``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gymtwist_benchmarks.benchmark_runner import Series
from gymtwist_benchmarks.comparison_report import Document, median, rate_text
from gymtwist_benchmarks.contenders import CONTENDERS, Contender
from gymtwist_benchmarks.markdown_report import table
from gymtwist_benchmarks.workloads import WORKLOADS

NOW, BEFORE = "now", "before"
#: A row with a lower ratio is marked.
LEAST = 0.97
#: The default workloads: each path of a step at least once.
USUAL = ("cartpole", "pong", "nested", "pong-84x84-8", "cartpole-64")


def pair_contenders(only: Sequence[str]) -> list[tuple[Contender, Contender]]:
    """Pair each of gymtwist's contenders now with itself before.

    Args:
        only: The names of the contenders; all if empty.
    """
    found = []
    for each in CONTENDERS:
        # What other packages' clients need is not installed with a tree.
        if each.requirements == (".[atari]",) and (not only or each.name in only):
            now, before = (replace(each, name=f"{each.name}:{side}") for side in (NOW, BEFORE))
            found.append((now, before))
    return found


def plan_pairs(
    pairs: Sequence[tuple[Contender, Contender]], workloads: Sequence[str], clients: Sequence[int]
) -> list[Series]:
    """List the rows, in each of which a pair takes turns."""
    return [
        Series(workload, count, pair)
        for workload in workloads
        for pair in pairs
        if workload in pair[0].workloads
        for count in clients
        if count == 1 or (workload == "cartpole" and count in pair[0].clients)
    ]


def ratios_table(document: Document, series: Sequence[Series]) -> str:
    """Write the ratios of now to before, row by row, as Markdown: the median of the rounds, and their range."""
    rows = [("", "before", "now", "now / before", "lowest to highest", "")]
    for each in series:
        now, before = (document.rates(side.name, each.workload, each.clients) for side in each.contenders)
        ratios = {number: now[number] / before[number] for number in now if before.get(number)}
        middle = median(ratios)
        title = f"{each.contenders[0].title}: {WORKLOADS[each.workload].title}"
        title += f", {each.clients} clients" if each.clients > 1 else ""
        text, spread, verdict = "-", "-", "failed"
        if middle is not None:
            text, spread = f"{middle:.3f}", f"{min(ratios.values()):.3f} to {max(ratios.values()):.3f}"
            verdict = "" if middle >= LEAST else f"below {LEAST}"
        rows.append((title, rate_text(median(before)), rate_text(median(now)), text, spread, verdict))
    return table(rows, numbers=True)
