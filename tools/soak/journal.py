"""The journal of a soak: JSON lines that several processes append to one file."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple


class Journal:
    """Append records to a file, each with the seconds since the start of the soak.

    Args:
        path: The file.
        start: When the soak began, by the monotonic clock that all processes of a machine share.
    """

    def __init__(self, path: Path, start: float) -> None:
        self._path, self._start = path, start
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the file itself."""
        return Journal, (self._path, self._start)

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._start

    def write(self, kind: str, **fields: Any) -> None:
        """Append a record; lines of several processes do not mix."""
        line = json.dumps({"at": round(self.now(), 1), "kind": kind, **fields}) + "\n"
        os.write(self._descriptor, line.encode())


def records(path: Path) -> Iterable[dict[str, Any]]:
    """Read a journal; a line that is still being written ends it."""
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


class Orders(NamedTuple):
    """What the processes of a soak are told: the same objects for all.

    Attributes:
        port: Where the server listens.
        seed: Of everything that is drawn.
        journal: Where to write what happens.
        lull: Set while only the sessions that last for the whole soak may go on.
        stop: Set at the end.
        pause: Seconds between what a client does and what it does next; it is adapted to the load that is wanted.
    """

    port: int
    seed: int
    journal: Journal
    lull: Event
    stop: Event
    pause: Synchronized[float]

    def is_quiet(self) -> bool:
        """Tell whether clients should end what they do."""
        return self.lull.is_set() or self.stop.is_set()

    def rest(self, times: float) -> None:
        """Wait for some pauses; not after the end."""
        self.stop.wait(self.pause.value * times)


class Tally:
    """Counts and durations of several threads, written to the journal from time to time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = {}

    def count(self, name: str, by: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[name] += by

    def time(self, name: str, seconds: float) -> None:
        """Add a duration."""
        with self._lock:
            self._seconds.setdefault(name, []).append(seconds)

    def write(self, kind: str, journal: Journal) -> None:
        """Write what has come since the last time: counts, and of durations the median, 99th percentile and maximum."""
        with self._lock:
            counts, seconds = dict(self._counts), self._seconds
            self._counts.clear()
            self._seconds = {}
        journal.write(kind, counts=counts, seconds={name: quantiles(found) for name, found in seconds.items()})

    def write_regularly(self, kind: str, orders: Orders, every: float) -> None:
        """Write until the end, and once more then."""
        while not orders.stop.wait(every):
            self.write(kind, orders.journal)


def quantiles(found: list[float]) -> dict[str, float]:
    """Summarize durations in seconds."""
    ordered = sorted(found)
    places = {"median": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "most": len(ordered) - 1}
    return {"count": len(ordered)} | {name: round(ordered[place], 6) for name, place in places.items()}
