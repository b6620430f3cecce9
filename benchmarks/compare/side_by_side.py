"""Compares two trees of gymtwist: the one that this file is in ("now") and another checkout ("before").

Both are installed from copies, each into a virtual environment of its own, and play the same workloads with the same
programs: this tree's, which use only public names of ``gymtwist.client`` and the command line of ``twistd gymsock``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pages

from compare import venvs
from compare.contender import Contender, Series
from compare.peers_here import CONTENDERS
from compare.processes import Place
from compare.report import Document, median, rate_text
from compare.workloads import WORKLOADS

NOW, BEFORE = "now", "before"
#: Below this a row is marked.
LEAST = 0.97
#: What is played unless the command line says otherwise: every path of a step at least once.
USUAL = ("cartpole", "pong", "nested", "pong-84x84-8", "cartpole-64")
_IGNORED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


def sides(only: Sequence[str]) -> list[tuple[Contender, Contender]]:
    """Pair each of gymtwist's contenders now with itself before.

    Args:
        only: The names of the contenders; all if empty.
    """
    ours = [each for each in CONTENDERS if each.kind == "gymtwist" and (not only or each.name in only)]
    pairs = []
    for each in ours:
        now, before = (
            replace(each, name=f"{each.name}:{side}", title=f"{each.title}, {side}") for side in (NOW, BEFORE)
        )
        pairs.append((now, before))
    return pairs


def plan(
    pairs: Sequence[tuple[Contender, Contender]], workloads: Sequence[str], clients: Sequence[int]
) -> list[Series]:
    """List the rows: each is played by the two sides in turn."""
    return [
        Series(workload, count, pair)
        for workload in workloads
        for pair in pairs
        if workload in pair[0].workloads
        for count in clients
        if count == 1 or (workload == "cartpole" and count in pair[0].clients)
    ]


def install(tree: Path, side: str, directory: Path) -> Place:
    """Install a tree into the virtual environment of its side, anew each time.

    Args:
        tree: The checkout. It is copied first, as building leaves files in it.
        side: NOW or BEFORE.
        directory: Where virtual environments are.

    Raises:
        CannotInstall: pip says why not.
    """
    venv = directory.absolute() / f"side-by-side-{side}"
    python = venv / "bin" / "python"
    if not python.exists():
        venvs.run([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    with tempfile.TemporaryDirectory(prefix="compare-") as copied:
        copy = Path(copied, "gymtwist")
        shutil.copytree(tree, copy, ignore=_IGNORED, symlinks=True)
        venvs.run([*pip, f"{copy}[atari]"])
        # The version is the same, so that pip would keep what is there.
        venvs.run([*pip, "--force-reinstall", "--no-deps", str(copy)])
    return Place(python)


def write(document: Document, series: Sequence[Series]) -> str:
    """Write the ratios of now to before, row by row, as Markdown."""
    rows = [("", "before", "now", "now / before", "lowest to highest", "")]
    for each in series:
        now, before = (document.rates(who.name, each.workload, each.clients) for who in each.contenders)
        ratios = {number: now[number] / before[number] for number in now if before.get(number)}
        middle = median(ratios)
        title = f"{each.contenders[0].title.removesuffix(f', {NOW}')}: {WORKLOADS[each.workload].title}"
        title += f", {each.clients} clients" if each.clients > 1 else ""
        text, spread, verdict = "-", "-", "failed"
        if middle is not None:
            text, spread = f"{middle:.3f}", f"{min(ratios.values()):.3f} to {max(ratios.values()):.3f}"
            verdict = "" if middle >= LEAST else f"below {LEAST}"
        rows.append((title, rate_text(median(before)), rate_text(median(now)), text, spread, verdict))
    return pages.table(rows, numbers=True)
