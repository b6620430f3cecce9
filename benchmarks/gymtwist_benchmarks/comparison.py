"""Compare gymtwist with its alternatives: ``python benchmarks compare``; ``--help`` lists the options.

It builds a virtual environment for each contender, starts the servers on free ports of this machine, and lets the
contenders take turns. It needs Linux, and nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from gymtwist_benchmarks import machine, side_by_side
from gymtwist_benchmarks.benchmark_runner import (
    VENVS,
    Effort,
    Place,
    Run,
    Series,
    measure,
    plan,
    prepare,
    server_command,
)
from gymtwist_benchmarks.comparison_report import Document, machines_table, write
from gymtwist_benchmarks.contenders import BY_NAME, CONTENDERS, HERE, REPOSITORY, Contender
from gymtwist_benchmarks.markdown_report import replace_result, say
from gymtwist_benchmarks.server_launcher import environment_variables
from gymtwist_benchmarks.venvs import build, build_tree, packages
from gymtwist_benchmarks.workloads import COMPARED, WORKLOADS

FULL = Effort()
QUICK = Effort(rounds=3, seconds=0.5, clients=(1, 4))
#: The alternative whose server the load tests can load as well.
_PEER = "gym-socket-api"


def _checkout(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIRECTORY with an existing directory")
    return name, Path(path).resolve()


def _tree(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "pyproject.toml").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not a checkout: it has no pyproject.toml")
    return path


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="benchmarks compare",
        description="Compare gymtwist with its alternatives on this machine.",
        epilog=f"Contenders: {', '.join(each.name for each in CONTENDERS)}. Workloads: {', '.join(WORKLOADS)}.",
    )
    made.add_argument("--quick", action="store_true", help="measure less: 3 rounds of half a second")
    made.add_argument("--only", nargs="+", metavar="CONTENDER", choices=[each.name for each in CONTENDERS])
    large = " and ".join(each.name for each in CONTENDERS if each.is_large)
    made.add_argument("--all", action="store_true", help=f"{large} take part, too, which install gigabytes")
    made.add_argument("--workloads", nargs="+", metavar="WORKLOAD", choices=list(WORKLOADS))
    made.add_argument("--rounds", type=int, help="how often the contenders take turns")
    made.add_argument("--seconds", type=float, help="how long each plays in a round")
    made.add_argument("--clients", type=int, nargs="+", help="the numbers of clients that play CartPole at once")
    made.add_argument(
        "--against",
        type=_tree,
        metavar="TREE",
        help="compare gymtwist with its build from another checkout instead, and show the ratios",
    )
    made.add_argument(
        "--checkout",
        type=_checkout,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the checkout of an alternative, such as gym-socket-api=PATH; may be repeated",
    )
    made.add_argument("--venvs", type=Path, default=VENVS, help="the directory of the virtual environments")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every single result to a file")
    made.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="show the targets beside the results of another machine, a file of --json; may be repeated",
    )
    made.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into a page, between its comments")
    made.add_argument("--no-loads", action="store_true", help="leave out memory, latency, and a network with delay")
    made.add_argument("--plots", type=Path, metavar="DIR", help="draw plots as PNG files; installs matplotlib for it")
    return made


def _play_all(planned: Sequence[Series], places: Mapping[str, Place], effort: Effort) -> tuple[list[Run], bool]:
    """Play all series; return the results, and whether they are complete (not interrupted by Ctrl-C)."""
    runs: list[Run] = []
    total = effort.rounds * sum(len(series.contenders) for series in planned)
    begun = time.monotonic()

    def note(run: Run) -> None:
        runs.append(run)
        result = f"{run.rate:,.0f} per s" if not run.error else f"failed: {run.error}"
        say(f"  round {run.round + 1} of {effort.rounds}: {run.contender}: {result}")

    try:
        for number, series in enumerate(planned, 1):
            clients = "1 client" if series.clients == 1 else f"{series.clients} clients"
            elapsed = time.monotonic() - begun
            left = f", {elapsed / len(runs) * (total - len(runs)) / 60:.0f} min left" if runs else ""
            say(
                f"[{number}/{len(planned)}] {series.workload}, {clients} "
                f"({len(runs)} of {total} runs{left}; load {machine.load():.1f})"
            )
            measure(series, places, effort, note)
    except KeyboardInterrupt:
        say("interrupted; this is what there is, and no page is changed")
        return runs, False
    return runs, True


def main() -> None:
    """Run the command."""
    options = parser().parse_args()
    usual = QUICK if options.quick else FULL
    effort = Effort(
        options.rounds or usual.rounds, options.seconds or usual.seconds, tuple(options.clients or usual.clients)
    )
    start, load, costs = time.monotonic(), machine.load(), machine.costs()
    if options.against is not None:
        trees = {side_by_side.NOW: REPOSITORY, side_by_side.BEFORE: options.against}
        sides = {}
        for side, tree in trees.items():
            say(f"installing {tree} as {side!r}")
            sides[side] = Place(build_tree(tree, f"side-by-side-{side}", options.venvs))
        pairs = side_by_side.pair_contenders(options.only or ())
        places = {each.name: sides[each.name.partition(":")[2]] for pair in pairs for each in pair}
        planned = side_by_side.plan_pairs(pairs, options.workloads or side_by_side.USUAL, options.clients or (1,))
    else:
        named = options.only or [each.name for each in CONTENDERS if options.all or not each.is_large]
        wanted = [each for each in CONTENDERS if each.name in named]
        places = prepare(wanted, options.venvs, dict(options.checkout))
        able = [each for each in wanted if each.name in places]
        planned = plan(able, options.workloads or [each.name for each in COMPARED], effort.clients)
    runs, is_whole = _play_all(planned, places, effort)
    document = Document(
        # The versions that matter are those of the contenders' libraries.
        machine=f"{machine.describe().partition(', Python')[0]}, Python {platform.python_version()}. {costs}",
        load_before=load,
        effort=asdict(effort),
        packages={name: packages(place.python) for name, place in places.items()},
        runs=runs,
    )
    say(f"The run took {time.monotonic() - start:.0f} s.")
    data = json.dumps(asdict(document), indent=1) + "\n"
    if options.json is not None:
        options.json.write_text(data)
    if options.against is not None:
        print(side_by_side.ratios_table(document, planned))
        return
    images = draw(data, options.plots, options.venvs) if options.plots is not None else []
    print(write(document, CONTENDERS))
    others = [Document.read(json.loads(each.read_text())) for each in options.beside]
    by_machine = machines_table([document, *others], CONTENDERS)
    if others:
        print(f"\n### By machine\n\n{by_machine}")
    if options.markdown is not None and is_whole and others:
        replace_result(options.markdown, "machines", by_machine)
    if options.markdown is not None and is_whole:
        links = {image.stem: os.path.relpath(image, options.markdown.parent) for image in images}
        replace_result(options.markdown, "compared", write(document, CONTENDERS, links))
    if is_whole and "gymtwist" in places and not options.no_loads:
        run_load_tests(places, quick=options.quick, page=options.markdown)


def run_load_tests(places: Mapping[str, Place], *, quick: bool, page: Path | None) -> None:
    """Run the load tests in gymtwist's virtual environment; gym-socket-api is loaded, too, if it takes part."""
    command = [str(places["gymtwist"].python), str(HERE.parent), "loads", *(["--quick"] if quick else [])]
    command += ["--markdown", str(page)] if page is not None else []
    if _PEER in places:
        words = server_command(BY_NAME[_PEER], places[_PEER], "cartpole")
        command += ["--peer", f"{_PEER}={shlex.join(words)}"]
    status = subprocess.run(command, env=environment_variables(), check=False).returncode
    if status:
        raise SystemExit(status)


def draw(data: str, directory: Path, environments: Path) -> list[Path]:
    """Draw plots of a document's JSON into a directory, in an environment with matplotlib; return the files."""
    python = build(Contender("plots", "the plots", "", ("matplotlib",), "plots", ()), environments, say)
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "gymtwist_benchmarks.plots", str(directory)]
    run = subprocess.run(
        command, input=data, text=True, env=environment_variables(), stdout=subprocess.PIPE, check=True
    )
    return [Path(line) for line in run.stdout.splitlines()]
