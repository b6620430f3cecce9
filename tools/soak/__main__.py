"""``make soak``: run clients of every kind against a server; report what it cost, and whether others lost anything."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from gymtwist_benchmarks.markdown_report import replace_result
from tools.soak.soak_report import SoakReport
from tools.soak.soak_run import SoakRun


def main() -> int:
    """Run the command; return 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="how long it takes; %(default)g")
    parser.add_argument(
        "--load", type=float, default=0.5, help="the cores that everything may use together, on average; %(default)g"
    )
    parser.add_argument("--seed", type=int, default=1, help="of what clients do; %(default)s")
    parser.add_argument(
        "--directory", type=Path, help="a new directory for the journal and the log; else a temporary one"
    )
    parser.add_argument("--report", type=Path, metavar="DIRECTORY", help="run nothing: report an earlier run")
    parser.add_argument("--page", type=Path, help="put the figures into this page, and the charts beside it")
    parser.add_argument("--mark", default="measured", help="the comments between which they belong there; %(default)s")
    given = parser.parse_args()
    directory = given.report or given.directory or Path(tempfile.mkdtemp(prefix="gymtwist-soak-"))
    if given.report is None:
        print(f"The journal is {directory / 'journal'}", file=sys.stderr)
        SoakRun(directory, given.minutes, given.load, given.seed).run()
    report = SoakReport(directory / "journal")
    charts = (
        directory / "soak.svg" if given.page is None else given.page.with_name(f"{given.page.stem}-{given.mark}.svg")
    )
    charts.write_text(report.charts())
    figures = report.markdown(charts.name)
    if given.page is None:
        print(figures)
    else:
        replace_result(given.page, given.mark, figures)
    failures = report.failures()
    print("\n".join(f"FAILED {each}" for each in failures) or "everything held", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
