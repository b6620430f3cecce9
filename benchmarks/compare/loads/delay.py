"""Steps per second over a path that takes time: ``python benchmarks/compare/loads/delay.py``; it takes root."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from report import say
from server import variables

from compare.loads import afar
from compare.loads.path import NotToBeHad, far_away
from compare.loads.path import Path as Way
from compare.loads.rows import Row, command, median_row
from compare.loads.servers import gymtwist

#: Seconds to the other side and back.
ROUND_TRIPS = (0.001, 0.020)
_PATIENCE = 120.0


def played(way: Way, address: str, name: str, seconds: float) -> dict[str, float]:
    """Let one play on the other side of a path.

    Args:
        way: The path.
        address: Of the server.
        name: One of :data:`afar.WAYS`.
        seconds: For how long.
    """
    words = [*way.words, sys.executable, str(Path(__file__).with_name("afar.py")), address, name, str(seconds)]
    ended = subprocess.run(
        words,
        env=variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"{name} cannot be measured:\n{ended.stderr}")
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _measure(round_trip: float, seconds: float, rounds: int) -> list[Row]:
    atari = importlib.util.find_spec("ale_py") is not None
    names = [name for name in afar.WAYS if atari or "Pong" not in name]
    samples: dict[str, list[float]] = {name: [] for name in names}
    trips: list[float] = []
    with far_away(round_trip) as way, gymtwist("--port", f"tcp:0:interface={way.here}") as running:
        address = f"{way.here}:{running.address.rpartition(':')[2]}"
        for number in range(rounds):
            for name in names:
                found = played(way, address, name, seconds)
                samples[name].append(found["steps"] / found["seconds"])
                trips.append(1e3 * found["round_trip"])
            say(f"  {1e3 * round_trip:g} ms: round {number + 1} of {rounds}")
    title = f"{1e3 * round_trip:g} ms to and fro"
    rows = [median_row(f"{title}: a connection, as measured", trips, "ms", way.how)]
    for name, rates in samples.items():
        each = statistics.median(rates) * statistics.median(trips) / 1e3
        rows.append(median_row(f"{title}: {name}", rates, "steps per s", f"{each:.2f} steps in a round trip"))
    return rows


def measure(*, quick: bool = False) -> list[Row]:
    """Measure all; where there can be no such path, the one row says why.

    Args:
        quick: Whether to play for less time.
    """
    rows: list[Row] = []
    for round_trip in ROUND_TRIPS:
        try:
            rows += _measure(round_trip, *((1.0, 1) if quick else (5.0, 3)))
        except NotToBeHad as error:
            rows.append(Row(f"{1e3 * round_trip:g} ms to and fro", None, "", note=f"not measured: {error}"))
    return rows


if __name__ == "__main__":
    command(measure, "Measure steps per second over a path that takes time; it takes root.", peers=False)
