"""The runner: contenders take turns at a workload, A B C A B C."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gymtwist_benchmarks.contenders import BY_NAME, REPOSITORY, Contender
from gymtwist_benchmarks.markdown_report import say
from gymtwist_benchmarks.programs.driver import WARM
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
    """How much is measured: rounds, seconds of a contender in a round, and numbers of concurrent clients."""

    rounds: int = 5
    seconds: float = 2.0
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Place:
    """Where a contender runs: the interpreter of its virtual environment, and the checkout that it may need."""

    python: Path
    checkout: Path | None = None


#: This interpreter, in which the figures and the load tests run.
THIS_PYTHON = Place(Path(sys.executable))


@dataclass
class Run:
    """One round of one contender: the steps of all environments, and their seconds, or an error.

    `cpu` is the clients' processor time in seconds.
    """

    contender: str
    workload: str
    clients: int
    round: int
    steps: int = 0
    seconds: float = 0.0
    error: str = ""
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Step per second."""
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
    """List the series that have contenders; several concurrent clients play only CartPole, in single environments."""
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
        "environment": WORKLOADS[workload].environment,
        "checkout": str(place.checkout or ""),
    }


def server_command(contender: Contender, place: Place, workload: str) -> list[str]:
    """Return the command of a contender's server, with ``{port}`` left for the port."""
    words = replacements(place, workload, "{port}", "127.0.0.1:{port}")
    return [word.format(**words) for word in contender.server or ()]


def play(
    contender: Contender,
    place: Place,
    workload: str,
    seconds: float,
    clients: int = 1,
    server: str = "",
    warm: float = WARM,
    prefix: Sequence[str] = (),
) -> tuple[int, float, float]:
    """Run a contender's program.

    Args:
        contender: The contender.
        place: Where it runs.
        workload: The workload's name.
        seconds: How long it plays.
        clients: The number of concurrent clients.
        server: The address of its server; empty without one.
        warm: Unmeasured seconds of play before.
        prefix: Words before the command.

    Returns:
        The steps of all environments together, the seconds they took, and those of the clients' processor time.

    Raises:
        Failed: The program failed.
    """
    words = replacements(place, workload, server.rpartition(":")[2], server)
    command = [*prefix, str(place.python), "-m", "gymtwist_benchmarks.programs.driver", contender.program]
    command += [contender.address.format(**words), workload, str(seconds), str(clients), str(warm)]
    result = json.loads(run_program(command, seconds + warm + _PATIENCE, dict(contender.variables)))
    return int(result["steps"]), float(result["seconds"]), float(result["cpu"])


def rate_here(
    contender: str, workload: str, seconds: float, server: str, warm: float = WARM, prefix: Sequence[str] = ()
) -> float:
    """Let the program of a contender, by its name, play in this interpreter; return the steps per second.

    The arguments are those of :func:`play`.
    """
    steps, elapsed, _ = play(
        BY_NAME[contender], THIS_PYTHON, workload, seconds, server=server, warm=warm, prefix=prefix
    )
    return steps / elapsed


def measure(series: Series, places: Mapping[str, Place], effort: Effort, note: Callable[[Run], None]) -> list[Run]:
    """Let the contenders of a series take turns; servers run from before the first round until after the last.

    Each result is noted at once.
    """
    runs: list[Run] = []
    broken: dict[str, str] = {}
    addresses: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for contender in series.contenders:
            try:
                if contender.server is not None:
                    words = server_command(contender, places[contender.name], series.workload)
                    server = ServerProcess(words, contender.ready, dict(contender.variables))
                    addresses[contender.name] = stack.enter_context(server).address
            except Failed as error:
                broken[contender.name] = str(error)
        for number, contender in turns(series.contenders, effort.rounds):
            name = contender.name
            run = Run(name, series.workload, series.clients, number, error=broken.get(name, ""))
            if not run.error:
                try:
                    address = addresses.get(name, "")
                    run.steps, run.seconds, run.cpu = play(
                        contender, places[name], series.workload, effort.seconds, series.clients, address
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
        checkouts: Checkouts that are not in CHECKOUTS, by name without the owner.
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
