"""Compare gymtwist with what one would use instead: ``python benchmarks/compare/run.py``; ``--help`` lists the options.

It builds a virtual environment for each contender, starts their servers on free ports of this machine, and lets them
play in turn. It needs Linux, and nothing but Python's own library.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # `compare` is imported by that name wherever this is started
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import machine
import pages

from compare import report, side_by_side, venvs
from compare.contender import HERE, REPOSITORY, Contender, Run, Series
from compare.peers import CONTENDERS
from compare.processes import Failed, Place, Serving, play, words_for
from compare.workloads import WORKLOADS


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How often the contenders take turns.
        seconds: How long each plays in a round.
        clients: How many clients there are at once.
    """

    rounds: int = 5
    seconds: float = 2.0
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)


#: Where virtual environments and checkouts are, unless it is said otherwise.
VENVS, CHECKOUTS = REPOSITORY / ".bench" / "venvs", REPOSITORY / ".bench" / "checkouts"
FULL = Effort()
QUICK = Effort(rounds=3, seconds=0.5, clients=(1, 4))


def say(text: str) -> None:
    """Show how far it is, apart from the result on the standard output."""
    print(text, file=sys.stderr, flush=True)


def plan(contenders: Sequence[Contender], workloads: Sequence[str], clients: Sequence[int]) -> list[Series]:
    """List what is compared with each other; a series with nobody in it is left out.

    Args:
        contenders: Who takes part.
        workloads: The names of what is played.
        clients: The numbers of clients at once; more than one only where CartPole is played by single environments.
    """
    found = []
    for workload in workloads:
        for count in clients if workload == "cartpole" else (1,):
            able = [each for each in contenders if workload in each.workloads and count in (*each.clients, 1)]
            if able:
                found.append(Series(workload, count, tuple(able)))
    return found


def turns(contenders: Sequence[Contender], rounds: int) -> Iterator[tuple[int, Contender]]:
    """Say whose turn it is: A B C A B C, so that what disturbs the machine for a while disturbs all alike."""
    for number in range(rounds):
        for contender in contenders:
            yield number, contender


def measure(series: Series, places: Mapping[str, Place], effort: Effort, note: Callable[[Run], None]) -> list[Run]:
    """Let everybody play in turn; servers are started before the first round and stopped after the last.

    Args:
        series: What is played, by whom.
        places: Where contenders run, by name.
        effort: How much.
        note: Is told each result as soon as it is there.
    """
    runs: list[Run] = []
    broken: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        servers: dict[str, Serving] = {}
        for contender in series.contenders:
            try:
                serving = Serving(contender, places[contender.name], series.workload)
                servers[contender.name] = stack.enter_context(serving)
            except Failed as error:
                broken[contender.name] = str(error)
        for number, contender in turns(series.contenders, effort.rounds):
            run = Run(contender.name, series.workload, series.clients, number, error=broken.get(contender.name, ""))
            if not run.error:
                place = places[contender.name]
                try:
                    run.steps, run.seconds = play(
                        servers[contender.name], contender, place, series.workload, effort.seconds, series.clients
                    )
                except Failed as error:
                    run.error = broken[contender.name] = str(error)
            runs.append(run)
            note(run)
    return runs


def prepare(contenders: Sequence[Contender], directory: Path, checkouts: Mapping[str, Path]) -> dict[str, Place]:
    """Make sure that contenders can run; those that cannot are left out, and it is said why.

    Args:
        contenders: Who would take part.
        directory: Where virtual environments are.
        checkouts: Directories of public repositories, by name without the owner, where they are not in CHECKOUTS.
    """
    places = {}
    for contender in contenders:
        checkout = None
        if contender.checkout is not None:
            name = contender.checkout.rpartition("/")[2]
            checkout = checkouts.get(name, CHECKOUTS / name)
            if not checkout.is_dir():
                say(
                    f"without {contender.title}: it needs a checkout of https://github.com/{contender.checkout}; "
                    f"make one in {CHECKOUTS / name}, or say where one is by --checkout {name}=PATH"
                )
                continue
        try:
            places[contender.name] = Place(venvs.build(contender, directory, say), checkout)
        except venvs.CannotInstall as error:
            say(f"without {contender.title}: {error}")
    return places


def _checkout(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIRECTORY with a directory that is there")
    return name, Path(path).resolve()


def parser() -> argparse.ArgumentParser:
    """Say what the command line can have."""
    made = argparse.ArgumentParser(
        prog="run.py",
        description="Compare gymtwist with what one would use instead, on this machine.",
        epilog=f"Contenders: {', '.join(each.name for each in CONTENDERS)}. Workloads: {', '.join(WORKLOADS)}.",
    )
    made.add_argument("--quick", action="store_true", help="measure less: 3 rounds of half a second")
    made.add_argument("--only", nargs="+", metavar="CONTENDER", choices=[each.name for each in CONTENDERS])
    made.add_argument("--workloads", nargs="+", metavar="WORKLOAD", choices=list(WORKLOADS))
    made.add_argument(
        "--against",
        type=Path,
        metavar="TREE",
        help="compare gymtwist with its build from another checkout instead, and show the ratios",
    )
    made.add_argument("--rounds", type=int, help="how often the contenders take turns")
    made.add_argument("--seconds", type=float, help="how long each plays in a round")
    made.add_argument("--clients", type=int, nargs="+", help="how many clients play CartPole at once")
    made.add_argument(
        "--checkout",
        type=_checkout,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where the checkout of a peer is, such as gym-socket-api=PATH; may be repeated",
    )
    made.add_argument(
        "--venvs",
        type=Path,
        default=VENVS,
        help="where virtual environments are made and kept",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write every single result into a file")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into a page, between its comments")
    made.add_argument("--no-loads", action="store_true", help="leave out memory, latency, and a network with delay")
    made.add_argument("--plots", type=Path, metavar="DIR", help="draw plots as PNG files; installs matplotlib for it")
    return made


def main() -> None:
    """Run the program."""
    options = parser().parse_args()
    usual = QUICK if options.quick else FULL
    effort = Effort(
        options.rounds or usual.rounds, options.seconds or usual.seconds, tuple(options.clients or usual.clients)
    )
    if options.against is not None:
        compare_trees(options, effort)
        return
    wanted = [each for each in CONTENDERS if not options.only or each.name in options.only]
    start, load = time.monotonic(), machine.load()
    places = prepare(wanted, options.venvs, dict(options.checkout))
    contenders = [each for each in wanted if each.name in places]
    todo = plan(contenders, options.workloads or list(WORKLOADS), effort.clients)
    total = effort.rounds * sum(len(series.contenders) for series in todo)
    runs: list[Run] = []
    begun = time.monotonic()

    def note(run: Run) -> None:
        runs.append(run)
        result = f"{run.rate:,.0f} per s" if not run.error else f"failed: {run.error}"
        say(f"  round {run.round + 1} of {effort.rounds}: {run.contender}: {result}")

    is_whole = True
    try:
        for number, series in enumerate(todo, 1):
            clients = "1 client" if series.clients == 1 else f"{series.clients} clients"
            elapsed = time.monotonic() - begun
            left = f", {elapsed / len(runs) * (total - len(runs)) / 60:.0f} min left" if runs else ""
            say(
                f"[{number}/{len(todo)}] {series.workload}, {clients} "
                f"({len(runs)} of {total} runs{left}; load {machine.load():.1f})"
            )
            measure(series, places, effort, note)
    except KeyboardInterrupt:
        is_whole = False
        say("interrupted; this is what there is, and no page is changed")
    document = report.Document(
        # The libraries that matter are the contenders', not those of the Python that runs this.
        machine=f"{machine.describe().partition(', Python')[0]}, Python {platform.python_version()}.",
        load_before=load,
        effort=asdict(effort),
        packages={name: venvs.packages(place.python) for name, place in places.items()},
        runs=runs,
    )
    say(f"The run took {time.monotonic() - start:.0f} s.")
    data = json.dumps(asdict(document), indent=1) + "\n"
    if options.json is not None:
        options.json.write_text(data)
    images = draw(data, options.plots, options.venvs) if options.plots is not None else []
    print(report.write(document, CONTENDERS))
    if options.markdown is not None and is_whole:
        page: Path = options.markdown
        links = {image.stem: os.path.relpath(image, page.parent) for image in images}
        pages.replace(page, "compared", report.write(document, CONTENDERS, links))
    if is_whole and "gymtwist" in places and not options.no_loads:
        put_under_load(places, quick=options.quick, page=options.markdown)


def compare_trees(options: argparse.Namespace, effort: Effort) -> None:
    """Measure this tree and another in turn, and write the ratios."""
    load = machine.load()
    places = {}
    for side, tree in ((side_by_side.NOW, REPOSITORY), (side_by_side.BEFORE, options.against)):
        say(f"installing {tree} as {side!r}")
        places[side] = side_by_side.install(tree, side, options.venvs)
    pairs = side_by_side.sides(options.only or ())
    todo = side_by_side.plan(pairs, options.workloads or side_by_side.USUAL, options.clients or (1,))
    runs: list[Run] = []

    def note(run: Run) -> None:
        runs.append(run)
        if run.error:
            say(f"  {run.contender}: failed: {run.error}")

    for number, series in enumerate(todo, 1):
        say(f"[{number}/{len(todo)}] {series.contenders[0].name}, {series.workload}, {series.clients} at once")
        measure(series, {each.name: places[each.name.partition(":")[2]] for each in series.contenders}, effort, note)
    document = report.Document(
        machine=machine.describe().partition(", Python")[0],
        load_before=load,
        effort=asdict(effort),
        packages={side: venvs.packages(place.python) for side, place in places.items()},
        runs=runs,
    )
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(document), indent=1) + "\n")
    print(side_by_side.write(document, todo))


def put_under_load(places: Mapping[str, Place], *, quick: bool, page: Path | None) -> None:
    """Put the server under load, by a program in gymtwist's virtual environment.

    Args:
        places: Where contenders run; gym-socket-api is compared if it is among them.
        quick: Whether to measure less.
        page: The page that gets the tables.
    """
    known = {each.name: each for each in CONTENDERS}
    command = [str(places["gymtwist"].python), str(HERE / "loads" / "everything.py")]
    command += ["--quick"] if quick else []
    command += ["--markdown", str(page)] if page is not None else []
    peer = "gym-socket-api"
    if peer in places:
        words = words_for(known[peer], places[peer], "cartpole", 0)
        start = [word.format(**{**words, "port": "{port}"}) for word in known[peer].server or ()]
        command += ["--peer", f"{peer}={shlex.join(start)}"]
    subprocess.run(command, check=False)


def draw(data: str, directory: Path, environments: Path) -> list[Path]:
    """Draw plots, by a program in a virtual environment that has matplotlib.

    Args:
        data: The JSON of a document.
        directory: Where the files go; it is made if it is not there.
        environments: Where virtual environments are.

    Returns:
        The files.
    """
    plotter = Contender("plots", "the plots", ("matplotlib",), "plots.py", ())
    python = venvs.build(plotter, environments, say)
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(python), str(HERE / plotter.program), str(directory)]
    variables = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    run = subprocess.run(command, input=data, text=True, env=variables, stdout=subprocess.PIPE, check=True)
    return [Path(line) for line in run.stdout.splitlines()]


if __name__ == "__main__":
    main()
