"""The runner: contenders take turns at a workload, A B C A B C."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gymtwist_benchmarks.contenders import REPOSITORY, Contender
from gymtwist_benchmarks.markdown_report import say
from gymtwist_benchmarks.server_launcher import Failed, ServerProcess, run_program
from gymtwist_benchmarks.venvs import CannotInstall, build
from gymtwist_benchmarks.workloads import WORKLOADS

#: The default places of virtual environments and checkouts.
VENVS, CHECKOUTS = REPOSITORY / ".bench" / "venvs", REPOSITORY / ".bench" / "checkouts"
#: Seconds that a program may take beyond those that it plays.
_PATIENCE = 120.0

_Name = TypeVar("_Name", bound=Hashable)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How often the contenders take turns.
        seconds: How long each plays in a round.
        clients: The numbers of concurrent clients.
    """

    rounds: int = 5
    seconds: float = 2.0
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Place:
    """Where a contender runs.

    Attributes:
        python: The interpreter of its virtual environment.
        checkout: The directory of the repository that it needs, or None.
    """

    python: Path
    checkout: Path | None = None


@dataclass
class Run:
    """One round of one contender.

    Attributes:
        contender: The contender's name.
        workload: The workload's name.
        clients: The number of concurrent clients.
        round: The round, from 0.
        steps: Steps of all environments together.
        seconds: The time they took.
        error: Why there is no result; empty if there is one.
    """

    contender: str
    workload: str
    clients: int
    round: int
    steps: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Series:
    """The contenders that are compared at a workload with a number of concurrent clients."""

    workload: str
    clients: int
    contenders: Sequence[Contender]


def turns(names: Sequence[_Name], rounds: int) -> Iterator[tuple[int, _Name]]:
    """Order the turns as A B C A B C, so that a disturbance of the machine affects all alike."""
    for number in range(rounds):
        for name in names:
            yield number, name


def take_turns(measurements: Mapping[str, Callable[[], _Result]], rounds: int) -> dict[str, list[_Result]]:
    """Make several measurements in turn; return the results of each."""
    found: dict[str, list[_Result]] = {name: [] for name in measurements}
    *_, last = measurements
    for number, name in turns(list(measurements), rounds):
        found[name].append(measurements[name]())
        if name == last and (rounds <= 10 or (number + 1) % 25 == 0):
            say(f"  round {number + 1} of {rounds}")
    return found


def median_ratio(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """Divide round by round, and return the median, which excludes what slows a whole round; None of nothing."""
    found = [one[number] / other[number] for number in one if other.get(number)]
    return statistics.median(found) if found else None


def plan(contenders: Sequence[Contender], workloads: Sequence[str], clients: Sequence[int]) -> list[Series]:
    """List the series; one without contenders is left out.

    Args:
        contenders: The contenders.
        workloads: The names of the workloads.
        clients: The numbers of concurrent clients; several play only CartPole, in single environments.
    """
    found = []
    for workload in workloads:
        for count in clients if workload == "cartpole" else (1,):
            able = [each for each in contenders if workload in each.workloads and count in (*each.clients, 1)]
            if able:
                found.append(Series(workload, count, tuple(able)))
    return found


def replacements(place: Place, workload: str, port: int | str, address: str) -> dict[str, str]:
    """Return what the words in braces of a contender stand for."""
    return {
        "python": str(place.python),
        "bin": str(place.python.parent),
        "port": str(port),
        "address": address,
        "workload": workload,
        "environment": WORKLOADS[workload].environment,
        "checkout": str(place.checkout or ""),
    }


def _variables(contender: Contender, words: Mapping[str, str]) -> dict[str, str]:
    return {name: value.format(**words) for name, value in contender.variables}


def server_command(contender: Contender, place: Place, workload: str) -> list[str]:
    """Return the command of a contender's server, with ``{port}`` left for the port."""
    words = replacements(place, workload, "{port}", "127.0.0.1:{port}")
    return [word.format(**words) for word in contender.server or ()]


def contender_server(contender: Contender, place: Place, workload: str) -> ServerProcess:
    """Describe the server of a contender that has one."""
    words = replacements(place, workload, "{port}", "127.0.0.1:{port}")
    return ServerProcess(server_command(contender, place, workload), contender.ready, _variables(contender, words))


def play(
    contender: Contender,
    place: Place,
    workload: str,
    seconds: float,
    clients: int = 1,
    server: str = "",
    warm: float | None = None,
    prefix: Sequence[str] = (),
) -> tuple[int, float]:
    """Run a contender's program.

    Args:
        contender: The contender.
        place: Where it runs.
        workload: The name of what it plays.
        seconds: How long it plays.
        clients: The number of concurrent clients.
        server: The address of its server; empty without one.
        warm: Seconds of play before the measured ones; None for the default.
        prefix: Words before the command.

    Returns:
        The steps of all environments together, and the seconds they took.

    Raises:
        Failed: The program failed.
    """
    words = replacements(place, workload, server.rpartition(":")[2], server)
    command = [*prefix, str(place.python), "-m", f"gymtwist_benchmarks.{contender.program}"]
    command += [contender.address.format(**words), workload, str(seconds), str(clients)]
    command += [] if warm is None else [str(warm)]
    result = json.loads(run_program(command, seconds + (warm or 0.0) + _PATIENCE, _variables(contender, words)))
    return int(result["steps"]), float(result["seconds"])


def measure(series: Series, places: Mapping[str, Place], effort: Effort, note: Callable[[Run], None]) -> list[Run]:
    """Let the contenders of a series take turns; servers run from before the first round until after the last.

    Args:
        series: What is played, and by which contenders.
        places: Where contenders run, by name.
        effort: How much is measured.
        note: Called with each result at once.
    """
    runs: list[Run] = []
    broken: dict[str, str] = {}
    addresses: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for contender in series.contenders:
            try:
                if contender.server is not None:
                    server = contender_server(contender, places[contender.name], series.workload)
                    addresses[contender.name] = stack.enter_context(server).address
            except Failed as error:
                broken[contender.name] = str(error)
        for number, contender in turns(series.contenders, effort.rounds):
            name = contender.name
            run = Run(name, series.workload, series.clients, number, error=broken.get(name, ""))
            if not run.error:
                try:
                    run.steps, run.seconds = play(
                        contender,
                        places[name],
                        series.workload,
                        effort.seconds,
                        series.clients,
                        addresses.get(name, ""),
                    )
                except Failed as error:
                    run.error = broken[name] = str(error)
            runs.append(run)
            note(run)
    return runs


def prepare(contenders: Sequence[Contender], directory: Path, checkouts: Mapping[str, Path]) -> dict[str, Place]:
    """Install contenders; those that cannot be installed are left out, with the reason on the standard error.

    Args:
        contenders: The contenders.
        directory: The directory of the virtual environments.
        checkouts: Directories of public repositories that are not in CHECKOUTS, by name without the owner.
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
                    f"make one in {CHECKOUTS / name}, or name one by --checkout {name}=PATH"
                )
                continue
        try:
            places[contender.name] = Place(build(contender, directory, say), checkout)
        except CannotInstall as error:
            say(f"without {contender.title}: {error}")
    return places
