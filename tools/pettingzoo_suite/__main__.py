"""Run PettingZoo's own tests with remote environments, and write the page of results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.packages.__main__ import install
from tools.packages.listed import Package

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "reference" / "multi-agent-environments.md"
BEGIN, END = "<!-- written by make pettingzoo-tests -->\n", "<!-- end of what it writes -->\n"
#: What is installed.
PACKAGE = Package(
    *("pettingzoo", "1.27.0", ()),
    also=("pettingzoo[butterfly,classic,sisl]", "mpe2==1.1.1", "momaland==0.2.0", "magent2==0.3.4"),
)


def row(told: dict[str, Any]) -> str:
    """Return the row of an environment."""
    results: dict[str, list[str]] = told["results"]
    good = [test for test, (here, there) in results.items() if not here and not there]
    both = [test for test, (here, there) in results.items() if here and there]
    other = {test: there for test, (here, there) in results.items() if bool(here) != bool(there)}
    notes = [f"{', '.join(both)}: not with the local environment either"] if both else []
    notes += [f"{test}: {why or 'fails locally alone'}".replace("|", "\\|") for test, why in other.items()]
    return f"| `{told['environment']}` | {', '.join(good) or 'none'} | {'; '.join(notes)} |"


def write_page(lines: list[str]) -> None:
    """Replace the rows of the environments that were tested; the others keep theirs."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {line.split("`")[1]: line for line in old.splitlines() if line.startswith("| `")}
    for told in map(json.loads, lines):
        rows[told["environment"]] = row(told)
    table = ["| environment | tests that pass | notes |", "|---|---|---|", *(rows[name] for name in sorted(rows))]
    PAGE.write_text("".join([before, BEGIN, "\n", "\n".join(table), "\n\n", END, after]))


def main() -> int:
    """Install the environments, run the tests, and write the page; return 1 if a test passes locally alone."""
    parser = argparse.ArgumentParser(prog="python -m tools.pettingzoo_suite", description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="of the environments to test; all without any")
    parser.add_argument("--cache", type=Path, default=REPOSITORY / ".packages", help="where the packages are installed")
    options = parser.parse_args()
    folder = (options.cache / PACKAGE.name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    refused = install(PACKAGE, folder)
    if refused is not None:
        sys.exit(f"cannot be installed: {refused}")
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "conformance")])
    variables = {**os.environ, "PYTHONPATH": paths, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    words = [str(folder / "venv" / "bin" / "python"), "-m", "tools.pettingzoo_suite.suite", *options.patterns]
    done = subprocess.run(words, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    write_page(lines)
    results = [pair for line in lines for pair in json.loads(line)["results"].values()]
    print(f"{sum(not here and not there for here, there in results)} tests pass")
    return 1 if any(there and not here for here, there in results) else 0


if __name__ == "__main__":
    sys.exit(main())
